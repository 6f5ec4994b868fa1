"""A user's own function in a Python file, named FILE.py:FUNCTION: a reward, a grader.

1. `is_own` distinguishes such a name from one of a table; `own_parts` is its file and function.
2. `run_file` runs the file, and `function_in` finds the function in it, or says what is wrong with it. Both are called in a child
   process (`foreign_code.py`).

What is left out: what the function takes and returns, which its caller knows.
"""

import hashlib
import sys
from importlib.util import module_from_spec, spec_from_file_location
from inspect import isasyncgenfunction, iscoroutinefunction, isfunction, isgeneratorfunction
from pathlib import Path
from typing import Any


def is_own(name: str) -> bool:
    """True where `name` points into a file: "FILE.py:FUNCTION".

    >>> is_own("my_rewards.py:short_and_right"), is_own("hapo")
    (True, False)
    """
    return ".py:" in name


def own_parts(name: str, folder: Path, what: str, where: str) -> tuple[Path, str]:
    """The file of FILE.py:FUNCTION, looked up from `folder`, and the function. `what` it is, such as "reward", and `where` it is
    looked up are words for the error. Raises `ValueError` where there is no such file."""
    file, _, function = name.rpartition(":")
    path = folder / file
    if not file.endswith(".py") or not function.isidentifier():
        raise ValueError(f"{what} {name!r}: expected FILE.py:FUNCTION")
    if not path.is_file():
        raise ValueError(f"{path}: no such file; {what} {name!r} is looked up from {where}")
    return path, function


# --- in the child ----------------------------------------------------------------------------------------------------


def run_file(path: Path) -> Any:
    """The file as a module under a private name in `sys.modules`, where dataclasses and pickle look for it."""
    name = f"_laconic_own_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    spec = spec_from_file_location(name, path)
    assert spec is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    # compiled here, since Python keeps bytecode by second and size, and would run what stood there before a quick change
    exec(compile(path.read_bytes(), str(path), "exec", dont_inherit=True), vars(module))
    return module


def function_in(module: Any, path: Path, name: str, returns: str) -> tuple[Any, str | None]:
    """The function `name` of a file that was run, and what is wrong with it, None where it can be called; `returns` says what it
    returns, for the error."""
    function = getattr(module, name, None)
    if function is None or not callable(function):
        known = ", ".join(_functions(module)) or "none"
        return function, f"{path}: expected a function {name!r}; it has: {known}"
    mistake = _kind_of(function, returns)
    return function, mistake and f"{path}: {name} {mistake}"


def _functions(module: Any) -> list[str]:
    """The names of the public functions that the file itself defines."""
    return sorted(
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__ and callable(value)
    )


def _kind_of(function: Any, returns: str) -> str | None:
    """What is wrong with a function that returns nothing of use when it is called, or None."""
    called = function if isfunction(function) else getattr(function, "__call__", function)  # noqa: B004  (its own code is looked at)
    if iscoroutinefunction(called) or isasyncgenfunction(called):
        return f"is an async function: expected one that returns {returns} when it is called (def, without async)"
    return f"is a generator: expected a function that returns {returns}" if isgeneratorfunction(called) else None

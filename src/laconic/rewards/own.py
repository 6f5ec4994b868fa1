"""A user's own reward: a function in a Python file, named as in `reward = "my_rewards.py:short_and_right"`.

1. `is_own` distinguishes such a name from one of the table.
2. `load_own` runs the file, looked up from the recipe's folder, and checks the function: it takes numbers first, then options
   that each have a default.

A user's reward is paid as those of the table are: ungradable responses get 0, anything but K finite numbers is refused, options
are checked by name. The file may import any module; each load runs it once, under a name that nothing else imports.

What is left out: memory between steps. That the file changed before a run was resumed is noticed where the recipe is loaded
(`config/load.py`).
"""

import hashlib
import sys
import traceback
from collections.abc import Callable
from functools import wraps
from importlib.util import module_from_spec, spec_from_file_location
from inspect import Parameter, signature
from pathlib import Path
from typing import Any


def is_own(name: str) -> bool:
    """True where `name` points into a file: "FILE.py:FUNCTION".

    >>> is_own("my_rewards.py:short_and_right"), is_own("hapo")
    (True, False)
    """
    return ".py:" in name


def load_own(name: str, folder: Path) -> Callable[..., Any]:
    """The function that "FILE.py:FUNCTION" names, FILE relative to `folder`.

    Raises `ValueError`, with one line that names the file, where there is no such file or function, the file fails when it is
    run, the function does not take numbers first, or an option has no default.
    """
    path, function = _parts(name, folder)
    module = _run(path)
    reward: Callable[..., Any] | None = getattr(module, function, None)
    if reward is None or not callable(reward):
        raise ValueError(f"{path}: expected a function {function!r}; it has: {', '.join(_functions(module)) or 'none'}")
    _check_signature(path, function, reward)
    return _named_in_errors(path, function, reward)


def _named_in_errors(path: Path, function: str, reward: Callable[..., Any]) -> Callable[..., Any]:
    """The function, except that any error inside it becomes a `ValueError` that names the file and the function."""

    @wraps(reward)
    def guarded(numbers: Any, **options: Any) -> Any:
        try:
            return reward(numbers, **options)
        except Exception as error:
            message = " ".join(str(error).split())
            lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if Path(f.filename) == path]
            where = f"{path}, line {lines[-1]}" if lines else f"{path}"
            raise ValueError(f"{where}: {function} fails on a group: {type(error).__name__}: {message}") from error

    return guarded


def _parts(name: str, folder: Path) -> tuple[Path, str]:
    file, _, function = name.rpartition(":")
    path = folder / file
    if not file.endswith(".py") or not function.isidentifier():
        raise ValueError(f"reward {name!r}: expected FILE.py:FUNCTION")
    if not path.is_file():
        raise ValueError(f"{path}: no such file; reward {name!r} is looked up from the recipe's folder")
    return path, function


def _run(path: Path) -> Any:
    """The file as a module under a private name in `sys.modules`, where dataclasses and pickle look for it."""
    name = f"_laconic_own_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    spec = spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        message = " ".join(str(error).split())
        raise ValueError(f"{path}: expected a file that runs, got {type(error).__name__}: {message}") from error
    return module


def _functions(module: Any) -> list[str]:
    """The names of the public functions that the file itself defines."""
    return sorted(
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__ and callable(value)
    )


def _check_signature(path: Path, function: str, reward: Callable[..., Any]) -> None:
    parameters = list(signature(reward).parameters.values())
    positional = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    if not parameters or parameters[0].kind not in positional:
        raise ValueError(f"{path}: {function} takes no numbers: expected {function}(numbers, option=default, ...)")
    for option in parameters[1:]:
        if option.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD, Parameter.POSITIONAL_ONLY):
            raise ValueError(f"{path}: {function} has {option}: expected options by name, each with a default")
        if option.default is Parameter.empty:
            raise ValueError(f"{path}: {function} has option {option.name!r} without a default: expected one each")

"""A user's own reward: a function in a Python file, named as in `reward = "my_rewards.py:short_and_right"`.

1. `is_own` (`system/own_files.py`) distinguishes such a name from one of the table.
2. `load_own` runs the file, looked up from the recipe's folder, and checks the function: it takes numbers first, then options
   that each have a default.
3. The file runs, and the function is called, in a child process that belongs to what `load_own` returns
   (`system/foreign_code.py`). A file or function that ends the process, does not end in time or takes all memory is an error of
   one line; and the group that it gets is a copy. What the function remembers between calls lives as long as that child.

A user's reward is paid as those of the table are: ungradable responses get 0, anything but K finite numbers is refused, options
are checked by name. The file may import any module; each load runs it once, under a name that nothing else imports.

What is left out: memory that survives the run, as the table's terms have it. That the file changed before a run was resumed is
noticed where the recipe is loaded (`config/load.py`).
"""

import reprlib
from collections.abc import Callable, Mapping
from functools import partial
from inspect import Parameter, Signature, getdoc, iscoroutine, signature
from pathlib import Path
from typing import Any

import numpy as np

from laconic.config.defaults import REWARD_TIMEOUT_SECONDS
from laconic.rewards.numbers import FloatArray, GroupNumbers, as_floats
from laconic.system.confinement import Answer, plainly
from laconic.system.foreign_code import ForeignCode, ForeignCodeError
from laconic.system.own_files import function_in, own_parts, run_file

MAX_REWARD_BYTES = 4 << 30
_SHORT = reprlib.Repr()
_SHORT.maxlist = _SHORT.maxtuple = 16
_SHORT.maxother = _SHORT.maxstring = 200


def load_own(name: str, folder: Path, timeout_seconds: float = REWARD_TIMEOUT_SECONDS) -> Callable[..., FloatArray]:
    """The function that "FILE.py:FUNCTION" names, FILE relative to `folder`. The file, and later every call, may take
    `timeout_seconds`.

    Raises `ValueError`, with one line that names the file, where there is no such file or function, the file fails when it is
    run, the function does not take numbers first, or an option has no default. What is returned raises it for a failed call.
    """
    path, function = own_parts(name, folder, "reward", "the recipe's folder")
    try:
        code = ForeignCode(partial(_prepare, path, function), timeout_seconds, MAX_REWARD_BYTES, path)
    except ForeignCodeError as error:
        raise ValueError(f"{_place(path, error)}: expected a file that runs, got {_words(error)}") from None
    if "mistake" in code.facts:
        code.close()
        raise ValueError(plainly(code.facts["mistake"]))
    return _caller(name, path, code)


def _caller(name: str, path: Path, code: ForeignCode) -> Callable[..., FloatArray]:
    """The function as this process calls it: its errors name the file, the line and the function."""
    function = name.rpartition(":")[2]

    def reward(numbers: GroupNumbers, **options: Any) -> FloatArray:
        try:
            reply = code.ask((numbers, options))
        except ForeignCodeError as error:
            raise ValueError(f"{_place(path, error)}: {function} fails on a group: {_words(error)}") from None
        if "instead" in reply:
            wanted = f"{len(numbers.grades)} finite numbers"
            raise ValueError(f"reward {name!r}: expected {wanted}, got {plainly(reply['instead'])}")
        return np.array(reply["paid"], dtype=np.float64)

    options = [Parameter(option, Parameter.KEYWORD_ONLY, default=None) for option in code.facts["options"]]
    first = Parameter("numbers", Parameter.POSITIONAL_ONLY)
    reward.__name__, reward.__doc__ = function, code.facts["doc"]
    reward.__signature__ = Signature([first, *options])  # type: ignore[attr-defined]
    return reward


def _place(path: Path, error: ForeignCodeError) -> str:
    return f"{path}, line {error.line}" if error.line else f"{path}"


def _words(error: ForeignCodeError) -> str:
    return f"{error} (rewards.timeout_seconds)" if error.is_late else f"{error}"


# --- in the child ----------------------------------------------------------------------------------------------------


def _prepare(path: Path, function: str) -> tuple[Answer, Mapping[str, Any]]:
    """Run the file and look at the function: how it answers, and the names of its options, or what is wrong with it."""
    reward, mistake = function_in(run_file(path), path, function, "the rewards")
    answer = partial(_pay, reward)
    if mistake is not None:
        return answer, {"mistake": mistake}
    parameters = list(signature(reward).parameters.values())
    if wrong := _mistake(function, parameters):
        return answer, {"mistake": f"{path}: {function} {wrong}"}
    return answer, {"options": [option.name for option in parameters[1:]], "doc": getdoc(reward)}


def _pay(reward: Any, question: tuple[GroupNumbers, Mapping[str, Any]]) -> dict[str, Any]:
    numbers, options = question
    values = reward(numbers, **options)
    if iscoroutine(values):
        values.close()
    paid = as_floats(values)
    if paid is None or paid.shape != (len(numbers.grades),):
        return {"instead": _SHORT.repr(values)}
    return {"paid": paid.tolist()}


def _mistake(function: str, parameters: list[Parameter]) -> str | None:
    """What is wrong with the function's parameters, or None."""
    positional = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    if not parameters or parameters[0].kind not in positional:
        return f"takes no numbers: expected {function}(numbers, option=default, ...)"
    for option in parameters[1:]:
        if option.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD, Parameter.POSITIONAL_ONLY):
            return f"has {option}: expected options by name, each with a default"
        if option.default is Parameter.empty:
            return f"has option {option.name!r} without a default: expected one, such as {option.name}=1.0"
        if not isinstance(option.default, int | float):
            return f"has option {option.name!r} with the default {_SHORT.repr(option.default)}: expected a number or a truth"
    return None

"""The base of every table of a recipe: frozen, typed, and closed to unknown keys. And the kinds of values in them.

1. A number is a number: finite, and neither a text nor true or false. None is larger than `LARGEST`, so that what is computed
   from it stays finite too.
2. A text holds something that can be encoded, and a line something that can be printed in a message.
3. A name that becomes the name of a folder is a `Name`: this is the one place where such names are checked.

What is left out: which values go together (`sense/`).
"""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, ValidationError

from laconic.errors import InputError
from laconic.rng import LARGEST_SEED
from laconic.system.text import brief

_N = TypeVar("_N", bound=BaseModel)
_V = TypeVar("_V")

LARGEST = 10**9
MOST_REPEATS = 2**16
MOST_PROBLEMS = 10**7
MOST_PROCESSES = 1024
MOST_CHARACTERS = 80  # of a name; file systems allow 255 bytes
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*(?<!\.)")


def at_most(limit: float) -> AfterValidator:
    """A check that a number lies between -limit and limit.

    >>> at_most(3).func(2)
    2
    """

    def check(value: Any) -> Any:
        if abs(value) > limit:
            raise ValueError(f"expected at most {limit:,}" if value > 0 else f"expected at least {-limit:,}")
        return value

    return AfterValidator(check)


# --- numbers ---------------------------------------------------------------------------------------------------------

Count = Annotated[int, Field(strict=True, ge=0), at_most(LARGEST)]
Positive = Annotated[int, Field(strict=True, gt=0), at_most(LARGEST)]
Repeats = Annotated[int, Field(strict=True, gt=0), at_most(MOST_REPEATS)]
"""How often something is done for one problem at a time."""
ProblemCount = Annotated[int, Field(strict=True, gt=0), at_most(MOST_PROBLEMS)]
"""A number of problems, which are all held in memory."""
Processes = Annotated[int, Field(strict=True, gt=0), at_most(MOST_PROCESSES)]
SeedNumber = Annotated[int, Field(strict=True, ge=0), at_most(LARGEST_SEED)]

Number = Annotated[float, Field(strict=True, allow_inf_nan=False), at_most(LARGEST)]
NonNegative = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0.0), at_most(LARGEST)]
PenaltySize = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0.0, le=100.0)]
"""Endpoints take a bias of a logit from -100 to 100."""
Fraction = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0.0, le=1.0)]
PartOfOne = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0.0, lt=1.0)]
"""A fraction that leaves something over."""

Flag = Annotated[bool, Field(strict=True)]


# Outside the following ranges lies nothing that a float32 weight, a logit or a clock could show.
Rate = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=1e-12), at_most(LARGEST)]
"""A learning rate. AdamW moves a weight by about the rate; less than 1e-12 is below the resolution of float32 at any weight."""
GradNorm = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=1e-9), at_most(LARGEST)]
AdamEpsilon = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=1e-20, le=1.0)]
"""Added to the root of the mean square of a gradient: 0 in float32 below this range, and above it larger than any gradient."""
ClipDistance = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=1e-6), at_most(LARGEST)]
"""A distance from 1 of a ratio, which float32 resolves to 1e-7."""
ImportanceCap = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=1.0, le=1000.0)]
"""The largest ratio of two probabilities of one token that counts whole; below 1 every token would be cut."""
Nats = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0.0, le=20.0)]
"""An entropy of one token: 20 is above the logarithm of every vocabulary."""
AdapterAlpha = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=1e-3, le=1e5)]
TopP = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0.01, le=1.0)]
Seconds = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0.01), at_most(LARGEST)]
"""The time limit of something that takes milliseconds at the least."""


def _zero_or_felt(value: float) -> float:
    if 0 < value < 1e-9:
        raise ValueError("expected 0, or 1e-09 to 1000")
    return value


Coefficient = Annotated[
    float, Field(strict=True, allow_inf_nan=False, ge=0.0, le=1000.0), AfterValidator(_zero_or_felt)
]
"""The weight of a second loss or reward, beside one of about 1."""


def _sampling_temperature(value: float) -> float:
    if value and not 0.01 <= value <= 10.0:
        raise ValueError("expected 0 (greedy decoding) or 0.01 to 10")
    return value + 0.0  # -0.0 is 0.0


Temperature = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0.0), AfterValidator(_sampling_temperature)]


def _number_or_flag(value: Any) -> float | bool:
    if isinstance(value, bool):
        return value
    if not isinstance(value, int | float) or not abs(value) <= LARGEST:  # no comparison with nan is true
        raise ValueError("expected a finite number, true or false")
    return float(value)


def _number_flag_or_text(value: Any) -> float | bool | str:
    return _sound_text(value) if isinstance(value, str) else _number_or_flag(value)


OptionValue = Annotated[float | bool, PlainValidator(_number_or_flag)]
TextOption = Annotated[float | bool | str, PlainValidator(_number_flag_or_text)]


def check_options(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Raises `ValueError`, naming the option, where a value is of another kind than the option's default: true or false, a
    number, or a text. Where the default is none of these, the function that takes the option must check it.

    >>> check_options({"only_correct": 1.0}, {"per_tokens": 1000.0, "only_correct": False})
    Traceback (most recent call last):
    ...
    ValueError: only_correct: expected true or false, got 1.0
    """
    for name, value in given.items():
        expected = _kind_of(defaults[name])
        if expected is not None and _kind_of(value) != expected:
            raise ValueError(f"{name}: expected {expected}, got {value!r}")


def _kind_of(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    return "a text" if isinstance(value, str) else None


# --- texts and names -------------------------------------------------------------------------------------------------


def _sound_text(text: str) -> str:
    if not text.strip():
        raise ValueError("expected a text that is not empty")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("expected Unicode, which this text is not") from None
    if "\0" in text:
        raise ValueError("expected a text without the character NUL")
    return text


def single_line(text: str) -> str:
    """The text, if it can be printed in a line of a message. Raises `ValueError` otherwise."""
    if not _sound_text(text).isprintable():
        raise ValueError("expected one line without control characters")
    return text


Text = Annotated[str, Field(strict=True), AfterValidator(_sound_text)]
OneLine = Annotated[str, Field(strict=True), AfterValidator(single_line)]


def checked_name(name: str) -> str:
    """The name, if it can name a folder on every system. Raises `ValueError` otherwise.

    >>> checked_name("r1-distill-1.5b")
    'r1-distill-1.5b'
    >>> checked_name("../brevity")
    Traceback (most recent call last):
    ...
    ValueError: expected letters, digits, _, -, + and ., beginning with one of the first three: it names a folder
    """
    if not _NAME.fullmatch(name):
        raise ValueError(
            "expected letters, digits, _, -, + and ., beginning with one of the first three: it names a folder"
        )
    if len(name) > MOST_CHARACTERS:
        raise ValueError(f"expected at most {MOST_CHARACTERS} characters: it names a folder")
    return name


Name = Annotated[str, Field(strict=True), AfterValidator(checked_name)]


def first_repeated(values: Iterable[_V], key: Callable[[_V], Any] = lambda value: value) -> tuple[_V, _V] | None:
    """The first two of the values that have the same key; None if all differ.

    >>> first_repeated(["A", "b", "a"], str.casefold), first_repeated([1, 2])
    (('A', 'a'), None)
    """
    seen: dict[Any, _V] = {}
    for value in values:
        if key(value) in seen:
            return seen[key(value)], value
        seen[key(value)] = value
    return None


# --- tables ----------------------------------------------------------------------------------------------------------


class Node(BaseModel):
    """A table of a recipe. It is frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


def make_node(kind: type[_N], spelling: Callable[[str], str] = str, /, **values: Any) -> _N:
    """A table from plain values. Raises `InputError`, one line that names the field in the `spelling` of whoever gave it.

    >>> make_node(Node, "--{}".format, steps=3)
    Traceback (most recent call last):
    ...
    laconic.errors.InputError: --steps: Extra inputs are not permitted
    """
    try:
        return kind(**values)
    except ValidationError as error:
        mistake = error.errors()[0]
        field = spelling(".".join(map(str, mistake["loc"])))
        raise InputError(f"{field}: {mistake['msg'].removeprefix('Value error, ')}") from None


def first_mistake(error: ValidationError, keys: Sequence[str]) -> str:
    """The first mistake in a file that is no recipe, in one line that names the field; `keys` are all that such a file may
    have."""
    mistake = error.errors()[0]
    field = ".".join(map(str, mistake["loc"]))
    if mistake["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(mistake["loc"][-1]), keys, n=3)
        return f"{field}: unknown key; " + (f"near it: {', '.join(near)}" if near else f"known: {', '.join(keys)}")
    if mistake["type"] == "missing":
        return f"{field}: missing, but required"
    message = mistake["msg"].removeprefix("Value error, ")
    if mistake["type"] == "value_error" and isinstance(mistake["input"], dict):  # about several fields, which it names
        return f"{field}.{message}".removeprefix(".")
    return f"{field}: {message[:1].lower()}{message[1:]}, got {brief(mistake['input'])}"

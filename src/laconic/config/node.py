"""The base of every table of a recipe: frozen, typed, and closed to unknown keys. And the kinds of numbers in them."""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from laconic.errors import InputError

_N = TypeVar("_N", bound="Node")

Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
NonNegative = Annotated[float, Field(ge=0.0)]
PositiveFloat = Annotated[float, Field(gt=0.0)]


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
        raise InputError(f"{spelling('.'.join(map(str, mistake['loc'])))}: {mistake['msg']}") from None

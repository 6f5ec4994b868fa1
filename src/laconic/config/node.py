"""What every node of a recipe is: frozen, typed, and closed to keys that it does not have."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
NonNegative = Annotated[float, Field(ge=0.0)]
PositiveFloat = Annotated[float, Field(gt=0.0)]


class Node(BaseModel):
    """A table of a recipe, frozen; keys that it does not have are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

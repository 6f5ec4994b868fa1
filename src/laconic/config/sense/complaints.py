"""Holds a recipe against the two tables, of keys that nothing reads and of settings that contradict one another.

Training, the dry run and doctor ask `training/check/`, so that all three say the same.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from laconic.config.node import Node
from laconic.config.phase import PhaseConfig
from laconic.config.recipe import Recipe
from laconic.config.sense.contradictions import SENSELESS
from laconic.config.sense.reading import Reading
from laconic.config.sense.unread import UNREAD, UNREAD_OF_RUN
from laconic.system.text import brief


@dataclass(frozen=True, slots=True)
class Complaint:
    """Something senseless: whether it ends the run or is only said, in which keys, and what."""

    level: Literal["warning", "error"]
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def complaints_about_phases(readings: Sequence[Reading]) -> Iterator[Complaint]:
    """Everything senseless in the phases of a recipe.

    A key that one phase does not read is not complained about where another phase has the same value and reads it: then it stands
    in `[defaults]`, or for symmetry.
    """
    for reading in readings:
        phase, place = reading.phase, f"phases.{reading.phase.name}"
        for rule in SENSELESS:
            if rule.holds(reading):
                yield Complaint(rule.level, f"{place}.{rule.key}", rule.what.format(phase=phase, reading=reading))
        for key, why in _unread_keys(reading).items():
            value = _value_at(phase, key)
            if not any(_value_at(other.phase, key) == value and _is_read(other, key) for other in readings):
                yield _unread(f"{place}.{key}", value, why.format(phase=phase))


def _unread_keys(reading: Reading) -> dict[str, str]:
    """The keys of a phase that were changed although nothing reads them, each with the first reason."""
    phase, plain = reading.phase, PhaseConfig(name=reading.phase.name, steps=reading.phase.steps)
    unread: dict[str, str] = {}
    for row in UNREAD:
        for key in () if row.is_read(reading) else row.keys:
            if _value_at(phase, key) != _value_at(plain, key):
                unread.setdefault(key, row.why)
    return unread


def _is_read(reading: Reading, key: str) -> bool:
    return all(row.is_read(reading) for row in UNREAD if key in row.keys)


def complaints_about_run(recipe: Recipe) -> Iterator[Complaint]:
    """Everything senseless at the top of a recipe, and in the table of defaults of its file."""
    for key in recipe.hidden_defaults:
        yield Complaint("warning", key, "it changes nothing: every phase has its own value")
    plain = Recipe(name=recipe.name, model=recipe.model, problems=recipe.problems, phases=recipe.phases)
    for row in UNREAD_OF_RUN:
        for key in () if row.is_read(recipe) else row.keys:
            if (value := _value_at(recipe, key)) != _value_at(plain, key):
                yield _unread(key, value, row.why)


def _unread(where: str, value: Any, why: str) -> Complaint:
    is_table = isinstance(value, dict) or (isinstance(value, tuple) and any(isinstance(item, Node) for item in value))
    return Complaint("warning", where, f"{'it' if is_table else brief(value)} changes nothing: {why}")


def _value_at(node: Any, key: str) -> Any:
    """The value at a dotted key of a table; None where an option is not given."""
    for part in key.split("."):
        node = node.get(part) if isinstance(node, dict) else getattr(node, part)
    return node

"""The table of families. `mix` are those to train on, `unseen` those that are kept apart: a model that was trained on `mix`
alone has never read a question of theirs."""

from collections.abc import Callable, Mapping
from random import Random

from laconic.traces import numbers, rows, stories
from laconic.traces.steps import Reasoning

Draw = Callable[[Random, int], Reasoning]

TRAINED: Mapping[str, Draw] = {
    "sums": numbers.sums,
    "products": numbers.products,
    "equations": numbers.equations,
    "things": stories.things,
    "shopping": stories.shopping,
    "sequences": rows.sequences,
    "counting": rows.counting,
    "largest": rows.largest,
}
UNSEEN: Mapping[str, Draw] = {
    "gaps": numbers.gaps,
    "ages": stories.ages,
    "journeys": stories.journeys,
    "sharing": stories.sharing,
    "smallest": rows.smallest,
}
WORD_LEVELS = (1, 2, 3)
WORD_GROUPS: Mapping[str, Mapping[str, Draw]] = {"mix": TRAINED, "unseen": UNSEEN, "all": {**TRAINED, **UNSEEN}}


def draws_of(name: str) -> list[Draw]:
    """The families that a name stands for, a group's or a family's own. Raises `ValueError` for an unknown name."""
    if name in WORD_GROUPS:
        return list(WORD_GROUPS[name].values())
    if name in WORD_GROUPS["all"]:
        return [WORD_GROUPS["all"][name]]
    raise ValueError(f"unknown family {name!r}: expected one of {', '.join((*WORD_GROUPS, *WORD_GROUPS['all']))}")

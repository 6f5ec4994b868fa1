"""The function `select`: chooses the problems worth training on, by how often the model solved them."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel

from laconic.config.defaults import SEED
from laconic.config.node import OneLine, Positive, SeedNumber, make_node
from laconic.errors import SelectionError
from laconic.notebook.arguments import sets_of
from laconic.notebook.results import ProbeResult
from laconic.problems.load import load_problems
from laconic.selection.probe import read_probe
from laconic.selection.program import Chosen, choose_problems, leaking
from laconic.system.files import path_of
from laconic.types import Problem


class _Choosing(BaseModel):
    """The numbers and names of a choice. Its options are checked where they are used."""

    how: OneLine
    count: Positive | None
    seed: SeedNumber


def select(
    probe: ProbeResult | str | Path,
    *,
    how: str,
    count: int | None = None,
    against: Sequence[str | Path | Sequence[Problem]] = (),
    seed: int = SEED,
    **options: float | bool,
) -> Chosen:
    """The problems that the selection `how` keeps, at most `count`, each with a reason; and the reasons why the others are
    dropped.

    `probe` is a result of the function `probe`, or its file. `how` is a row of `laconic list selections`, and `options` are the
    options of that row, such as `how="band", low=0.3, high=0.9`. Problems that leak into one of the sets `against` are dropped.
    Raises `SelectionError` if none is kept, and `InputError` for an unknown selection or option.
    """
    make_node(_Choosing, how=how, count=count, seed=seed)
    problems, stats = (
        (probe.problems, probe.stats)
        if isinstance(probe, ProbeResult)
        else read_probe(path_of(probe, "probe", "the result of a probe, or its file"))
    )
    held_out = [
        load_problems(str(s), seed=seed) if isinstance(s, str | Path) else s for s in sets_of(against, "against")
    ]
    chosen = choose_problems(problems, stats, leaking(problems, held_out), how, options, count=count, seed=seed)
    if not chosen.kept:
        raise SelectionError(f"select: none of {len(problems)} problems qualifies; the first: {chosen.reasons[0]}")
    return chosen

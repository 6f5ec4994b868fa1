"""What the page's browser of responses reads: one packed index, and the shelves' chunks beside it.

1. Evaluations on the same benchmark under the same decoding form a set, in which any two models can be compared.
2. The index holds, for each model of each set, the problem, sample, grade and length of every row in the page, as columns, and
   each problem's question once. It is packed like the texts and opened when the reader scrolls near.
3. `picks` are the pairs that the page itself points out.

`templates/browser.js` reads this data.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from laconic.reporting.data import Measurement, Report, ShownPair, pick_pairs
from laconic.reporting.shelf import Shelf, pack
from laconic.types import GRADES


@dataclass(frozen=True, slots=True)
class PairText:
    """A picked pair with its texts, for printing and for readers without scripts."""

    reason: str
    problem_id: str
    question: str
    gold: str
    sides: tuple[dict[str, Any], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Browser:
    """`index` is packed; `chunks` are (element id, packed texts); `num_held` of `num_rows` responses are in the page."""

    index: str
    chunks: tuple[tuple[str, str], ...]
    num_held: int
    num_rows: int


def build_browser(report: Report) -> Browser | None:
    """The browser's data, or `None` if no evaluation has its samples."""
    sets: list[dict[str, Any]] = []
    chunks: list[tuple[str, str]] = []
    shelves = [e.shelf for e in report.evaluations if e.shelf]
    for setting in report.settings_of_evaluations:
        found = [e for e in report.of_setting(setting) if e.shelf]
        if found:
            sets.append(_set(found, len(sets), chunks))
    if not sets:
        return None
    index = {"grades": [str(grade) for grade in GRADES], "sets": sets, "picks": _picks(report, sets)}
    return Browser(pack(index), tuple(chunks), sum(len(s.rows) for s in shelves), sum(s.num_rows for s in shelves))


def _set(found: Sequence[Measurement], number: int, chunks: list[tuple[str, str]]) -> dict[str, Any]:
    questions: dict[str, tuple[str, str]] = {}
    for e in found:
        questions = {**_shelf(e).questions, **questions}
    place = {problem_id: index for index, problem_id in enumerate(questions)}
    models = []
    for index, e in enumerate(found):
        shelf = _shelf(e)
        names = [f"chunk-{number}-{index}-{i}" for i in range(len(shelf.chunks))]
        chunks.extend(zip(names, shelf.chunks, strict=True))
        models.append(_columns(e, shelf, place) | {"chunks": names})
    return {
        "name": ", ".join(found[0].setting),
        "problems": [[problem_id, *texts] for problem_id, texts in questions.items()],
        "models": models,
    }


def _columns(evaluation: Measurement, shelf: Shelf, place: dict[str, int]) -> dict[str, Any]:
    rows = [evaluation.samples[i] for i in shelf.rows]
    grades = [str(grade) for grade in GRADES]
    return {
        "name": evaluation.model,
        "is_base": evaluation.is_base,
        "problem": [place[row.problem_id] for row in rows],
        "sample": [row.sample for row in rows],
        "grade": [grades.index(row.grade) for row in rows],
        "tokens": [row.num_tokens for row in rows],
        "counts": list(shelf.counts),
    }


def _picks(report: Report, sets: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    main = report.main
    if main is None or not (main[0].shelf and main[1].shelf):
        return []
    name = ", ".join(main[0].setting)
    where = next(i for i, found in enumerate(sets) if found["name"] == name)
    models = [model["name"] for model in sets[where]["models"]]
    sides = {"set": where, "left": models.index(main[0].model), "right": models.index(main[1].model)}
    ids = [row[0] for row in sets[where]["problems"]]
    return [
        sides | {"reason": pair.reason, "problem": ids.index(pair.before.problem_id), "sample": pair.before.sample}
        for pair in held_pairs(*main)
    ]


def held_pairs(before: Measurement, after: Measurement) -> list[ShownPair]:
    """Pairs picked among the responses whose texts the page holds."""
    held = [[e.samples[i] for i in e.shelf.rows] if e.shelf else [] for e in (before, after)]
    return pick_pairs(held[0], held[1])


def tell_pairs(report: Report) -> list[PairText]:
    """The picked pairs of the main comparison, with their texts."""
    main = report.main
    if main is None or not (main[0].shelf and main[1].shelf):
        return []
    return [_tell(pair, *main) for pair in held_pairs(*main)]


def _tell(pair: ShownPair, before: Measurement, after: Measurement) -> PairText:
    question, gold = _shelf(before).questions[pair.before.problem_id]
    sides = []
    for kind, evaluation, row in (("base", before, pair.before), ("after", after, pair.after)):
        shelf = _shelf(evaluation)
        place = next(p for p, i in enumerate(shelf.rows) if evaluation.samples[i] == row)
        text, _ = shelf.text(place)
        sides.append({"kind": kind, "name": evaluation.model, "row": row, "text": text})
    return PairText(pair.reason, pair.before.problem_id, question, gold, (sides[0], sides[1]))


def _shelf(evaluation: Measurement) -> Shelf:
    assert evaluation.shelf is not None, evaluation.folder
    return evaluation.shelf

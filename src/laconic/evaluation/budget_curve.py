"""The budget curve: how accurate is a model if its thinking is cut short?

1. `rollouts.forcing` cuts each response at every budget and lets the model answer.
2. Over all samples this gives accuracy and tokens at each budget. Tokens are those of the thinking that was kept and of the
   answer, without the words written for the model.

The curve of a concise model lies further left.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from laconic.rollouts.forcing import ANSWER_TOKENS
from laconic.rollouts.rows import ResponseRow
from laconic.statistics.claims import per_problem
from laconic.statistics.intervals import accuracy_interval, length_interval
from laconic.types import Grade


def budget_curve(rows: Iterable[ResponseRow], text: str, *, seed: int) -> dict[str, Any]:
    """The content of budget_curve.json from sample rows: accuracy and tokens with intervals over problems at each budget."""
    points: dict[int, list[tuple[str, Grade, int, bool]]] = {}
    for row in rows:
        for budget, forced in row.forced.items():
            entry = (row.problem_id, forced.grade, forced.num_tokens, forced.is_cut)
            points.setdefault(budget, []).append(entry)
    return {
        "force_text": text,
        "answer_max_tokens": ANSWER_TOKENS,
        "points": [
            _point(points[budget], seed, budget, budget + len(text.encode()) + ANSWER_TOKENS)
            for budget in sorted(points)
        ],
    }


def _point(entries: Sequence[tuple[str, Grade, int, bool]], seed: int, budget: int, most: int) -> dict[str, Any]:
    """The figures at a budget; `most` is more than what any response has: the budget, the text and the answer after it."""
    ids, grades, tokens, cut = (list(column) for column in zip(*entries, strict=True))
    table = per_problem(ids, grades, tokens)
    return {
        "budget": budget,
        "accuracy": accuracy_interval(table.accuracy).to_json("mean"),
        "tokens": length_interval(table.mean_tokens, seed=seed, most=most).to_json("mean"),
        "cut_frac": sum(cut) / len(cut),
    }

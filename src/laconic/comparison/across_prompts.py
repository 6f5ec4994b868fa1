"""How much prompts can shorten: token complexity over several prompts of one benchmark (Lee, Che & Peng 2025, arXiv 2503.01141).

1. Every problem's token complexity is estimated from all its samples under all prompts, because differently worded prompts spread
   the lengths, which samples of one prompt do not.
2. Each prompt is then one point (its mean tokens, its accuracy), beside the accuracy of the oracle at the same mean tokens. The
   distance is what one could gain by choosing lengths per problem rather than per prompt. Kendall's tau says how closely a
   prompt's lengths follow the tokens that the problems need.

This module reads finished evaluations and writes nothing. What is left out: intervals, since the oracle is a bound and not an
estimate of a method.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from laconic.comparison.folders import read_samples, read_summary
from laconic.evaluation.figures import Summary
from laconic.statistics.intervals import or_null
from laconic.statistics.token_complexity import adaptivity, least_tokens, oracle_accuracy, token_complexity
from laconic.types import Grade


def complexity_over(folders: Sequence[Path]) -> dict[str, Any]:
    """The content of complexity.json from evaluations of one benchmark under several prompts: a summary of the problems'
    complexities, and one row per prompt. Ungradable samples are left out. Raises `InputError` for an evaluation that is not
    valid."""
    samples: dict[str, list[tuple[int, bool]]] = {}
    num_tokens: list[dict[str, list[int]]] = []
    for folder in folders:
        own_tokens: dict[str, list[int]] = {}
        for row in read_samples(folder):
            if row.grade is not Grade.UNGRADABLE:
                samples.setdefault(row.problem_id, []).append((row.num_tokens, row.grade is Grade.CORRECT))
            own_tokens.setdefault(row.problem_id, []).append(row.num_tokens)
        num_tokens.append(own_tokens)
    complexities = {
        name: token_complexity([tokens for tokens, _ in attempts], [right for _, right in attempts])
        for name, attempts in samples.items()
    }
    values = np.array(list(complexities.values()))
    return {
        "num_problems": len(complexities),
        "solvable_frac": float(np.isfinite(values).mean()) if values.size else None,
        "median": or_null(float(np.median(values))) if values.size else None,
        "prompts": [
            _prompt(read_summary(folder, needs=("prompt", "tokens", "accuracy")), own_tokens, complexities)
            for folder, own_tokens in zip(folders, num_tokens, strict=True)
        ],
    }


def _prompt(
    summary: Summary, num_tokens: Mapping[str, Sequence[int]], complexities: Mapping[str, float]
) -> dict[str, Any]:
    needed = np.array(list(complexities.values()))
    means = np.array([np.mean(num_tokens[name]) for name in complexities])
    setup, figures = summary.setup, summary.figures
    assert setup.prompt and figures.tokens and figures.accuracy, "needed of every folder"
    tokens, accuracy = figures.tokens.estimate, or_null(figures.accuracy.estimate)
    return {
        "prompt": setup.prompt.name,
        "tokens": tokens,
        "accuracy": accuracy,
        "oracle_accuracy": or_null(oracle_accuracy(needed, tokens)),
        "oracle_tokens": or_null(least_tokens(needed, accuracy or 0.0)),
        "kendall_tau": or_null(adaptivity(means, needed)),
    }

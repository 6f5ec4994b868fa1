"""Evaluate: how accurate, and at what length?

1. Every problem is attempted `samples` times (once when greedy: the others would be the same).
2. samples.jsonl keeps each response with its grade and length; summary.json the figures (design section 7).

Accuracy is the mean over problems of correct / gradable samples; intervals resample problems, never single samples.
Ungradable samples enter no accuracy and are counted in `grade_frac`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from laconic.config import SamplerConfig
from laconic.files import write_json_atomically, write_text_atomically
from laconic.rollouts import Solver, mean_tokens
from laconic.runs import rollout_rows, to_jsonl
from laconic.samplers import Progress
from laconic.stats import mean_interval, mean_pass_at_k, or_null, per_problem
from laconic.types import GRADES, Grade, Group, Problem

SAMPLE_KEYS = ("problem_id", "sample", "grade", "num_tokens", "finish_reason", "question", "gold", "text")


def evaluate(
    solver: Solver,
    problems: Sequence[Problem],
    samples: int,
    decoding: SamplerConfig,
    out: Path,
    *,
    benchmark: str,
    seed: int,
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Attempt, grade, write `out`/samples.jsonl and `out`/summary.json; returns the summary."""
    count = num_samples(samples, decoding)
    groups = solver.attempt(problems, count, decoding, seed=seed, on_progress=on_progress)
    summary = {
        "benchmark": benchmark,
        "model": solver.lm.name,
        "num_problems": len(problems),
        "num_samples": count,
        "temperature": decoding.temperature,
        "top_p": decoding.top_p,
        "min_p": decoding.min_p,
        "max_tokens": decoding.max_tokens,
        "seed": seed,
        **summarise(groups, seed=seed),
    }
    rows = [{key: row[key] for key in SAMPLE_KEYS} for group in groups for row in rollout_rows(group)]
    write_text_atomically(out / "samples.jsonl", to_jsonl(rows))
    write_json_atomically(out / "summary.json", summary)
    return summary


def num_samples(samples: int, decoding: SamplerConfig) -> int:
    """Samples a problem: one at temperature 0."""
    return 1 if decoding.temperature == 0 else samples


def summarise(groups: Sequence[Group], *, seed: int) -> dict[str, Any]:
    """The figures of an evaluation: accuracy and tokens with intervals over problems, tokens and shares by grade, pass@k."""
    flat = [(group.problem.id, r.grade, r.num_tokens) for group in groups for r in group.rollouts]
    ids, grades, tokens = (list(column) for column in zip(*flat, strict=True))
    table, lengths = per_problem(ids, grades, tokens), np.array(tokens)
    ks = [k for k in (1, 2, 4, 8, 16, 32, 64) if k <= min(group.size for group in groups)]
    oracle = [g.problem.meta["oracle_tokens"] for g in groups if "oracle_tokens" in g.problem.meta]
    return {
        "accuracy": mean_interval(table.accuracy, seed=seed).to_json("mean"),
        "tokens": mean_interval(table.mean_tokens, seed=seed).to_json("mean")
        | {"median": float(np.median(lengths)), "p95": float(np.quantile(lengths, 0.95))},
        "tokens_by_grade": {
            grade.value: mean_tokens(groups, grade) for grade in GRADES if grade is not Grade.UNGRADABLE
        },
        "grade_frac": {grade.value: float(np.mean([g is grade for g in grades])) for grade in GRADES},
        "pass_at_k": {str(k): or_null(mean_pass_at_k(table, k)) for k in ks},
        **({"oracle_tokens": float(np.mean(oracle))} if len(oracle) == len(groups) else {}),
    }

"""Synthetic files for the report's tests: a whole run, and folders of evaluations, as the programs leave them."""

import json
import statistics
from pathlib import Path
from random import Random
from typing import Any

EVIL = (
    "1+1=2;<script>alert(1)</script></script><!--<script>--><img src=x onerror=alert(2)>"
    "<svg onload=alert(3)>]]></title></pre><b>&amp;\u2028\u2029{{ 7*7 }}${alert(4)}"
)

SAID = {
    "non_inferior": True,
    "margin": 0.01,
    "aes": {"value": 0.55},
    "caveats": ["12 problems are few: the intervals are rough"],
    "verdict": "45% fewer tokens, and not less accurate.",
}


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), "utf-8")


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")


def sample(problem: int, number: int, grade: str, num_tokens: int, text: str = "1+1=2;") -> dict[str, Any]:
    reason = "length" if grade == "truncated" else "stop"
    row = {"problem_id": f"p{problem:03d}", "sample": number, "grade": grade, "num_tokens": num_tokens}
    return row | {
        "finish_reason": reason,
        "question": f"What is {problem} + 1?",
        "gold": str(problem + 1),
        "text": text,
    }


def draw_samples(rng: Random, num_problems: int, num_samples: int, skill: float, mean: float) -> list[dict[str, Any]]:
    rows = []
    for problem in range(num_problems):
        ease = rng.betavariate(5 * skill, 5 * (1 - skill))
        for number in range(num_samples):
            length = max(8, int(rng.gammavariate(4, mean * (1.4 - 0.6 * ease) / 4)))
            grade = "correct" if rng.random() < ease else rng.choice(["wrong", "wrong", "wrong", "no_answer"])
            if length > 320:
                grade, length = "truncated", 320
            step = f"{problem}+1={problem + 1};check {problem + 1}-1={problem} ok;"
            rows.append(sample(problem, number, grade, length, (step * 30)[:length] + "</think>\\boxed{7}"))
    return rows


def summary_of(rows: list[dict[str, Any]], temperature: float, num_samples: int) -> dict[str, Any]:
    lengths = [row["num_tokens"] for row in rows]
    mean = sum(lengths) / len(lengths)
    accuracy = sum(row["grade"] == "correct" for row in rows) / len(rows)
    grades = ("correct", "wrong", "no_answer", "truncated", "ungradable")
    by_grade = {grade: [row["num_tokens"] for row in rows if row["grade"] == grade] for grade in grades}
    return {
        "benchmark": "held-out",
        "model": "tiny",
        "max_tokens": 320,
        "seed": 0,
        "temperature": temperature,
        "num_problems": len(rows) // num_samples,
        "num_samples": num_samples,
        "accuracy": {"mean": accuracy, "ci95": [accuracy - 0.03, accuracy + 0.03]},
        "tokens": {"mean": mean, "ci95": [mean - 4, mean + 4], "median": statistics.median(lengths)},
        "tokens_by_grade": {g: sum(v) / len(v) if v else None for g, v in by_grade.items() if g != "ungradable"},
        "grade_frac": {grade: len(values) / len(rows) for grade, values in by_grade.items()},
    }


def metrics_row(rng: Random, step: int, phase: str, phase_step: int) -> dict[str, Any]:
    accuracy = min(0.95, 0.62 + 0.006 * step + rng.gauss(0, 0.02))
    tokens = 150 - (0.2 * step if phase == "accuracy" else 8 + 2.4 * phase_step) + rng.gauss(0, 3)
    row = {"step": step, "phase": phase, "phase_step": phase_step}
    row |= {"rollouts/accuracy_frac": accuracy, "rollouts/mean_tokens": tokens}
    row |= {"rollouts/correct_tokens": tokens - 10, "rollouts/wrong_tokens": tokens + 30 if step % 7 else None}
    if step % 5 == 0:
        row |= {"watch/accuracy_frac": accuracy - 0.03, "watch/mean_tokens": tokens + 6}
    return row


def write_run(run_dir: Path, num_problems: int = 12, num_steps: int = 10) -> Path:
    """A whole run in files, shaped as the trainer leaves it."""
    rng = Random(0)
    half = num_steps // 2
    phases = [("accuracy", 1, half, "watched accuracy stopped rising"), ("brevity", half + 1, num_steps, "step limit")]
    write_jsonl(
        run_dir / "metrics.jsonl",
        [metrics_row(rng, s, name, s - a + 1) for name, a, b, _ in phases for s in range(a, b + 1)],
    )
    keys = ("name", "first_step", "last_step", "reason")
    extra = {"algorithm": "ppo", "num_problems": 96}
    write_json(
        run_dir / "phases.json",
        [dict(zip(keys, phase, strict=True)) | extra | {"result_step": phase[2] // 5 * 5} for phase in phases],
    )
    skills = {"base": (0.64, 150), "phase-1": (0.74, 140), "phase-2": (0.73, 82)}
    for tag, temperature, num_samples in (("t1", 1.0, 4), ("greedy", 0.0, 1)):
        candidates = []
        for model, (skill, mean) in skills.items():
            rows = draw_samples(rng, num_problems, num_samples, skill + 0.1 * (tag == "greedy"), mean)
            folder = run_dir / "eval" / f"{model}-{tag}"
            write_jsonl(folder / "samples.jsonl", rows)
            write_json(folder / "summary.json", summary_of(rows, temperature, num_samples))
            tokens = {"estimate": mean / 150 - 1, "ci95": [mean / 150 - 1.03, mean / 150 - 0.97]}
            accuracy = {"estimate": skill - 0.64, "ci95": [skill - 0.66, skill - 0.62]}
            if model != "base":
                change = {"name": model, "tokens_change": tokens, "accuracy_change": accuracy}
                candidates.append(change | SAID)
        write_json(run_dir / f"comparison-{tag}.json", {"candidates": candidates})
    write_json(run_dir / "config.json", {"seed": 3, "model": {"path": "tiny"}, "phases": [{"name": "accuracy"}]})
    return run_dir


def write_evaluation(
    folder: Path, skill: float, mean: float, *, benchmark: str = "mix", temperature: float = 1.0, **more: Any
) -> None:
    """One evaluation folder of 30 problems, drawn with a seed of its own; `more` joins the summary."""
    count = 1 if temperature == 0 else 4
    rows = draw_samples(Random(f"{skill} {mean} {temperature}"), 30, count, skill, mean)
    write_jsonl(
        folder / "samples.jsonl", [row | {"answer": "7", "thinking_tokens": row["num_tokens"] - 2} for row in rows]
    )
    known = {"top_p": 1.0, "min_p": 0.0, "grader": "laconic 0.1.0"}
    write_json(folder / "summary.json", summary_of(rows, temperature, count) | known | {"benchmark": benchmark} | more)


def write_selection(run_dir: Path) -> None:
    """What the second phase selected: one kept, two dropped."""
    folder = run_dir / "phases" / "2-brevity"
    reasons = (
        "5/8 solved: kept, inside 0.3:0.9",
        "8/8 solved: dropped, above 0.3:0.9",
        "8/8 solved: dropped, above 0.3:0.9",
    )
    rows = [{"problem_id": f"q{i}", "is_kept": i == 0, "reason": r, "solve_rate": 0.625} for i, r in enumerate(reasons)]
    write_jsonl(folder / "selection.jsonl", rows[::-1])
    write_jsonl(folder / "probe.jsonl", [{"problem_id": "q0", "problem": "What is <b> + 2?", "mean_tokens": 75.5}])


def budget_curve(shift: float) -> dict[str, Any]:
    """Two budgets; tokens and accuracy grow."""
    level = lambda mean: {"mean": mean, "ci95": [mean - 0.02, mean + 0.02]}  # noqa: E731
    points = [
        {"budget": b, "accuracy": level(0.4 + shift + b / 1000), "tokens": level(b + 9.0), "cut_frac": 0.5}
        for b in (64, 256)
    ]
    return {"force_text": "</think>", "answer_max_tokens": 16, "points": points}

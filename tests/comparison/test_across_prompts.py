"""Token complexity over several prompts: each problem's threshold from all of them, each prompt beside the oracle."""

import json
from pathlib import Path

import pytest

from laconic.comparison.across_prompts import complexity_over


def write(folder: Path, name: str, samples: dict[str, list[tuple[int, str]]]) -> Path:
    rows = [
        {"problem_id": key, "sample": i, "grade": grade, "num_tokens": tokens, "question": f"{key}?", "gold": "7"}
        for key, seen in samples.items()
        for i, (tokens, grade) in enumerate(seen)
    ]
    num_samples = len(next(iter(samples.values())))
    means = [sum(t for t, _ in seen) / len(seen) for seen in samples.values()]
    grades = [[g for _, g in seen if g != "ungradable"] for seen in samples.values()]
    rights = [seen.count("correct") / len(seen) for seen in grades if seen]
    summary = {"benchmark": "mix", "model": "tiny", "num_problems": len(samples), "num_samples": num_samples}
    summary |= {"temperature": 1.0, "max_tokens": 99, "seed": 0}
    summary |= {
        "prompt": {"name": name},
        "tokens": {"mean": sum(means) / len(means)},
        "accuracy": {"mean": sum(rights) / len(rights) if rights else None},
    }
    folder.mkdir()
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def test_complexities_come_from_all_prompts_together(tmp_path: Path) -> None:
    """a: wrong at 10, right at 30 and 50: 30. b: right at 20 and 60: 20. c: never right. Median of 20, 30, inf: 30."""
    short = write(
        tmp_path / "short",
        "be_concise",
        {"a": [(10, "wrong")] * 2, "b": [(20, "correct")] * 2, "c": [(15, "wrong"), (99, "ungradable")]},
    )
    long = write(
        tmp_path / "long",
        "boxed",
        {"a": [(30, "correct"), (50, "correct")], "b": [(60, "correct")] * 2, "c": [(70, "wrong")] * 2},
    )
    found = complexity_over([short, long])
    assert (found["num_problems"], found["median"]) == (3, 30.0)
    assert found["solvable_frac"] == pytest.approx(2 / 3)
    brief, plain = found["prompts"]
    # 29 tokens a problem, 87 in all: b for 20, a for 30, c unsolved for 20: 70 <= 87: two of three
    assert brief["tokens"] == pytest.approx((10 + 20 + 57) / 3) and brief["oracle_accuracy"] == pytest.approx(2 / 3)
    assert brief["oracle_tokens"] == pytest.approx(20.0)  # one of three: b alone, 20 each
    assert plain["oracle_tokens"] == pytest.approx(70 / 3) and plain["prompt"] == "boxed"
    assert plain["kendall_tau"] == pytest.approx(-1.0)  # a needs more than b, and got 40 against 60


def test_without_a_grade_there_is_no_complexity(tmp_path: Path) -> None:
    """Nothing could be graded: no problem has a complexity, and what does not exist is null."""
    lost = write(tmp_path / "lost", "boxed", {"a": [(10, "ungradable")] * 2})
    found = complexity_over([lost])
    assert (found["num_problems"], found["solvable_frac"], found["median"]) == (0, None, None)
    json.dumps(found, allow_nan=False)

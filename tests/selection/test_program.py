"""Select as a program: leaks go first, kept ones carry their reason, dropped ones are written with theirs."""

import json

import pytest

from laconic.errors import InputError
from laconic.problems.load import load_problems
from laconic.selection.program import choose_problems, leaking
from laconic.statistics.solve_rate import problem_stats
from laconic.types import Grade, Problem

PROBLEMS = [Problem(f"p{i}", f"How many apples are left over in basket number {i}?", str(i)) for i in range(4)]
STATS = [
    problem_stats(p.id, [Grade.CORRECT] * right + [Grade.WRONG] * (8 - right), [10] * 8)
    for p, right in zip(PROBLEMS, (0, 4, 5, 8), strict=True)
]


def test_what_leaks_is_dropped_whatever_its_solve_rate():
    """p1 stands word for word in the set that is reported on; of the rest only p2 (5/8) lies in the band."""
    leaks = leaking(PROBLEMS, [[Problem("t9", "How many APPLES are left over in basket number 1?", "1")]])
    chosen = choose_problems(PROBLEMS, STATS, leaks, "band", {"low": 0.3, "high": 0.9}, count=None, seed=0)
    assert [p.id for p in chosen.kept] == ["p2"]
    assert "p1: dropped, is problem t9 of a set reported on" in chosen.reasons


def test_the_dropped_stand_in_a_file_with_their_reasons(tmp_path):
    chosen = choose_problems(PROBLEMS, STATS, {}, "band", {"low": 0.3, "high": 0.9}, count=None, seed=0)
    dropped = [json.loads(line) for line in chosen.write(tmp_path / "problems.jsonl").read_text().splitlines()]
    assert [(line["problem_id"], line["is_kept"]) for line in dropped] == [("p0", False), ("p3", False)]
    assert "below 0.3:0.9" in dropped[0]["reason"] and "above 0.3:0.9" in dropped[1]["reason"]
    kept = load_problems(str(tmp_path / "problems.jsonl"))
    assert chosen.write(str(tmp_path / "again.jsonl")) == tmp_path / "again.dropped.jsonl"
    with pytest.raises(InputError, match="out: expected a path, got 3"):
        chosen.write(3)
    assert [p.id for p in kept] == ["p1", "p2"] and "inside 0.3:0.9" in kept[0].meta["selection"]


@pytest.mark.parametrize("name", ["problems.jsonl", "problems.dropped.jsonl"])
def test_only_an_earlier_selection_is_written_over(tmp_path, name):
    """The user's own file of either name stays as it is, and neither file is written."""
    chosen = choose_problems(PROBLEMS, STATS, {}, "band", {"low": 0.3, "high": 0.9}, count=None, seed=0)
    (tmp_path / name).write_text('{"id": "1", "problem": "1 + 1?", "answer": "2"}\n')
    with pytest.raises(InputError, match=f"out .*{name}: exists and is no"):
        chosen.write(tmp_path / "problems.jsonl")
    assert [(file.name, len(file.read_text().splitlines())) for file in tmp_path.iterdir()] == [(name, 1)]
    assert chosen.write(tmp_path / "new.jsonl") == chosen.write(tmp_path / "new.jsonl")


def test_kept_ones_stand_in_the_selection_s_order():
    chosen = choose_problems(PROBLEMS, STATS, {}, "easy_to_hard", {}, count=None, seed=0)
    assert [p.id for p in chosen.kept] == ["p3", "p2", "p1"]


def test_an_unknown_selection_is_named():
    with pytest.raises(InputError, match="select: unknown selection 'magic'"):
        choose_problems(PROBLEMS, STATS, {}, "magic", {}, count=None, seed=0)

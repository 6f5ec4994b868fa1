"""Slices: who pays for brevity is named, chance is not, and what is too small to tell is said to be."""

import json
from io import StringIO
from math import isnan
from pathlib import Path

import pytest
from folders import Run
from rich.console import Console

from laconic.comparison.compare import compare_evaluations
from laconic.comparison.figures import FEW_PROBLEMS
from laconic.comparison.records import Comparison
from laconic.comparison.slices import values_of, worst_slice
from laconic.comparison.tables import comparison_lines, print_comparison
from laconic.errors import InputError
from laconic.evaluation.problem_meta import META, read_meta, write_meta
from laconic.types import Problem

RESAMPLES = 1000
SUBJECTS = {"algebra": 60, "geometry": 40, "logic": 5}
NAMES = [f"{subject}{i}" for subject, count in SUBJECTS.items() for i in range(count)]
META_OF = [
    Problem(name, "q", "7", meta={"subject": name.rstrip("0123456789"), "index": i}) for i, name in enumerate(NAMES)
]


def folders(tmp_path: Path, *, is_geometry_lost: bool = True, by: list[str] | None = None) -> Comparison:
    """105 problems, all correct and 100 tokens long before; 50 after, and half of geometry wrong."""
    base = {name: [("correct", 100 + i % 7)] for i, name in enumerate(NAMES)}
    lost = {name for i, name in enumerate(NAMES) if name.startswith("geometry") and i % 2 and is_geometry_lost}
    short = {name: [("wrong" if name in lost else "correct", 50 + i % 5)] for i, name in enumerate(NAMES)}
    paths = [Run(problems).write(tmp_path / name) for name, problems in (("base", base), ("short", short))]
    write_meta(META_OF, paths[0])  # one side is enough: the problems are the same
    return compare_evaluations(paths[0], paths[1:], resamples=RESAMPLES, by=by)


def test_the_subject_that_pays_is_named(tmp_path: Path) -> None:
    """20 of 40 problems of geometry are lost: -50 points there, 0 elsewhere."""
    comparison = folders(tmp_path)
    (candidate,) = comparison.candidates
    worst = worst_slice(candidate.slices)
    assert worst is not None and (worst.key, worst.value, worst.num_problems) == ("subject", "geometry", 40)
    assert worst.accuracy_change.estimate == -0.5 and worst.is_less_accurate and not worst.is_longer
    assert worst.means.base.accuracy == 1.0 and worst.means.candidate.accuracy == 0.5
    of = {part.value: part for part in candidate.slices if part.key == "subject"}
    assert list(of) == ["algebra", "geometry", "logic"] and not of["algebra"].is_less_accurate
    lines = "\n".join(comparison_lines(comparison))
    assert "worst slice: subject geometry (40 problems): accuracy -50.0 points" in lines
    assert "less accurate there (p = " in lines
    assert Comparison.from_json(json.loads(json.dumps(comparison.to_json()))).to_json() == comparison.to_json()


def test_a_slice_that_is_too_small_is_said_to_be(tmp_path: Path) -> None:
    """Five problems of logic: the estimates are there, no interval and no p-value."""
    comparison = folders(tmp_path)
    (logic,) = [part for part in comparison.candidates[0].slices if part.value == "logic"]
    assert not logic.is_decided and isnan(logic.accuracy_p) and isnan(logic.tokens_change.low)
    assert logic.tokens_change.estimate == pytest.approx(-0.5, abs=0.05)
    assert f"1 slice by subject of fewer than {FEW_PROBLEMS} problems: logic (5)" in "\n".join(
        comparison_lines(comparison)
    )
    console = Console(width=118, record=True, file=StringIO())
    console.print(print_comparison(comparison))
    text = console.export_text()
    assert "subject geometry" in text and "less accurate" in text and "subject logic" not in text


def test_nothing_is_claimed_where_nothing_was_lost(tmp_path: Path) -> None:
    comparison = folders(tmp_path, is_geometry_lost=False)
    assert not any(part.is_less_accurate for part in comparison.candidates[0].slices)
    assert "not shown to be less accurate there" in "\n".join(comparison_lines(comparison))


def test_keys_are_those_that_are_asked_for(tmp_path: Path) -> None:
    """`index` has 105 different numbers: three parts of 35. An unknown key is one line with those that exist."""
    slices = folders(tmp_path, by=["index"]).candidates[0].slices
    assert [(part.value, part.num_problems) for part in slices] == [
        ("0 to 34", 35),
        ("35 to 69", 35),
        ("70 to 104", 35),
    ]
    with pytest.raises(InputError, match=r"--by topic: .* have index, prompt_length, subject$"):
        folders(tmp_path, by=["topic"])


def test_without_meta_only_the_length_of_the_question_is_known(tmp_path: Path) -> None:
    """Older folders. A benchmark too small for two decided slices has none unless they are asked for."""
    paths = [
        Run({f"p {'x ' * (i % 3)}{i}": [("correct", n)] for i in range(60)}).write(tmp_path / f"{n}") for n in (50, 40)
    ]
    (candidate,) = compare_evaluations(paths[0], paths[1:], resamples=RESAMPLES).candidates
    assert [(part.key, part.value, part.num_problems) for part in candidate.slices] == [
        ("prompt_length", "2", 20),
        ("prompt_length", "3", 20),
        ("prompt_length", "4", 20),
    ]
    few = [Run({"a": [("correct", n)], "b c": [("wrong", n)]}).write(tmp_path / f"few{n}") for n in (50, 40)]
    assert compare_evaluations(few[0], few[1:]).candidates[0].slices == []
    asked = compare_evaluations(few[0], few[1:], by=["prompt_length"])
    assert [part.is_decided for part in asked.candidates[0].slices] == [False, False]
    assert "slices: none has the 20 problems" in "\n".join(comparison_lines(asked))


def test_values_of_several_kinds_have_names() -> None:
    assert values_of([True, "a\nb", " ", None, 2, 2.5]) == ["true", "a b", "not stated", "not stated", "2", "2.5"]
    assert values_of([10**400, 1, None]) == [str(10**400), "1", "not stated"]
    assert values_of([*range(20), 10**400])[-1] == str(10**400)  # beyond floating point: no parts
    assert values_of([*range(11), "x"])[:2] == ["0", "1"]  # not only numbers: no parts


@pytest.mark.parametrize(
    "numbers",
    [(1234567, 1234568), (1234567.0, 1234568.0), (0.1234561, 0.1234562), (1e20, 1.0000001e20), (10**6, 10**6 + 1)],
)
def test_two_numbers_are_two_slices_however_alike(numbers: tuple[float, float]) -> None:
    assert len(set(values_of(numbers))) == 2
    many = [*numbers, *range(12)]  # so many are cut into parts, which are named by their ends
    assert len(set(values_of(many))) == 2 and all(len(name) < 60 for name in values_of(many))


def test_a_whole_number_beyond_floats_is_left_out(tmp_path: Path) -> None:
    write_meta([Problem("a", "q", "7", meta={"level": 10**400, "size": 10**300})], tmp_path)
    assert read_meta(tmp_path) == {"a": {"size": 10**300}}
    (tmp_path / META).write_text(json.dumps({"problem_id": "a", "meta": {"level": 10**400, "size": 3}}))
    assert read_meta(tmp_path) == {"a": {"size": 3}}


def test_one_number_is_one_slice_however_it_is_written() -> None:
    assert values_of([3, 3.0, 2.5, 1_000_000, 1e6, 1e300]) == ["3", "3", "2.5", "1000000", "1000000", "1e+300"]


def test_meta_is_kept_as_far_as_problems_can_be_sorted_by_it(tmp_path: Path) -> None:
    meta = {"level": 5, "solution": "x" * 81, "tags": ["a"], "difficulty": {"terms": 3}, "none": None}
    write_meta([Problem("a", "q", "1", meta=meta), Problem("b", "q", "1")], tmp_path)
    assert read_meta(tmp_path) == {"a": {"level": 5, "difficulty.terms": 3}, "b": {}}
    (tmp_path / META).write_text('{"problem_id": "a", "meta": 3}\n')
    with pytest.raises(InputError, match=r"problem_meta.jsonl, line 1: meta is 3, expected an object"):
        read_meta(tmp_path)
    write_meta([Problem("b", "q", "1")], tmp_path / "none")
    assert not (tmp_path / "none").exists()

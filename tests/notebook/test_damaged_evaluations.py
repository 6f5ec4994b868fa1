"""Damaged evaluation folders: every program refuses the same ones, with the same line, which names the file."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from folders import Run

from laconic.comparison.audit import audit
from laconic.comparison.compare import compare_evaluations
from laconic.comparison.folders import read_evaluations, read_samples
from laconic.errors import InputError
from laconic.evaluation.folder_names import problems_digest
from laconic.evaluation.summary import summarise
from laconic.notebook.results import evaluation_in
from laconic.reporting.build import read_report
from laconic.rollouts.rows import read_rows
from laconic.sweep.results import _read_point

PROBLEMS = {"a": [("correct", 20), ("wrong", 40)], "b": [("wrong", 60), ("truncated", 64)]}

READERS: dict[str, Callable[[Path, Path], Any]] = {
    "compare, as candidate": lambda folder, sound: compare_evaluations(sound, [folder], resamples=10),
    "compare, as base": lambda folder, sound: compare_evaluations(folder, [sound], resamples=10),
    "report": lambda folder, _: read_report([folder]),
    "report, beside another": lambda folder, sound: read_report([sound, folder]),
    "audit": lambda folder, _: audit(folder, "exact", out=folder.parent / "audit"),
    "sweep": lambda folder, _: _read_point(folder, 0, "t1", "base"),
    "notebook": lambda folder, _: evaluation_in(folder),
    "responses": lambda folder, _: list(read_samples(folder)),
}


MEAN = {"mean": 0.5, "ci95": [0.4, 0.6]}
CURVE = "budget_curve.json"
POINT = {"budget": 8, "accuracy": MEAN, "tokens": MEAN, "cut_frac": 0.5}


def write_sound(folder: Path) -> Path:
    """An evaluation as `laconic evaluate` leaves it, with every file that it may have."""
    Run(PROBLEMS).write(folder)
    summary = json.loads((folder / "summary.json").read_text())
    settings = summary | {
        "fingerprint": "1f",
        "problems_digest": problems_digest((name, f"{name}?", "7", ()) for name in PROBLEMS),
    }
    summary |= summarise(read_rows(folder / "samples.jsonl"), seed=0).to_json()
    curve = {"points": [POINT]}
    timing = {"wall_seconds": 1.5, "num_tokens": 184, "tokens_per_second": 122.7, "device": "cpu"}
    for name, content in (
        ("summary.json", summary),
        ("settings.json", settings),
        ("budget_curve.json", curve),
        ("timing.json", timing),
    ):
        (folder / name).write_text(json.dumps(content))
    return folder


@dataclass(frozen=True)
class Damage:
    """What is done to a folder, and what the line about it says."""

    name: str
    do: Callable[[Path], object]
    says: str


def row(says: str, line: int = 2, without: str = "", **change: Any) -> Damage:
    """A row with other values."""

    def do(folder: Path) -> None:
        lines = (folder / "samples.jsonl").read_text().splitlines()
        record = json.loads(lines[line - 1]) | change
        record.pop(without, None)
        lines[line - 1] = json.dumps(record)
        (folder / "samples.jsonl").write_text("\n".join(lines) + "\n")

    return Damage(f"row {line}: {change or without}"[:60], do, says)


def rows(name: str, change: Callable[[list[str]], list[str]], says: str) -> Damage:
    """Other lines."""

    def do(folder: Path) -> None:
        lines = (folder / "samples.jsonl").read_text().splitlines()
        (folder / "samples.jsonl").write_text("".join(line + "\n" for line in change(lines)))

    return Damage(f"rows: {name}", do, says)


def value(says: str, file: str = "summary.json", without: str = "", **change: Any) -> Damage:
    """A file of one object with other values."""

    def do(folder: Path) -> None:
        record = json.loads((folder / file).read_text()) | change
        record.pop(without, None)
        (folder / file).write_text(json.dumps(record))

    return Damage(f"{file}: {change or without}"[:250], do, says)


def content(file: str, data: bytes, says: str) -> Damage:
    """A file with another content altogether."""
    return Damage(f"{file}: {data[:20]!r}", lambda folder: (folder / file).write_bytes(data), says)


def cut(file: str, says: str) -> Damage:
    """A file of which only the first half was written."""

    def do(folder: Path) -> None:
        data = (folder / file).read_bytes()
        (folder / file).write_bytes(data[: len(data) // 2])

    return Damage(f"{file}: half", do, says)


def gone(file: str, says: str) -> Damage:
    return Damage(f"{file}: gone", lambda folder: (folder / file).unlink(), says)


def is_folder(file: str) -> Damage:
    def do(folder: Path) -> None:
        (folder / file).unlink()
        (folder / file).mkdir()

    return Damage(f"{file}: a folder", do, f"{file}: cannot be read (Is a directory)")


def is_broken_link(file: str, says: str) -> Damage:
    def do(folder: Path) -> None:
        (folder / file).unlink()
        (folder / file).symlink_to(folder / "nowhere")

    return Damage(f"{file}: a broken link", do, says)


def raw_row(old: str, new: str, says: str) -> Damage:
    """The text of line 2 changed: what json.dumps would not write."""
    return rows(f"{old} -> {new}", lambda lines: [lines[0], lines[1].replace(old, new, 1), *lines[2:]], says)


LINE = "samples.jsonl, line 2: "
DAMAGES = [
    row(LINE + "grade is 'right', expected one of correct, wrong", grade="right"),
    row(LINE + "grade is None", grade=None),
    row(LINE + "grade is 1", grade=1),
    row(LINE + "grade is missing", without="grade"),
    row(LINE + "num_tokens is -1, expected a whole number from 0 up", num_tokens=-1),
    row(LINE + "num_tokens is '40'", num_tokens="40"),
    row(LINE + "num_tokens is 40.5", num_tokens=40.5),
    row(LINE + "num_tokens is True", num_tokens=True),
    row(LINE + "num_tokens is 10000000000", num_tokens=10**30),
    row(LINE + "num_tokens is missing", without="num_tokens"),
    row(LINE + "thinking_tokens is 41, expected at most num_tokens, 40", thinking_tokens=41),
    row(LINE + "sample is -1", sample=-1),
    row(LINE + "sample 0 of problem 'a' occurs twice", sample=0),
    row(LINE + "sample is 2, expected one below 2, as summary.json says", sample=2),
    row(LINE + "sample is 1000000000000000000", sample=10**18),
    row(LINE + "problem_id is None, expected text", problem_id=None),
    row(LINE + "problem_id is 5, expected text", problem_id=5),
    row("samples.jsonl: holds 3 problems, summary.json says 2", problem_id="c"),
    row(LINE + "question is missing", without="question"),
    row(LINE + "one problem id stands for two questions or answers", question="else?"),
    row(LINE + "one problem id stands for two questions or answers", gold="8"),
    row(LINE + "one problem id stands for two questions or answers", choices=["7", "8"]),
    row(LINE + "gold is missing", without="gold"),
    row(LINE + "gold is 7, expected text", gold=7),
    row(LINE + "choices.0 is 7, expected text", choices=[7]),
    row(LINE + "finish_reason is 'tired', expected one of stop, length", finish_reason="tired"),
    row(LINE + "finish_reason is 'length', expected stop, for grade is 'wrong'", finish_reason="length"),
    row(LINE + "finish_reason is 'stop', expected length, for grade is 'truncated'", grade="truncated"),
    row(LINE + "text is 7, expected text", text=7),
    row(LINE + "answer is [], expected text", answer=[]),
    row(LINE + "forced.8.grade is missing", forced={"8": {}}),
    row("summary.json: accuracy.mean is 0.25, but its samples have 0.5", grade="correct"),
    row("summary.json: tokens.mean is 46, but its samples have 46.25", num_tokens=41),
    raw_row('"num_tokens": 40', '"num_tokens": NaN', LINE + "not JSON (NaN is no number"),
    raw_row('"num_tokens": 40', '"num_tokens": 1e400', LINE + "not JSON (1e400 is beyond the range"),
    raw_row('"sample": 1', '"reward": Infinity, "sample": 1', LINE + "not JSON (Infinity is no number"),
    raw_row('"sample": 1', '"sample": 0, "sample": 1', LINE + "not JSON (the key 'sample' stands twice"),
    raw_row("{", "", LINE + "not JSON"),
    rows("a list", lambda lines: [lines[0], "[1]", *lines[2:]], LINE + "expected a JSON object, found list"),
    rows("one missing", lambda lines: lines[:-1], "samples.jsonl: problem 'b' has 1 samples, not 2"),
    rows("a problem missing", lambda lines: lines[:2], "samples.jsonl: holds 1 problems, summary.json says 2"),
    rows("twice", lambda lines: lines * 2, "samples.jsonl, line 5: sample 0 of problem 'a' occurs twice"),
    rows("one twice", lambda lines: [*lines, lines[0]], "samples.jsonl, line 5: sample 0 of problem 'a' occurs twice"),
    rows(
        "one more problem",
        lambda lines: [*lines, *(line.replace('"a', '"c') for line in lines[:2])],
        "samples.jsonl: holds 3 problems, summary.json says 2",
    ),
    rows(
        "of another benchmark",
        lambda lines: [line.replace('"a', '"x').replace('"b', '"y') for line in lines],
        "samples.jsonl: holds other problems than settings.json names",
    ),
    rows("in another order", lambda lines: lines[2:] + lines[:2], "samples.jsonl: holds other problems"),
    rows(
        "grades of another model",
        lambda lines: [line.replace('"wrong"', '"no_answer"') for line in lines],
        "summary.json: grade_frac.wrong is 0.5, but its samples have 0",
    ),
    content("samples.jsonl", b"", "samples.jsonl: holds 0 problems, summary.json says 2"),
    content("samples.jsonl", b"\n\n", "samples.jsonl: holds 0 problems, summary.json says 2"),
    content("samples.jsonl", b"\xff\xfe\x00", "samples.jsonl, line 1: not UTF-8 (byte 0xff at position 0)"),
    content("samples.jsonl", b"\x00" * 64, "samples.jsonl, line 1: not JSON"),
    cut("samples.jsonl", "samples.jsonl, line 3: not JSON"),
    gone("samples.jsonl", "samples.jsonl: cannot be read (No such file or directory)"),
    is_folder("samples.jsonl"),
    is_broken_link("samples.jsonl", "samples.jsonl: cannot be read (No such file or directory)"),
    gone("summary.json", "not finished, there is no summary.json; run its evaluation again to resume it"),
    is_broken_link("summary.json", "summary.json: cannot be read (No such file or directory)"),
    is_folder("summary.json"),
    cut("summary.json", "summary.json: not JSON"),
    content("summary.json", b"", "summary.json: not JSON"),
    content("summary.json", b"[]", "summary.json: expected a JSON object, found list"),
    content("summary.json", b"{}", "summary.json: benchmark is missing"),
    content("summary.json", b'{"seed": 0, "seed": 1}', "summary.json: not JSON (the key 'seed' stands twice"),
    content("summary.json", b'{"temperature": NaN}', "summary.json: not JSON (NaN is no number"),
    value("summary.json: benchmark is missing", without="benchmark"),
    value("summary.json: benchmark is empty, expected a name", benchmark=" "),
    value("summary.json: model is missing", model=None),
    value("summary.json: num_problems is 3, but settings.json says 2", num_problems=3),
    value("summary.json: num_problems is 0, expected at least 1", num_problems=0),
    value("summary.json: num_problems is -2, expected a whole number from 0 up", num_problems=-2),
    value("summary.json: num_samples is '2', expected a whole number", num_samples="2"),
    value("summary.json: temperature is 'hot', expected a number", temperature="hot"),
    value("summary.json: temperature is -1, expected at least 0", temperature=-1),
    value("summary.json: max_tokens is 0, expected at least 1", max_tokens=0),
    value("summary.json: max_tokens is missing", max_tokens=None),
    value("summary.json: top_p is 2, expected a number from 0 to 1", top_p=2),
    value("summary.json: seed is 'one', expected a whole number", seed="one"),
    value("summary.json: prompt is 'boxed', expected an object", prompt="boxed"),
    value("summary.json: accuracy is 0.25, expected an object", accuracy=0.25),
    value("summary.json: accuracy.mean is 1.5, expected a number from 0 to 1", accuracy={"mean": 1.5}),
    value("summary.json: accuracy.mean is 0.75, but its samples have 0.25", accuracy={"mean": 0.75}),
    value("summary.json: accuracy.mean is null, but its samples have 0.25", accuracy={"mean": None}),
    value("summary.json: accuracy.ci95 is [0.1], expected two numbers", accuracy={"mean": 0.25, "ci95": [0.1]}),
    value(
        "summary.json: accuracy.ci95 is [0.9, 0.1], expected the lower end", accuracy={"mean": 0.25, "ci95": [0.9, 0.1]}
    ),
    value("summary.json: accuracy.ci95, its upper end, is 1.5, expected", accuracy={"mean": 0.25, "ci95": [0.1, 1.5]}),
    value("summary.json: tokens.p95 is -1, expected at least 0", tokens={"mean": 46, "p95": -1}),
    value("summary.json: tokens.p95 is 99, but its samples have 63.4", tokens={"mean": 46, "p95": 99}),
    value("its upper end, is 45, expected at least 46", tokens={"mean": 46, "ci95": [40, 45]}),
    value("summary.json: thinking_tokens.mean is 47, expected a number from 0 to 46", thinking_tokens={"mean": 47}),
    value("summary.json: grader is empty, expected a name", grader=""),
    value(
        "budget_curve.json: points.0: cut_frac is -1, expected a number",
        file="budget_curve.json",
        points=[POINT | {"cut_frac": -1}],
    ),
    value(
        "budget_curve.json: points.0: budget is 0, expected at least 1",
        file="budget_curve.json",
        points=[POINT | {"budget": 0}],
    ),
    value("budget_curve.json: points is [{", file=CURVE, points=[POINT, POINT]),
    value("timing.json: wall_seconds is -5, expected at least 0", file="timing.json", wall_seconds=-5),
    value("timing.json: num_tokens is 'x', expected a number", file="timing.json", num_tokens="x"),
    value("summary.json: bleu is 101, expected a number from 0 to 100", bleu=101),
    value("summary.json: length_difference.num_problems is 3, expected", length_difference={"num_problems": 3}),
    value("summary.json: token_complexity.kendall_tau is 2, expected a number", token_complexity={"kendall_tau": 2}),
    value("summary.json: length_sources.text is 5, expected a number from 0 to 4", length_sources={"text": 5}),
    value("summary.json: tokens.mean is -3, expected at least 0", tokens={"mean": -3}),
    value("summary.json: tokens.mean is 9, but its samples have 46", tokens={"mean": 9}),
    value("summary.json: tokens.median is 9, but its samples have 50", tokens={"mean": 46, "median": 9}),
    value("summary.json: grade_frac is {'good': 1}, expected numbers by grade", grade_frac={"good": 1}),
    value("summary.json: grade_frac.correct is 0.5, but its samples have 0.25", grade_frac={"correct": 0.5}),
    value("summary.json: grade_frac.wrong is 2, expected a number from 0 to 1", grade_frac={"wrong": 2}),
    value("summary.json: tokens_by_grade.wrong is 7, but its samples have 50", tokens_by_grade={"wrong": 7}),
    value("summary.json: pass_at_k.2 is 1, but its samples have 0.5", pass_at_k={"2": 1.0}),
    value("summary.json: pass_at_k, k is 0, expected at least 1", pass_at_k={"0": 1.0}),
    value("summary.json: temperature is 0.6, but settings.json says 1.0", "settings.json", temperature=1.0),
    value("summary.json: model is 'tiny', but settings.json says 'other'", "settings.json", model="other"),
    value("samples.jsonl: holds other problems", "settings.json", problems_digest="0" * 16),
    value("settings.json: problems_digest is 7, expected text", "settings.json", problems_digest=7),
    content("settings.json", b"", "settings.json: not JSON"),
    is_folder("settings.json"),
    cut("timing.json", "timing.json: not JSON"),
    cut("budget_curve.json", "budget_curve.json: not JSON"),
    value("budget_curve.json: points is missing", "budget_curve.json", without="points"),
    value("budget_curve.json: points.0 is 8, expected an object", "budget_curve.json", points=[8]),
    value("budget_curve.json: points.0.budget is '8'", "budget_curve.json", points=[{"budget": "8"}]),
]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sound(tmp_path_factory.mktemp("sound") / "base")


def refusals(folder: Path, sound: Path) -> Iterator[str]:
    for name, read in READERS.items():
        with pytest.raises(InputError) as refused:
            read(folder, sound)
            pytest.fail(f"{name}: accepted")
        yield str(refused.value)


def test_there_are_enough_of_them() -> None:
    names = [damage.name for damage in DAMAGES]
    assert len(set(names)) == len(names) >= 60


def test_every_program_accepts_a_sound_folder(sound: Path, tmp_path: Path) -> None:
    for name, read in READERS.items():
        assert read(write_sound(tmp_path / name / "other"), sound) is not None


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
def test_every_program_refuses_a_damaged_folder_with_the_same_line(damage: Damage, sound: Path, tmp_path: Path) -> None:
    """Also where the folder is one of several in a run."""
    folder = write_sound(tmp_path / "run" / "eval" / "damaged")
    damage.do(folder)
    said = set(refusals(folder, sound))
    assert len(said) == 1, said
    (line,) = said
    assert damage.says in line and str(folder) in line and "\n" not in line and len(line) < 500
    write_sound(tmp_path / "run" / "eval" / "whole")
    with pytest.raises(InputError) as refused:
        read_evaluations(tmp_path / "run")
    assert str(refused.value) == line


def test_a_folder_of_settings_alone_is_not_finished(sound: Path, tmp_path: Path) -> None:
    """As it is before the first response; and an empty folder is no evaluation, for nobody."""
    folder = write_sound(tmp_path / "begun")
    for name in ("samples.jsonl", "summary.json", "timing.json", "budget_curve.json"):
        (folder / name).unlink()
    assert {line.partition(": ")[2][:12] for line in refusals(folder, sound)} == {"not finished"}
    (folder / "settings.json").unlink()
    assert all("\n" not in line and str(folder) in line for line in refusals(folder, sound))


def test_a_file_in_place_of_a_folder_is_refused(sound: Path, tmp_path: Path) -> None:
    """Only the audit takes a file, since rollouts are stored in files."""
    file = tmp_path / "file"
    file.write_text("no evaluation")
    assert all("\n" not in line and str(file) in line for line in refusals(file, sound))


def test_a_run_that_still_measures_has_a_report_that_says_so(sound: Path, tmp_path: Path) -> None:
    """The base is finished, the phase is not: it is noted, while a comparison of the run is refused."""
    write_sound(tmp_path / "eval" / "base-t0.6")
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')
    unfinished = write_sound(tmp_path / "eval" / "phase-1-t0.6")
    (unfinished / "summary.json").unlink()
    report = read_report([tmp_path])
    assert [found.folder.name for found in report.evaluations] == ["base-t0.6"]
    assert report.notes == (f"Not shown: {unfinished} is not finished; run its evaluation again to resume it",)
    for read in (lambda: compare_evaluations(tmp_path, []), lambda: audit(tmp_path, "exact")):
        with pytest.raises(InputError, match=r"phase-1-t0\.6: not finished"):
            read()

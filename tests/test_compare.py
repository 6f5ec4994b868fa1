"""What `compare` claims: it reads whole evaluations, pairs problems, refuses the rest, and says what was shown."""

import json
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from laconic.compare import compare_evaluations, find_evaluations, print_comparison, verdict
from laconic.errors import InputError
from laconic.stats import Interval
from laconic.types import Grade

NAN = float("nan")


@dataclass
class Run:
    """What an evaluation folder shall hold: for each problem its (grade, tokens) a sample."""

    problems: dict[str, list[tuple[str, int]]]
    summary: dict = field(default_factory=dict)
    gold: str = "7"

    def write(self, folder: Path) -> Path:
        """Write samples.jsonl and summary.json."""
        folder.mkdir(parents=True, exist_ok=True)
        lines = [
            {"problem_id": name, "sample": index, "grade": grade, "num_tokens": tokens, "finish_reason": "stop"}
            | {"question": f"{name}?", "gold": self.gold, "text": "…"}
            for name, samples in self.problems.items()
            for index, (grade, tokens) in enumerate(samples)
        ]
        num_samples = len(next(iter(self.problems.values())))
        summary = {"benchmark": "report", "model": "tiny", "num_problems": len(self.problems), "seed": 0}
        summary |= {"num_samples": num_samples, "temperature": 0.6, "max_tokens": 64} | self.summary
        (folder / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (folder / "summary.json").write_text(json.dumps(summary))
        return folder


BASE = {"a": [("correct", 20), ("wrong", 40)], "b": [("wrong", 100), ("truncated", 40)]}
SHORT = {"a": [("correct", 10), ("correct", 20)], "b": [("wrong", 50), ("correct", 20)]}
# base: accuracy 1/2 and 0, tokens 30 and 70; short: accuracy 1 and 1/2, tokens 15 and 35


def compared(tmp_path, base, *candidates, **options):
    """Write the runs as direct folders and compare them."""
    paths = [run.write(tmp_path / name) for name, run in zip(["base", *"xyz"], [base, *candidates], strict=False)]
    return compare_evaluations(paths[0], paths[1:], resamples=500, **options)


def test_a_comparison_by_hand(tmp_path):
    """Tokens 50 -> 25: -0.5. Accuracy 0.25 -> 0.75: +0.5, the same on both problems. AES 0.5 + 3 * (0.5/0.25) = 6.5."""
    comparison = compared(tmp_path, Run(BASE), Run(SHORT))
    (candidate,) = comparison["candidates"]
    assert (comparison["base"]["name"], candidate["name"]) == ("base", "x")
    assert candidate["num_problems"] == 2
    assert candidate["tokens_change"] == {"estimate": -0.5, "ci95": [-0.5, -0.5]}
    assert candidate["accuracy_change"] == {"estimate": 0.5, "ci95": [0.5, 0.5]}
    assert candidate["non_inferior"] is True
    assert candidate["margin"] == comparison["margin"] == 0.01
    assert candidate["aes"] == {"value": 6.5, "alpha": 1.0, "beta": 3.0, "gamma": 5.0}
    assert candidate["base"] == {"accuracy": 0.25, "tokens": 50.0}
    assert candidate["candidate"] == {"accuracy": 0.75, "tokens": 25.0}
    assert candidate["verdict"].startswith("50% fewer tokens (95% interval 50 to 50% fewer) with accuracy +50.0 points")
    assert candidate["verdict"].endswith(": shorter, and not less accurate.")


def test_one_benchmark_and_the_whole_say_the_same(tmp_path):
    """With a single benchmark the candidate's own keys are that benchmark's; only it has the length difference."""
    (candidate,) = compared(tmp_path, Run(BASE), Run(SHORT))["candidates"]
    (report,) = candidate["benchmarks"].values()
    assert list(candidate["benchmarks"]) == ["report"]
    for key in ("num_problems", "tokens_change", "accuracy_change", "margin", "non_inferior", "aes", "verdict"):
        assert report[key] == candidate[key]
    difference = report["length_difference"]
    # base, problem a: 20 - 40; b has no correct answer. short, problem b: 20 - 50; a has no wrong one
    assert difference["base"] == {"estimate": -20.0, "ci95": [None, None], "num_problems": 1}
    assert difference["candidate"] == {"estimate": -30.0, "ci95": [None, None], "num_problems": 1}


def test_the_comparison_is_plain_json_and_reproducible(tmp_path):
    """No nan, the same bytes again, other intervals under another seed."""
    rng = np.random.default_rng(0)
    runs = [
        Run({f"p{i}": [(str(rng.choice(["correct", "wrong"])), int(rng.integers(1, 99)))] for i in range(30)})
        for _ in range(2)
    ]
    first, again, other = (compared(tmp_path, *runs, seed=seed) for seed in (0, 0, 1))
    assert json.dumps(first, allow_nan=False) == json.dumps(again)
    ends = [c["candidates"][0]["tokens_change"]["ci95"] for c in (first, other)]
    assert ends[0] != ends[1]


def test_the_order_of_problems_does_not_matter(tmp_path):
    """The candidate's file lists b before a; problems are paired by name."""
    turned = Run(dict(reversed(SHORT.items())))
    by_name = compared(tmp_path, Run(BASE), turned)["candidates"][0]
    assert by_name["benchmarks"] == compared(tmp_path, Run(BASE), Run(SHORT))["candidates"][0]["benchmarks"]


@pytest.mark.parametrize("place", ["", "report", "eval/report"])
def test_evaluations_are_found_in_all_three_places(tmp_path, place):
    """The folder itself, a benchmark inside, or inside eval/; base and candidate may differ in this."""
    base = Run(BASE).write(tmp_path / "base" / place).relative_to(tmp_path)
    Run(SHORT).write(tmp_path / "tuned" / "eval" / "report")
    comparison = compare_evaluations(tmp_path / base.parts[0], [tmp_path / "tuned"], resamples=100)
    assert list(comparison["candidates"][0]["benchmarks"]) == ["report"]


def test_a_run_without_evaluations_is_refused(tmp_path):
    """An empty folder, a missing one, an empty eval/."""
    (tmp_path / "run" / "eval").mkdir(parents=True)
    for path in (tmp_path / "run", tmp_path / "none"):
        with pytest.raises(InputError, match="no evaluation here"):
            find_evaluations(path)


def two_temperatures(folder, problems):
    """The same problems at temperatures 0 and 1, the latter twice as long."""
    longer = {name: [(grade, 2 * tokens) for grade, tokens in samples] for name, samples in problems.items()}
    Run(problems, {"temperature": 0.0}).write(folder / "eval" / "report-t0")
    Run(longer, {"temperature": 1.0}).write(folder / "eval" / "report-t1")
    return folder


def test_folders_keep_temperatures_apart_and_the_whole_counts_a_problem_once(tmp_path):
    """Two evaluations of the same two problems: two benchmarks, but two problems in all, not four."""
    base, short = two_temperatures(tmp_path / "base", BASE), two_temperatures(tmp_path / "short", SHORT)
    (candidate,) = compare_evaluations(base, [short], resamples=500)["candidates"]
    assert list(candidate["benchmarks"]) == ["report-t0", "report-t1"]
    assert candidate["num_problems"] == 2
    assert candidate["base"]["tokens"] == 75.0  # mean of 50 and 100
    assert candidate["tokens_change"]["estimate"] == -0.5
    assert candidate["left_out"] == []


def test_different_benchmarks_pool_their_problems(tmp_path):
    """Problem `a` of two benchmarks is two problems where the questions differ in gold: four in all."""
    for name, problems in [("base", BASE), ("short", SHORT)]:
        Run(problems).write(tmp_path / name / "report")
        Run(problems, {"benchmark": "other"}, gold="8").write(tmp_path / name / "other")
    (candidate,) = compare_evaluations(tmp_path / "base", [tmp_path / "short"], resamples=100)["candidates"]
    assert candidate["num_problems"] == 4


def test_what_only_one_run_evaluated_is_left_out_and_named(tmp_path):
    """Shared benchmarks are compared; none in common is refused."""
    base = two_temperatures(tmp_path / "base", BASE)
    Run(SHORT, {"temperature": 0.0}).write(tmp_path / "short" / "report-t0")
    Run(SHORT).write(tmp_path / "other" / "x")
    Run(SHORT).write(tmp_path / "other" / "y")
    (candidate,) = compare_evaluations(base, [tmp_path / "short"], resamples=100)["candidates"]
    assert (list(candidate["benchmarks"]), candidate["left_out"]) == (["report-t0"], ["report-t1"])
    with pytest.raises(InputError, match="no benchmark in common: base has report-t0, report-t1; candidate has x, y"):
        compare_evaluations(base, [tmp_path / "other"])


def test_candidates_of_one_model_are_told_apart_by_their_paths(tmp_path):
    """Folder names where they differ, whole paths where they do not."""
    base = Run(BASE).write(tmp_path / "base")
    paths = [Run(SHORT).write(tmp_path / name) for name in ("one/tuned", "two/tuned", "three")]
    comparison = compare_evaluations(base, paths, resamples=100)
    assert [c["name"] for c in comparison["candidates"]] == [str(paths[0]), str(paths[1]), "three"]
    assert {c["model"] for c in comparison["candidates"]} == {"tiny"}


def test_ungradable_samples_leave_accuracy_and_are_counted(tmp_path):
    """b cannot be graded at all for the candidate: accuracy is a's alone (1/2 -> 1), tokens are over both."""
    blind = SHORT | {"b": [("ungradable", 50), ("ungradable", 20)]}
    (candidate,) = compared(tmp_path, Run(BASE), Run(blind))["candidates"]
    assert candidate["base"] == {"accuracy": 0.5, "tokens": 50.0}
    assert candidate["accuracy_change"] == {"estimate": 0.5, "ci95": [None, None]}
    assert candidate["non_inferior"] is False
    assert candidate["tokens_change"]["estimate"] == -0.5
    assert candidate["benchmarks"]["report"]["num_ungradable"] == {"base": 0, "candidate": 2}
    assert "accuracy is over 1 problem that could be graded for both" in candidate["caveats"]


def test_a_comparison_of_nothing_gradable_claims_nothing(tmp_path):
    """No accuracy, no score, no non-inferiority; and a base without a correct answer has no score."""
    blind = {name: [("ungradable", tokens) for _, tokens in samples] for name, samples in SHORT.items()}
    (candidate,) = compared(tmp_path, Run(BASE), Run(blind))["candidates"]
    assert candidate["candidate"]["accuracy"] is None
    assert (candidate["aes"]["value"], candidate["non_inferior"]) == (None, False)
    assert "accuracy unknown" in candidate["verdict"]
    wrong = {name: [("wrong", tokens) for _, tokens in samples] for name, samples in BASE.items()}
    assert compared(tmp_path, Run(wrong), Run(SHORT))["candidates"][0]["aes"]["value"] is None


def test_few_problems_and_intervals_without_width_are_owned(tmp_path):
    """Two problems that changed alike: both caveats."""
    (candidate,) = compared(tmp_path, Run(BASE), Run(SHORT))["candidates"]
    assert "few problems (2)" in candidate["caveats"][0]
    assert "no width" in candidate["caveats"][1]
    many = {f"p{i}": [("correct" if i % 3 else "wrong", 10 + i)] for i in range(30)}
    fewer = {f"p{i}": [("correct" if i % 4 else "wrong", 5 + i)] for i in range(30)}
    assert compared(tmp_path, Run(many), Run(fewer))["candidates"][0]["caveats"] == []


@pytest.mark.parametrize(
    ("summary", "says"),
    [
        ({"temperature": 1.0}, "temperature is 1.0, there 0.6"),
        ({"max_tokens": 128}, "max_tokens is 128, there 64"),
        ({"benchmark": "watch"}, "benchmark is watch, there report"),
    ],
)
def test_runs_sampled_otherwise_are_refused(tmp_path, summary, says):
    """Temperature, cap and benchmark must agree; the sampling seed need not."""
    with pytest.raises(InputError, match=says):
        compared(tmp_path, Run(BASE), Run(SHORT, summary))
    compared(tmp_path, Run(BASE), Run(SHORT, {"seed": 5}))


def test_other_numbers_of_samples_or_other_problems_are_refused(tmp_path):
    """One sample against two; a missing problem; the same name with another question's answer."""
    once = {name: samples[:1] for name, samples in SHORT.items()}
    with pytest.raises(InputError, match="num_samples is 1, there 2"):
        compared(tmp_path, Run(BASE), Run(once))
    with pytest.raises(InputError, match="problems differ, as 'b' does"):
        compared(tmp_path, Run(BASE), Run({"a": SHORT["a"]}))
    with pytest.raises(InputError, match="problems differ, as 'a' does"):
        compared(tmp_path, Run(BASE), Run(SHORT, gold="8"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"grade": "right"}, "line 2: grade is 'right', expected one of correct, wrong"),
        ({"num_tokens": "9"}, "line 2: num_tokens is '9'"),
        ({"num_tokens": -1}, "line 2: num_tokens is -1"),
        ({"num_tokens": True}, "line 2: num_tokens is True"),
        ({"problem_id": None}, "line 2: problem_id is None"),
        ({"sample": 0}, "a sample of a problem occurs twice"),
        ({"problem_id": "b"}, "problem 'a' has 1 samples, not 2"),
        ({"problem_id": "c"}, "holds 3 problems, summary.json says 2"),
        ({"question": "else?"}, "one problem id stands for two questions"),
    ],
)
def test_malformed_samples_are_named_by_file_and_line(tmp_path, change, says):
    """Line 2 of samples.jsonl is sample 1 of problem a."""
    base = Run(BASE).write(tmp_path / "base")
    file = base / "samples.jsonl"
    lines = file.read_text().splitlines()
    lines[1] = json.dumps(json.loads(lines[1]) | change)
    file.write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match=says) as error:
        compare_evaluations(base, [Run(SHORT).write(tmp_path / "short")])
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_keys_and_files_are_named(tmp_path):
    """A line without a key, a summary without a key, no summary, a cut line, no samples at all."""
    base, short = Run(BASE).write(tmp_path / "base"), Run(SHORT).write(tmp_path / "short")
    for text, says in [
        ('{"problem_id": "a"}\n', "samples.jsonl, line 1: sample is missing"),
        ('{"problem_id": "a', "samples.jsonl, line 1: not JSON"),
        ("", "holds 0 problems"),
    ]:
        (short / "samples.jsonl").write_text(text)
        with pytest.raises(InputError, match=says):
            compare_evaluations(base, [short])
    (short / "summary.json").write_text('{"benchmark": "report"}')
    with pytest.raises(InputError, match=r"summary.json: model is missing"):
        compare_evaluations(base, [short])
    (short / "summary.json").unlink()
    with pytest.raises(InputError, match=r"summary.json: cannot be read"):
        compare_evaluations(base, [short])


def test_wrong_arguments_are_input_errors(tmp_path):
    """A negative margin, no candidate, a candidate twice."""
    base = Run(BASE).write(tmp_path / "base")
    for candidates, margin, says in [([base], -0.1, "margin"), ([], 0.01, "no candidate"), ([base] * 2, 0.01, "twice")]:
        with pytest.raises(InputError, match=says):
            compare_evaluations(base, candidates, margin=margin)


@pytest.mark.parametrize(
    ("tokens", "accuracy", "sentence"),
    [
        (
            (-0.43, -0.45, -0.41),
            (0.062, 0.031, 0.09),
            "43% fewer tokens (95% interval 41 to 45% fewer) with accuracy +6.2 points (+3.1 to +9.0): "
            "shorter, and not less accurate.",
        ),
        (
            (-0.2, -0.25, -0.15),
            (-0.03, -0.05, -0.015),
            "20% fewer tokens (95% interval 15 to 25% fewer) with accuracy -3.0 points (-5.0 to -1.5): "
            "shorter, but less accurate.",
        ),
        (
            (-0.2, -0.25, -0.15),
            (-0.005, -0.008, -0.002),
            "20% fewer tokens (95% interval 15 to 25% fewer) with accuracy -0.5 points (-0.8 to -0.2): "
            "shorter, and not less accurate, if lower by less than the margin of 1 point.",
        ),
        (
            (-0.01, -0.05, 0.032),
            (0.02, -0.04, 0.08),
            "1.0% fewer tokens (95% interval 5.0% fewer to 3.2% more) with accuracy +2.0 points (-4.0 to +8.0): "
            "no clear change in length, but not shown to be as accurate within 1 point.",
        ),
        (
            (0.3, 0.2, 0.4),
            (0.1, 0.05, 0.15),
            "30% more tokens (95% interval 20 to 40% more) with accuracy +10.0 points (+5.0 to +15.0): "
            "longer, but not less accurate.",
        ),
        (
            (-0.5, NAN, NAN),
            (0.5, NAN, NAN),
            "50% fewer tokens (no interval: one problem) with accuracy +50.0 points (no interval): "
            "no clear change in length, but not shown to be as accurate within 1 point.",
        ),
        (
            (NAN, NAN, NAN),
            (NAN, NAN, NAN),
            "No change of tokens can be stated with accuracy unknown: "
            "no clear change in length, but not shown to be as accurate within 1 point.",
        ),
    ],
)
def test_verdicts_claim_what_the_intervals_show(tokens, accuracy, sentence):
    """Every kind of outcome, in words."""
    assert verdict(Interval(*tokens), Interval(*accuracy), margin=0.01) == sentence


def test_the_table_has_a_row_for_each_benchmark_and_one_for_all(tmp_path):
    """Two temperatures: three rows; what does not exist is n/a."""
    base, short = two_temperatures(tmp_path / "base", BASE), two_temperatures(tmp_path / "short", SHORT)
    table = print_comparison(compare_evaluations(base, [short], resamples=100))
    assert table.row_count == 3
    console = Console(width=200, record=True, file=StringIO())
    console.print(table)
    text = console.export_text()
    assert "50 → 25" in text
    assert "-50% (-50 to -50)" in text
    assert "25.0% → 75.0%" in text
    assert "report-t1" in text
    one = print_comparison(compared(tmp_path, Run({"a": BASE["a"]}), Run({"a": SHORT["a"]})))
    assert one.row_count == 1
    assert list(one.columns[5].cells) == ["50.0% → 100.0%"]
    assert list(one.columns[6].cells) == ["+50.0 (n/a to n/a)"]
    assert list(one.columns[7].cells) == ["not shown"]


def test_every_grade_can_be_read(tmp_path):
    """All five, in one problem; two of four gradable are correct."""
    mixed = {"a": [(grade.value, 10) for grade in [*Grade, Grade.CORRECT]]}
    (candidate,) = compared(tmp_path, Run(mixed), Run(mixed))["candidates"]
    assert candidate["base"]["accuracy"] == 0.4  # correct, wrong, no_answer, truncated, correct

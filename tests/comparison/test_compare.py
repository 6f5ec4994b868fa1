"""What `compare` claims: like meets like, decodings and benchmarks are never stirred together, and the rest is refused."""

import json
from io import StringIO
from math import isnan

import numpy as np
import pytest
from folders import BASE, SHORT, Run, longer, prompt
from rich.console import Console

from laconic.comparison.compare import compare_evaluations
from laconic.comparison.figures import Means, Sides
from laconic.comparison.folders import Decoding
from laconic.comparison.records import Comparison
from laconic.comparison.tables import comparison_lines, print_comparison
from laconic.errors import InputError
from laconic.rollouts.seconds import append_seconds
from laconic.system.files import write_json_atomically
from laconic.types import Grade

FEW = 200  # resamples: estimates do not depend on them


def compared(tmp_path, base, *candidates, **options):
    """Write the runs as direct folders and compare them."""
    paths = [run.write(tmp_path / name) for name, run in zip(["base", *"xyz"], [base, *candidates], strict=False)]
    return compare_evaluations(paths[0], paths[1:], **{"resamples": FEW} | options)


def ends_of(interval):
    return interval.low, interval.high


def printed(comparison, width=118):
    console = Console(width=width, record=True, file=StringIO())
    console.print(print_comparison(comparison))
    return console.export_text()


def test_a_figure_of_one_evaluation_does_not_depend_on_what_it_is_compared_with(tmp_path):
    """The tokens of correct minus wrong answers are those of the evaluation's own summary, by its own seed."""
    found = [compared(tmp_path / str(seed), Run(BASE), Run(SHORT), seed=seed).to_json() for seed in (0, 1)]
    (first,), (second,) = ([entry["benchmarks"] for entry in one["candidates"]] for one in found)
    assert [entry["length_difference"] for entry in first.values()] == [
        entry["length_difference"] for entry in second.values()
    ]


# --- figures ---------------------------------------------------------------------------------------------------------


def test_a_comparison_by_hand(tmp_path):
    """Tokens 50 -> 22.5: -0.55. Accuracy 0.25 -> 0.75: +0.5. AES 0.55 + 3 * (0.5/0.25) = 6.55."""
    comparison = compared(tmp_path, Run(BASE), Run(SHORT))
    (candidate,) = comparison.candidates
    assert (comparison.base.name, candidate.name) == ("base", "x")
    assert candidate.figures.num_problems == 2
    assert candidate.figures.tokens_change.estimate == pytest.approx(-0.55)
    assert candidate.figures.accuracy_change.estimate == 0.5
    assert candidate.figures.margin == comparison.margin == 0.01
    assert candidate.figures.aes.value == pytest.approx(6.55)
    assert candidate.figures.aes.constants == {"alpha": 1.0, "beta": 3.0, "gamma": 5.0}
    assert candidate.figures.means.base == Means(accuracy=0.25, tokens=50.0)
    assert candidate.figures.means.candidate == Means(accuracy=0.75, tokens=22.5)
    assert candidate.decoding == Decoding(temperature=0.6, top_p=1.0, min_p=0.0, max_tokens=64)
    assert candidate.num_samples == 2
    assert candidate.figures.verdict.startswith("55% fewer tokens")


def test_claims_need_the_whole_interval(tmp_path):
    """30 problems: half as long and never less accurate is shown; a margin of half its size makes `longer` tolerable."""
    base = {f"p{i}": [("correct" if i % 3 else "wrong", 100 + i)] for i in range(30)}
    short = {f"p{i}": [("correct", 50 + i)] for i in range(30)}
    (candidate,) = compared(tmp_path, Run(base), Run(short)).candidates
    assert candidate.figures.tokens_not_more is candidate.figures.non_inferior is True
    assert candidate.figures.verdict.endswith(": shorter, and not less accurate.")
    (back,) = compared(tmp_path, Run(short), Run(base)).candidates
    assert back.figures.tokens_not_more is back.figures.non_inferior is False
    (tolerated,) = compared(tmp_path, Run(short), Run(base), tokens_margin=2.0, margin=0.9).candidates
    assert tolerated.figures.tokens_not_more is tolerated.figures.non_inferior is True
    assert "not longer" in printed(compared(tmp_path, Run(short), Run(base), tokens_margin=2.0))


def test_a_change_that_may_be_none_is_not_called_shorter(tmp_path):
    """30 problems of 100 tokens: half of them 20 fewer, the others 19 more. The interval holds 0, and nothing is shown."""
    base = {f"p{i}": [("correct", 100)] for i in range(30)}
    mixed = {f"p{i}": [("correct", 80 if i % 2 else 119)] for i in range(30)}
    (candidate,) = compared(tmp_path, Run(base), Run(mixed)).candidates
    low, high = ends_of(candidate.figures.tokens_change)
    assert low < 0 < high
    assert candidate.figures.tokens_not_more is False
    assert "no clear change in length" in candidate.figures.verdict


def test_one_benchmark_and_the_whole_say_the_same(tmp_path):
    """With a single benchmark the candidate's own keys are that benchmark's."""
    (candidate,) = compared(tmp_path, Run(BASE), Run(SHORT)).candidates
    (report,) = candidate.benchmarks.values()
    assert list(candidate.benchmarks) == ["report"]
    assert (report.figures, report.caveats) == (candidate.figures, candidate.caveats)


def test_lengths_of_correct_and_wrong_answers_stand_within_problems_and_pooled(tmp_path):
    """Base, within problem a: 20 - 40; pooled 20 - (40 + 100)/2. Candidate, within b: 10 - 50; pooled 40/3 - 50."""
    (candidate,) = compared(tmp_path, Run(BASE), Run(SHORT)).candidates
    base, short = (length for _, length in candidate.benchmarks["report"].lengths.items())
    assert base.within_json() == {"estimate": -20.0, "ci95": [None, None], "num_problems": 1}
    assert short.within_json() == {"estimate": -40.0, "ci95": [None, None], "num_problems": 1}
    assert base.pooled == -50.0
    assert short.pooled == pytest.approx(40 / 3 - 50)


def test_a_misleading_pooled_comparison_is_a_caveat(tmp_path):
    """Correct answers are longer within each problem; the hard ones, longer and more often wrong, turn it round."""
    easy = {f"e{i}": [("correct", 11), ("correct", 11), ("wrong", 9 - i % 2)] for i in range(20)}
    hard = {f"h{i}": [("wrong", 90), ("wrong", 90), ("correct", 95 + i % 2)] for i in range(20)}
    (candidate,) = compared(tmp_path, Run(easy | hard), Run(easy | hard)).candidates
    (said, _) = [text for text in candidate.caveats if "pooled" in text]
    # within: (2.5 + 5.5) / 2; pooled: (40 * 11 + 20 * 95.5)/60 - (20 * 8.5 + 40 * 90)/60
    assert "+4.0 tokens" in said and "-23.7 pooled over problems; the pooled comparison misleads" in said


def test_the_average_over_benchmarks_counts_each_the_same(tmp_path):
    """Accuracy +0.5 on 2 problems and 0 on 3: +0.25 in 5 problems; tokens (22.5 + 200) / (50 + 200) - 1 = -0.11."""
    other = {f"q{i}": [("correct", 200)] for i in range(3)}
    for name, problems in (("base", BASE), ("short", SHORT)):
        Run(problems).write(tmp_path / name / "report")
        Run(other, {"benchmark": "other"}).write(tmp_path / name / "other")
    (candidate,) = compare_evaluations(tmp_path / "base", [tmp_path / "short"], resamples=FEW).candidates
    assert candidate.figures.num_problems == 5
    assert candidate.figures.accuracy_change.estimate == 0.25
    assert candidate.figures.tokens_change.estimate == pytest.approx(-0.11)
    assert candidate.figures.means.base == Means(accuracy=0.625, tokens=125.0)
    assert candidate.figures.aes.value == pytest.approx(0.11 + 3 * 0.25 / 0.625)
    assert candidate.num_samples is None
    assert "other: no problem's accuracy changed" in " ".join(candidate.caveats)
    assert "other, report: few problems (2)" not in candidate.caveats


def test_the_comparison_is_plain_json_and_reproducible(tmp_path):
    """No nan, the same bytes again, other intervals under another seed."""
    rng = np.random.default_rng(0)
    runs = [
        Run({f"p{i}": [(str(rng.choice(["correct", "wrong"])), int(rng.integers(1, 99)))] for i in range(30)})
        for _ in range(2)
    ]
    first, again, other = (compared(tmp_path, *runs, seed=seed) for seed in (0, 0, 1))
    assert json.dumps(first.to_json(), allow_nan=False) == json.dumps(again.to_json())
    ends = [ends_of(c.candidates[0].figures.tokens_change) for c in (first, other)]
    assert ends[0] != ends[1]


def test_the_order_of_problems_does_not_matter(tmp_path):
    """The candidate's file lists b before a; problems are paired by name."""
    turned = Run(dict(reversed(SHORT.items())))
    assert compared(tmp_path, Run(BASE), turned) == compared(tmp_path, Run(BASE), Run(SHORT))


def test_ungradable_samples_leave_accuracy_and_are_counted(tmp_path):
    """b cannot be graded at all for the candidate: accuracy is a's alone (1/2 -> 1), tokens are over both."""
    blind = SHORT | {"b": [("ungradable", 50), ("ungradable", 10)]}
    (candidate,) = compared(tmp_path, Run(BASE), Run(blind)).candidates
    assert candidate.figures.means.base == Means(accuracy=0.5, tokens=50.0)
    assert candidate.figures.accuracy_change.to_json() == {"estimate": 0.5, "ci95": [None, None]}
    assert candidate.figures.non_inferior is False
    assert candidate.figures.tokens_change.estimate == pytest.approx(-0.55)
    assert candidate.benchmarks["report"].num_ungradable == Sides(0, 2)
    assert "accuracy is over 1 problem that could be graded for both" in candidate.caveats


def test_a_comparison_of_nothing_gradable_claims_nothing(tmp_path):
    """No accuracy, no score, no non-inferiority, no place on the frontier; nor a score for a base that is never right."""
    blind = {name: [("ungradable", tokens) for _, tokens in samples] for name, samples in SHORT.items()}
    comparison = compared(tmp_path, Run(BASE), Run(blind))
    (candidate,) = comparison.candidates
    assert isnan(candidate.figures.means.candidate.accuracy)
    assert isnan(candidate.figures.aes.value) and candidate.figures.non_inferior is False
    assert "accuracy unknown" in candidate.figures.verdict
    assert [point.is_dominated for point in comparison.frontier] == [False, False]
    assert printed(comparison).count("n/a") >= 2
    wrong = {name: [("wrong", tokens) for _, tokens in samples] for name, samples in BASE.items()}
    assert compared(tmp_path, Run(wrong), Run(SHORT)).candidates[0].figures.aes.to_json()["value"] is None


def test_every_grade_can_be_read(tmp_path):
    """All five, in one problem; two of five gradable are correct."""
    mixed = {"a": [(grade.value, 10) for grade in [*Grade, Grade.CORRECT]]}
    (candidate,) = compared(tmp_path, Run(mixed), Run(mixed)).candidates
    assert candidate.figures.means.base.accuracy == 0.4  # correct, wrong, no_answer, truncated, correct


# --- who meets whom --------------------------------------------------------------------------------------------------


def two_temperatures(folder, problems):
    """The same problems greedily and at temperature 1, the latter twice as long."""
    Run(problems, {"temperature": 0.0}).write(folder / "eval" / "report-greedy")
    Run(longer(problems, 2), {"temperature": 1.0}).write(folder / "eval" / "report-t1")
    return folder


def test_decodings_are_compared_apart_the_hottest_first(tmp_path):
    """50 and 100 tokens: two comparisons, not one of 75."""
    base, short = two_temperatures(tmp_path / "base", BASE), two_temperatures(tmp_path / "short", SHORT)
    comparison = compare_evaluations(base, [short], resamples=FEW)
    assert [c.name for c in comparison.candidates] == ["short", "short"]
    assert [c.decoding.temperature for c in comparison.candidates] == [1.0, 0.0]
    assert [c.figures.means.base.tokens for c in comparison.candidates] == [100.0, 50.0]
    assert [c.figures.num_problems for c in comparison.candidates] == [2, 2]
    assert comparison.left_out == ()


@pytest.mark.parametrize("name", ["report", "report-t0.6", "report-boxed-t0.6", "anything"])
def test_folders_are_matched_by_what_is_in_them(tmp_path, name):
    """Base `report-t0.6` beside a greedy one; the candidate's folder is called otherwise."""
    Run(BASE).write(tmp_path / "base" / "eval" / "report-t0.6")
    Run(longer(BASE, 2), {"temperature": 0.0}).write(tmp_path / "base" / "eval" / "report-greedy")
    Run(SHORT).write(tmp_path / "short" / "eval" / name)
    comparison = compare_evaluations(tmp_path / "base", [tmp_path / "short"], resamples=FEW)
    (candidate,) = comparison.candidates
    assert candidate.figures.means.base.tokens == 50.0
    (left_out,) = comparison.left_out
    assert "report-greedy: report, greedy, cap 64: nothing to compare it with" in left_out


def test_greedy_runs_meet_whatever_their_top_p(tmp_path):
    """At temperature 0 top-p has no say; at 0.6 it is refused."""
    greedy = {"temperature": 0.0}
    assert compared(tmp_path, Run(BASE, greedy), Run(SHORT, greedy | {"top_p": 0.9})).candidates
    with pytest.raises(InputError, match=r"the base has \[T=0.6, cap 64\], it has \[T=0.6, top-p 0.9, cap 64\]"):
        compared(tmp_path, Run(BASE), Run(SHORT, {"top_p": 0.9}))


def test_benchmarks_may_have_caps_of_their_own_and_a_sweep_of_caps_stays_apart(tmp_path):
    """Two benchmarks with a cap each are one comparison; one benchmark under two caps is two."""
    for name, problems in (("base", BASE), ("short", SHORT)):
        Run(problems).write(tmp_path / "own" / name / "report")
        Run(problems, {"benchmark": "hard", "max_tokens": 512}).write(tmp_path / "own" / name / "hard")
        Run(problems).write(tmp_path / "sweep" / name / "report-64")
        Run(problems, {"max_tokens": 512}).write(tmp_path / "sweep" / name / "report-512")
    own, sweep = (
        compare_evaluations(tmp_path / kind / "base", [tmp_path / kind / "short"], resamples=FEW)
        for kind in ("own", "sweep")
    )
    assert [(c.decoding.max_tokens, len(c.benchmarks)) for c in own.candidates] == [(None, 2)]
    assert own.candidates[0].benchmarks["hard"].max_tokens == 512
    assert [c.decoding.max_tokens for c in sweep.candidates] == [64, 512]
    assert "T=0.6, cap 512" in printed(sweep)


def test_what_only_one_run_evaluated_is_left_out_and_named(tmp_path):
    """Benchmark `other` is the base's alone: it enters no average, and the entry says so."""
    Run(BASE).write(tmp_path / "base" / "report")
    Run(BASE, {"benchmark": "other"}).write(tmp_path / "base" / "other")
    Run(SHORT).write(tmp_path / "short")
    comparison = compare_evaluations(tmp_path / "base", [tmp_path / "short"], resamples=FEW)
    (candidate,) = comparison.candidates
    assert (list(candidate.benchmarks), candidate.left_out) == (["report"], ("other",))
    assert "  left out: other, which only one of the two has" in comparison_lines(comparison)


def test_prompts_of_one_folder_are_compared_without_a_candidate(tmp_path):
    """`laconic compare FOLDER`: merely asking, against the plain prompt, and the trained model beside it."""
    for name, problems in (("boxed", longer(BASE, 2)), ("be_concise", BASE)):
        Run(problems, prompt(name)).write(tmp_path / "base" / "eval" / f"report-{name}")
    (asked,) = compare_evaluations(tmp_path / "base", resamples=FEW).candidates
    assert (asked.name, asked.who.prompt) == ("be_concise", "be_concise")
    assert asked.figures.tokens_change.estimate == -0.5
    assert "prompted by 'be_concise', the base by 'boxed'" in asked.caveats
    trained = Run(SHORT, prompt("boxed")).write(tmp_path / "after")
    comparison = compare_evaluations(tmp_path / "base", [trained], resamples=FEW)
    assert [c.name for c in comparison.candidates] == ["base · be_concise", "after"]
    assert comparison.base.name == "base · boxed"


def test_evaluation_folders_can_be_named_directly(tmp_path):
    """Two prompts of one folder, by their paths."""
    paths = [Run(BASE, prompt(name)).write(tmp_path / "eval" / f"report-{name}") for name in ("r1", "be_concise")]
    (candidate,) = compare_evaluations(paths[0], paths[1:], resamples=FEW).candidates
    assert (candidate.name, candidate.who.path) == ("report-be_concise", paths[1])


def test_candidates_of_one_model_are_told_apart_by_their_paths(tmp_path):
    """Folder names where they differ, more of the path where they do not."""
    base = Run(BASE).write(tmp_path / "base")
    paths = [Run(SHORT).write(tmp_path / name) for name in ("one/tuned", "two/tuned", "three")]
    comparison = compare_evaluations(base, paths, resamples=FEW)
    assert [c.name for c in comparison.candidates] == ["one/tuned", "two/tuned", "three"]
    assert {c.who.model for c in comparison.candidates} == {"tiny"}


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("summary", "says"),
    [
        ({"temperature": 1.0}, r"no decoding in common; the base has \[T=0.6, cap 64\], it has \[T=1, cap 64\]"),
        ({"max_tokens": 128}, r"no decoding in common; the base has \[T=0.6, cap 64\], it has \[T=0.6, cap 128\]"),
        ({"min_p": 0.1}, r"it has \[T=0.6, min-p 0.1, cap 64\]"),
        ({"benchmark": "watch"}, "no benchmark in common; the base has report, it has watch"),
        ({"grader": "other 2"}, "it was graded by 'other 2', the base by 'math-verify 0.8'"),
    ],
)
def test_runs_measured_otherwise_are_refused(tmp_path, summary, says):
    """Temperature, cap, min-p, benchmark and grader must agree; the sampling seed need not."""
    base = Run(BASE, {"grader": "math-verify 0.8"})
    with pytest.raises(InputError, match=says) as error:
        compared(tmp_path, base, Run(SHORT, summary))
    assert "\n" not in str(error.value)
    compared(tmp_path, base, Run(SHORT, {"seed": 5, "grader": "math-verify 0.8"}))


def test_other_problems_are_refused_with_their_number_and_an_example(tmp_path):
    """A missing problem; the same names with another gold answer."""
    with pytest.raises(InputError, match="problems differ, 1 only in the base, 0 only in the candidate, such as 'b'"):
        compared(tmp_path, Run(BASE), Run({"a": SHORT["a"]}))
    with pytest.raises(InputError, match="problems differ, 2 of 2 have another question or gold answer, such as 'a'"):
        compared(tmp_path, Run(BASE), Run(SHORT, gold="8"))


@pytest.mark.parametrize("choices", [["3", "4"], ["4", "3", "5"], None])
def test_other_choices_are_other_problems(tmp_path, choices):
    """The same id, question and letter: it stands for another answer, and other ones are beside it."""
    folders = [Run(problems, gold="A").write(tmp_path / name) for name, problems in (("base", BASE), ("other", SHORT))]
    for folder, stated in zip(folders, (["4", "3"], choices), strict=True):
        lines = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
        rows = [line | ({"choices": stated} if stated and line["problem_id"] == "b" else {}) for line in lines]
        (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError, match=r"problems differ, 1 of 2 have other choices, such as 'b'$"):
        compare_evaluations(folders[0], [folders[1]])
    (folders[1] / "samples.jsonl").write_bytes((folders[0] / "samples.jsonl").read_bytes())
    (folders[1] / "summary.json").write_bytes((folders[0] / "summary.json").read_bytes())
    assert compare_evaluations(folders[0], [folders[1]]).candidates


def test_other_numbers_of_samples_are_compared_by_problem_means_and_owned(tmp_path):
    """One sample against two: accuracy (1 + 0)/2 and tokens (10 + 50)/2 against 1/4 and 50."""
    once = {name: samples[:1] for name, samples in SHORT.items()}
    (candidate,) = compared(tmp_path, Run(BASE), Run(once)).candidates
    assert candidate.figures.accuracy_change.estimate == 0.25
    assert candidate.figures.tokens_change.estimate == pytest.approx(-0.4)
    assert "2 samples a problem in the base, 1 in the candidate: each problem enters by its mean" in candidate.caveats
    assert candidate.num_samples is None


def test_lengths_that_the_server_did_not_count_are_owned(tmp_path):
    marked = Run(SHORT, {"length_sources": {"bound": 3, "text": 1}})
    (candidate,) = compared(tmp_path, Run(BASE), marked).candidates
    assert "candidate: the lengths of 4 responses were not counted by the server" in candidate.caveats


def test_an_unfinished_evaluation_is_refused(tmp_path):
    """Beside a finished one, too: half a run is not compared in silence."""
    for name in ("base", "after"):
        two_temperatures(tmp_path / name, BASE)
    (tmp_path / "after" / "eval" / "report-t1" / "summary.json").unlink()
    with pytest.raises(InputError, match="report-t1: not finished"):
        compare_evaluations(tmp_path / "base", [tmp_path / "after"])


def test_wrong_arguments_are_input_errors(tmp_path):
    """Negative margins, no candidate, a folder twice, also by another name."""
    base = Run(BASE).write(tmp_path / "base")
    other = Run(BASE).write(tmp_path / "other")
    for candidates, options, says in [
        ([other], {"margin": -0.1}, "margin"),
        ([other], {"tokens_margin": float("nan")}, "tokens_margin"),
        ([], {}, "no candidate"),
        ([other, other], {}, "twice"),
        ([tmp_path / "other" / ".." / "base"], {}, "twice"),
    ]:
        with pytest.raises(InputError, match=says):
            compare_evaluations(base, candidates, **options)


# --- the frontier ----------------------------------------------------------------------------------------------------


def test_dominated_points_are_marked_with_what_beats_them(tmp_path):
    """Accuracy and tokens: base (1/4, 50), x (3/4, 22.5), y (3/4, 45), z (1, 60). x beats base and y; z is most accurate."""
    right = {name: [("correct", 60), ("correct", 60)] for name in BASE}
    comparison = compared(tmp_path, Run(BASE), Run(SHORT), Run(longer(SHORT, 2)), Run(right))
    points = {point.name: point for point in comparison.frontier}
    assert (points["base"].means.accuracy, points["base"].means.tokens) == (0.25, 50.0)
    assert {name: point.dominated_by for name, point in points.items()} == {
        "base": ("x", "y"),
        "x": (),
        "y": ("x",),
        "z": (),
    }
    assert [point.is_dominated for point in points.values()] == [True, False, True, False]
    text = printed(comparison).partition("the frontier")[2]
    assert [text.index(f"  {name} ") for name in ("x", "y", "base", "z")] == sorted(
        text.index(f"  {name} ") for name in ("x", "y", "base", "z")
    )
    assert "x and 1 more" in text


def test_each_decoding_has_its_own_frontier_and_equals_share_it(tmp_path):
    """A greedy point never beats a sampled one; two equal points beat each other in nothing."""
    base, same = two_temperatures(tmp_path / "base", BASE), two_temperatures(tmp_path / "same", BASE)
    frontier = compare_evaluations(base, [same], resamples=FEW).frontier
    assert [(p.name, p.decoding.temperature, p.means.tokens) for p in frontier] == [
        ("base", 1.0, 100.0),
        ("same", 1.0, 100.0),
        ("base", 0.0, 50.0),
        ("same", 0.0, 50.0),
    ]
    assert not any(point.is_dominated for point in frontier)


def test_the_frontier_is_drawn_on_the_benchmarks_that_all_share(tmp_path):
    """The second candidate lacks `other`: all points stand on `report`."""
    for name, problems in (("base", BASE), ("both", SHORT)):
        Run(problems).write(tmp_path / name / "report")
        Run(longer(problems, 3), {"benchmark": "other"}).write(tmp_path / name / "other")
    Run(SHORT).write(tmp_path / "one")
    comparison = compare_evaluations(tmp_path / "base", [tmp_path / "both", tmp_path / "one"], resamples=FEW)
    assert [point.benchmarks for point in comparison.frontier] == [("report",)] * 3
    assert [point.means.tokens for point in comparison.frontier] == [50.0, 22.5, 22.5]


# --- tables and lines ------------------------------------------------------------------------------------------------


def test_the_table_shows_each_benchmark_decoding_and_the_mean(tmp_path):
    """Two benchmarks at two temperatures, and the mean of the two."""
    for name, problems in (("base", BASE), ("short", SHORT)):
        for benchmark in ("math500", "gsm8k"):
            for temperature in (0.0, 1.0):
                summary = {"benchmark": benchmark, "temperature": temperature}
                Run(problems, summary).write(tmp_path / name / f"{benchmark}-{temperature:g}")
    text = printed(compare_evaluations(tmp_path / "base", [tmp_path / "short"], resamples=FEW))
    for said in ("math500", "gsm8k", "mean of 2", "T=1", "greedy", "50 → 22", "25.0% → 75.0%", "-55% ("):
        assert said in text
    assert "AES, signed: alpha 1, beta 3, gamma 5" in text


def test_long_names_are_folded_and_never_cut(tmp_path):
    """Two checkpoints that differ in the last letter, in tables 118 columns wide: every letter is there."""
    base = two_temperatures(tmp_path / "base", BASE)
    names = [f"a-model-with-a-name-of-some-length/and-a-checkpoint-far-down-the-path-{letter}" for letter in "xy"]
    paths = [two_temperatures(tmp_path / letter / name, SHORT) for letter, name in zip("xy", names, strict=True)]
    text = printed(compare_evaluations(base, paths, resamples=FEW))
    assert max(map(len, text.splitlines())) <= 118
    assert "…" not in text
    first_columns = "".join(line[2:].split("  ")[0].strip() for line in text.splitlines())
    for name in names:
        assert name.partition("/")[2] in first_columns


def test_markup_in_names_is_printed_as_it_stands(tmp_path):
    """A folder may be called [red]."""
    base = Run(BASE).write(tmp_path / "base")
    odd = Run(SHORT).write(tmp_path / "[red]x")
    assert "[red]x" in printed(compare_evaluations(base, [odd], resamples=FEW))


def test_lines_say_verdicts_and_caveats_and_the_base_s_only_once(tmp_path):
    """What is wrong with the base is said with the first candidate."""
    easy = {f"e{i}": [("correct", 11), ("wrong", 9 - i % 2), ("correct", 11)] for i in range(20)}
    hard = {f"h{i}": [("wrong", 90), ("correct", 95 + i % 2), ("wrong", 90)] for i in range(20)}
    runs = [Run(longer(easy | hard, factor)) for factor in (1, 2, 3)]
    lines = comparison_lines(compared(tmp_path, *runs))
    assert sum(line.startswith("x, T=0.6: 100% more tokens") for line in lines) == 1
    assert sum(": base: correct minus wrong" in line for line in lines) == 1
    assert sum(": candidate: correct minus wrong" in line for line in lines) == 2


def test_a_difference_that_the_model_never_saw_is_owned(tmp_path):
    """Two prompts, every response the same: said in place of the factor that all problems share; one word ends it."""
    for name in ("boxed", "be_concise"):
        Run(BASE, prompt(name)).write(tmp_path / name)

    def caveats():
        return " ".join(compare_evaluations(tmp_path / "boxed", [tmp_path / "be_concise"]).candidates[0].caveats)

    assert "every response is the same on both sides: the model never saw the difference (does its chat" in caveats()
    assert "same factor" not in caveats()
    file = tmp_path / "be_concise" / "samples.jsonl"
    file.write_text(file.read_text().replace("\\u2026", "other", 1))
    assert "every response is the same" not in caveats()
    assert "same factor" in caveats()


def test_seconds_are_paired_where_both_sides_recorded_them(tmp_path):
    """Base: 10 s for 60 and 140 tokens, so 3 and 7 s for two samples each; then 1 s and 3 s. Mean 2.5 to 1: -60%."""
    paths = [Run(problems).write(tmp_path / name) for name, problems in (("base", BASE), ("x", SHORT))]
    append_seconds(paths[0] / "timing.json", 0, 4, 10.0)
    write_json_atomically(paths[0] / "timing.json", {"wall_seconds": 10.0, "num_tokens": 200, "device": "cpu"})
    (alone,) = compare_evaluations(paths[0], paths[1:], resamples=FEW).candidates
    assert alone.benchmarks["report"].seconds is None
    append_seconds(paths[1] / "timing.json", 0, 2, 1.0)
    append_seconds(paths[1] / "timing.json", 2, 2, 3.0)
    comparison = compare_evaluations(paths[0], paths[1:], resamples=FEW)
    seconds = comparison.candidates[0].benchmarks["report"].seconds
    assert seconds.means == Sides(2.5, 1.0) and seconds.change.estimate == pytest.approx(-0.6)
    assert seconds.devices == Sides("cpu", None)
    assert "  report: seconds a response 2.5 to 1, 60% less" in "\n".join(comparison_lines(comparison))
    assert Comparison.from_json(json.loads(json.dumps(comparison.to_json()))).to_json() == comparison.to_json()

"""The words of a comparison: they claim what the intervals show, and own what the numbers alone hide."""

from pathlib import Path

import pytest
from folders import BASE, SHORT, Run, prompt

from laconic.comparison.figures import LengthDifference, Sides
from laconic.comparison.folders import read_evaluation
from laconic.comparison.sentences import (
    figures_caveats,
    length_caveats,
    length_note,
    sameness_caveats,
    sides_caveats,
    tokens_caveats,
    verdict,
)
from laconic.statistics.intervals import Interval

NAN = float("nan")


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
            "50% fewer tokens (no interval) with accuracy +50.0 points (no interval): "
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


def test_few_ungradable_and_unchanged_problems_are_owned():
    """19 problems are few and 20 are not; one that could not be graded is counted out; no change is not certainty."""
    assert figures_caveats(20, 20, 1) == []
    assert figures_caveats(19, 19, 1) == ["few problems (19): the intervals are rough"]
    assert figures_caveats(20, 1, 1) == ["accuracy is over 1 problem that could be graded for both"]
    assert figures_caveats(20, 20, 0) == [
        "no problem's accuracy changed; the interval allows for two more, one better and one worse"
    ]


def test_lengths_that_changed_alike_have_no_interval_and_say_why():
    """Not where there is an interval, nor where one problem explains its absence."""
    alike, spread = Interval(-0.5, NAN, NAN), Interval(-0.5, -0.6, -0.4)
    assert tokens_caveats(alike, 2) == ["every problem's tokens changed by the same factor, so there is no interval"]
    assert tokens_caveats(alike, 1) == tokens_caveats(spread, 2) == tokens_caveats(Interval(NAN, NAN, NAN), 2) == []


def test_the_same_responses_to_the_same_prompt_ask_another_question(tmp_path: Path):
    """Whoever compared a model with itself needs no word on chat templates."""
    plain = read_evaluation(Run(BASE).write(tmp_path / "plain"))
    brief = read_evaluation(Run(BASE, prompt("be_concise")).write(tmp_path / "brief"))
    other = read_evaluation(Run(SHORT).write(tmp_path / "other"))
    assert sameness_caveats(plain, other) == []
    assert [text.partition(": ")[2][:9] for text in sameness_caveats(plain, plain)] == ["are these"]
    assert [text.partition(": ")[2][:9] for text in sameness_caveats(plain, brief)] == ["the model"]


def test_a_pooled_length_difference_that_points_elsewhere_is_noted():
    """Within problems 5 tokens shorter (1 to 9): pooled 4 agrees, 27 is another size, 3 longer another sign."""
    within = Interval(-5.0, -9.0, -1.0)
    assert length_note(within, -4.0) is None
    assert str(length_note(within, -27.0)).endswith("the pooled figure also counts how hard the problems are")
    assert str(length_note(within, 3.0)).endswith("the pooled comparison misleads, by how hard the problems are")
    longer = str(length_note(Interval(5.0, 1.0, 9.0), -3.0))
    assert longer.endswith("misleads, since hard problems have more wrong and longer answers")
    assert length_note(Interval(34.0, -220.1, 288.1), -17.8) is None  # another sign, and within what could be
    assert length_note(Interval(NAN, NAN, NAN), 3.0) is None
    single = str(length_note(Interval(-5, NAN, NAN), 3.0))
    assert "-5.0 tokens (no interval) within a problem, +3.0 pooled" in single and "too few problems" in single


def test_only_an_opposite_sign_is_a_caveat():
    """Both sides have a note; the candidate's contradicts."""
    within = Interval(-5.0, -9.0, -1.0)
    lengths = Sides(LengthDifference(within, 9, -27.0, "larger"), LengthDifference(within, 9, 3.0, "misleads"))
    assert length_caveats(lengths) == ["candidate: misleads"]


def test_sides_that_were_measured_otherwise_say_so(tmp_path: Path):
    """Samples a problem, prompts, and a grader that only one side names; alike sides say nothing."""
    plain = read_evaluation(Run(BASE).write(tmp_path / "plain"))
    once = {name: samples[:1] for name, samples in BASE.items()}
    graded = {"grader": "math-verify 0.8"}
    brief = read_evaluation(Run(once, graded | prompt("be_concise")).write(tmp_path / "brief"))
    boxed = read_evaluation(Run(BASE, graded | prompt("boxed")).write(tmp_path / "boxed"))
    assert sides_caveats(plain, plain) == sides_caveats(boxed, boxed) == []
    assert sides_caveats(boxed, brief) == [
        "2 samples a problem in the base, 1 in the candidate: each problem enters by its mean",
        "prompted by 'be_concise', the base by 'boxed'",
    ]
    assert sides_caveats(boxed, plain) == [
        "the base was graded by 'math-verify 0.8'; nothing says what graded the candidate"
    ]

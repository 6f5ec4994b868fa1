"""Doctor on what a probe shows of the phases: selection, caps, uniform groups, the pressure on length."""

import json

import pytest
from examined import Ward, levels, said
from folders import Run

from laconic.doctor import examination
from laconic.doctor.checks.probe import (
    check_pressure,
    check_probe,
    check_selection,
    check_truncation,
    check_uniform_groups,
    uniform_share,
)
from laconic.doctor.checks.slices import check_slices
from laconic.evaluation.problem_meta import write_meta
from laconic.statistics.solve_rate import problem_stats
from laconic.types import Grade, Problem

C, W, N, T = Grade.CORRECT, Grade.WRONG, Grade.NO_ANSWER, Grade.TRUNCATED
BAND = ("phases.first.select.how=band", "phases.first.select.options={low=0.3, high=0.9}")
BREVITY = ("phases.first.end.goal=tokens", "phases.first.algorithm.critic=zero")


@pytest.fixture
def ward(tmp_path, monkeypatch):
    monkeypatch.setattr(examination, "outside_bytes", lambda recipe: 2**29)
    return Ward(tmp_path)


# --- how it was made -------------------------------------------------------------------------------------------------


def test_a_probe_made_otherwise_is_a_warning_with_the_command(ward):
    (known, *_) = ward.examine().trainable
    made = ward.probe([C], ids=[known.id], temperature=0.6, top_p=1.0, max_tokens=12)
    line = said(check_probe, ward.examine(probe=made))[0]
    assert line.startswith("warning:") and "temperature 0.6, not 1.0" in line and "laconic probe " in line
    made = ward.probe([C], ids=[known.id], temperature=1.0)
    assert levels(check_probe, ward.examine(probe=made)) == ["fine"]
    asked = {"name": "be_concise", "system": None}
    (line,) = said(check_probe, ward.examine(probe=ward.probe([C], ids=[known.id], temperature=1.0, prompt=asked)))
    assert line.startswith("warning:") and "the prompt be_concise and system text None, not the recipe's" in line
    asked = {"name": ward.examine().recipe.prompt.instruction, "system": None}
    made = ward.probe([C], ids=[known.id], temperature=1.0, prompt=asked)
    assert levels(check_probe, ward.examine(probe=made)) == ["fine"]


def test_a_probe_of_other_problems_is_a_warning(ward):
    first, *_ = said(check_probe, ward.examine(probe=ward.probe([C], temperature=1.0)))
    assert first.startswith("warning:") and "none of the probe's problems is one to train on" in first


def test_the_command_for_a_probe_can_be_pasted(ward):
    """The source is quoted, the cap and samples are those of the first phase."""
    command = ward.examine().missing["probe"].remedy
    assert "'tiny:mix?count=8&split=train' --samples 2 --temperature 1 --max-tokens 12 --seed 0" in command


# --- selection -------------------------------------------------------------------------------------------------------


def test_fewer_problems_than_a_step_takes_is_a_warning_as_in_training(ward):
    line = said(check_selection, ward.examine("phases.second.problems_per_step=9"))[1]
    assert line == (
        "warning: phases.second.problems_per_step: a step takes 9 problems, but the phase has at most 8: steps are smaller; "
        "expected 8"
    )
    assert levels(check_selection, ward.examine()) == ["fine", "fine"]


def test_problems_that_are_reported_on_are_none_to_choose_from(ward):
    """2 of 4 stand in the reported set: 2 are left where a step takes 3."""
    sums = [(f"sum {i} {i}", str(2 * i)) for i in range(4)]
    examined = ward.examine(ward.problems("train", *sums), ward.problems("report", *sums[2:]))
    assert said(check_selection, examined)[0].startswith(
        "warning: phases.first.problems_per_step: a step takes 3 problems, but the phase has at most 2"
    )


def test_fewer_selected_than_a_step_takes_is_a_warning(ward):
    assert levels(check_selection, ward.examine("phases.first.problems_per_step=7"))[0] == "warning"


def test_too_few_that_qualify_are_a_warning_and_none_an_error_in_the_first_phase(ward):
    """8 to choose from; a quarter of the probed ones qualify, so about 2 where a step takes 3."""
    probe = ward.probe([C, W], [W, W], [W, W], [W, W])
    line = said(check_selection, ward.examine(*BAND, probe=probe))[0]
    assert line.startswith("warning: phases.first.select: 1 of 4 probed problems qualify, about 2 of the 8")
    assert "a step takes 3: steps are smaller" in line
    assert levels(check_selection, ward.examine(*BAND, probe=ward.probe([W] * 16)))[0] == "error"


def test_fewer_that_qualify_than_were_asked_for_is_a_warning(ward):
    """Half of 8 is 4: enough for a step of 3, not for the count of 6."""
    half = ward.probe([C, W], [W, W])
    assert levels(check_selection, ward.examine(*BAND, probe=half))[0] == "warning"
    assert levels(check_selection, ward.examine(*BAND, probe=ward.probe([C, W], [W, C])))[0] == "fine"


def test_a_later_phase_gets_no_error_from_a_probe_of_the_entering_model(ward):
    second = [change.replace("first", "second") for change in BAND]
    assert levels(check_selection, ward.examine(*second, probe=ward.probe([W] * 16)))[1] == "warning"


@pytest.mark.parametrize(("check", "grade"), [(check_selection, W), (check_truncation, T), (check_uniform_groups, W)])
def test_few_responses_call_no_run_wasted(ward, check, grade):
    """Fifteen alike are unknown, sixteen an error."""
    rloo = "phases.first.algorithm={name='rloo'}"
    changes = BAND if check is check_selection else [rloo]
    few, enough = (said(check, ward.examine(*changes, probe=ward.probe([grade] * n)))[0] for n in (15, 16))
    assert few.startswith("unknown: ") and "15 responses show too little, expected at least 16; laconic probe " in few
    assert enough.startswith("error: ")


# --- caps ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grades", "level"), [([C, C, C, C, T], "fine"), ([C, C, C, T], "warning"), ([T] * 16, "error")]
)
def test_the_share_that_is_cut_off_decides(ward, grades, level):
    """20% is fine, 25% a warning, all an error."""
    assert levels(check_truncation, ward.examine(probe=ward.probe(grades)))[0] == level


def test_lengths_of_single_responses_are_held_against_the_cap(ward):
    """Of 10, 11, 12 and 13 tokens one is over the cap of 12: 25%. Without single lengths the mean, 11.5, is not."""
    probe = ward.probe([C, C, C, C], tokens=11)
    assert levels(check_truncation, ward.examine(probe=probe))[0] == "fine"
    rows = [{"problem_id": "p", "sample": n, "num_tokens": n, "grade": "correct"} for n in (10, 11, 12, 13)]
    (ward.folder / "probe.samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert said(check_truncation, ward.examine(probe=probe))[0].startswith(
        "warning: phases.first.sampler.max_tokens: 25% of the probe's responses reach the cap of 12 tokens"
    )


def test_a_probe_with_a_lower_cap_of_its_own_proves_nothing(ward):
    line = said(check_truncation, ward.examine(probe=ward.probe([T, T], max_tokens=8)))[0]
    assert line.startswith("unknown:") and "own cap of 8 cut off 100%" in line and "--max-tokens 12" in line


# --- uniform groups --------------------------------------------------------------------------------------------------


def test_the_expected_share_of_uniform_groups_by_hand():
    """1 of 2 solved: Beta(2, 2). E[p^2] = (2 x 3) / (4 x 5) = 0.3, the same for 1 - p: 0.6 in all."""
    assert uniform_share(problem_stats("a", [C, W], [1, 1]), 2) == pytest.approx(0.6)
    assert uniform_share(problem_stats("a", [C] * 98, [1] * 98), 1) == pytest.approx(1.0)


def test_groups_that_teach_nothing_are_an_error_where_groups_are_compared(ward):
    """Always solved: RLOO has nothing to compare, PPO trains on it all the same."""
    always = ward.probe([C] * 16, [C] * 16)
    rloo = "phases.first.algorithm={name='rloo'}"
    line = said(check_uniform_groups, ward.examine(rloo, probe=always))[0]
    assert line.startswith("error: phases.first.group_size: every selected problem earned the same")
    assert said(check_uniform_groups, ward.examine(probe=always))[0].endswith("; ppo trains on them too")


def test_mostly_uniform_groups_are_a_warning(ward):
    """15 of 16 solved and groups of 4: 16 x 17 x 18 x 19 / (18 x 19 x 20 x 21) = 0.65."""
    rloo = "phases.first.algorithm={name='rloo'}"
    line = said(check_uniform_groups, ward.examine(rloo, probe=ward.probe([C] * 15 + [W])))[0]
    assert line.startswith("warning: phases.first.group_size: 65% of groups of 4")
    assert levels(check_uniform_groups, ward.examine(rloo, probe=ward.probe([C, W] * 8)))[0] == "fine"


def test_failures_that_are_paid_differently_are_something_to_compare(ward):
    """Wrong earns -0.5, no answer -1: never solved, but not without a signal."""
    rloo = "phases.first.algorithm={name='rloo'}"
    assert levels(check_uniform_groups, ward.examine(rloo, probe=ward.probe([W, N] * 8)))[0] == "warning"


# --- pressure --------------------------------------------------------------------------------------------------------


def test_a_brevity_phase_below_its_neutral_point_is_a_warning(ward):
    """1 and -0.5 are neutral at 1/3: one in four solved lengthens, three in four shorten."""
    longer = said(check_pressure, ward.examine(*BREVITY, probe=ward.probe([C, W, W, W])))[0]
    assert longer.startswith("warning: phases.first.rewards: Expect longer responses") and "than 0.33" in longer
    shorter = said(check_pressure, ward.examine(*BREVITY, probe=ward.probe([C, C, C, W])))[0]
    assert shorter == "fine: phases.first.rewards: Expect shorter responses"


def test_failures_are_priced_as_the_probe_saw_them(ward):
    """2 of 5 solved. Failures wrong: 0.4 - 0.3 > 0, shorter. Failures without an answer: 0.4 - 0.6 < 0, longer."""
    assert levels(check_pressure, ward.examine(*BREVITY, probe=ward.probe([C, C, W, W, W])))[0] == "fine"
    assert levels(check_pressure, ward.examine(*BREVITY, probe=ward.probe([C, C, N, N, N])))[0] == "warning"


def test_without_a_probe_the_band_decides_or_it_stays_open(ward):
    """A band above 1/3 shortens wherever in it the problems lie; one that crosses it says nothing."""
    above = ("phases.first.select.how=band", "phases.first.select.options={low=0.4, high=0.9}")
    assert levels(check_pressure, ward.examine(*BREVITY, *above))[0] == "fine"
    assert levels(check_pressure, ward.examine(*BREVITY, *BAND))[0] == "unknown"


def test_a_brevity_phase_that_nothing_shortens_is_a_warning(ward):
    """A group baseline without a length term; with one it is fine."""
    grpo = ("phases.second.algorithm={name='grpo'}",)
    assert said(check_pressure, ward.examine(*grpo))[1].startswith(
        "warning: phases.second.rewards: Expect no first-order push on length"
    )


def test_a_reward_of_ones_own_leaves_the_direction_unknown(ward):
    """Under a group baseline too, and whatever a probe saw: what it pays is not known before it is run."""
    (ward.folder / "mine.py").write_text("def f(numbers):\n    return -1.0 * numbers.lengths\n")
    own = "phases.second.rewards.terms=[{name='mine.py:f'}]"
    for algorithm in ("grpo", "ppo"):
        overrides = [*BREVITY, own, f"phases.second.algorithm.name={algorithm}"]
        line = said(check_pressure, ward.examine(*overrides, probe=ward.probe([C, C, C, W])))[1]
        assert line.startswith(
            "unknown: phases.second.rewards: The direction of length is unknown: a reward of one's own"
        )
        assert "(mine.py:f)" in line and "metrics.jsonl" in line


# --- slices ----------------------------------------------------------------------------------------------------------


def test_the_worst_slice_of_a_probe_or_an_evaluation_is_named(ward):
    """Level 5 is never solved in 25 problems, level 1 always: the same from probe.jsonl and from an evaluation folder."""
    names, rows = [f"p{i}" for i in range(50)], [C] * 25 + [W] * 25
    probe = ward.probe(*([grade] * 4 for grade in rows), ids=names)
    lines = [
        json.loads(line) | {"meta": {"level": 1 + 4 * (i >= 25)}}
        for i, line in enumerate(probe.read_text().splitlines())
    ]
    probe.write_text("".join(json.dumps(line) + "\n" for line in lines))
    folder = Run({name: [(str(grade), 10)] * 4 for name, grade in zip(names, rows, strict=True)}).write(
        ward.folder / "e"
    )
    write_meta([Problem(line["problem_id"], "q", "7", meta=line["meta"]) for line in lines], folder)
    for place in (probe, folder):
        (line,) = said(check_slices, ward.examine(probe=place))
        assert line.startswith(f"warning: {place}: worst slice: level 5 (25 problems): 0% solved (95% interval 0 to ")
        assert "the rest 100%" in line and "solved less often (p = 0.0002, corrected for 2 slices)" in line
    small = ward.probe([C], [W])
    assert said(check_slices, ward.examine(probe=small))[0].startswith("fine:")

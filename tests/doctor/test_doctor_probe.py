"""Doctor on what a probe shows of the phases: selection, caps, uniform groups, the pressure on length."""

import json

import pytest
from examined import Ward, levels, said
from folders import Run

from laconic.doctor import examination
from laconic.doctor.checks.pressure import check_pressure
from laconic.doctor.checks.probe import (
    check_probe,
    check_selection,
    check_truncation,
    check_uniform_groups,
    uniform_share,
)
from laconic.doctor.checks.prompts import check_answer_form
from laconic.doctor.checks.slices import check_slices
from laconic.errors import InputError
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


@pytest.mark.parametrize("prompt", ["boxed", ["boxed"], 0])
def test_a_prompt_of_another_kind_in_the_probes_settings_is_one_line(ward, prompt):
    with pytest.raises(InputError, match=r"probe\.settings\.json: prompt is .*, expected an object$"):
        ward.examine(probe=ward.probe([C], prompt=prompt))
    (known, *_) = ward.examine().trainable
    unstated = ward.probe([C], ids=[known.id], temperature=1.0, prompt=None)
    assert levels(check_probe, ward.examine(probe=unstated)) == ["fine"]


@pytest.mark.parametrize(("key", "value"), [("top_p", 0.9), ("min_p", 0.1)])
def test_what_the_command_cannot_set_is_a_remark(ward, key, value):
    """`laconic probe` has no such option, so a probe made by it is not sent back to it."""
    (known, *_) = ward.examine().trainable
    change = f"phases.first.sampler.{key}={value}"
    made = ward.probe([C], ids=[known.id], temperature=1.0, top_p=1.0, min_p=0.0)
    (line,) = said(check_probe, ward.examine(change, probe=made))
    assert line.startswith("fine:") and f"the phase has {key} {value}, which laconic probe leaves at" in line
    other = ward.probe([C], ids=[known.id], temperature=1.0, **{key: value})
    assert levels(check_probe, ward.examine(probe=other)) == ["warning"]


def test_the_command_for_a_probe_names_a_grader_of_ones_own(ward):
    (ward.folder / "mine.py").write_text("def grade(response, problem):\n    return True\n")
    command = ward.examine(f"grader={ward.folder / 'mine.py'}:grade").missing["probe"].remedy
    assert f"--grader {ward.folder / 'mine.py'}:grade" in command


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


LIKELIHOOD = "old_logprobs='current'"
UNCOMPARED = {
    "sft": (f"{{name='sft', {LIKELIHOOD}}}", "offline"),
    "pairs by length": (f"{{name='dpo', {LIKELIHOOD}, aggregation='sum'}}", "offline"),
    "extremes": (f"{{name='simpo', {LIKELIHOOD}, options={{pairs='extremes'}}}}", "offline"),
    "rewards, whitened": ("{name='reinforce_pp'}", "on_policy"),
    "rewards": ("{name='reinforce'}", "on_policy"),
    "o1_pruner": ("{name='o1_pruner', ratio='sequence'}", "offline"),
    "a teacher": ("{name='distill', reference_instruction='be_concise'}", "on_policy"),
    "a teacher's logits": (
        "{name='logit_distill', reference_model='tiny', kl_coef=1.0, kl_in='loss', kl_estimator='exact'}",
        "on_policy",
    ),
}


@pytest.mark.parametrize("kind", UNCOMPARED)
def test_what_compares_no_pay_inside_a_group_trains_on_uniform_ones(ward, kind):
    """Always solved is the best case of SFT; pairs by length, baselines of the step and teachers need no difference in pay."""
    algorithm, rollouts = UNCOMPARED[kind]
    changes = [f"phases.first.algorithm={algorithm}", f"phases.first.rollouts={rollouts}"]
    always = ward.probe([C] * 16, [C] * 16)
    line = said(check_uniform_groups, ward.examine(*changes, probe=always))[0]
    assert line.startswith("fine: phases.first.group_size: ") and line.endswith(" trains on them too")
    if kind in ("sft", "rewards, whitened", "rewards", "a teacher", "a teacher's logits"):
        single = [*changes, "phases.first.group_size=1"]
        assert levels(check_uniform_groups, ward.examine(*single, probe=ward.probe([C, W] * 8)))[0] == "fine"


def test_groups_that_a_recipe_leaves_out_teach_nothing_whatever_the_algorithm(ward):
    drops = "phases.first.algorithm={name='reinforce', uniform_groups='drop'}"
    line = said(check_uniform_groups, ward.examine(drops, probe=ward.probe([C] * 16)))[0]
    assert line.startswith("error: ") and 'uniform_groups="drop" leaves reinforce none' in line


@pytest.mark.parametrize("kind", ["sft", "pairs by length", "extremes"])
def test_what_learns_correct_answers_needs_one(ward, kind):
    algorithm, rollouts = UNCOMPARED[kind]
    changes = [f"phases.first.algorithm={algorithm}", f"phases.first.rollouts={rollouts}"]
    line = said(check_uniform_groups, ward.examine(*changes, probe=ward.probe([W] * 16)))[0]
    assert line.startswith("error: ") and "no attempt at a selected problem was correct" in line


@pytest.mark.parametrize(
    ("terms", "grades", "level"),
    [
        ("[{name='linear_length', weight=0.1}]", [C] * 16, "fine"),
        ("[{name='linear_length', weight=0.1}]", [W] * 16, "fine"),  # it prices every answer
        ("[{name='laser_d', weight=0.1}]", [W] * 16, "error"),  # its bonus is for correct answers alone
        ("[{name='truncation'}]", [W] * 16, "error"),  # nothing that is wrong earns more than nothing
        ("[{name='overlong'}]", [W] * 16, "error"),
        ("[{name='overlong'}]", [C] * 16, "error"),
        ("[{name='overlong'}]", [W, T] * 8, "warning"),  # what is cut off earns less, wherever some of it is
        ("[{name='kimi_length', weight=0.1}]", [C] * 16, "fine"),
        ("[{name='hapo'}]", [C] * 16, "fine"),  # it pays by the shortest that it remembers
        ("[{name='short_rl'}]", [C] * 16, "fine"),
        ("[{name='hapo'}]", [W] * 16, "error"),
        ("[{name='kimi_length', weight=0.1}]", [W] * 16, "fine"),  # of wrong ones the longer earn less
    ],
)
def test_only_terms_that_pay_such_groups_differently_tell_them_apart(ward, terms, grades, level):
    """RLOO on problems that are always or never solved; the levels are those of the default."""
    changes = ["phases.first.algorithm={name='rloo'}", f"phases.first.rewards.terms={terms}"]
    assert levels(check_uniform_groups, ward.examine(*changes, probe=ward.probe(grades)))[0] == level


# --- a cold start ----------------------------------------------------------------------------------------------------

LEARNS_TEXTS = ("phases.first.rollouts=solutions", f"phases.first.algorithm={{name='sft', {LIKELIHOOD}}}")


@pytest.mark.parametrize(("check", "grade"), [(check_truncation, T), (check_answer_form, N)])
def test_a_cold_start_is_not_refused_for_what_it_cures(ward, check, grade):
    """A base that never ends, or never writes a box: an error for RL, a warning where the first phase learns from solutions."""
    probe = ward.probe([grade] * 16)
    assert "error" in levels(check, ward.examine(probe=probe))
    cured = levels(check, ward.examine(*LEARNS_TEXTS, probe=probe))
    assert "error" not in cured and "warning" in cured


def test_groups_of_own_texts_are_none_to_compare(ward):
    line = said(check_uniform_groups, ward.examine(*LEARNS_TEXTS, probe=ward.probe([W] * 16)))[0]
    assert line == "fine: phases.first.group_size: sft learns from the problems' own texts, whatever the probe solved"


# --- pressure --------------------------------------------------------------------------------------------------------


def test_credit_decays_by_gamma_times_lambda(ward):
    """Lambda 1 alone says nothing of length; gamma 0.99 pushes below a third solved, and the horizon is 100 tokens."""
    half = ward.probe([C, W, W, W])
    flat = [*BREVITY, "phases.first.algorithm.gae_lambda=1.0"]
    assert "no first-order push" in said(check_pressure, ward.examine(*flat, probe=half))[0]
    line = said(check_pressure, ward.examine(*flat, "phases.first.algorithm.gamma=0.99", probe=half))[0]
    assert "Expect longer responses" in line and "about the last 100 tokens" in line
    assert "(credit decays by gamma 0.99 x lambda 1 = 0.99 per token)" in line


@pytest.mark.parametrize(
    ("options", "level"), [("keep=0.5", "fine"), ("keep=1.0", "warning"), ("by_efficiency=true", "warning")]
)
def test_ranking_by_shortness_shortens(ward, options, level):
    """GFPO on the shortest half of a group, on the whole group, and on the half of the highest reward per token."""
    change = f"phases.second.algorithm={{name='gfpo', options={{{options}}}}}"
    line = said(check_pressure, ward.examine(change))[1]
    assert line.startswith(f"{level}: phases.second.rewards: Expect {'shorter' if level == 'fine' else 'no first'}")


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


def test_failures_that_earn_more_than_a_wrong_answer_are_priced_so_too(ward):
    """3 of 8 solved and the rest cut off, which costs nothing where a wrong answer costs 1: the mean is +0.375, not -0.25."""
    levels_of = [f"phases.first.rewards.{name}" for name in ("wrong=-1.0", "no_answer=-1.0", "truncated=0.0")]
    cut = ward.probe([C] * 3 + [Grade.TRUNCATED] * 5)
    assert levels(check_pressure, ward.examine(*BREVITY, *levels_of, probe=cut))[0] == "fine"
    assert (
        levels(check_pressure, ward.examine(*BREVITY, *levels_of, probe=ward.probe([C] * 3 + [W] * 5)))[0] == "warning"
    )


def test_standardised_rewards_press_on_no_length(ward):
    """Whatever was probed: their mean is 0."""
    for grades in ([C, W, W, W], [C, C, C, W]):
        examined = ward.examine(*BREVITY, "phases.first.rewards.standardize=true", probe=ward.probe(grades))
        assert "Expect no first-order push on length" in said(check_pressure, examined)[0]


def test_a_band_that_says_no_ends_has_its_usual_ones(ward):
    """0.3 to 0.9: with failures that cost nothing the mean reward is positive at both."""
    free = [f"phases.first.rewards.{name}=0.0" for name in ("wrong", "no_answer", "truncated")]
    assert levels(check_pressure, ward.examine(*BREVITY, *free, "phases.first.select.how=band"))[0] == "fine"


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

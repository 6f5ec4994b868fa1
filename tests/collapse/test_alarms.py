"""Alarms on synthetic logs: each is raised by its own collapse and by no other, none by a phase that is well, and a vigil that is
shown the same lines raises the same alarms."""

from collections.abc import Sequence
from typing import Any

import pytest

from laconic.collapse.alarms import ALARMS, Applicability
from laconic.collapse.idle import why_nothing_learnt
from laconic.collapse.vigil import RaisedAlarm, Vigil
from laconic.config.phase import AlarmsConfig
from laconic.recipes.find import recipe_paths

HEALTHY = {
    "rollouts/accuracy_frac": 0.6,
    "rollouts/mean_tokens": 80.0,
    "rollouts/truncated_frac": 0.1,
    "rollouts/no_answer_frac": 0.01,
    "rollouts/ungradable_frac": 0.0,
    "rollouts/uniform_groups_frac": 0.3,
    "rollouts/reward_std": 0.5,
    "rollouts/repeated_frac": 0.05,
    "rollouts/end_probability_frac": 0.99,
    "update/entropy_nats": 0.1,
    "update/ref_kl_nats": 0.001,
    "update/step_kl_nats": 0.001,
    "update/policy_grad_norm": 0.3,
}

COLLAPSES: dict[str, dict[str, float]] = {
    "truncation": {"rollouts/truncated_frac": 0.95},
    "rewards": {"rollouts/uniform_groups_frac": 1.0, "rollouts/reward_std": 0.0},
    "lengths": {"rollouts/mean_tokens": 20.0, "rollouts/accuracy_frac": 0.3},
    "entropy": {"update/entropy_nats": 0.01},
    "repetition": {"rollouts/repeated_frac": 0.7},
    "ending": {"rollouts/truncated_frac": 0.6},
    "kl": {"update/ref_kl_nats": 3.0},
    "format": {"rollouts/no_answer_frac": 0.8},
}
"""What each collapse makes of the healthy figures."""

ALSO = {"truncation": {"ending"}}
"""What is raised beside it: responses that are all cut off do not end by themselves."""


def lines(*steps: dict[str, Any]) -> list[dict[str, Any]]:
    """Lines of metrics.jsonl from what each step differs in from the healthy figures."""
    return [HEALTHY | step | {"step": number} for number, step in enumerate(steps, 1)]


def raised(log: Sequence[dict[str, Any]], num_steps: int = 40, **settings: Any) -> list[RaisedAlarm]:
    """The alarms that a log raises; `settings` are of the recipe, or of the phase's kind."""
    kind = {key: settings.pop(key) for key in list(settings) if key in Applicability.__dataclass_fields__}
    vigil = Vigil("p", AlarmsConfig(**settings), num_steps, Applicability(**kind))
    return [alarm for line in log for alarm in vigil.see(line)]


def test_the_table_has_a_row_for_each_key_of_the_recipe_and_says_what_to_try() -> None:
    """Eight alarms, each with a lever in the recipe."""
    assert list(ALARMS) == [key for key in AlarmsConfig.model_fields if key != "steps"] and len(ALARMS) == 8
    assert all("{phase}." in alarm.lever for alarm in ALARMS.values())


def test_every_collapse_has_an_example_and_a_recipe_that_provokes_it() -> None:
    assert list(COLLAPSES) == list(ALARMS)
    assert {f"collapse/{name}" for name in ALARMS} <= recipe_paths().keys()


@pytest.mark.parametrize("name", COLLAPSES)
def test_a_collapse_raises_its_alarm_and_no_other(name: str) -> None:
    """Two healthy steps, then the collapse from step 3 on: three steps of five show it at step 5. It is raised once."""
    found = raised(lines({}, {}, *[COLLAPSES[name]] * 6))
    assert {alarm.name for alarm in found} == {name} | ALSO.get(name, set())
    own = next(alarm for alarm in found if alarm.name == name)
    assert (own.step, own.since, own.action) == (5, 1, "warn")
    assert "phases.p." in own.text and "{" not in own.text and len(own.line) < 250


@pytest.mark.parametrize("name", COLLAPSES)
def test_a_collapse_that_does_not_last_raises_nothing(name: str) -> None:
    """Two steps of each five, again and again; three of five do."""
    assert raised(lines({}, *[COLLAPSES[name], {}, COLLAPSES[name], {}, {}] * 4)) == []
    assert raised(lines({}, *[COLLAPSES[name], {}, COLLAPSES[name], {}, COLLAPSES[name]] * 4))


@pytest.mark.parametrize("name", COLLAPSES)
def test_an_alarm_that_is_off_is_not_raised(name: str) -> None:
    found = raised(lines({}, *[COLLAPSES[name]] * 6), **{name: "off"})
    assert {alarm.name for alarm in found} == ALSO.get(name, set())


@pytest.mark.parametrize("name", COLLAPSES)
def test_a_vigil_that_reads_the_log_again_goes_on_the_same(name: str) -> None:
    """Cut anywhere: what the first part and then the second raise is what the whole raises."""
    log = lines({}, *[COLLAPSES[name]] * 5, *[{}] * 9, *[COLLAPSES[name]] * 5)
    whole = raised(log)
    assert [alarm.step for alarm in whole if alarm.name == name] == [5, 18]
    for cut in range(len(log)):
        resumed = Vigil("p", AlarmsConfig(), 40, Applicability())
        before = [alarm for line in log[:cut] for alarm in resumed.see(line)]
        assert before + [alarm for line in log[cut:] for alarm in resumed.see(line)] == whole


def test_a_phase_that_shortens_as_it_is_meant_to_raises_nothing() -> None:
    """From 80 tokens by 2 a step to 24, which is 70% less; accuracy keeps, entropy falls to 0.35 of its first value."""
    log = lines(*[{"rollouts/mean_tokens": 80.0 - 2 * i, "update/entropy_nats": 0.1 - 0.0023 * i} for i in range(29)])
    assert raised(log) == []


def test_a_phase_that_thinks_longer_and_is_more_often_right_raises_nothing() -> None:
    """From 80 tokens to 400, and from 0.3 correct to 0.8."""
    log = lines(*[{"rollouts/mean_tokens": 80.0 + 11 * i, "rollouts/accuracy_frac": 0.3 + i / 58} for i in range(30)])
    assert raised(log) == []
    longer = lines(*[{"rollouts/mean_tokens": 80.0 + 11 * i} for i in range(30)])
    assert [alarm.name for alarm in raised(longer)] == ["lengths"]


def test_a_phase_in_which_nothing_was_correct_does_not_crash_by_becoming_shorter() -> None:
    """Hard problems: 0% before and after, and half as long."""
    log = lines(*[{"rollouts/mean_tokens": 200.0 - 5 * i, "rollouts/accuracy_frac": 0.0} for i in range(22)])
    assert "lengths" not in [alarm.name for alarm in raised(log)]


def test_a_tight_cap_that_responses_learn_to_fit_raises_nothing() -> None:
    """97% are cut off in the first step, and 4 points less in each that follows."""
    assert raised(lines(*[{"rollouts/truncated_frac": max(0.0, 0.97 - 0.04 * i)} for i in range(20)])) == []
    assert [alarm.name for alarm in raised(lines(*[{"rollouts/truncated_frac": 0.97}] * 20))] == ["truncation"]


def test_a_short_phase_is_warned_sooner() -> None:
    """An eighth of 16 steps are two, and of 4 steps too, since one step may be chance; four steps of seven with `steps = 7`."""
    collapse = lines({}, *[COLLAPSES["kl"]] * 6)
    assert [alarm.step for alarm in raised(collapse, num_steps=16)] == [3]
    assert [alarm.step for alarm in raised(collapse, num_steps=4)] == [3]
    assert [alarm.step for alarm in raised(collapse, num_steps=400, steps=7)] == [7]


def test_a_step_without_an_update_counts_neither_way() -> None:
    """Entropy is unknown in step 3; of the five values that are known at step 6 three are near 0."""
    ill = COLLAPSES["entropy"]
    log = lines({}, ill, {"update/entropy_nats": None}, ill, ill, {}, {})
    assert [alarm.step for alarm in raised(log)] == [6]


@pytest.mark.parametrize(
    ("name", "ill", "missing"),
    [
        ("entropy", COLLAPSES["entropy"], "update/entropy_nats"),
        ("kl", COLLAPSES["kl"], "update/step_kl_nats"),
        ("kl", COLLAPSES["kl"], "update/ref_kl_nats"),
        ("ending", {"rollouts/end_probability_frac": 0.3}, "rollouts/end_probability_frac"),
        ("lengths", COLLAPSES["lengths"], "rollouts/accuracy_frac"),
    ],
)
def test_an_alarm_says_which_steps_it_read_where_some_lack_its_figure(
    name: str, ill: dict[str, float], missing: str
) -> None:
    """Step 1 is well and step 2 is not, steps 3 to 12 lack a figure, which is there again from 13 on: the fifth value is that of
    step 15, so that its alarm has read steps 1, 2, 13, 14 and 15. Only what was before step 1 is from before all that."""
    (alarm,) = raised(lines({}, ill, *[ill | {missing: None}] * 10, ill, ill, ill))
    assert (alarm.name, alarm.step, alarm.since) == (name, 15, 1)


def test_a_vigil_knows_how_far_back_its_next_alarm_may_read() -> None:
    """The five newest steps; with an entropy that the last four lack, those of its own. What is off is not read."""
    log = [*lines(*[{}] * 8), *[HEALTHY | {"step": step, "update/entropy_nats": None} for step in range(9, 13)]]
    vigils = [Vigil("p", AlarmsConfig(**off), 40, Applicability()) for off in ({}, {"entropy": "off"})]
    assert [vigil.since for vigil in vigils] == [None, None]
    for line in log:
        assert [vigil.see(line) for vigil in vigils] == [[], []]
    assert [vigil.since for vigil in vigils] == [4, 8]


def test_groups_are_not_compared_by_an_algorithm_with_a_critic() -> None:
    """There uniform groups still teach, as long as the rewards of the step differ; with equal rewards nothing does."""
    uniform = {"rollouts/uniform_groups_frac": 1.0}
    assert raised(lines({}, *[uniform] * 6), compares_groups=False) == []
    equal = lines({}, *[COLLAPSES["rewards"]] * 6)
    assert [alarm.name for alarm in raised(equal, compares_groups=False)] == ["rewards"]
    assert raised(equal, reads_rewards=False) == []


def test_rollouts_that_do_not_change_raise_only_what_concerns_the_policy() -> None:
    """Written solutions are cut off, long and certain from the first step to the last, whatever the policy does."""
    log = lines({}, *[figures for name, figures in COLLAPSES.items() if name not in ("kl", "rewards")] * 4)
    assert raised(log, draws_rollouts=False) == []
    assert [alarm.name for alarm in raised(lines({}, *[COLLAPSES["kl"]] * 6), draws_rollouts=False)] == ["kl"]


def test_a_teacher_is_far_from_the_beginning() -> None:
    """A KL of 2 nats that falls to 1.3 is what distillation is for; 4 is twice as far as it was. Any other reference is the
    policy that entered the phase."""
    log = lines(*[{"update/ref_kl_nats": 2.0 - 0.1 * i} for i in range(8)])
    assert raised(log, has_teacher=True) == []
    assert [alarm.name for alarm in raised(log)] == ["kl"]
    away = lines({"update/ref_kl_nats": 2.0}, *[{"update/ref_kl_nats": 4.0}] * 4)
    assert [alarm.name for alarm in raised(away, has_teacher=True)] == ["kl"]


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), "much", True])
def test_a_figure_that_is_no_number_is_not_judged(value: object) -> None:
    """Neither an alarm nor an error, in the first step or later."""
    for key in HEALTHY:
        assert raised(lines(*[{key: value}] * 5)) == raised(lines({}, *[{key: value}] * 5)) == []


def test_an_alarm_is_raised_again_after_a_recovery() -> None:
    """Four healthy steps do not re-arm it, since of five steps most must be healthy, five times; nine do."""
    ill, well = [COLLAPSES["format"]] * 5, {}
    assert [alarm.step for alarm in raised(lines(well, *ill, *[well] * 4, *ill))] == [5]
    assert [alarm.step for alarm in raised(lines(well, *ill, *[well] * 9, *ill))] == [5, 18]


# --- a step that taught nothing --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("figures", "reason"),
    [
        ({}, "no group was admitted"),
        ({"rollouts/truncated_frac": 1.0}, "every response was cut off at the cap"),
        ({"rollouts/uniform_groups_frac": 1.0}, "in every group all rewards are the same, 60% correct"),
        ({"rollouts/accuracy_frac": None}, "no response could be graded"),
        ({"rollouts/admitted_frac": 1.0}, "the algorithm found nothing to learn from, 60% correct"),
        ({"update/policy_grad_norm": 0.0}, "no group was admitted"),
        ({"update/policy_grad_norm": 0.2}, None),
        ({"update/critic_grad_norm": 0.2}, None),
    ],
)
def test_a_step_that_taught_nothing_says_why(figures: dict[str, Any], reason: str | None) -> None:
    """A gradient of the policy or of the critic, or the reason for which there was none."""
    rollouts = {key: value for key, value in HEALTHY.items() if key.startswith("rollouts/")}
    assert why_nothing_learnt(rollouts | {"rollouts/admitted_frac": 0.0} | figures) == reason

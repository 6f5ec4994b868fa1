"""When a phase ends, and which step it hands on."""

import json
from types import SimpleNamespace

import pytest

from laconic.collapse.alarms import Applicability
from laconic.collapse.vigil import RaisedAlarm, Vigil
from laconic.config.phase import EndConfig, PhaseConfig
from laconic.training.phase import PhaseRun
from laconic.training.phase_end import PhaseRecord, Watch, best_before, best_watch, judge

START = Watch(0, 0.60, 100.0)


def phase(**end):
    return PhaseConfig(name="p", steps=20, end=EndConfig(**end))


def test_a_phase_goes_on_while_nothing_speaks_against_it():
    """Better accuracy, no cap reached: not over."""
    assert judge([START, Watch(5, 0.65, 90.0)], phase(), 5) is None


def test_the_cap_hands_on_the_last_or_the_best_step_and_says_which():
    """keep = "last" and keep = "best" differ in the result step and in the reason."""
    watches = [START, Watch(10, 0.80, 90.0), Watch(20, 0.75, 80.0)]
    last, best = judge(watches, phase(), 20), judge(watches, phase(keep="best"), 20)
    assert last is not None and best is not None and (last.result_step, best.result_step) == (20, 10)
    assert "the last step 20" in last.reason and "the best watched step 10" in best.reason


def test_the_guard_rolls_back_to_the_best_step():
    """0.80 - 0.65 = 0.15 is more than 0.1: over, back to the step that had 0.80."""
    ending = judge([START, Watch(5, 0.80, 90.0), Watch(10, 0.65, 60.0)], phase(guard_drop=0.1), 10)
    assert ending is not None and ending.result_step == 5 and "rolled back to step 5" in ending.reason


@pytest.mark.parametrize(("before", "after"), [(0.8, 0.7), (0.9, 0.8), (0.7, 0.6), (0.85, 0.75), (0.3, 0.2)])
def test_a_fall_by_just_the_guard_is_no_more_than_the_guard(before, after):
    """However floating point rounds the difference: it goes on, and the goal "tokens" may keep that step."""
    watches = [Watch(0, before, 100.0), Watch(5, after, 60.0)]
    assert judge(watches, phase(guard_drop=0.1), 5) is None
    assert best_watch(watches, EndConfig(goal="tokens", guard_drop=0.1)).step == 5


def test_the_guard_can_roll_back_to_where_the_phase_began():
    """No watch was better than the beginning."""
    assert judge([START, Watch(5, 0.40, 20.0)], phase(guard_drop=0.1), 5).result_step == 0


def test_without_a_guard_accuracy_may_fall():
    """guard_drop none."""
    assert judge([START, Watch(5, 0.10, 20.0)], phase(guard_drop=None), 5) is None


def test_a_plateau_needs_as_many_watches_as_patience():
    """Two watches without a better step end it at patience 2, one does not."""
    watches = [START, Watch(5, 0.70, 90.0), Watch(10, 0.68, 90.0), Watch(15, 0.69, 90.0)]
    assert judge(watches[:3], phase(patience=2), 10) is None
    ending = judge(watches, phase(patience=2, keep="best"), 15)
    assert ending is not None and ending.result_step == 5 and ending.reason.startswith("plateau")


def test_the_goal_tokens_prefers_short_steps_whose_accuracy_holds():
    """60 tokens at 0.40 are below the floor 0.60 - 0.10; 70 tokens at 0.55 are the best."""
    watches = [START, Watch(5, 0.55, 70.0), Watch(10, 0.40, 60.0), Watch(15, 0.90, 80.0)]
    assert best_watch(watches, EndConfig(goal="tokens", guard_drop=0.1)).step == 5
    assert best_watch(watches, EndConfig(goal="accuracy")).step == 15
    assert best_watch(watches, EndConfig(goal="tokens", guard_drop=None)).step == 10


def alarm(action, since=6):
    """A KL alarm of step 8."""
    return RaisedAlarm("kl", 8, since, "the KL is 3 nats; lower phases.p.optimizer.lr", action)


def test_an_alarm_that_stops_a_phase_keeps_the_step_that_the_recipe_keeps():
    """Accuracy held, so the guard is silent; the reason names the alarm, what was seen, and the lever."""
    watches = [START, Watch(5, 0.70, 90.0), Watch(8, 0.65, 60.0)]
    last, best = (judge(watches, phase(keep=keep), 8, alarm("stop")) for keep in ("last", "best"))
    assert last is not None and best is not None and (last.result_step, best.result_step) == (8, 5)
    assert last.reason.startswith("alarm kl: the KL is 3 nats; lower phases.p.optimizer.lr; kept the last")


def test_an_alarm_that_rolls_back_does_so_to_a_step_from_before_its_sign():
    """Step 7 has the fewest tokens, and the sign was there since 6: of 0 and 5 the latter is best. At 4 only 0 is left."""
    watches = [START, Watch(5, 0.60, 90.0), Watch(7, 0.58, 20.0), Watch(8, 0.58, 30.0)]
    ending = judge(watches, phase(goal="tokens"), 8, alarm("rollback"))
    assert ending is not None and ending.result_step == 5 and ending.reason.endswith("rolled back to step 5")
    assert judge(watches, phase(goal="tokens"), 8, alarm("rollback", since=4)).result_step == 0
    assert best_before(watches, float("inf"), EndConfig(goal="tokens")).step == 7


def kept_after(step, watches, lines, **end):
    """The steps whose checkpoints a phase keeps, whatever their age, when it saves the one of `step`."""
    config, kept = phase(**end), []
    vigil = Vigil("p", config.end.alarms, 40, Applicability())
    for line in lines:
        vigil.see(line)
    saved = SimpleNamespace(save=lambda state, always: kept.append(always))
    now = SimpleNamespace(
        phase=SimpleNamespace(config=config),
        step=step,
        vigil=vigil,
        watches=watches,
        finished=(),
        run=SimpleNamespace(checkpoints=saved),
        state=lambda: None,
    )
    PhaseRun.save(now)
    return kept[0]


def test_what_an_alarm_may_roll_back_to_is_kept():
    """Steps 8 and 9 had no update, so that an alarm of step 12 has read the entropy since step 6, and goes back to 5 though 7 is
    better. Where no step lacks it, an alarm reads from 8 on."""
    watches = [START, Watch(5, 0.60, 90.0), Watch(7, 0.60, 20.0), Watch(12, 0.58, 30.0)]
    full = [{"step": step, "update/entropy_nats": 0.1} for step in range(1, 13)]
    gap = [line | ({"update/entropy_nats": None} if line["step"] in (8, 9) else {}) for line in full]
    assert kept_after(12, watches, full, goal="tokens") == {7}
    assert kept_after(12, watches, gap, goal="tokens") == {5, 7}


def test_the_guard_comes_before_an_alarm():
    """Both speak for the end; the guard has seen the watched problems."""
    ending = judge([START, Watch(8, 0.30, 60.0)], phase(guard_drop=0.1), 8, alarm("stop"))
    assert ending is not None and ending.reason.startswith("guard") and ending.result_step == 0


@pytest.mark.parametrize("goal", ["accuracy", "tokens"])
def test_of_equal_watches_the_earliest_is_best(goal):
    """Ties do not move the result on."""
    assert best_watch([START, Watch(5, 0.60, 100.0)], EndConfig(goal=goal)).step == 0


def test_a_record_survives_json():
    """phases.json reads back to equal records."""
    record = PhaseRecord("a", "ppo", 1, 20, 10, "cap", 8, (START, Watch(10, 0.8, 90.0)))
    assert PhaseRecord.from_json(json.loads(json.dumps(record.to_json())), "phases.json") == record

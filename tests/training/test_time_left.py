"""How long a run still takes: the work that is left, the pace, and both together on a run under a clock of our own."""

from dataclasses import replace
from itertools import product

import pytest
from small import save_small_model, small_recipe

from laconic.config.phase import PhaseConfig
from laconic.config.recipe import Recipe
from laconic.problems.sets import ProblemSets, load_problem_sets
from laconic.samplers.local import LocalSampler
from laconic.system import progress
from laconic.system.progress import Reporter
from laconic.training import time_left
from laconic.training.estimators import most_paired
from laconic.training.measure_run import measure_base, measure_run
from laconic.training.preferences import PAIRS, Candidate
from laconic.training.run import start
from laconic.training.time_left import (
    EMBEDDED_WEIGHTS,
    Measured,
    Pace,
    PhasePlan,
    Position,
    RunPlan,
    WorkLeft,
    plan_of,
    work_left,
)
from laconic.training.updates import Updater
from laconic.types import Problem

FOUR_STEPS = PhasePlan(steps=4, per_step=10, cap=1000, epochs=1)


def test_responses_become_shorter_by_the_assumed_share(monkeypatch):
    """40% over four steps are 10 tokens per step: after step 2 from 100 tokens to 80, 90 in the middle, 2 x 10 x 90 tokens."""
    monkeypatch.setattr(time_left, "ASSUMED_FALL", 0.4)
    at = Position(index=0, phase_step=2, mean_lengths=[100.0], lengths=[100] * 10)
    assert work_left(RunPlan((FOUR_STEPS,)), at) == WorkLeft(1800.0, 1800.0)


def test_the_newest_three_steps_say_how_long_responses_are(monkeypatch):
    """The mean of 90, 100 and 110 is 100; the 900 before them is forgotten. 2 steps of 10 responses are left."""
    monkeypatch.setattr(time_left, "ASSUMED_FALL", 0.0)
    at = Position(index=0, phase_step=2, mean_lengths=[900.0, 90.0, 100.0, 110.0], lengths=[100] * 10)
    assert work_left(RunPlan((FOUR_STEPS,)), at) == WorkLeft(2000.0, 2000.0)


def test_as_many_responses_are_expected_as_the_newest_step_had(monkeypatch):
    """Groups that were drawn again: 20 responses in place of 10, in each of 2 steps."""
    monkeypatch.setattr(time_left, "ASSUMED_FALL", 0.0)
    at = Position(index=0, phase_step=2, mean_lengths=[100.0], lengths=[100] * 20)
    assert work_left(RunPlan((FOUR_STEPS,)), at).sampled_tokens == 4000.0


def test_a_later_phase_is_counted_with_its_probe_its_watches_and_its_cap(monkeypatch):
    """Nothing falls here. Half of the responses have 150 tokens and are cut at 50: the mean of 100 becomes 50. A probe of 8 and
    watches of 3 before the phase and after its steps 2 and 3 are 17 responses; 3 steps of 10 responses are trained on twice."""
    monkeypatch.setattr(time_left, "ASSUMED_FALL", 0.0)
    later = PhasePlan(steps=3, per_step=10, cap=50, num_probed=8, num_watched=3, watch_every=2, epochs=2)
    at = Position(index=0, phase_step=4, mean_lengths=[100.0], lengths=[50, 150])
    assert work_left(RunPlan((FOUR_STEPS, later)), at) == WorkLeft(50 * (17 + 30), 50 * 30 * 2)


def test_watches_are_counted_without_going_through_the_steps():
    """As many as there are multiples of `watch_every` among the steps to come, and the last step if it is none."""
    for steps, every in product(range(1, 8), range(1, 9)):
        plan = replace(FOUR_STEPS, steps=steps, watch_every=every)
        for done in range(steps + 1):
            later = range(done + 1, steps + 1)
            assert plan.watches_after(done) == sum(step % every == 0 or step == steps for step in later)
    assert replace(FOUR_STEPS, steps=10**30, watch_every=3).watches_after(1) == (10**30 - 1) // 3 + 1


def test_rollouts_that_are_kept_are_not_drawn_again_and_stay_as_long():
    """Two steps of 10 responses are trained on and not sampled."""
    at = Position(index=0, phase_step=2, mean_lengths=[100.0], lengths=[100] * 10)
    assert work_left(RunPlan((replace(FOUR_STEPS, is_kept=True),)), at) == WorkLeft(0.0, 2000.0)


def test_models_are_measured_at_the_lengths_that_are_known_of_them(monkeypatch):
    """In the last of two phases, done: the base has 90 tokens, the result of phase 1 has 70, that of phase 2 has 50 like the last
    step. Only what is unmeasured counts: 6 responses each, and 7 tokens for each of two evaluations beside its responses."""
    monkeypatch.setattr(time_left, "EVALUATION_TOKENS", 7)
    plan = RunPlan((FOUR_STEPS, FOUR_STEPS), num_reported=6, num_evaluations=2)
    at = Position(1, 4, [50.0], [50] * 10, entry_tokens={0: 90.0, 1: 70.0}, unmeasured=[0, 1, 2])
    assert work_left(plan, at).sampled_tokens == 6 * (90 + 70 + 50) + 3 * 14
    assert work_left(plan, replace(at, unmeasured=[1, 2])).sampled_tokens == 6 * (70 + 50) + 2 * 14
    assert work_left(plan, replace(at, unmeasured=[])) == WorkLeft()
    larger = replace(plan, num_weights=7 * EMBEDDED_WEIGHTS)
    assert work_left(larger, replace(at, unmeasured=[2])).sampled_tokens == pytest.approx(6 * 50 + 2)


def test_before_the_first_step_all_of_the_first_phase_is_left(monkeypatch):
    """One watch before and one after, 3 responses each, and 4 steps of 10."""
    monkeypatch.setattr(time_left, "ASSUMED_FALL", 0.0)
    phase = replace(FOUR_STEPS, num_watched=3, watch_every=4)
    assert work_left(RunPlan((phase,)), Position(0, 0, [100.0], [100])) == WorkLeft(100 * (6 + 40), 100 * 40)


def test_one_slow_step_says_nothing_and_three_do():
    """A second per token, then ten seconds: the median of five moves with the third."""
    pace, seen = Pace(), []
    for seconds in (1.0, 1.0, 1.0, 1.0, 1.0, 10.0, 10.0, 10.0):
        pace.sampling.append(Measured(seconds, 10))
        seen.append(pace.seconds(WorkLeft(sampled_tokens=2.0)))
    assert seen == [2.0] * 7 + [20.0]


def test_small_tasks_weigh_little():
    """Three watches of ten tokens, slow for their size, say less than two steps of a hundred."""
    pace = Pace()
    pace.sampling += [Measured(9.0, 10), Measured(9.0, 10), Measured(1.0, 100), Measured(9.0, 10), Measured(1.0, 100)]
    assert pace.seconds(WorkLeft(sampled_tokens=2.0)) == 2.0


def test_the_plan_is_that_of_the_recipe(tmp_path):
    """The small recipe: a probe of 8 problems x 2, four steps of 3 problems x 4, watches of 4 problems every second step; then 4
    problems with 2 samples at T=1 and a greedy one."""
    recipe = small_recipe(save_small_model(tmp_path / "model"))
    plan = plan_of(recipe, load_problem_sets(recipe))
    first = PhasePlan(steps=4, per_step=12, cap=12, epochs=1, num_probed=16, num_watched=4, watch_every=2)
    assert plan == RunPlan((first, replace(first, steps=3, num_probed=0)), num_reported=4 * 2 + 4, num_evaluations=2)


def test_what_an_algorithm_leaves_out_of_its_groups_takes_no_time(monkeypatch):
    """A phase that learns one response of four: all of them are drawn, a quarter is trained on."""
    monkeypatch.setattr(time_left, "ASSUMED_FALL", 0.0)
    picking = replace(FOUR_STEPS, trained_share=0.25)
    at = Position(index=0, phase_step=4, mean_lengths=[100.0], lengths=[100])
    assert work_left(RunPlan((FOUR_STEPS, picking)), at) == WorkLeft(4 * 10 * 100, 10 * 100)


@pytest.mark.parametrize(
    ("rule", "size", "most"), [("kimi", 8, 8), ("extremes", 8, 2), ("given", 2, 2), ("reward", 8, 4), ("reward", 3, 3)]
)
def test_as_many_of_a_group_are_paired_as_its_rule_says_at_most(rule, size, most):
    """The rewards' rule makes a pair of correct responses and one of the others. Held against the rule itself, on a group of
    which half is correct and each longer one earns less."""
    group = [Candidate(row, 10 * (row + 1) ** 2, -row, row < (size + 1) // 2) for row in range(size)]
    assert most_paired(size, rule) == most
    assert len({row for pair in PAIRS[rule](group) for row in pair}) <= most
    if rule == "reward" and size == 8:
        assert len({row for pair in PAIRS[rule](group) for row in pair}) == 4


def test_a_worked_solution_is_one_rollout():
    """Groups of 8 by default; 4 steps of 3 solutions train on 3 each."""
    tree = {"name": "p", "steps": 4, "problems_per_step": 3, "rollouts": "solutions"}
    phase = PhaseConfig.model_validate({**tree, "algorithm": {"name": "sft", "old_logprobs": "current"}})
    problems = {"train": "t", "watch": "w"}
    recipe = Recipe.model_validate({"name": "r", "model": "tiny", "problems": problems, "phases": [phase]})
    sets = ProblemSets(tuple(Problem(str(i), "?", "1") for i in range(9)), (), ())
    (plan,) = plan_of(recipe, sets).phases
    assert (plan.per_step, plan.trained_share, plan.num_offline) == (3, 1.0, 0)


class OurTime:
    """A clock that moves only when something is sampled or trained on; the first step of a run is five times as slow."""

    def __init__(self):
        self.now, self.num_updates = 0.0, 0

    def monotonic(self):
        return self.now

    def sample(self, plain):
        def sampling(*arguments, **options):
            rows = plain(*arguments, **options)
            self.now += 0.001 * sum(response.num_tokens for row in rows for response in row)
            return rows

        return sampling

    def update(self, plain):
        def updating(updater, experience, *arguments):
            self.num_updates += 1
            slow = 5 if self.num_updates == 1 else 1
            self.now += 0.002 * slow * int(experience.batch.lengths.sum())
            return plain(updater, experience, *arguments)

        return updating


@pytest.mark.parametrize("base_first", [True, False])
def test_from_the_third_step_on_every_estimate_is_within_a_third(tmp_path, monkeypatch, base_first):
    """Of all that the command still does, with the measuring of its models; also where the base is measured before training."""
    ours, estimates = OurTime(), []
    monkeypatch.setattr(LocalSampler, "sample", ours.sample(LocalSampler.sample))
    monkeypatch.setattr(Updater, "update", ours.update(Updater.update))
    monkeypatch.setattr(time_left, "EVALUATION_TOKENS", 0)
    monkeypatch.setattr(time_left, "time", ours)
    monkeypatch.setattr(progress, "time", ours)
    monkeypatch.setattr(Reporter, "step", lambda self, line, steps, left, logprob: estimates.append((ours.now, left)))
    recipe = small_recipe(save_small_model(tmp_path / "model"))
    trainer = start(recipe, tmp_path / "run", resume=False, reporter=Reporter(is_silent=True))
    if base_first:
        measure_base(trainer.run, lambda summary: None)
    trainer.train()
    measure_run(trainer.run, trainer.finished)
    errors = [left / (ours.now - then) - 1 for then, left in estimates]
    assert len(errors) == 7
    assert all(abs(error) < 1 / 3 for error in errors[2:]), errors


def test_a_resumed_run_estimates_from_its_own_steps(tmp_path):
    """Nothing is known of the pace before, and after its first step there is an estimate."""
    recipe, left = small_recipe(save_small_model(tmp_path / "model"), checkpoints={"every": 1, "keep": 2}), []

    class Stopping(Reporter):
        def step(self, line, steps, seconds_left, logprob):
            left.append(seconds_left)
            if len(left) == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        start(recipe, tmp_path / "run", resume=False, reporter=Stopping(is_silent=True)).train()
    trainer = start(recipe, tmp_path / "run", resume=True, reporter=Stopping(is_silent=True))
    assert not trainer.run.clock.mean_lengths
    trainer.train()
    assert len(left) == 2 + 6 and all(seconds > 0 for seconds in left)

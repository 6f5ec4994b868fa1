"""Our rewards as TRL calls them, without TRL: they pay what our own trainer pays, and refuse what they cannot serve."""

import json
import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from trl_caller import Caller, rows_of

import laconic
from laconic.config.phase import PhaseConfig
from laconic.config.rewards import RewardsConfig, RewardTermConfig
from laconic.config.solver import SamplerConfig
from laconic.errors import InputError, LaconicWarning, RunFailed
from laconic.integrations.in_trl import calls
from laconic.integrations.in_trl.calls import RewardCall, graded_rows
from laconic.integrations.in_trl.settings import read_trainer
from laconic.integrations.trl import callback, dataset, reward
from laconic.problems.load import load_problems
from laconic.prompts.instructions import BOXED_INSTRUCTION
from laconic.rewards.table import REWARDS, own_rewards
from laconic.rollouts.metrics import rollout_metrics
from laconic.rollouts.paying import Payer
from laconic.statistics.solve_rate import problem_stats
from laconic.types import Grade, Group

CAP, STEPS = 96, 3
OPTIONS: dict[str, dict[str, float | bool]] = {
    "laser": {"target_tokens": 80},
    "laser_d": {"every": 1},
    "laser_de": {"every": 1, "ngram_tokens": 6},
    "lead": {"min_target_tokens": 8},
    "acoer": {"window": 1, "warmup": 0, "min_budget_tokens": 8},
    "short_rl": {"length_tolerance": 2},
    "repetition": {"ngram_tokens": 4},
    "truncation": {"budget_tokens": 64},
}
"""Options with which a term remembers and pays within a few short steps."""
TERMS = [name for name in REWARDS if name != "levels"]


@pytest.fixture(scope="module")
def lm() -> Any:
    return laconic.load_model("tiny")


@pytest.fixture(scope="module")
def steps(lm: Any) -> list[list[Group]]:
    """Graded groups of three steps, of the same problems, probed and under a budget; one response could not be graded."""
    solver = laconic.open_solver(lm)
    problems = laconic.load_problems("tiny:mix?count=5&split=train")
    decoding = SamplerConfig(max_tokens=CAP)
    with solver.grader:
        drawn = [solver.attempt(problems, 4, decoding, seed=step) for step in range(STEPS)]
    known = [
        [replace(g, ref_mean_tokens=60.5 + n, ref_solve_rate=0.5, budget_tokens=50 + n) for n, g in enumerate(groups)]
        for groups in drawn
    ]
    grades = {rollout.grade for groups in known for group in groups for rollout in group.rollouts}
    assert {Grade.CORRECT, Grade.WRONG} <= grades, "the steps hold too little to compare"
    return known


def trainer_of(lm: Any, *functions: Any, **arguments: Any) -> Caller:
    return Caller(lm.tokenizer, lm.stop_ids, functions, **arguments)


def rows(lm: Any, groups: Sequence[Group]) -> list[dict[str, Any]]:
    return rows_of(groups, lm.tokenizer, BOXED_INSTRUCTION)


def paid_by_us(steps: Sequence[Sequence[Group]], rewards: RewardsConfig, table: Any = REWARDS) -> list[list[float]]:
    """What our own trainer pays for these steps."""
    phase = PhaseConfig(name="p", steps=len(steps), rewards=rewards, sampler=SamplerConfig(max_tokens=CAP))
    payer, earned = Payer(phase, {}, table), []
    for groups in steps:
        paid = payer.pay(groups)
        payer.remember(paid)
        earned.append([reward for group in paid for reward in group.rewards])
    return earned


def alone(name: str) -> RewardsConfig:
    """The term without levels."""
    term = RewardTermConfig(name=name, options=OPTIONS.get(name, {}))
    return RewardsConfig(correct=0.0, wrong=0.0, no_answer=0.0, truncated=0.0, terms=(term,))


# --- the same rewards ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TERMS)
def test_a_term_pays_what_our_trainer_pays_to_the_last_bit(name: str, lm: Any, steps: list[list[Group]]) -> None:
    """For every term, over three steps, with what it remembers."""
    trainer = trainer_of(lm, reward(name, **OPTIONS.get(name, {})))
    found = [trainer.call(rows(lm, groups))[0] for groups in steps]
    assert found == paid_by_us(steps, alone(name))
    assert name == "garbled" or len({value for step in found for value in step}) > 1, "nothing was told apart"


def test_levels_and_several_terms_pay_as_in_a_recipe(lm: Any, steps: list[list[Group]]) -> None:
    settings: dict[str, Any] = {
        "correct": 1.0,
        "wrong": -0.25,
        "standardize": True,
        "terms": [{"name": "laser_d", "weight": 0.5, "options": {"every": 1}}, {"name": "hapo"}],
    }
    trainer = trainer_of(lm, reward(**settings), scale_rewards="none")
    found = [trainer.call(rows(lm, groups))[0] for groups in steps]
    assert found == paid_by_us(steps, RewardsConfig.model_validate(settings))


def test_the_levels_can_stand_alone(lm: Any, steps: list[list[Group]]) -> None:
    trainer = trainer_of(lm, reward("levels", correct=2.0, no_answer=-3.0))
    assert trainer.call(rows(lm, steps[0]))[0] == paid_by_us(steps[:1], RewardsConfig(correct=2.0, no_answer=-3.0))[0]


def test_a_reward_of_ones_own_is_paid_from_its_file(
    lm: Any, steps: list[list[Group]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text("def brief(numbers, tokens=40.0):\n    return 1.0 * (numbers.lengths <= tokens)\n")
    function = reward("mine.py:brief", tokens=50.0)
    table = {**REWARDS, **own_rewards(["mine.py:brief"], tmp_path)}
    term = RewardTermConfig(name="mine.py:brief", options={"tokens": 50.0})
    ours = alone("laser").model_copy(update={"terms": (term,)})
    assert function.__name__ == "brief"
    assert trainer_of(lm, function).call(rows(lm, steps[0]))[0] == paid_by_us(steps[:1], ours, table)[0]
    assert trainer_of(lm, pickle.loads(pickle.dumps(function))).call(rows(lm, steps[0])) == trainer_of(
        lm, function
    ).call(rows(lm, steps[0]))


def test_a_pickled_reward_pays_the_same(lm: Any, steps: list[list[Group]]) -> None:
    function = reward("hapo", weight=0.5)
    trainer_of(lm, function).call(rows(lm, steps[0]))
    again = pickle.loads(pickle.dumps(function))
    assert again.__name__ == "hapo"
    assert trainer_of(lm, again).call(rows(lm, steps[1])) == trainer_of(lm, function).call(rows(lm, steps[1]))


def test_an_ungradable_response_earns_none_and_counts_in_no_statistic(lm: Any, steps: list[list[Group]]) -> None:
    """A gold answer that algebra cannot read leaves what is not decided by text ungradable."""
    group = steps[0][0]
    unreadable = replace(group, problem=replace(group.problem, answer="\\oint_\\heartsuit \\frac{"))
    trainer = trainer_of(lm, reward("levels"))
    earned = trainer.call(rows(lm, [unreadable, *steps[0][1:]]))[0]
    assert None in earned[:4]
    assert earned[4:] == paid_by_us([steps[0][1:]], RewardsConfig())[0]


def test_a_response_is_truncated_unless_it_ends_with_any_end_token(lm: Any, steps: list[list[Group]]) -> None:
    """An end token of the generation config counts as that of the tokenizer does, and so does one of generation_kwargs."""
    row = rows(lm, steps[0])[0]
    ended, other = [*row["completion_ids"][:3], lm.tokenizer.eos_token_id], [*row["completion_ids"][:3], 9]
    group = [row | {"completion_ids": ids} for ids in (ended, other, ended, other)]
    overlong = reward("overlong")
    assert trainer_of(lm, overlong).call(group)[0] == [0.0, -1.0, 0.0, -1.0]
    assert Caller(lm.tokenizer, [*lm.stop_ids, 9], [overlong]).call(group)[0] == [0.0] * 4
    stopping = trainer_of(lm, overlong, generation_kwargs={"stop_token_ids": [9]})
    assert stopping.call(group)[0] == [0.0] * 4


# --- memory ----------------------------------------------------------------------------------------------------------


def test_memory_is_saved_with_the_state_of_the_trainer_and_resumed(lm: Any, steps: list[list[Group]]) -> None:
    """Through JSON, as TRL saves it, into another process's function; evaluation changes nothing."""
    whole = trainer_of(lm, reward("hapo"), reward("laser_d", every=1))
    paid = [whole.call(rows(lm, groups)) for groups in steps]
    first = trainer_of(lm, reward("hapo"), reward("laser_d", every=1))
    first.call(rows(lm, steps[0]))
    kept = json.loads(json.dumps(first.state.stateful_callbacks))
    first.model.training = False
    first.call(rows(lm, steps[1])[:2])
    assert first.state.stateful_callbacks == kept
    resumed = trainer_of(lm, reward("hapo"), reward("laser_d", every=1))
    resumed.state = SimpleNamespace(stateful_callbacks=kept)
    assert [resumed.call(rows(lm, groups)) for groups in steps[1:]] == paid[1:]


def test_other_options_after_a_resume_are_said(lm: Any, steps: list[list[Group]]) -> None:
    trainer = trainer_of(lm, reward("hapo"))
    trainer.call(rows(lm, steps[0]))
    trainer.reward_funcs = [reward("hapo", weight=0.5)]
    with pytest.warns(LaconicWarning, match="reward hapo: goes on from what it remembered under other settings"):
        trainer.call(rows(lm, steps[1]))


# --- several processes -----------------------------------------------------------------------------------------------


def two_processes(lm: Any) -> list[Caller]:
    """The trainers of processes 0 and 1."""
    trainers = [trainer_of(lm, reward("kimi_length")) for _ in range(2)]
    for rank, trainer in enumerate(trainers):
        trainer.accelerator = SimpleNamespace(num_processes=2, process_index=rank)
    return trainers


def test_groups_that_are_split_over_processes_are_put_together(
    lm: Any, steps: list[list[Group]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three groups of four, six rows for each process, which gets the rewards of its own."""
    both = rows(lm, steps[0][:3])
    halves = [both[:6], both[6:]]
    trainers = two_processes(lm)
    arguments = [trainer.arguments_for(half) for trainer, half in zip(trainers, halves, strict=True)]
    graded = [
        graded_rows(RewardCall(a["prompts"], a["completion_ids"], a), read_trainer(t))
        for a, t in zip(arguments, trainers, strict=True)
    ]
    monkeypatch.setattr("accelerate.utils.gather_object", lambda own: [("", graded[0]), ("", graded[1])])
    found = [trainer.call(half)[0] for trainer, half in zip(trainers, halves, strict=True)]
    assert found[0] + found[1] == paid_by_us([steps[0][:3]], alone("kimi_length"))[0]


def test_every_process_fails_where_one_does(lm: Any, steps: list[list[Group]], monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that fails comes to the gathering first, so that no other waits for it."""
    come = []
    trainer, other = two_processes(lm)
    monkeypatch.setattr("accelerate.utils.gather_object", lambda own: come.extend(own) or [*come, ("", [])])
    with pytest.raises(InputError, match="no column 'answer'"):
        trainer.call([{k: v for k, v in row.items() if k != "answer"} for row in rows(lm, steps[0][:1])])
    assert len(come) == 1
    with pytest.raises(RunFailed, match="process 0: data set: no column 'answer'"):
        other.call(rows(lm, steps[0][:1]))


# --- what cannot be served -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: reward("laser_x"), "unknown reward 'laser_x'"),
        (lambda: reward("laser_d", target=3), "reward 'laser_d' has no option 'target'"),
        (lambda: reward("laser_d", every=-1), "reward 'laser_d': option every"),
        (lambda: reward("laser_d", every="often"), "laser_d: options.every"),
        (lambda: reward("levels", right=1.0), "levels: right"),
        (lambda: reward(terms=[{"name": "laser_d", "wait": 1}]), "terms.0.wait"),
        (lambda: reward("nowhere.py:f"), "nowhere.py: no such file"),
        (lambda: reward(5), "reward: expected the name of a term, got 5"),
        (lambda: dataset([], None), "problems: expected"),
        (lambda: dataset(load_problems("tiny:mix?count=2"), None, count=0), "count: expected 1 to 2"),
        (lambda: dataset(load_problems("tiny:mix?count=2"), None, count=-1), "count: expected 1 to 2"),
        (
            lambda: dataset("tiny:mix?count=2", "tiny", probe=[problem_stats("x", [Grade.WRONG], [9])]),
            "probe: measures none of",
        ),
        (lambda: dataset("tiny:mix?count=2", None, budget={"low": 3}), "budget.high"),
    ],
)
def test_a_mistake_is_found_where_it_is_written(make: Any, said: str) -> None:
    with pytest.raises(InputError) as caught:
        make()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tools": [print]}, "tools: rewards count and grade what the model wrote after one prompt"),
        ({"environment_factories": {None: print}}, "environment_factory: "),
        ({"rollout_func": print}, "rollout_func: "),
        ({"num_generations": 3}, "num_generations: expected every 3 rows to be of one problem"),
    ],
)
def test_a_trainer_that_cannot_be_served_is_refused(
    change: dict[str, Any], said: str, lm: Any, steps: list[list[Group]]
) -> None:
    trainer = trainer_of(lm, reward("laser_d"))
    for name, value in change.items():
        setattr(trainer, name, value)
    with pytest.raises(InputError, match=said):
        trainer.call(rows(lm, steps[0]))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"generation_kwargs": {"max_new_tokens": 8}}, "generation_kwargs.max_new_tokens: "),
        (
            {"generation_kwargs": {"stop": ["."]}},
            "generation_kwargs.stop: a response that a text stops looks truncated",
        ),
        ({"max_completion_length": None}, "max_completion_length: "),
        ({"remove_unused_columns": True}, "remove_unused_columns: would take the gold answers"),
        ({"max_completion_length": 16}, r"target_tokens: expected 1 to 16 \(max_completion_length\), got 20"),
    ],
)
def test_arguments_that_cannot_be_served_are_refused(
    arguments: dict[str, Any], said: str, lm: Any, steps: list[list[Group]]
) -> None:
    with pytest.raises(InputError, match=said):
        trainer_of(lm, reward("laser", target_tokens=20), **arguments).call(rows(lm, steps[0]))


def test_rows_that_cannot_be_served_are_refused(lm: Any, steps: list[list[Group]]) -> None:
    """No whole group, one problem twice in a step of training, no reference where one is needed, a call by something else."""
    some, trainer = rows(lm, steps[0]), trainer_of(lm, reward("kimi_length"))
    with pytest.raises(InputError, match="got 2 of "):
        trainer.call(some[:6])
    with pytest.raises(InputError, match="two rows have the id"):
        trainer.call(some[:4] + some[:4])
    with pytest.raises(InputError, match="reward length_harmonizing: length_harmonizing: needs ref_mean_tokens"):
        trainer_of(lm, reward("length_harmonizing")).call([row | {"ref_mean_tokens": None} for row in some])
    with pytest.raises(InputError, match="column 'budget_tokens' holds 'many'"):
        trainer.call([row | {"budget_tokens": "many"} for row in some])
    with pytest.raises(InputError, match=r"column 'budget_tokens' holds 40\.5; expected a whole number"):
        trainer.call([row | {"budget_tokens": 40.5} for row in some])
    with pytest.raises(InputError, match="expected to be called by a GRPOTrainer or RLOOTrainer"):
        reward("hapo")(**(trainer.arguments_for(some) | {"log_metric": None}))


@pytest.mark.parametrize(
    ("functions", "arguments", "said"),
    [
        (
            ["levels"],
            {"mask_truncated_completions": True},
            "mask_truncated_completions: truncated responses train nothing",
        ),
        ([{"standardize": True}], {}, "standardize: the trainer divides by a standard deviation again"),
        (
            [{"standardize": True}],
            {"scale_rewards": "none", "multi_objective_aggregation": "normalize_then_sum"},
            "standardize: the trainer divides by a standard deviation again",
        ),
        (
            ["levels", "laser_d"],
            {"multi_objective_aggregation": "normalize_then_sum"},
            "each function counts as much as any other",
        ),
        (["laser_d", "overlong"], {}, "reward_funcs: no reward pays for being correct"),
        ([{"terms": [{"name": "hapo"}]}], {}, "hapo is a whole reward, and the levels are paid beside it"),
        (["levels", print], {}, "a response that cannot be graded earns nothing here"),
        (
            ["levels", "repetition"],
            {"max_completion_length": 30},
            "ngram_tokens of repetition, 40, is by default more than",
        ),
    ],
)
def test_what_was_probably_not_meant_is_said(
    functions: list[Any], arguments: dict[str, Any], said: str, lm: Any, steps: list[list[Group]]
) -> None:
    made = [reward(f) if isinstance(f, str) else reward(**f) if isinstance(f, dict) else f for f in functions]
    trainer = trainer_of(lm, *made, **arguments)
    some = [row | {"completion_ids": row["completion_ids"][:30]} for row in rows(lm, steps[0])]
    with pytest.warns(LaconicWarning, match=said):
        for function in made[: len(made) - made.count(print)]:
            function(**trainer.arguments_for(some))


def test_sound_rewards_are_paid_without_a_word(
    lm: Any, steps: list[list[Group]], recwarn: pytest.WarningsRecorder
) -> None:
    trainer_of(lm, reward("truncation"), reward("laser_d")).call(rows(lm, steps[0]))
    trainer_of(lm, reward(standardize=True), scale_rewards="none").call(rows(lm, steps[0]))
    assert not [warning for warning in recwarn if issubclass(warning.category, LaconicWarning)]


def test_two_rewards_of_one_name_do_not_share_a_memory(lm: Any, steps: list[list[Group]]) -> None:
    one = {"terms": [{"name": "hapo"}], "correct": 0.0, "wrong": 0.0, "no_answer": 0.0, "truncated": 0.0}
    with pytest.raises(InputError, match="two rewards are called 'laconic' and would share what they remember"):
        trainer_of(lm, reward(**one), reward(**one)).call(rows(lm, steps[0]))


def test_evaluation_may_repeat_a_problem_and_has_its_own_group_size(lm: Any, steps: list[list[Group]]) -> None:
    trainer = trainer_of(lm, reward("levels"))
    trainer.model.training = False
    pair = rows(lm, steps[0])[:2]
    assert len(trainer.call(pair + pair)[0]) == 4


def test_without_ids_the_prompt_tells_problems_apart(lm: Any, steps: list[list[Group]]) -> None:
    bare = [{k: row[k] for k in ("prompt", "answer", "completion_ids")} for row in rows(lm, steps[0])]
    assert trainer_of(lm, reward("kimi_length")).call(bare)[0] == paid_by_us(steps[:1], alone("kimi_length"))[0]


# --- the log ---------------------------------------------------------------------------------------------------------


def test_with_the_callback_the_first_reward_logs_tokens_by_grade(lm: Any, steps: list[list[Group]]) -> None:
    functions = (reward("levels"), reward("hapo"))
    trainer = trainer_of(lm, *functions)
    trainer.call(rows(lm, steps[0]))
    assert not trainer.logged
    trainer.callback_handler.callbacks = [callback()]
    trainer.call(rows(lm, steps[0]))
    ours = rollout_metrics(steps[0])
    assert trainer.logged["rollouts/correct_tokens"] == [ours["rollouts/correct_tokens"]]
    assert trainer.logged["rollouts/accuracy_frac"] == [ours["rollouts/accuracy_frac"]]
    assert "rollouts/reward_mean" not in trainer.logged


def test_the_callback_refuses_before_anything_is_drawn(lm: Any) -> None:
    args = trainer_of(lm).args
    loader = SimpleNamespace(dataset=SimpleNamespace(column_names=["prompt", "solution"]))
    with pytest.raises(InputError, match=r"no column 'answer'.*it has prompt, solution"):
        callback().on_train_begin(args, None, None, train_dataloader=loader)
    with pytest.raises(InputError, match=r"generation_kwargs\.stop"):
        callback().on_train_begin(trainer_of(lm, generation_kwargs={"stop": ["a"]}).args, None, None)


def test_rewards_of_one_call_share_a_grading(
    lm: Any, steps: list[list[Group]], monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []
    grade = calls.grade_drawn
    monkeypatch.setattr(calls, "grade_drawn", lambda drawn, *rest: counted.append(len(drawn)) or grade(drawn, *rest))
    trainer = trainer_of(lm, reward("levels"), reward("hapo"))
    trainer.call(rows(lm, steps[0]))
    trainer.call(rows(lm, steps[0]))
    assert counted == [20, 20]

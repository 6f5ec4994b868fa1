"""Where rollouts come from: every source trains, in one run of many phases."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_train import run

from laconic.config.load import parse_recipe
from laconic.config.policy import PolicyConfig
from laconic.config.rewards import RewardsConfig
from laconic.config.solver import PromptConfig
from laconic.errors import ProblemsError, RecipeError, RunError
from laconic.grading.grader import Grader
from laconic.models.loading import load_model
from laconic.parallel.team import ALONE
from laconic.problems.load import load_problems, write_problems
from laconic.prompts.forced_answers import forced_ids
from laconic.rewards.numbers import Memory
from laconic.rollouts.given_pairs import pair_texts
from laconic.rollouts.paying import memory_after, pay_groups, standardized
from laconic.rollouts.rows import GroupRow
from laconic.rollouts.solver import Solver
from laconic.rollouts.sources import SOURCES, Serial, SourceSetting, draw_budget, offline, solution_text
from laconic.samplers.local import LocalSampler
from laconic.statistics.solve_rate import problem_stats
from laconic.system.files import read_jsonl, to_jsonl
from laconic.training.batching import collate
from laconic.training.check.recipe import check_recipe, warnings_about
from laconic.types import Grade, Group, Problem

OFFLINE = {"rollouts": "offline", "group_size": 6}
LIKELIHOOD = {"old_logprobs": "current"}
PHASES: list[dict[str, Any]] = [
    {"name": "cold_start", "rollouts": "solutions", "group_size": 1, "algorithm": {"name": "sft", **LIKELIHOOD}},
    {"name": "sft", **OFFLINE, "algorithm": {"name": "sft", **LIKELIHOOD}},
    {"name": "dpo", **OFFLINE, "algorithm": {"name": "dpo", **LIKELIHOOD, "aggregation": "sum"}},
    {
        "name": "o1_pruner",
        **OFFLINE,
        "select": {"how": "all", "samples": 4},
        "rewards": {
            "correct": 0, "wrong": 0, "no_answer": 0, "truncated": 0, "standardize": True,
            "terms": [{"name": "length_harmonizing", "options": {"is_clamped": True}}],
        },
        "algorithm": {"name": "o1_pruner", "ratio": "sequence", "old_logprobs": "sampler"},
    },
    {
        "name": "pairs",
        "rollouts": "pairs",
        "group_size": 2,
        "algorithm": {"name": "simpo", **LIKELIHOOD, "aggregation": "response", "options": {"pairs": "given"}},
    },
    {"name": "serial", "rollouts": "serial", "algorithm": {"name": "grpo"}},
    {"name": "teacher", "algorithm": {"name": "distill", "reference_model": "tiny"}},
    {
        "name": "concise_teacher",
        "algorithm": {"name": "distill", "reference_instruction": "tale:40", "reference": "reset", "reference_every": 1},
    },
    {"name": "resample", "algorithm": {"name": "grpo", "uniform_groups": "resample", "clip_high": 0.28}},
    {"name": "budget", "budget": {"low": 20, "high": 50}, "algorithm": {"name": "rloo", "kl_coef": 0.01, "kl_in": "centred"}},
    {"name": "merge", "entry_share": 0.5, "algorithm": {"name": "dr_grpo", "aggregation": "constant"}},
]  # fmt: skip


def recipe(problems: Path) -> Any:
    return parse_recipe(
        {
            "name": "sources",
            "model": "tiny",
            "threads": 1,
            "watch": {"every": 2, "samples": 1},
            "checkpoints": {"every": 1, "keep": 2},
            "problems": {"train": str(problems), "watch": "tiny:mix?count=2&split=watch&levels=1"},
            "defaults": {
                "steps": 2,
                "problems_per_step": 3,
                "group_size": 4,
                "sampler": {"max_tokens": 56, "batch_size": 24},
                "optimizer": {"lr": 1e-4},
                "end": {"guard_drop": 1.0},
            },
            "phases": PHASES,
        },
        "sources",
    )


def boxed(problem: Problem) -> str:
    return f"{problem.answer};</think>\\boxed{{{problem.answer}}}"


@pytest.fixture(scope="module")
def problems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six easy problems with worked solutions."""
    path = tmp_path_factory.mktemp("problems") / "solved.jsonl"
    found = load_problems("tiny:mix?count=6&split=train&levels=1")
    write_problems(
        path,
        [
            replace(p, meta={**p.meta, "solution": boxed(p), "chosen": boxed(p), "rejected": f"0;{boxed(p)}"})
            for p in found
        ],
    )
    return path


@pytest.fixture(scope="module")
def whole(problems: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(run(recipe(problems), tmp_path_factory.mktemp("runs") / "whole").run.directory.path)


def test_every_source_trains_something(whole: Path) -> None:
    """In each phase at least one step found something to learn from."""
    metrics = list(read_jsonl(whole / "metrics.jsonl"))
    learnt = {row["phase"] for row in metrics if row.get("update/policy_grad_norm", 0) > 0}
    assert learnt == {phase["name"] for phase in PHASES}


def test_o1_pruners_old_policy_is_the_one_that_drew_its_samples(whole: Path) -> None:
    """At the phase's first step policy and old policy are one; at the second the policy has moved, and the old one has not."""
    first, second = (row for row in read_jsonl(whole / "metrics.jsonl") if row["phase"] == "o1_pruner")
    assert first["update/step_kl_nats"] < 1e-9
    assert second["update/step_kl_nats"] > 1e-6


@pytest.mark.parametrize("rollouts", ["on_policy", "offline", "solutions", "serial", "pairs"])
def test_every_source_tells_how_much_was_thought(rollouts: str, problems: Path, tmp_path: Path) -> None:
    """So that a reward on thinking tokens can be paid whatever the source: all tokens up to the last end of thinking."""
    phase = recipe(problems).phases[0].model_copy(update={"rollouts": rollouts, "group_size": 3})
    lm, loaded = load_model("tiny", PolicyConfig(device="cpu")), load_problems(str(problems))
    with Grader() as grader:
        solver = Solver(lm, LocalSampler(lm), grader, PromptConfig())
        setting = SourceSetting(solver, lm, phase, loaded, 0, tmp_path, list, lambda *_: nullcontext(lambda *_: None))
        groups = SOURCES[rollouts](setting).groups(loaded, step=1)
    for response in (rollout.response for group in groups for rollout in group.rollouts):
        if response.is_truncated:
            continue
        mark = lm.tokenizer.convert_tokens_to_ids("</think>")
        assert response.thinking_tokens == 1 + max(
            place for place, token in enumerate(response.token_ids) if token == mark
        )


def test_the_average_leaves_half_of_what_entered(whole: Path, problems: Path, tmp_path: Path) -> None:
    """The merging phase with entry_share 0 ends at w; with 0.5 at (w + w_entry) / 2; entry is the result of the phase before."""
    from safetensors.torch import load_file

    plain = [{**phase, "entry_share": 0.0} for phase in PHASES[-1:]]
    entry = load_file(whole / "checkpoints" / "step-000020" / "model.safetensors")
    start = recipe(problems).model_copy(update={"model": str(whole / "checkpoints" / "step-000020")})
    ends = {}
    for name, phases in (("whole", plain), ("half", PHASES[-1:])):
        tree = start.model_dump(mode="json") | {"phases": [{**start.phases[-1].model_dump(mode="json"), **phases[0]}]}
        tree["phases"][0] |= {"algorithm": {**start.phases[-1].algorithm.model_dump(mode="json")}}
        ends[name] = load_file(
            run(parse_recipe(tree, "x"), tmp_path / name).run.directory.path / "model/model.safetensors"
        )
    for key, value in entry.items():
        assert ends["half"][key].sub((value + ends["whole"][key]) / 2).abs().max() < 1e-6


def test_exits_keep_the_trace_up_to_the_cut_and_leave_what_was_written_out_of_the_loss() -> None:
    """Three exits and the trace: prefixes of one another, then the forced text, whose tokens no loss counts."""
    lm = load_model("tiny", PolicyConfig())
    phase = recipe(Path("x.jsonl")).phases[5]
    found = load_problems("tiny:mix?count=3&split=train&levels=2-3")
    with Grader() as grader:
        solver = Solver(lm, LocalSampler(lm), grader, PromptConfig())
        from contextlib import nullcontext

        setting = SourceSetting(
            solver, lm, phase, found, 0, Path(), list, lambda what, count: nullcontext(lambda responses, tokens: None)
        )
        groups = Serial(setting).groups(found, step=1)
    written = forced_ids(lm.tokenizer)
    batch = collate(groups, truncated="penalise")
    row = 0
    for group in groups:
        *exits, trace = group.rollouts
        assert exits and trace.response.forced == (0, 0)
        lengths = [rollout.response.forced[0] for rollout in exits]
        assert lengths == sorted(set(lengths))
        for rollout in exits:
            start, stop = rollout.response.forced
            assert rollout.response.token_ids[:start] == trace.response.token_ids[:start]
            assert rollout.response.token_ids[start:stop] == written
            counted = batch.loss_mask[row, : rollout.num_tokens].tolist()
            assert counted == [not start <= t < stop for t in range(rollout.num_tokens)]
            row += 1
        row += 1


def test_budgets_are_asked_for_in_the_prompt_and_told_to_the_rewards(whole: Path) -> None:
    """Each problem and step draws its own, inside the ends."""
    from laconic.config.phase import BudgetConfig

    budget = BudgetConfig(low=20, high=50)
    drawn = {draw_budget(budget, 0, step, f"p{i}") for step in range(20) for i in range(5)}
    assert min(drawn) >= 20 and max(drawn) <= 60 and len(drawn) > 20


def test_resampling_fills_the_step_with_groups_that_teach(whole: Path) -> None:
    """The phase's steps hold more groups than problems were asked for, or all of them taught."""
    rows = [row for row in read_jsonl(whole / "metrics.jsonl") if row["phase"] == "resample"]
    for row in rows:
        groups = {r["problem_id"] for r in read_jsonl(whole / "rollouts" / f"step-{row['step']:06d}.jsonl")}
        assert len(groups) > 3 or row["rollouts/uniform_groups_frac"] == 0.0


def test_standardised_rewards_have_mean_0_and_deviation_1_and_their_terms_still_sum() -> None:
    import oracles

    groups = standardized([oracles.make_group([1], [([2, 1], 1.0, "correct"), ([3, 1], 4.0, "wrong")])])
    rewards = [r.reward for r in groups[0].rollouts]
    assert rewards == pytest.approx([-1.0, 1.0])
    assert all(sum(r.reward_terms.values()) == pytest.approx(r.reward) for r in groups[0].rollouts)


@pytest.mark.parametrize("level", [-0.1, -0.3, -0.5, 0.9, 0.0, 1e-12])
def test_equal_rewards_have_nothing_to_standardise(level: float) -> None:
    """The mean of eight times -0.1 is not -0.1 to the last digit, and nothing may be divided by that."""
    import oracles

    wrong = [oracles.make_group([n], [([2, 1], level, "wrong")] * 8) for n in range(8)]
    assert all(abs(r.reward) < 1e-12 for group in standardized(wrong) for r in group.rollouts)


def test_a_problem_that_a_step_drew_twice_is_remembered_whole() -> None:
    """Its shortest correct answer is that of the first draw, 40 tokens, not the 90 of the last."""
    import oracles

    draws = [oracles.make_group([7], [([1] * tokens, 1.0, "correct")]) for tokens in (40, 90)]
    memory = memory_after(Memory(), draws, RewardsConfig(terms=[{"name": "hapo"}]), max_tokens=100)
    assert dict(memory.of(draws[0].problem.id)) == {"hapo/shortest_correct": 40.0}


def test_a_problem_that_a_step_drew_twice_makes_no_target_of_laser_d_shorter() -> None:
    """All of four are correct: two of four are within 8 of 16 tokens, so that 2/4 * floor(8/3) = 1. Of eight answers in one group
    5 would be correct, and 4 tokens, within which one of four is, would do."""
    import oracles

    group = oracles.make_group([7], [([1] * tokens, 1.0, "correct") for tokens in (4, 8, 12, 16)])
    rewards = RewardsConfig(terms=[{"name": "laser_d", "options": {"every": 1}}])
    for draws in ([group], [group, group], [group, group, replace(group, problem=Problem("other", "", ""))]):
        memory = memory_after(Memory(), draws, rewards, max_tokens=16)
        assert memory.shared["laser_d/target_high"] == 8.0


@pytest.mark.parametrize(
    ("ids", "says"),
    [
        (["p1"], "holds the responses to problem p2, which"),
        (["p1", "p2", "p3"], "lacks the responses to problem p3, on"),
    ],
)
def test_stored_responses_to_other_problems_are_one_line(ids: list[str], says: str, tmp_path: Path) -> None:
    stored = [Group(Problem(name, "1 + 1", "2"), (5, 6), ()) for name in ("p1", "p2")]
    (tmp_path / "offline.jsonl").write_text(to_jsonl(GroupRow.of(group).to_json() for group in stored))
    setting: Any = SimpleNamespace(
        solver=SimpleNamespace(team=ALONE),
        phase=None,
        folder=tmp_path,
        problems=[Problem(name, "", "2") for name in ids],
    )
    with pytest.raises(RunError, match=rf"offline\.jsonl: {says}.*train anew with another --out$"):
        offline(setting)


def test_a_group_that_is_its_own_reference_stays_so() -> None:
    """The samples that chose the problem are another draw, and one that the choice has biased."""
    import oracles

    own = replace(oracles.make_group([7], [([1] * 40, 0.0, "correct")]), ref_mean_tokens=40.0, ref_solve_rate=1.0)
    probed = {own.problem.id: problem_stats(own.problem.id, [Grade.CORRECT, Grade.WRONG], [10, 10])}
    (paid,) = pay_groups([own], RewardsConfig(), probed, max_tokens=100)
    assert (paid.ref_mean_tokens, paid.ref_solve_rate) == (40.0, 1.0)
    (other,) = pay_groups([replace(own, ref_mean_tokens=None)], RewardsConfig(), probed, max_tokens=100)
    assert (other.ref_mean_tokens, other.ref_solve_rate) == (10.0, 0.5)


def test_a_solution_without_a_box_is_closed_by_the_answer_in_one() -> None:
    boxed = Problem("a", "?", "4", meta={"solution": "2+2 is \\boxed{4}"})
    assert solution_text(boxed) == "2+2 is \\boxed{4}"
    assert solution_text(Problem("b", "?", "4", meta={"solution": "2+2=4"})) == "2+2=4\n\\boxed{4}"
    with pytest.raises(ProblemsError, match="problem c: has no 'solution'"):
        solution_text(Problem("c", "?", "4"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"rollouts": "thin_air"}, "unknown source 'thin_air'; expected on_policy, offline"),
        ({"rollouts": "offline", "budget": {"low": 1, "high": 2}}, "budget: needs rollouts = 'on_policy'"),
        ({"rollouts": "serial", "group_size": 1}, "'serial' needs an exit beside the trace"),
        (
            {"rollouts": "offline", "algorithm": {"uniform_groups": "resample"}},
            "'resample' needs rollouts of the policy",
        ),
        (
            {"entry_share": 0.5, "end": {"keep": "best"}},
            "entry_share: the average is taken after the phase's last step",
        ),
        ({"optimizer": {"critic_warmup_steps": 2}, "algorithm": {"name": "rloo"}}, "there is no critic to warm up"),
        (
            {"rollouts": "serial", "algorithm": {"old_logprobs": "sampler"}},
            "'sampler' needs rollouts that a model drew",
        ),
        (
            {"rollouts": "offline", "rewards": {"terms": [{"name": "hapo"}]}},
            "hapo remembers from step to step, and 'offline' rollouts are paid once",
        ),
        ({"rollouts": "pairs", "algorithm": {"name": "grpo"}}, "with pairs = 'given' need one another"),
        ({"algorithm": {"name": "dpo", "options": {"pairs": "given"}}}, "need one another, got 'on_policy'"),
        (
            {"rollouts": "pairs", "group_size": 4, "algorithm": {"name": "dpo", "options": {"pairs": "given"}}},
            "a pair has 2 responses, got 4",
        ),
        ({"rewards": {"terms": [{"name": "l1_max"}]}}, "l1_max: needs budget_tokens"),
        ({"rewards": {"terms": [{"name": "length_harmonizing"}]}}, "length_harmonizing: needs ref_mean_tokens"),
        ({"sampler": {"max_tokens": 320}, "rewards": {"terms": [{"name": "lead"}]}}, "min_target_tokens"),
    ],
)
def test_a_source_that_does_not_go_with_the_phase_is_refused(change: dict[str, Any], says: str) -> None:
    tree = recipe(Path("x.jsonl")).model_dump(mode="json")
    tree["phases"] = [{"name": "p", "steps": 1, **change}]
    with pytest.raises(RecipeError, match=says):
        check_recipe(parse_recipe(tree, "x"))


def test_a_given_pair_is_learnt_as_it_was_preferred(whole: Path, problems: Path) -> None:
    """Both texts as they are, the preferred one paid 1, whatever the grader says; a problem without both texts is refused."""
    step = next(row["step"] for row in read_jsonl(whole / "metrics.jsonl") if row["phase"] == "pairs")
    rows = list(read_jsonl(whole / "rollouts" / f"step-{step:06d}.jsonl"))
    texts = {problem.id: problem.meta["chosen"] for problem in load_problems(str(problems))}
    assert len(rows) == 6 and [row["reward"] for row in rows] == [1.0, 0.0] * 3
    assert all(row["text"] == texts[row["problem_id"]] for row in rows[::2])
    with pytest.raises(ProblemsError, match="problem a: has no 'rejected'"):
        pair_texts(Problem("a", "?", "4", meta={"chosen": "4"}))
    with pytest.raises(ProblemsError, match="problem a: 'chosen' and 'rejected' are the same text"):
        pair_texts(Problem("a", "?", "4", meta={"chosen": "4", "rejected": "4 "}))


def test_a_problem_without_a_gold_answer_needs_a_grader_of_ones_own() -> None:
    made = recipe(Path("x.jsonl"))
    without = [Problem("a", "?", "", meta={"graded_by": "mine.py:grade"})] * 3
    with pytest.raises(RecipeError, match=r"grader.name: problem a has no gold answer, .* expected 'mine.py:grade'"):
        warnings_about(made.model_copy(update={"phases": made.phases[5:6]}), (), without)


def test_a_curriculum_keeps_the_selections_order(tmp_path: Path) -> None:
    """Easy to hard, one problem a step: the steps go down the solve rates; shuffled, they need not."""
    tree = recipe(Path("x")).model_dump(mode="json")
    tree["problems"]["train"] = "tiny:mix?count=8&split=train"
    select = {"how": "easy_to_hard", "samples": 6, "in_order": True, "options": {"allow_unsolved": True}}
    phase = {
        **tree["phases"][1],
        "name": "p",
        "rollouts": "on_policy",
        "steps": 5,
        "problems_per_step": 1,
        "select": select,
    }
    tree["phases"] = [phase | {"algorithm": {"name": "grpo"}}]
    path = run(parse_recipe(tree, "x"), tmp_path / "run").run.directory.path
    probed = {
        row["problem_id"]: row["correct"] / row["attempts"] for row in read_jsonl(path / "phases/1-p/probe.jsonl")
    }
    seen = [next(iter(read_jsonl(file)))["problem_id"] for file in sorted((path / "rollouts").iterdir())]
    rates = [probed[problem_id] for problem_id in seen]
    assert rates == sorted(rates, reverse=True) and len(set(rates)) > 1

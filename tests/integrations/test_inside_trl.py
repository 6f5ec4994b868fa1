"""Real runs of TRL on the bundled reasoner, on a CPU, with one process and two: what its trainers are paid is what our own pays
for the same rollouts, to the last bit. They need the extra `trl`."""

import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from test_trl_reward import OPTIONS, TERMS, alone

import laconic
from laconic.config.phase import PhaseConfig
from laconic.config.rewards import RewardsConfig
from laconic.config.solver import SamplerConfig
from laconic.errors import InputError
from laconic.integrations.in_trl.reward_function import STATE, RewardFunction
from laconic.integrations.trl import callback, dataset, reward
from laconic.prompts.thinking import decode_response
from laconic.rewards.numbers import Memory
from laconic.rollouts.paying import Payer
from laconic.rollouts.solver import Solver
from laconic.samplers.protocol import Request
from laconic.statistics.solve_rate import problem_stats
from laconic.types import FinishReason, Grade, Group, Response

trl = pytest.importorskip("trl", reason="the extra `trl` is not installed")

DOCS = Path(__file__).parents[2] / "docs" / "trl.md"
SCRIPT = Path(__file__).with_name("two_trl_processes.py")
ADDRESS = "tiny:mix?count=6&split=train"
CAP = 96
BUDGET = {"low": 30, "high": 60}


class Recorded(RewardFunction):
    """A reward function that keeps what it was called with and what it returned."""

    def __init__(self, made: RewardFunction) -> None:
        super().__init__(made.__name__, made.rewards, made.folder)
        self.calls: list[tuple[dict[str, Any], list[float | None]]] = []

    def __call__(self, prompts: Any, completions: Any, completion_ids: Any, **arguments: Any) -> list[float | None]:
        earned = super().__call__(prompts, completions, completion_ids, **arguments)
        self.calls.append(({"prompts": prompts, "completion_ids": completion_ids, "id": arguments["id"]}, earned))
        return earned


class Replayed:
    """A sampler that returns responses that were drawn before, by problem."""

    def __init__(self, lm: Any, ids: Mapping[str, Sequence[Sequence[int]]]) -> None:
        self.lm, self.ids = lm, ids

    def sample(self, requests: Sequence[Request], decoding: SamplerConfig, **_: Any) -> list[list[Response]]:
        return [[self._response(tuple(ids)) for ids in self.ids[request.key]] for request in requests]

    def _response(self, ids: tuple[int, ...]) -> Response:
        reason = FinishReason.STOP if ids[-1] in self.lm.stop_ids else FinishReason.LENGTH
        return Response(ids, (0.0,) * len(ids), decode_response(self.lm.tokenizer, ids), reason)


def paid_by_us(
    lm: Any, calls: Sequence[Mapping[str, Any]], rewards: RewardsConfig, **facts: Any
) -> tuple[list[list[float | None]], Memory]:
    """What our solver and our trainer make of the rollouts of some calls, row by row, and what the terms remember then."""
    phase = PhaseConfig(name="p", steps=1, rewards=rewards, sampler=SamplerConfig(max_tokens=CAP))
    problems = {problem.id: problem for problem in laconic.load_problems(ADDRESS)}
    payer, earned = Payer(phase, facts.get("stats", {}), laconic.rewards.table.REWARDS), []
    for call in calls:
        ids: dict[str, list[Sequence[int]]] = defaultdict(list)
        for name, row in zip(call["id"], call["completion_ids"], strict=True):
            ids[name].append(row)
        solver = laconic.open_solver(lm)
        replay = Solver(lm, Replayed(lm, ids), solver.grader, solver.prompt)
        groups = replay.attempt([problems[name] for name in ids], 4, phase.sampler, seed=0)
        paid = payer.pay([facts["budgeted"](group) if "budgeted" in facts else group for group in groups])
        payer.remember(paid)
        earned.append([None if r.grade is Grade.UNGRADABLE else r.reward for g in paid for r in g.rollouts])
    return earned, payer.memory


@pytest.fixture(scope="module")
def lm() -> Any:
    return laconic.load_model("tiny")


def open_trainer(kind: str, folder: Path, lm: Any, rows: Any, functions: list[Any], **changed: Any) -> Any:
    """A trainer of three steps of two groups of four responses, with a checkpoint after each."""
    known = {
        "use_cpu": True, "report_to": "none", "disable_tqdm": True, "seed": 0, "learning_rate": 1e-4,
        "per_device_train_batch_size": 8, "num_generations": 4, "max_completion_length": CAP, "max_steps": 3,
        "save_steps": 1, "logging_steps": 1,
    }  # fmt: skip
    return getattr(trl, f"{kind}Trainer")(
        model=lm.model.config.name_or_path,
        processing_class=lm.tokenizer,
        train_dataset=rows,
        reward_funcs=functions,
        args=getattr(trl, f"{kind}Config")(str(folder), **(known | changed)),
        callbacks=[callback()],
    )


@pytest.mark.parametrize("kind", ["GRPO", "RLOO"])
def test_every_reward_pays_in_trl_what_it_pays_in_our_trainer(kind: str, lm: Any, tmp_path: Path) -> None:
    """All terms in one run; prompts, references and budgets reach them; the log holds tokens by grade."""
    problems = laconic.load_problems(ADDRESS)
    stats = [problem_stats(p.id, [Grade.CORRECT, Grade.WRONG], [40 + n, 50]) for n, p in enumerate(problems)]
    rows = dataset(ADDRESS, lm.tokenizer, probe=stats, budget=BUDGET, prompt="boxed")
    functions = [Recorded(reward(name, **OPTIONS.get(name, {}))) for name in TERMS]
    trainer = open_trainer(kind, tmp_path, lm, rows, functions)
    trainer.train()
    calls = [call for call, _ in functions[0].calls]
    assert len(calls) == 3
    budgets = {row["id"]: row["budget_tokens"] for row in rows}
    facts = {"stats": {s.problem_id: s for s in stats}, "budgeted": lambda group: with_budget(group, budgets)}
    for name, function in zip(TERMS, functions, strict=True):
        ours, memory = paid_by_us(lm, calls, alone(name), **facts)
        assert [earned for _, earned in function.calls] == ours, name
        kept = trainer.state.stateful_callbacks.get(STATE + name, {"memory": Memory().to_json()})
        assert Memory.from_json(kept["memory"]) == memory, name
    logged = [entry for entry in trainer.state.log_history if "reward" in entry]
    assert all("rollouts/mean_tokens" in entry and f"rewards/{TERMS[0]}/mean" in entry for entry in logged)
    assert any("rollouts/correct_tokens" in entry for entry in logged)


def with_budget(group: Group, budgets: Mapping[str, int]) -> Group:
    from dataclasses import replace

    return replace(group, budget_tokens=budgets[group.problem.id])


def test_prompts_reach_the_model_as_our_solver_renders_them(lm: Any, tmp_path: Path) -> None:
    rows = dataset(ADDRESS, lm.tokenizer)
    trainer = open_trainer("GRPO", tmp_path, lm, rows, [reward("levels")])
    solver = laconic.open_solver(lm)
    ours = [
        list(g.prompt_ids)
        for g in solver.attempt(laconic.load_problems(ADDRESS), 1, SamplerConfig(max_tokens=1), seed=0)
    ]
    assert trainer._tokenize_prompts(list(rows["prompt"]))[0] == ours


def test_a_resumed_run_pays_as_the_one_that_went_on(lm: Any, tmp_path: Path) -> None:
    rows = dataset(ADDRESS, lm.tokenizer)
    whole = [Recorded(reward("hapo")), Recorded(reward("laser_d", every=2))]
    open_trainer("GRPO", tmp_path, lm, rows, list(whole)).train()
    again = [Recorded(reward("hapo")), Recorded(reward("laser_d", every=2))]
    open_trainer("GRPO", tmp_path, lm, rows, list(again)).train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))
    assert [function.calls for function in again] == [function.calls[1:] for function in whole]


def test_evaluation_pays_its_own_groups_and_remembers_nothing(lm: Any, tmp_path: Path) -> None:
    rows, function = dataset(ADDRESS, lm.tokenizer), Recorded(reward("hapo"))
    sizes = {"max_steps": 1, "num_generations_eval": 2, "per_device_eval_batch_size": 4}
    trainer = open_trainer("GRPO", tmp_path, lm, rows, [function], **sizes)
    trainer.train()
    kept = json.dumps(trainer.state.stateful_callbacks[STATE + "hapo"])
    trainer.evaluate(rows.select(range(3)))
    assert [len(earned) for _, earned in function.calls] == [8, 4, 2]
    assert json.dumps(trainer.state.stateful_callbacks[STATE + "hapo"]) == kept


def test_a_data_set_without_answers_is_refused_before_anything_is_drawn(lm: Any, tmp_path: Path) -> None:
    rows = dataset(ADDRESS, lm.tokenizer).rename_column("answer", "solution")
    with pytest.raises(InputError, match="no column 'answer'"):
        open_trainer("GRPO", tmp_path, lm, rows, [reward("hapo")]).train()


def test_two_processes_pay_as_one(lm: Any, tmp_path: Path) -> None:
    """Each process has half of every group: 2 processes, groups of 4, 2 rows for each."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    paths = os.pathsep.join([str(SCRIPT.parent), str(SCRIPT.parents[1]), *filter(None, sys.path)])
    done = subprocess.run(
        [*launcher, str(SCRIPT), str(tmp_path)],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text(encoding="utf-8")) for rank in (0, 1)]
    for name in ranks[0]:
        steps = list(zip(*(rank[name] for rank in ranks), strict=True))
        assert all(len(set(call["id"])) == 1 and len(call["id"]) == 2 for step in steps for call, _ in step)
        calls = [
            {key: [row for call, _ in step for row in call[key]] for key in ("id", "completion_ids")} for step in steps
        ]
        ours, _ = paid_by_us(lm, calls, alone(name))
        assert [[value for _, earned in step for value in earned] for step in steps] == ours, name


def test_the_script_of_the_docs_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In small: 15 lines, of which the numbers alone are changed."""
    (script,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.S)
    assert len(script.strip().splitlines()) <= 15
    monkeypatch.chdir(tmp_path)
    small = script.replace("count=512", "count=8").replace("max_steps=60", "max_steps=2")
    assert small.count("count=8") == small.count("max_steps=2") == 1
    exec(compile(small, "docs/trl.md", "exec"), {"__name__": "__main__"})
    assert (tmp_path / "runs" / "trl" / "checkpoint-2" / "trainer_state.json").exists()

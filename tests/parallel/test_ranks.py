"""Two processes train what one trains: the same rollouts from the same seed, and the same numbers up to rounding.

One pair of processes trains every case of `CASES` one after the other; this process trains them alone. Then the checkpoint of a
run of two is resumed by one and by three. Responses are graded by a hash of their text, so that a random model has something to
learn from.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import oracles
import pytest
import torch
from ranked import in_team
from safetensors.torch import load_file
from small import save_small_model

from laconic.config.load import parse_recipe
from laconic.config.phase import PhaseConfig
from laconic.config.rewards import RewardsConfig
from laconic.grading.grader import Grader
from laconic.grading.rules import Graded
from laconic.models import prefixes, scoring
from laconic.parallel.team import ALONE, Team
from laconic.rewards.from_recipe import reward_table
from laconic.rollouts import sources
from laconic.rollouts.paying import Payer
from laconic.system.files import read_jsonl
from laconic.system.progress import Reporter
from laconic.training.algorithms import ALGORITHMS
from laconic.training.run import start
from laconic.types import Grade

LORA = {"policy": {"lora": {"rank": 2}}}
LEARNT = ("update/policy_loss", "update/value_loss", "update/policy_grad_norm", "update/critic_grad_norm")
CASES: dict[str, dict[str, Any]] = {
    "separate critic": {"algorithm": {"name": "ppo", "whitening": "batch", "reference": "ema"}, "entry_share": 0.5},
    "critic as an adapter": LORA | {"algorithm": {"name": "ppo", "critic": "lora", "reference": "ema"}},
    "zero critic, activations recomputed": {
        "policy": {"gradient_checkpointing": True},
        "algorithm": {"name": "ppo", "critic": "zero", "ratio": "sequence"},
    },
    "budgets and exits": {"source": "serial", "algorithm": {"name": "grpo"}},
    "kept pairs": {"source": "offline", "algorithm": {"name": "dpo"}},
    "a teacher": {"algorithm": {"name": "logit_distill", "kl_estimator": "exact", "reference_model": "TEACHER"}},
    "exact KL to an adapter": LORA | {"algorithm": {"name": "rloo", "kl_estimator": "exact", "reference": "ema"}},
}
"""What a recipe has beside the levers of all."""


@pytest.fixture(scope="module", autouse=True)
def small_matters() -> Iterator[None]:
    """Prefixes are shared and the vocabulary is cut into chunks although both are small."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Grader, "grade_many", graded_by_hash)
        patch.setattr(sources, "FORCED_ANSWER_TOKENS", 2)
        patch.setattr(prefixes, "COPY_PRICE", 1)
        patch.setattr(scoring, "LOGITS_PER_CHUNK", 400)
        yield


def graded_by_hash(self: Grader, items: Any) -> list[Graded]:
    """Half of all texts are correct, whatever they say."""
    grades = [Grade.CORRECT if hashlib.sha256(text.encode()).digest()[0] % 2 else Grade.WRONG for text, *_ in items]
    return [Graded(grade, "1") for grade in grades]


def recipe(folder: Path, case: str) -> Any:
    """Two steps of three problems, which two processes cannot share evenly, with a reward that remembers where it may."""
    changes = dict(CASES[case])
    source = changes.pop("source", "on_policy")
    levers = {"kl_coef": 0.05, "entropy_coef": 0.01} | changes.pop("algorithm")
    levers = dict(ALGORITHMS[levers["name"]].requires) | levers
    levers = {key: str(folder / "teacher") if value == "TEACHER" else value for key, value in levers.items()}
    phase = {
        "name": "p",
        "steps": 2,
        "rollouts": source,
        "entry_share": changes.pop("entry_share", 0.0),
        "select": {"how": "all", "count": 3},
        "problems_per_step": 3,
        "group_size": 3,
        "sampler": {"max_tokens": 6, "batch_size": 4},
        "algorithm": levers,
        "rewards": {"terms": [] if source == "offline" else [{"name": "hapo", "weight": 0.1}]},
        "optimizer": {"lr": 1e-3, "critic_lr": 1e-3, "minibatches": 2, "micro_batch_tokens": 60},
        "end": {"guard_drop": None},
    }
    tree = {
        "name": "ranks",
        "model": str(folder / "model"),
        "threads": 1,
        "problems": {"train": "tiny:mix?count=5&split=train", "watch": "tiny:mix?count=3&split=watch"},
        "watch": {"every": 2, "samples": 1},
        "checkpoints": {"every": 1, "keep": 9},
        "phases": [phase],
    }
    return parse_recipe(tree | changes, case)


def train(team: Team, folder: Path, case: str, out: Path, *, resume: bool = False) -> None:
    start(recipe(folder, case), out, resume=resume, reporter=Reporter(is_silent=True), team=team).train()


def set_back(whole: Path, out: Path) -> Path:
    """A copy of a finished run as it was when the checkpoint of its first step had been written."""
    shutil.copytree(whole, out, ignore=shutil.ignore_patterns("model", "phases.json", "step-000002*"))
    return out


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`one/` and `two/` with every case as a process alone and as two have trained it; `two by one/` and its like are the first
    case as two have trained it for a step, and one to the end."""
    folder = tmp_path_factory.mktemp("ranks")
    save_small_model(folder / "model")
    save_small_model(folder / "teacher", seed=1)
    for case in CASES:
        train(ALONE, folder, case, folder / "one" / case)
    assert not torch.distributed.is_initialized()
    in_team(2, lambda team: train_and_resume(team, folder), folder / "pair")
    first, *_ = CASES
    train(ALONE, folder, first, set_back(folder / "two" / first, folder / "two by one"), resume=True)
    for by, what in (("one", folder / "one by three"), ("two", folder / "two by three")):
        set_back(folder / by / first, what)
    in_team(
        3,
        lambda team: [train(team, folder, first, folder / f"{by} by three", resume=True) for by in ("one", "two")],
        folder / "triple",
    )
    return folder


def train_and_resume(team: Team, folder: Path) -> None:
    """What two processes do: all cases, and the first of them once more from its first step on."""
    for case in CASES:
        train(team, folder, case, folder / "two" / case)
    first, *_ = CASES
    team.by_first(lambda: set_back(folder / "two" / first, folder / "two by two"))
    train(team, folder, first, folder / "two by two", resume=True)


def metrics(out: Path) -> list[dict[str, Any]]:
    return list(read_jsonl(out / "metrics.jsonl"))


def rollouts(out: Path, step: int) -> list[dict[str, Any]]:
    """Problem, tokens, grade and reward of a step's rollouts."""
    rows = read_jsonl(out / "rollouts" / f"step-00000{step}.jsonl")
    return [{key: value for key, value in row.items() if "logprob" not in key} for row in rows]


def furthest(one: Path, other: Path) -> float:
    """The largest difference of two models' weights."""
    a, b = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    assert a.keys() == b.keys()
    return max(float((a[name] - b[name]).abs().max()) for name in a)


@pytest.mark.parametrize("case", CASES)
def test_two_draw_and_pay_in_the_first_step_what_one_does(case: str, runs: Path) -> None:
    assert rollouts(runs / "two" / case, 1) == rollouts(runs / "one" / case, 1)


@pytest.mark.parametrize("case", CASES)
def test_losses_and_gradients_of_two_are_those_of_one(case: str, runs: Path) -> None:
    one, two = metrics(runs / "one" / case), metrics(runs / "two" / case)
    assert [row["step"] for row in two] == [1, 2]
    known = [name for name in LEARNT if name in one[0]]
    assert known
    for a, b in zip(one, two, strict=True):
        assert {name: b[name] for name in known} == pytest.approx({name: a[name] for name in known}, abs=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_weights_of_two_are_those_of_one(case: str, runs: Path) -> None:
    """They have moved by three times as much, so the comparison could fail."""
    assert furthest(runs / "two" / case / "model", runs / "one" / case / "model") < 1e-4
    assert furthest(runs / "one" / case / "model", runs / "model") > 3e-4


@pytest.mark.parametrize("resumed", ["two by one", "two by two", "one by three", "two by three"])
def test_any_number_of_processes_resumes_what_another_saved(resumed: str, runs: Path) -> None:
    """Weights and moments of both optimisers, the reference, and what rewards remember."""
    first, *_ = CASES
    assert [row["step"] for row in metrics(runs / resumed)] == [1, 2]
    assert furthest(runs / resumed / "model", runs / "one" / first / "model") < 1e-4
    memory = [
        json.loads((runs / run / "checkpoints" / "step-000002" / "trainer.json").read_text())["memory"]
        for run in (resumed, f"one/{first}")
    ]
    assert memory[0] == memory[1]
    assert memory[0]["problems"]


def test_as_many_processes_resume_to_the_same_bits(runs: Path) -> None:
    first, *_ = CASES
    assert furthest(runs / "two by two" / "model", runs / "two" / first / "model") == 0


def test_each_process_writes_its_share_of_a_checkpoint(runs: Path) -> None:
    """Two files of about the same size, and no file for the tensors of one process."""
    first, *_ = CASES
    checkpoint = runs / "two" / first / "checkpoints" / "step-000001"
    sizes = [file.stat().st_size for file in (checkpoint / "trainer").iterdir()]
    assert len(sizes) == 2
    assert max(sizes) < 1.2 * min(sizes)
    assert not (checkpoint / "trainer.safetensors").exists()


def test_a_reward_of_ones_own_pays_the_same_on_every_process(tmp_path: Path) -> None:
    """What it pays depends on the process that asks it; nothing says that it may not."""
    file = tmp_path / "mine.py"
    file.write_text("import os\ndef odd(numbers):\n    return 0.0 * numbers.lengths + os.getppid()\n", encoding="utf-8")
    rewards = RewardsConfig(terms=({"name": f"{file}:odd"},))
    phase = PhaseConfig(name="p", steps=1, rewards=rewards)
    group = oracles.make_group([3], [([7, 1], 0.0, "correct"), ([8, 9, 1], 0.0, "wrong")])

    def work(team: Team) -> Any:
        (paid,) = Payer(phase, {}, reward_table(rewards), team).pay([group])
        return [rollout.reward for rollout in paid.rollouts]

    one, other = in_team(2, work, tmp_path / "told")
    assert one == other and one[0] > 1000


def test_what_a_team_shares_out_comes_back_in_order(tmp_path: Path) -> None:
    """Seven items over three processes, of which one has to wait for the others; then an error of one is everyone's."""

    def work(team: Team) -> Any:
        squares = team.share_out(range(7), lambda own: [item**2 for item in own])
        total = team.sums(torch.tensor([1.0, team.rank]))
        parts = list(team.part([5, 5, 5, 5, 100, 5]))
        return (
            squares,
            total.tolist(),
            team.most(team.rank),
            team.agrees(team.rank == 1),
            parts,
            team.by_first(lambda: team.rank),
        )

    told = in_team(3, work, tmp_path)
    assert [one[:4] for one in told] == [([0, 1, 4, 9, 16, 25, 36], [3.0, 3.0], 2, True)] * 3
    assert [one[4] for one in told] == [[0, 1, 2, 3], [4], [5]]
    assert [one[5] for one in told] == [0, 0, 0]

"""Exports of `laconic export verl`, held against verl itself: its config, data set, reward manager, estimators and losses.

    python benchmarks/verl_check.py            every case
    python benchmarks/verl_check.py laser_d    those of one recipe

Run it where verl and laconic are both installed (`benchmarks/peers.sh verl` makes such an environment); it needs no GPU, and
starts no ray. Each case is a phase of a shipped recipe, with changes. Three steps of random responses to its problems go through
verl's own path, shuffled and padded as verl does, and through our trainer's:

1. The exported config is composed and validated by verl, the data set read and its prompts rendered by verl.
2. Rewards are the same float32, bit for bit.
3. The loss that verl's actor computes from verl's advantages is the loss that our update computes, to 1e-5. For a critic,
   advantages agree as far as whitening by the sample deviation allows.
4. What rewards remember is written by verl's callback, and read back where verl would resume.
5. The exported command composes that config through verl's own main.
"""

import argparse
import asyncio
import os
import random
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from tensordict import TensorDict
from transformers import AutoTokenizer
from verl import DataProto
from verl.trainer.ppo.checkpoint_callback import build_checkpoint_callback
from verl.trainer.ppo.core_algos import get_policy_loss_fn
from verl.trainer.ppo.ray_trainer import compute_advantage
from verl.trainer.ppo.reward import load_reward_manager
from verl.trainer.ppo.utils import create_rl_dataset, need_critic, need_reference_policy
from verl.utils.config import omega_conf_to_dataclass, validate_config
from verl.utils.tokenizer.continuous_token_wiring import create_continuous_token_builder

from laconic.integrations.verl.channel import single
from laconic.integrations.verl.export import export_verl
from laconic.integrations.verl.exported_phase import ExportedPhase, read_exported_phase
from laconic.integrations.verl.problem_rows import ProblemRow
from laconic.integrations.verl.step_advantages import StepPayer, open_step_payer
from laconic.prompts.instructions import render
from laconic.recipes.find import find_recipe
from laconic.rl.losses import clipped_surrogate, sequence_log_ratio
from laconic.rl.masked import masked_sum, token_weights
from laconic.rollouts.paying import Payer
from laconic.training.algorithms import estimate_advantages, find_algorithm
from laconic.training.batching import RolloutBatch, collate
from laconic.training.curriculum import admit
from laconic.training.estimators import Advantages
from laconic.training.experience import Experience
from laconic.types import Grade, Group

STEPS = 3
WHITENING = 0.01  # what the sample deviation of some hundred tokens may change


@dataclass(frozen=True)
class Case:
    """A phase of a shipped recipe, with changes to the phase."""

    recipe: str
    phase: str
    changes: tuple[str, ...] = ()


COSINE, EVERYTHING = "optimizer.schedule=cosine", "select.how=everything"
PLAIN = ("rewards.correct=0", "rewards.wrong=0", "rewards.no_answer=0", "rewards.truncated=0")
CASES = (
    Case("accuracy_only", "accuracy", (COSINE,)),
    Case("arora_zanette", "efficiency", (COSINE,)),
    Case("dler", "truncation", (COSINE,)),
    Case("demo", "accuracy", ("optimizer.minibatches=1",)),
    Case("l1", "budgets", (COSINE,)),
    Case("laser_d", "targets", (COSINE, 'rewards.terms=[{name="laser_d", options={every=1}}]')),
    Case("laser_d", "targets", (COSINE, *PLAIN, 'rewards.terms=[{name="hapo"}]')),
    Case(
        "laser_d",
        "targets",
        (COSINE, *PLAIN, 'rewards.terms=[{name="alp", options={beta=0.001}}]', "algorithm.truncated=mask"),
    ),
    Case("laser_d", "targets", (COSINE, *PLAIN, 'rewards.terms=[{name="gr3"}]', "rewards.standardize=true")),
    Case("laser_d", "targets", (COSINE, "algorithm.name=gfpo")),
    Case("laser_d", "targets", (COSINE, "algorithm.ratio=sequence", "algorithm.aggregation=response")),
    Case(
        "laser_d",
        "targets",
        (COSINE, "algorithm.name=sft", "algorithm.old_logprobs=current", "algorithm.clip_high=0.2"),
    ),
    Case("long2short/rl", "length_reward", (COSINE,)),
    Case("t1", "exploration", (COSINE, "algorithm.kl_in=loss", "algorithm.reference=frozen")),
    Case("thinkprune", "limit_96", (COSINE,)),
    Case("two_phase", "accuracy", (COSINE, EVERYTHING)),
    Case("two_phase", "brevity", (COSINE, EVERYTHING)),
    Case(
        "two_phase",
        "brevity",
        (COSINE, EVERYTHING, "algorithm.critic=separate", "algorithm.kl_in=reward", "algorithm.old_logprobs=recompute"),
    ),
)


@dataclass
class Side:
    """Everything of an exported case that steps need."""

    exported: ExportedPhase
    config: Any
    tokenizer: Any
    dataset: Any
    manager: Any
    ours: Payer
    carried: StepPayer


def check(case: Case, folder: Path) -> str:
    """Export the case and compare; returns one line."""
    small = f"steps={STEPS}", "problems_per_step=6", "sampler.max_tokens=160"
    changes = [f"phases.{case.phase}.{change}" for change in (*case.changes, *small)]
    export_verl(find_recipe(case.recipe, changes), folder, case.phase)
    exported, config = read_exported_phase(folder), composed(folder)
    tokenizer = AutoTokenizer.from_pretrained(config.actor_rollout_ref.model.path)
    side = Side(
        exported,
        config,
        tokenizer,
        create_rl_dataset(config.data.train_files, config.data, tokenizer, None),
        load_reward_manager(config, tokenizer),
        Payer(exported.phase, {}, exported.rewards),
        open_step_payer(exported),
    )
    for step in range(STEPS):
        check_step(side, step)
    check_resumed(side, folder)
    if case is CASES[0]:
        check_command(folder)
    side.manager.scorer.grader.close()
    carries = "grades" if exported.carries_grades else "rewards"
    return f"{case.recipe}, {case.phase}: {exported.phase.algorithm.name}, verl carries {carries}"


def composed(folder: Path) -> Any:
    """verl's whole config, as its own command composes it, validated by verl."""
    with initialize_config_dir(str(folder), version_base=None):
        config = compose("laconic")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        validate_config(config, need_reference_policy(config), need_critic(config))
    return config


# --- one step --------------------------------------------------------------------------------------------------------


def check_step(side: Side, step: int) -> None:
    """One step's responses, through verl and through our trainer."""
    phase, per_step = side.exported.phase, side.config.data.train_batch_size
    items = [side.dataset[step * per_step + place] for place in range(per_step)]
    rows = [ProblemRow.from_extra_info(item["extra_info"]) for item in items]
    prompts = [rendered(side, item, row) for item, row in zip(items, rows, strict=True)]
    rng = random.Random(step)
    drawn = [[made_up(side, row, place, rng) for place in range(phase.group_size)] for row in rows]
    groups = [
        Group(
            row.problem,
            tuple(prompt),
            tuple(
                replace(side.manager.scorer.graded(prompt, ids, row), sample=place * phase.group_size + i)
                for i, ids in enumerate(responses)
            ),
            budget_tokens=row.budget_tokens,
        )
        for place, (row, prompt, responses) in enumerate(zip(rows, prompts, drawn, strict=True))
    ]
    assert len({grade for group in groups for grade in group.grades}) >= 3  # else nothing would be compared
    paid = side.ours.pay(groups)
    side.ours.remember(paid)
    data = verl_batch(side, items, prompts, drawn)
    check_rewards(paid, side.carried, data)
    algorithm = side.config.algorithm
    data = compute_advantage(
        data, adv_estimator=algorithm.adv_estimator, gamma=algorithm.gamma, lam=algorithm.lam, config=algorithm
    )
    compare(side, paid, data)


def rendered(side: Side, item: dict[str, Any], row: ProblemRow) -> list[int]:
    """The prompt as verl's agent loop renders it, which must be the one that we render."""
    builder = create_continuous_token_builder(side.tokenizer, hf_model_type="llama")
    theirs, prompt = builder.build_initial_tokens(item["raw_prompt"]), side.exported.recipe.prompt
    instruction = row.instruction(side.exported.phase, prompt.instruction)
    assert theirs == render(side.tokenizer, row.problem, instruction=instruction, system=prompt.system)
    return theirs


def made_up(side: Side, row: ProblemRow, place: int, rng: random.Random) -> list[int]:
    """A random response: right, wrong, without an answer, or cut off at the cap. It is longer than those in the places before it,
    so that an order by length does not depend on the order in which verl hands responses over."""
    kind, most = rng.choice(["right", "right", "wrong", "none"]), side.exported.phase.sampler.max_tokens
    words = side.tokenizer.encode(row.problem.question, add_special_tokens=False)
    ids = [rng.choice(words) for _ in range(1 + 16 * place)]
    if place == side.exported.phase.group_size - 1 and rng.random() < 0.5:
        return (ids * most)[:most]
    answer = {"right": row.problem.answer, "wrong": "99999", "none": None}[kind]
    said = [] if answer is None else side.tokenizer.encode(rf"</think>\boxed{{{answer}}}", add_special_tokens=False)
    return [*ids, *said, side.tokenizer.eos_token_id][-most:]


def verl_batch(side: Side, items: Sequence[dict[str, Any]], prompts: Sequence[list[int]], drawn: Any) -> DataProto:
    """The step as verl's trainer has it before advantages: scores on last tokens, a mask, and a uid for each prompt."""
    rows = [
        (item, prompt, ids) for item, prompt, responses in zip(items, prompts, drawn, strict=True) for ids in responses
    ]
    order = list(range(len(rows)))
    random.Random(0).shuffle(order)  # verl balances a batch over its devices, so that groups are not together
    shape = len(rows) + 1, max(len(ids) for _, _, ids in rows)  # the last row is padding, as verl adds it
    scores, mask, uids = torch.zeros(shape), torch.zeros(shape, dtype=torch.int64), []
    for place, number in enumerate(order):
        item, prompt, ids = rows[number]
        result = asyncio.run(side.manager.run_single(single_item(item, prompt, ids)))
        scores[place, len(ids) - 1] = result["reward_score"]
        mask[place, : len(ids)] = 1
        uids.append(f"uid-{item['extra_info']['index']}")
    values = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    batch = TensorDict({"token_level_rewards": scores, "response_mask": mask, "values": values}, batch_size=shape[0])
    names = np.array([*uids, "pad"], dtype=object)
    return DataProto(batch=batch, non_tensor_batch={"uid": names, "order": np.array([*order, -1], dtype=object)})


def single_item(item: dict[str, Any], prompt: Sequence[int], ids: Sequence[int]) -> DataProto:
    """One response as a reward worker of verl gets it."""
    batch = {
        "prompts": torch.tensor([prompt]),
        "responses": torch.tensor([ids]),
        "attention_mask": torch.ones(1, len(prompt) + len(ids), dtype=torch.int64),
    }
    facts = {key: np.array([item[key]], dtype=object) for key in ("data_source", "reward_model", "extra_info")}
    return DataProto(batch=TensorDict(batch, batch_size=1), non_tensor_batch=facts)


# --- the comparisons -------------------------------------------------------------------------------------------------


def check_rewards(paid: Sequence[Group], carried: StepPayer, data: DataProto) -> None:
    """What our trainer pays, against what comes out of the numbers that verl carried: the same float32, bit for bit."""
    scores, lengths = data.batch["token_level_rewards"], data.batch["response_mask"].sum(dim=1)
    numbers = scores.gather(1, (lengths - 1).clamp(min=0)[:, None])[:, 0].tolist()
    groups = carried.pay(numbers, lengths.tolist(), data.non_tensor_batch["uid"].tolist())
    order = data.non_tensor_batch["order"].tolist()
    found = {order[r.sample]: single(r.reward) for group in groups for r in group.rollouts}
    wanted = {r.sample: single(r.reward) for group in paid for r in group.rollouts}
    assert found == wanted, (found, wanted)


def compare(side: Side, paid: Sequence[Group], data: DataProto) -> None:
    """verl's advantages and loss, against those of our trainer for the same groups."""
    phase, advantage = side.exported.phase, data.batch["advantages"]
    place_of = {number: place for place, number in enumerate(data.non_tensor_batch["order"].tolist())}
    admitted = admit(paid, phase)
    assert bool(advantage.any()) == bool(admitted)
    if not admitted:
        return
    batch = collate(admitted, truncated=phase.algorithm.truncated)
    places = [place_of[r.sample] for g in admitted for r in g.rollouts if r.grade is not Grade.UNGRADABLE]
    longest = batch.response_mask.shape[1]
    found = estimated(side, batch, data.batch["values"][places][:, :longest])
    if side.config.algorithm.adv_estimator == "gae":
        mask = batch.response_mask
        assert found.returns is not None
        torch.testing.assert_close(data.batch["returns"][places][:, :longest][mask], found.returns[mask])
        torch.testing.assert_close(
            advantage[places][:, :longest][mask], found.advantages[mask], rtol=WHITENING, atol=WHITENING
        )
        return
    counted = batch.loss_rows if found.rows is None else batch.loss_rows & found.rows
    ratios = torch.randn(advantage.shape, generator=torch.Generator().manual_seed(1)) * 0.3
    theirs = verl_loss(side.config, advantage, data.batch["response_mask"], ratios)
    ours = our_loss(side, found.advantages, ratios[places][:, :longest], batch.loss_mask & counted[:, None], counted)
    assert abs(theirs - ours) <= 1e-5 * max(1.0, abs(ours)), (theirs, ours)


def estimated(side: Side, batch: RolloutBatch, values: torch.Tensor) -> Advantages:
    """Our trainer's advantages; `values` are used where there is a critic."""
    nothing, rewards = torch.zeros(batch.response_mask.shape), torch.zeros(batch.response_mask.shape)
    rewards[torch.arange(batch.num_rows), batch.lengths - 1] = batch.rewards
    has_critic = side.config.algorithm.adv_estimator == "gae"
    experience = Experience(
        batch, nothing, None, values if has_critic else nothing, torch.zeros(batch.num_rows), rewards
    )
    return estimate_advantages(find_algorithm(side.exported.phase), experience, side.exported.phase.algorithm)


def verl_loss(config: Any, advantage: torch.Tensor, mask: torch.Tensor, log_ratio: torch.Tensor) -> float:
    """verl's policy loss over the whole step, as its actor computes it, without the padding that verl masks."""
    actor = omega_conf_to_dataclass(config.actor_rollout_ref.actor)
    actor.global_batch_info.update(
        dp_size=1,
        batch_num_tokens=float(mask.sum()),
        global_batch_size=float((mask.sum(dim=1) > 0).sum()),
        loss_scale_factor=actor.loss_scale_factor,
    )
    loss, _ = get_policy_loss_fn(actor.policy_loss.loss_mode)(
        old_log_prob=torch.zeros_like(log_ratio),
        log_prob=log_ratio,
        advantages=advantage,
        response_mask=mask.bool(),
        loss_agg_mode=actor.loss_agg_mode,
        config=actor,
    )
    return float(loss)


def our_loss(
    side: Side, advantages: torch.Tensor, log_ratio: torch.Tensor, mask: torch.Tensor, counted: torch.Tensor
) -> float:
    """Our policy loss over the whole step (`training/updates.py`). Where the ratio is always 1, what has the loss's gradient: the
    log-likelihood."""
    config, cap = side.exported.phase.algorithm, side.exported.phase.sampler.max_tokens
    counts = {"num_responses": int(counted.sum()), "num_tokens": int(mask.sum()), "max_tokens": cap}
    weights = token_weights(mask, config.aggregation, **counts)
    if config.old_logprobs == "current":
        return float(masked_sum(-log_ratio * advantages * weights, mask))
    if config.ratio == "sequence":
        log_ratio = sequence_log_ratio(log_ratio, mask)
    return float(
        masked_sum(clipped_surrogate(log_ratio, advantages, config.clip_low, config.clip_high) * weights, mask)
    )


def check_resumed(side: Side, folder: Path) -> None:
    """verl's callback writes what rewards remember into a checkpoint, and a new one reads it back."""
    place = folder.parent / "checkpoints"
    side.config.trainer.default_local_dir = str(place)
    keeper = build_checkpoint_callback(side.config)
    (place / f"global_step_{STEPS}").mkdir(parents=True)
    keeper.on_save(
        trainer=None, global_step=STEPS, checkpoint_dir=str(place / f"global_step_{STEPS}"), async_save=False
    )
    (place / "latest_checkpointed_iteration.txt").write_text(str(STEPS))
    before = keeper.payer.memory
    assert before == side.ours.memory
    keeper.payer.restore(type(before)())
    again = build_checkpoint_callback(side.config)
    assert again.payer.memory == before


def check_command(folder: Path) -> None:
    """The exported command composes the same config: verl's own main, which prints it instead of running."""
    found = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    command = ["sh", str(folder / "run.sh"), "trainer.n_gpus_per_node=8", "--cfg", "job"]
    done = subprocess.run(command, env=os.environ | {"PATH": found}, capture_output=True, text=True, check=True)
    assert "adv_estimator: laconic" in done.stdout and "n_gpus_per_node: 8" in done.stdout, done.stdout


def main() -> None:
    """Check the cases that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", help="only the cases of these recipes")
    wanted = parser.parse_args().recipes
    for case in CASES:
        if not wanted or case.recipe in wanted:
            began = time.perf_counter()
            with tempfile.TemporaryDirectory() as folder:
                line = check(case, Path(folder) / "export")
            print(f"{line}: agrees ({time.perf_counter() - began:.1f} s)", flush=True)


if __name__ == "__main__":
    main()

"""GRPO from the parts, in one file: problems, rollouts, rewards, advantages, a loss, an optimizer.

    python examples/grpo_loop.py --steps 20

Each step draws a group of responses to each of a few problems, gives a correct one the reward 1, and compares every response with
the others of its group (Shao et al. 2024, arXiv 2402.03300). The bundled reasoner needs neither a network nor a GPU. `laconic
train` does the same, with checkpoints, a watch set, a reference and many published variants.
"""

import argparse
from dataclasses import replace

import torch

import laconic
from laconic.config.solver import SamplerConfig
from laconic.models.scoring import response_logprobs
from laconic.rewards.numbers import numbers_of
from laconic.rewards.paying import pay
from laconic.rl.advantages import group_standardized
from laconic.rl.losses import clipped_surrogate
from laconic.rl.masked import masked_sum, token_weights
from laconic.rng import seed_of, stream
from laconic.training.batching import collate, micro_batches
from laconic.types import Group

parser = argparse.ArgumentParser(description="GRPO from the parts.")
parser.add_argument("--model", default="tiny", help="a folder, a hub name, or 'tiny'")
parser.add_argument("--problems", default="tiny:mix?count=200&split=train")
parser.add_argument("--steps", type=int, default=20)
parser.add_argument("--problems-per-step", type=int, default=8)
parser.add_argument("--group-size", type=int, default=8)
parser.add_argument("--max-tokens", type=int, default=200, help="cap on a response")
parser.add_argument("--lr", type=float, default=1e-5)
parser.add_argument("--seed", type=int, default=0)
options = parser.parse_args()

LEVELS = {"correct": 1.0, "wrong": 0.0, "no_answer": 0.0, "truncated": 0.0}


def with_rewards(group: Group) -> Group:
    """The group with the rewards of its responses."""
    total, _ = pay(numbers_of(group, options.max_tokens), [("levels", 1.0, LEVELS)])
    rollouts = [replace(rollout, reward=float(earned)) for rollout, earned in zip(group.rollouts, total, strict=True)]
    return replace(group, rollouts=tuple(rollouts))


lm = laconic.load_model(options.model)
solver = laconic.open_solver(lm)
problems = laconic.load_problems(options.problems, seed=options.seed)
decoding = SamplerConfig(temperature=1.0, max_tokens=options.max_tokens)
optimizer = torch.optim.AdamW(lm.model.parameters(), lr=options.lr, weight_decay=0.0)

for step in range(1, options.steps + 1):
    # 1. Sample a group of responses to each problem, grade them, and pay them.
    drawn = stream(options.seed, "problems", step).sample(problems, options.problems_per_step)
    groups = solver.attempt(drawn, options.group_size, decoding, seed=seed_of(options.seed, "rollouts", step))
    batch = collate([with_rewards(group) for group in groups], truncated="penalise")

    # 2. How much better was each response than the others of its group? One number for each of the B responses.
    counted = torch.ones(batch.num_rows, dtype=torch.bool)
    advantages = group_standardized(batch.rewards, batch.groups, counted)

    # 3. The loss, summed over micro-batches: each token's surrogate, weighted so that every response counts alike.
    num_tokens = int(batch.loss_mask.sum())
    for micro in micro_batches(batch, range(batch.num_rows), 4096, lm.device):
        inputs = (micro.input_ids, micro.predictors, micro.response_ids, micro.mask)
        logprobs, _ = response_logprobs(lm, *inputs, temperature=decoding.temperature)
        old_logprobs = batch.sampler_logprobs[micro.rows, : micro.mask.shape[1]].to(lm.device)
        of_tokens = advantages[micro.rows][:, None].expand(micro.mask.shape).to(lm.device)
        losses = clipped_surrogate(logprobs - old_logprobs, of_tokens, clip_low=0.2, clip_high=0.2)
        weights = token_weights(
            micro.mask,
            "response",
            num_responses=batch.num_rows,
            num_tokens=num_tokens,
            max_tokens=options.max_tokens,
        )
        masked_sum(losses * weights, micro.mask).backward()

    # 4. One update.
    torch.nn.utils.clip_grad_norm_(lm.model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    mean_reward, mean_tokens = batch.rewards.mean().item(), batch.lengths.float().mean().item()
    print(f"step {step}: reward {mean_reward:.3f}, tokens {mean_tokens:.1f}")

solver.grader.close()

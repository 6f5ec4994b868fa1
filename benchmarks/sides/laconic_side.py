"""The Laconic side: makes the workload, then samples, updates, takes whole steps and grades, each through the public calls
that `laconic train` itself makes.

    prepare   write prompts, checkpoints and a batch of graded rollouts
    sample    `LocalSampler.sample`
    step      `PhaseRun.take_step`: draw problems, roll out, grade, pay, admit, update, log
    update    the same on the batch that TRL gets too; its seconds are those the step itself logs for what follows the rollouts
    grade     `grade_response`, or `Grader.grade_many`
    multiply  PyTorch's float32 matrix product, by which a reader can place the other figures
"""

import json
import shutil
import tempfile
import time
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from sides.pipe import Answer, Task, serve
from sides.workload import (
    BETAS,
    CLIP,
    CORRECT,
    GROUP_SIZE,
    LEARNING_RATE,
    MAX_GRAD_NORM,
    NOT_CORRECT,
    Attempt,
    Prompt,
    Workload,
    reward,
)

from laconic.config.load import parse_recipe
from laconic.config.policy import PolicyConfig
from laconic.config.recipe import Recipe
from laconic.config.solver import SamplerConfig
from laconic.grading.grader import Grader
from laconic.grading.rules import Graded, grade_response
from laconic.models.causal_lm import CausalLM
from laconic.models.loading import load_model, resolve_model
from laconic.prompts.instructions import messages, render
from laconic.rl.advantages import group_standardized
from laconic.rng import stream
from laconic.samplers.local import LocalSampler
from laconic.samplers.protocol import Request
from laconic.system.progress import Reporter
from laconic.tiny.tasks import make_problems
from laconic.training.phase import PhaseRun
from laconic.training.phase_end import Watch
from laconic.training.run import start
from laconic.types import FinishReason, Grade, Group, Problem, Response, Rollout

WATCHED = "tiny:mix?count=1&split=watch"
REWARD_NOISE, OLD_LOGPROB_NOISE = 0.1, 0.2
FOREVER = 10**6
REF_KL_COEF = 0.05
MATRIX_REPEATS = 8


class LaconicSide:
    """Everything this side holds between two requests."""

    def __init__(self, settings: dict[str, Any]) -> None:
        torch.set_num_threads(settings["threads"])
        self.workload = Workload(Path(settings["workload"]))
        self.phase = cache(self._phase)
        self.sampler = cache(self._sampler)

    def tasks(self) -> dict[str, Task]:
        """By the names the harness asks for."""
        return {
            "prepare": self.prepare,
            "sample": self.sample,
            "update": self.update,
            "step": self.step,
            "grade": grade,
            "multiply": multiply,
        }

    # --- the workload ------------------------------------------------------------------------------------------------

    def prepare(self, model: str, num_prompts: int, num_problems: int, cap: int) -> Answer:
        """Write the workload's files; the batch has `num_problems` groups of natural length."""
        shutil.copytree(resolve_model(model), self.workload.checkpoint)
        shutil.copytree(resolve_model(model), self.workload.endless)
        forget_end_token(self.workload.endless)
        lm = load_model(str(self.workload.checkpoint), PolicyConfig(device="cpu"))
        self.workload.write_prompts(make_prompts(lm, num_prompts))
        groups = self.draw_groups(lm, num_problems, cap)
        self.workload.write_attempts(make_attempts(groups))
        return {"mean_tokens": mean(rollout.num_tokens for group in groups for rollout in group.rollouts)}

    def draw_groups(self, lm: CausalLM, num_problems: int, cap: int) -> list[Group]:
        """Graded groups of natural length. Rewards are noisy, so that no group is uniform."""
        prompts = self.workload.prompts()[:num_problems]
        requests = [Request(str(i), tuple(prompt.token_ids), GROUP_SIZE) for i, prompt in enumerate(prompts)]
        decoding = SamplerConfig(max_tokens=cap, batch_size=num_problems * GROUP_SIZE)
        drawn = LocalSampler(lm).sample(requests, decoding, seed=0)
        noise = stream(0, "benchmarks", "rewards")
        return [
            _group(i, prompt, [(r, reward(r.text, prompt.answer) + noise.gauss(0.0, REWARD_NOISE)) for r in responses])
            for i, (prompt, responses) in enumerate(zip(prompts, drawn, strict=True))
        ]

    def groups_to_learn_from(self) -> list[Group]:
        """The workload's batch as groups; `old_logprobs` stand where the sampler's log-probabilities do."""
        prompts, attempts = self.workload.prompts(), self.workload.attempts()
        numbers = sorted({attempt.prompt for attempt in attempts})
        return [_group(n, prompts[n], [(_response(a), a.reward) for a in attempts if a.prompt == n]) for n in numbers]

    # --- what is measured --------------------------------------------------------------------------------------------

    def _sampler(self, is_fixed: bool) -> LocalSampler:
        folder = self.workload.model(is_fixed=is_fixed)
        return LocalSampler(load_model(str(folder), PolicyConfig(device="cpu")))

    def sample(self, batch: int, cap: int, is_fixed: bool, seed: int) -> Answer:
        """One response to each of the first `batch` prompts, log-probabilities included."""
        sampler = self.sampler(is_fixed)
        requests = [Request(str(i), tuple(p.token_ids), 1) for i, p in enumerate(self.workload.prompts()[:batch])]
        began = time.perf_counter()
        rows = sampler.sample(requests, SamplerConfig(max_tokens=cap, batch_size=batch), seed=seed)
        seconds = time.perf_counter() - began
        responses = [row[0] for row in rows]
        assert all(len(response.logprobs) == response.num_tokens for response in responses)
        return {"tokens": sum(response.num_tokens for response in responses), "seconds": seconds, "rows": batch}

    def update(self, algorithm: str, cap: int, **_: int) -> Answer:
        """One update on the workload's batch, from graded groups to new weights."""
        groups = self.groups_to_learn_from()
        work = self.phase(algorithm, cap, len(groups), False, REF_KL_COEF if algorithm == "ppo" else 0.0)
        work.reference_cache.clear()  # in training, responses are new every step
        work.groups = groups
        work.take_step()
        metrics = work.run.directory.metrics()[-1]
        return {
            "tokens": sum(sum(group.lengths) for group in groups),
            "seconds": metrics["time/update_seconds"],
            "loss": metrics["update/policy_loss"],
            "grad_norm": metrics["update/policy_grad_norm"],
        }

    def step(self, algorithm: str, cap: int, is_fixed: bool, num_problems: int, **_: int) -> Answer:
        """One whole step of `num_problems` groups. Steps follow one another, so a seed is not needed."""
        work = self.phase(algorithm, cap, num_problems, is_fixed)
        began = time.perf_counter()
        work.take_step()
        seconds = time.perf_counter() - began
        rows = num_problems * GROUP_SIZE
        tokens = round(work.run.directory.metrics()[-1]["rollouts/mean_tokens"] * rows)
        return {"tokens": tokens, "seconds": seconds, "rows": rows}

    def _phase(self, algorithm: str, cap: int, num_problems: int, is_fixed: bool, kl_coef: float = 0.0) -> "BenchPhase":
        """A phase that never watches and never saves, over a model of its own."""
        model, problems = self.workload.model(is_fixed=is_fixed), self.workload.problems_file(num_problems)
        recipe = make_recipe(model, problems, algorithm, cap, num_problems, kl_coef)
        run = start(recipe, Path(tempfile.mkdtemp(dir=self.workload.folder)), resume=False, reporter=quiet()).run
        assert len(run.sets.train) == num_problems, "the watched set took a problem away"
        work = BenchPhase(run, 0, finished=())
        work.watches.append(Watch(0, 0.0, 0.0))
        return work


class BenchPhase(PhaseRun):
    """A phase that learns from `groups` where they are given, and samples its own where not."""

    groups: Sequence[Group] = ()

    def roll_out(self, problems: Sequence[Problem]) -> list[Group]:
        """Graded and paid groups."""
        return list(self.groups) or super().roll_out(problems)


def quiet() -> Reporter:
    """A reporter that says nothing."""
    return Reporter(is_silent=True)


def make_attempts(groups: list[Group]) -> list[Attempt]:
    """The groups with their advantages, and noise on the old log-probabilities."""
    pairs = [(number, rollout) for number, group in enumerate(groups) for rollout in group.rollouts]
    rewards = torch.tensor([rollout.reward for _, rollout in pairs])
    numbers = torch.tensor([number for number, _ in pairs])
    advantages = group_standardized(rewards, numbers, torch.ones_like(rewards, dtype=torch.bool)).tolist()
    noise = stream(0, "benchmarks", "old logprobs")
    return [
        Attempt(
            prompt=number,
            token_ids=list(rollout.response.token_ids),
            old_logprobs=[x + noise.gauss(0.0, OLD_LOGPROB_NOISE) for x in rollout.response.logprobs],
            reward=rollout.reward,
            advantage=advantage,
        )
        for (number, rollout), advantage in zip(pairs, advantages, strict=True)
    ]


def make_recipe(model: Path, problems: Path, algorithm: str, cap: int, num_problems: int, kl_coef: float) -> Recipe:
    """TRL's settings in Laconic's words. Old log-probabilities are the sampler's: like TRL, no pass is spent on them."""
    return parse_recipe(
        {
            "name": "benchmark",
            "model": str(model),
            "threads": torch.get_num_threads(),
            "policy": {"device": "cpu"},
            "problems": {"train": str(problems), "watch": WATCHED},
            "watch": {"every": FOREVER},
            "checkpoints": {"every": FOREVER},
            "phases": [
                {
                    "name": algorithm,
                    "steps": FOREVER,
                    "problems_per_step": num_problems,
                    "group_size": GROUP_SIZE,
                    "sampler": {"max_tokens": cap, "batch_size": num_problems * GROUP_SIZE},
                    "rewards": {
                        "correct": CORRECT,
                        **dict.fromkeys(("wrong", "no_answer", "truncated"), NOT_CORRECT),
                    },
                    "algorithm": {
                        "name": algorithm,
                        "old_logprobs": "sampler",
                        "aggregation": "response",
                        "clip_low": CLIP,
                        "clip_high": CLIP,
                        "kl_coef": kl_coef,
                    },
                    "optimizer": {"lr": LEARNING_RATE, "betas": list(BETAS), "max_grad_norm": MAX_GRAD_NORM},
                }
            ],
        },
        "benchmark",
    )


def make_prompts(lm: CausalLM, count: int) -> list[Prompt]:
    """Distinct problems of the bundled reasoner's mix, rendered as `laconic train` renders them."""
    return [
        Prompt(
            question=problem.question,
            text=str(lm.tokenizer.apply_chat_template(messages(problem), add_generation_prompt=True, tokenize=False)),
            token_ids=render(lm.tokenizer, problem),
            answer=problem.answer,
        )
        for problem in make_problems("mix", count=count, split="report")
    ]


def forget_end_token(folder: Path) -> None:
    """Edit a checkpoint so that nothing ends a response. The token stays in the vocabulary and may be drawn, and read on."""
    for name, key in (
        ("config.json", "eos_token_id"),
        ("generation_config.json", "eos_token_id"),
        ("tokenizer_config.json", "eos_token"),
    ):
        file = folder / name
        file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | {key: None}), encoding="utf-8")


def multiply(threads: int, size: int) -> Answer:
    """GFLOP/s of the fastest of some products of two square matrices with `size` rows."""
    usual = torch.get_num_threads()
    torch.set_num_threads(threads)
    a, b = torch.ones(2, size, size)
    seconds = []
    for _ in range(MATRIX_REPEATS):
        began = time.perf_counter()
        torch.mm(a, b)
        seconds.append(time.perf_counter() - began)
    torch.set_num_threads(usual)
    return {"threads": threads, "gflops": 2 * size**3 / min(seconds) / 1e9}


def grade(how: str, count: int, seed: int) -> Answer:
    """Grade `count` responses, half of them right, whose boxed answers are plain integers."""
    items = [
        (f"<think>{n} and {n} is {2 * n}.</think>\\boxed{{{2 * n + n % 2}}}", Problem(str(n), "", str(2 * n)), False)
        for n in range(seed * count, (seed + 1) * count)
    ]
    with Grader() as grader:
        began = time.perf_counter()
        if how == "grade_many":
            found = grader.grade_many(items)
        else:
            found = [grade_response(text, p.answer, is_truncated=False) for text, p, _ in items]
        seconds = time.perf_counter() - began
    assert sum(isinstance(one, Graded) and one.grade is Grade.CORRECT for one in found) == sum(
        n % 2 == 0 for n in range(count)
    )
    return {"tokens": count, "seconds": seconds}


def _group(number: int, prompt: Prompt, paid: list[tuple[Response, float]]) -> Group:
    problem = Problem(str(number), prompt.text, prompt.answer)
    rollouts = tuple(
        Rollout(
            response, Grade.CORRECT if paid_reward > 0 else Grade.WRONG, sample, paid_reward
        )  # the loss reads no grade
        for sample, (response, paid_reward) in enumerate(paid)
    )
    return Group(problem, tuple(prompt.token_ids), rollouts)


def _response(attempt: Attempt) -> Response:
    return Response(tuple(attempt.token_ids), tuple(attempt.old_logprobs), "", FinishReason.STOP)


def mean(values: Iterable[float]) -> float:
    """Arithmetic mean."""
    listed = list(values)
    return sum(listed) / len(listed)


if __name__ == "__main__":
    serve(lambda settings: LaconicSide(settings).tasks(), ("torch", "transformers"))

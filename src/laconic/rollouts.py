"""Problems x sampler -> groups: render, sample, grade, reward.

1. `Solver.attempt` renders each problem, draws responses, grades them. Probes, watches and evaluations stop here.
2. `pay` gives each rollout its reward, with the named terms that sum to it. Training goes on with these groups.
3. `describe` sums groups up as the `rollouts/*` metrics.

The grader is handed the response's text and never the prompt.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from laconic.config import PromptConfig, RewardsConfig, SamplerConfig
from laconic.errors import ModelError
from laconic.grader import Grader
from laconic.models import CausalLM
from laconic.prompts import render, resolve_instruction
from laconic.rewards import numbers_of
from laconic.rewards import pay as pay_terms
from laconic.samplers import Progress, Request, Sampler
from laconic.selection import ProblemStats
from laconic.types import GRADES, Grade, Group, Problem, Rollout


@dataclass(frozen=True, slots=True)
class Solver:
    """Everything that turns problems into graded attempts."""

    lm: CausalLM
    sampler: Sampler
    grader: Grader
    prompt: PromptConfig

    def attempt(
        self,
        problems: Sequence[Problem],
        num_samples: int,
        decoding: SamplerConfig,
        *,
        seed: int,
        on_progress: Progress | None = None,
    ) -> list[Group]:
        """`num_samples` graded attempts at each problem, rewards still 0."""
        instruction = resolve_instruction(self.prompt.instruction)
        prompts = [
            tuple(render(self.lm.tokenizer, problem, instruction=instruction, system=self.prompt.system))
            for problem in problems
        ]
        requests = [Request(p.id, ids, num_samples) for p, ids in zip(problems, prompts, strict=True)]
        responses = self.sampler.sample(requests, decoding, seed=seed, on_progress=on_progress)
        flat = [(r.text, p, r.is_truncated) for p, row in zip(problems, responses, strict=True) for r in row]
        grades = iter(self.grader.grade_many(flat))
        return [
            Group(problem, ids, tuple(Rollout(r, next(grades), sample) for sample, r in enumerate(row)))
            for problem, ids, row in zip(problems, prompts, responses, strict=True)
        ]

    def check_prompts(self, problems: Sequence[Problem], max_tokens: int, field: str) -> None:
        """Raises `ModelError` where a prompt and the cap do not fit the model's context together."""
        limit = self.lm.context_length
        instruction = resolve_instruction(self.prompt.instruction)
        for problem in problems:
            ids = render(self.lm.tokenizer, problem, instruction=instruction, system=self.prompt.system)
            if limit is not None and len(ids) + max_tokens > limit:
                raise ModelError(
                    f"{field}: {max_tokens} and the prompt of problem {problem.id} ({len(ids)} tokens) exceed the context "
                    f"of {self.lm.name}, {limit} tokens"
                )


def pay(
    groups: Sequence[Group], rewards: RewardsConfig, references: Mapping[str, ProblemStats], max_tokens: int
) -> list[Group]:
    """The groups with every rollout's reward and its terms; `references` are the probe's lines by problem id."""
    return [_pay_group(group, rewards, references.get(group.problem.id), max_tokens) for group in groups]


def reward_terms(rewards: RewardsConfig) -> list[tuple[str, float, Mapping[str, float | bool]]]:
    """The recipe's terms in the form `rewards.pay` takes: the grade levels, then the rest."""
    levels = {name: getattr(rewards, name) for name in ("correct", "wrong", "no_answer", "truncated")}
    return [("levels", 1.0, levels), *((term.name, term.weight, term.options) for term in rewards.terms)]


def _pay_group(group: Group, rewards: RewardsConfig, reference: ProblemStats | None, max_tokens: int) -> Group:
    known = replace(
        group,
        ref_mean_tokens=reference.mean_tokens if reference else None,
        ref_solve_rate=reference.solve_rate if reference and reference.attempts else None,
    )
    total, terms = pay_terms(numbers_of(known, max_tokens), reward_terms(rewards))
    rollouts = tuple(
        replace(rollout, reward=float(total[i]), reward_terms={name: float(paid[i]) for name, paid in terms.items()})
        for i, rollout in enumerate(group.rollouts)
    )
    return replace(known, rollouts=rollouts)


def describe(groups: Sequence[Group]) -> dict[str, Any]:
    """The `rollouts/*` metrics of some groups: accuracy of gradable ones, shares and lengths by grade, rewards."""
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    gradable = [rollout for rollout in rollouts if rollout.grade is not Grade.UNGRADABLE]
    num_correct = sum(rollout.grade is Grade.CORRECT for rollout in gradable)
    return {
        "rollouts/accuracy_frac": num_correct / len(gradable) if gradable else None,
        "rollouts/mean_tokens": sum(rollout.num_tokens for rollout in rollouts) / len(rollouts),
        "rollouts/reward_mean": sum(rollout.reward for rollout in rollouts) / len(rollouts),
        "rollouts/uniform_groups_frac": sum(group.is_uniform for group in groups) / len(groups),
        **{f"rollouts/{g.value}_frac": sum(r.grade is g for r in rollouts) / len(rollouts) for g in GRADES},
        **{f"rollouts/{g.value}_tokens": mean_tokens(groups, g) for g in GRADES if g is not Grade.UNGRADABLE},
    }


def mean_tokens(groups: Sequence[Group], grade: Grade) -> float | None:
    """Mean length in tokens of the responses with this grade; None where there is none."""
    lengths = [r.num_tokens for group in groups for r in group.rollouts if r.grade is grade]
    return sum(lengths) / len(lengths) if lengths else None

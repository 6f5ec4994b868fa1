"""Problems x sampler -> groups: render, sample, grade, reward.

1. `Solver.attempt` renders each problem, draws responses, grades them. Probes, watches and evaluations stop here. `Wanted` says
   what is asked for where it differs from problem to problem.
2. `pay` gives each rollout its reward, with the named terms that sum to it. Training goes on with these groups.
3. `describe` sums groups up as the `rollouts/*` metrics.

The grader is handed the response's text and never the prompt.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from laconic.config.recipe import PromptConfig, RewardsConfig, SamplerConfig
from laconic.errors import ModelError
from laconic.grading.pool import Grader
from laconic.grading.rules import Graded
from laconic.prompts.instructions import messages, render, resolve_instruction
from laconic.prompts.thinking import thinking_tokens
from laconic.rewards.numbers import FloatArray, Memory, numbers_of
from laconic.rewards.terms import LENGTH_TERMS, REWARDS, TWO_SIDED_TERMS, RewardTerm, remembered
from laconic.rewards.terms import pay as pay_terms
from laconic.samplers.protocol import Request, Sampler
from laconic.statistics.solve_rate import ProblemStats
from laconic.types import GRADES, Grade, Group, Problem, Progress, Response, Rollout


class Model(Protocol):
    """What a solver knows of the model behind its sampler. `tokenizer` is None where an endpoint renders prompts itself."""

    @property
    def name(self) -> str:
        """How reports call it."""
        ...

    @property
    def tokenizer(self) -> Any:
        """A Hugging Face tokenizer, or None."""
        ...

    @property
    def context_length(self) -> int | None:
        """Most tokens of prompt and response together, where known."""
        ...

    def fingerprint(self) -> str:
        """Tells apart two models that go by one name, as far as that can be known."""
        ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """Attempts asked for at one problem: samples `first_sample` on, under an instruction of its own where one is given."""

    problem: Problem
    num_samples: int
    first_sample: int = 0
    instruction: str | None = None


@dataclass(frozen=True, slots=True)
class Solver:
    """Everything that turns problems into graded attempts."""

    lm: Model
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
        return self.attempt_wanted(
            [Wanted(p, num_samples) for p in problems], decoding, seed=seed, on_progress=on_progress
        )

    def attempt_wanted(
        self, wanted: Sequence[Wanted], decoding: SamplerConfig, *, seed: int, on_progress: Progress | None = None
    ) -> list[Group]:
        """One group of graded attempts for each entry of `wanted`, in order; rewards still 0."""
        requests = [self.request(entry) for entry in wanted]
        responses = self.sampler.sample(requests, decoding, seed=seed, on_progress=on_progress)
        pairs = list(zip(wanted, responses, strict=True))
        graded = iter(self.grader.grade_many([(r.text, w.problem, r.is_truncated) for w, row in pairs for r in row]))
        tokenizer = self.lm.tokenizer
        return [
            Group(
                entry.problem,
                request.prompt_ids,
                tuple(
                    graded_rollout(
                        replace(r, thinking_tokens=thinking_tokens(r, tokenizer)), next(graded), entry.first_sample + i
                    )
                    for i, r in enumerate(row)
                ),
            )
            for request, (entry, row) in zip(requests, pairs, strict=True)
        ]

    def request(self, wanted: Wanted) -> Request:
        """What the sampler is asked: token ids where there is a tokenizer, else the turns of the conversation."""
        problem, system = wanted.problem, self.prompt.system
        instruction = resolve_instruction(wanted.instruction or self.prompt.instruction)
        ids: tuple[int, ...] = ()
        turns: tuple[Mapping[str, str], ...] = ()
        if self.lm.tokenizer is None:
            turns = tuple(messages(problem, instruction, system))
        else:
            ids = tuple(render(self.lm.tokenizer, problem, instruction=instruction, system=system))
        return Request(problem.id, ids, wanted.num_samples, wanted.first_sample, turns)

    def longest_prompt(self, problems: Sequence[Problem]) -> tuple[int, str]:
        """Tokens of the longest prompt and the problem it belongs to; 0 where the prompts are rendered elsewhere."""
        lengths = [(len(self.request(Wanted(problem, 1)).prompt_ids), problem.id) for problem in problems]
        return max(lengths, key=lambda length: length[0])

    def check_prompts(self, problems: Sequence[Problem], max_tokens: int, field: str) -> None:
        """Raises `ModelError` where a prompt and the cap do not fit the model's context together."""
        limit = self.lm.context_length
        longest, problem_id = self.longest_prompt(problems)
        if limit is not None and longest + max_tokens > limit:
            raise ModelError(
                f"{field}: {max_tokens} and the prompt of problem {problem_id} ({longest} tokens) exceed the context "
                f"of {self.lm.name}, {limit} tokens"
            )


def graded_rollout(response: Response, graded: Graded, sample: int) -> Rollout:
    """The attempt with what the grader said of it."""
    return Rollout(response, graded.grade, sample, answer=graded.answer)


def pay(
    groups: Sequence[Group],
    rewards: RewardsConfig,
    references: Mapping[str, ProblemStats],
    max_tokens: int,
    memory: Memory | None = None,
    table: Mapping[str, RewardTerm] = REWARDS,
) -> list[Group]:
    """The groups with every rollout's reward and its terms.

    `references` are the probe's lines by problem id, `memory` is what terms remember from earlier steps, `table` holds the terms
    by name, a person's own among them.
    """
    known = [_with_reference(group, references.get(group.problem.id)) for group in groups]
    terms = reward_terms(rewards)
    paid = [_paid(group, pay_terms(numbers_of(group, max_tokens, memory), terms, table)) for group in known]
    return standardized(paid) if rewards.standardize else paid


def remember(memory: Memory, groups: Sequence[Group], rewards: RewardsConfig, max_tokens: int) -> Memory:
    """What the recipe's terms remember after a step's paid groups."""
    numbers = {group.problem.id: numbers_of(group, max_tokens, memory) for group in groups}
    return remembered(memory, reward_terms(rewards), numbers)


def standardized(groups: Sequence[Group]) -> list[Group]:
    """Rewards centred and divided by their population standard deviation over all gradable rollouts; what was subtracted
    stands as the term "centre", so that terms still sum to the reward. Equal rewards all become 0."""
    rewards = [r.reward for g in groups for r in g.rollouts if r.grade is not Grade.UNGRADABLE]
    mean = sum(rewards) / len(rewards) if rewards else 0.0
    std = (sum((reward - mean) ** 2 for reward in rewards) / max(1, len(rewards))) ** 0.5 or 1.0

    def scaled(rollout: Rollout) -> Rollout:
        if rollout.grade is Grade.UNGRADABLE:
            return rollout
        terms = {name: paid / std for name, paid in rollout.reward_terms.items()} | {"centre": -mean / std}
        return replace(rollout, reward=(rollout.reward - mean) / std, reward_terms=terms)

    return [replace(group, rollouts=tuple(map(scaled, group.rollouts))) for group in groups]


def reward_terms(rewards: RewardsConfig) -> list[tuple[str, float, Mapping[str, float | bool]]]:
    """The recipe's terms in the form `rewards.pay` takes: the grade levels, then the rest."""
    levels = {name: getattr(rewards, name) for name in ("correct", "wrong", "no_answer", "truncated")}
    return [("levels", 1.0, levels), *((term.name, term.weight, term.options) for term in rewards.terms)]


def pricing_terms(rewards: RewardsConfig) -> list[str]:
    """The recipe's terms that make a shorter correct answer earn more."""
    return [term.name for term in rewards.terms if term.name in LENGTH_TERMS - TWO_SIDED_TERMS]


def outcome_levels(rewards: RewardsConfig) -> dict[str, float]:
    """What a correct and a wrong answer are paid for being so: the levels, or 1 and 0 where they do not differ, since a whole
    reward then stands in their place."""
    if rewards.correct > rewards.wrong:
        return {"correct": rewards.correct, "wrong": rewards.wrong}
    return {"correct": 1.0, "wrong": 0.0}


def _with_reference(group: Group, reference: ProblemStats | None) -> Group:
    if reference is None:
        return group
    rate = reference.solve_rate if reference.attempts else None
    return replace(group, ref_mean_tokens=reference.mean_tokens, ref_solve_rate=rate)


def _paid(group: Group, pay: tuple[FloatArray, Mapping[str, FloatArray]]) -> Group:
    total, terms = pay
    rollouts = tuple(
        replace(rollout, reward=float(total[i]), reward_terms={name: float(paid[i]) for name, paid in terms.items()})
        for i, rollout in enumerate(group.rollouts)
    )
    return replace(group, rollouts=rollouts)


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

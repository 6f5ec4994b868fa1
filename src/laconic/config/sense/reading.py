"""A phase of a recipe, and what its algorithm reads of it.

The table of algorithms, which stands in a package further down, knows what an algorithm reads; its facts come as a `Reading`.
"""

from dataclasses import dataclass

from laconic.config.phase import PhaseConfig
from laconic.config.recipe import Recipe

NOTHING = 1e-9  # a difference of rewards that float32 loses beside a reward of 1


@dataclass(frozen=True, slots=True)
class Reading:
    """A phase of a recipe, and what its algorithm reads of it.

    levers           the keys of `algorithm` that only some algorithms read, and this one does
    min_group_size   the responses to a problem that the algorithm compares
    has_critic       whether there is a critic that learns
    has_reference    whether rollouts are scored under a reference
    whole_terms      the terms with a weight that are the whole reward of a paper, which is used alone
    reads_budget     whether a reward may read the number of tokens that the prompt asks for
    long_options     the options of terms that nobody set, and whose defaults are more tokens than the cap lets a response have
    makes_advantages_of_rewards, reads_rewards   whether rewards become advantages; whether they matter at all
    """

    recipe: Recipe
    phase: PhaseConfig
    levers: frozenset[str]
    min_group_size: int
    has_critic: bool
    has_reference: bool
    makes_advantages_of_rewards: bool
    reads_rewards: bool
    whole_terms: tuple[str, ...] = ()
    reads_budget: bool = True
    long_options: tuple[str, ...] = ()

    @property
    def responses(self) -> int:
        """Responses to a problem in a step: worked solutions come one for each problem."""
        return 1 if self.phase.rollouts == "solutions" else self.phase.group_size

    @property
    def moves_within_a_step(self) -> bool:
        """Whether the policy may differ from that of the step's start when a loss is computed: after a first update, or by
        dropout."""
        optimizer, lora = self.phase.optimizer, self.recipe.policy.lora
        return optimizer.epochs * optimizer.minibatches > 1 or (lora is not None and lora.dropout > 0)

    @property
    def can_clip(self) -> bool:
        """Whether a ratio may differ from 1."""
        old = self.phase.algorithm.old_logprobs
        return old == "sampler" or (old == "recompute" and self.moves_within_a_step)

    @property
    def has_own_reference(self) -> bool:
        """Whether the reference is the policy's own copy, which may follow it; a teacher never changes."""
        return self.has_reference and self.phase.algorithm.reference_model is None

    @property
    def has_effective_terms(self) -> bool:
        """Whether a reward beside the levels is paid."""
        return any(abs(term.weight) > NOTHING for term in self.phase.rewards.terms)

    @property
    def has_equal_levels(self) -> bool:
        """Whether every grade earns the same."""
        rewards = self.phase.rewards
        levels = (rewards.correct, rewards.wrong, rewards.no_answer, rewards.truncated)
        return max(levels) - min(levels) <= NOTHING

    @property
    def has_zero_levels(self) -> bool:
        """Whether the levels pay nothing."""
        return self.has_equal_levels and abs(self.phase.rewards.correct) <= NOTHING

    @property
    def has_alarm(self) -> bool:
        """Whether any alarm of the phase is on."""
        return any(action != "off" for name, action in self.phase.end.alarms if name != "steps")

    @property
    def alarm_steps(self) -> int:
        """The steps that an alarm reads in the phase."""
        return self.phase.end.alarms.patience(self.phase.steps)

    @property
    def top_solve_rate(self) -> float:
        """The highest solve rate that the selection keeps, as far as its options say."""
        ends = {"band": "high", "easy_to_hard": "high", "hard": "ceiling"}
        end = self.phase.select.options.get(ends.get(self.phase.select.how, ""), 1.0)
        return float(end)

    @property
    def keeps_only_unsolved(self) -> bool:
        """Whether no problem that was solved once in its samples is kept."""
        return self.top_solve_rate < 1 / self.phase.select.samples

    @property
    def num_watches(self) -> int:
        """How often the watched set is measured after a step of the phase."""
        return -(-self.phase.steps // self.recipe.watch.every)

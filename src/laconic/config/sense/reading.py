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
    draws_rollouts   whether the policy that learns draws the rollouts
    whole_terms      the terms with a weight that are the whole reward of a paper, which is used alone
    terms_of_groups, terms_of_nothing_alone   the terms that pay nothing for length, or nothing, in a group of one
    late_terms, plain_terms   in words, the terms that remember for longer than the phase lasts, and those with options that
                     leave plain correctness
    pays_correctness whether being right is paid: by the levels or a term
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
    draws_rollouts: bool = True
    whole_terms: tuple[str, ...] = ()
    terms_of_groups: tuple[str, ...] = ()
    terms_of_nothing_alone: tuple[str, ...] = ()
    late_terms: tuple[str, ...] = ()
    plain_terms: tuple[str, ...] = ()
    pays_correctness: bool = True
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
        """Whether a ratio may differ from 1. With `"sampler"`, rollouts of the local sampler in float32 differ by rounding alone
        until the policy has moved. That is let pass, since recipes name a paper's clip beside it."""
        old = self.phase.algorithm.old_logprobs
        return old == "sampler" or (old == "recompute" and self.moves_within_a_step)

    @property
    def has_own_reference(self) -> bool:
        """Whether the reference is the policy's own copy, which may follow it; a teacher never changes."""
        return self.has_reference and self.phase.algorithm.reference_model is None

    @property
    def reference_follows_at_once(self) -> bool:
        """Whether the reference is the policy itself where the two are compared: it moves all the way after every step, reads the
        same prompt, and the policy has not moved on from it. Only a KL in the loss sees the policy move within a step."""
        algorithm = self.phase.algorithm
        moves_all_the_way = {"reset": True, "ema": algorithm.ema_decay == 0, "frozen": False}[algorithm.reference]
        is_compared_later = algorithm.kl_coef > 0 and algorithm.kl_in == "loss" and self.moves_within_a_step
        is_same = self.has_own_reference and algorithm.reference_instruction is None and not is_compared_later
        return is_same and moves_all_the_way and algorithm.reference_every == 1

    @property
    def has_effective_terms(self) -> bool:
        """Whether a reward beside the levels is paid."""
        return any(abs(term.weight) > NOTHING for term in self.phase.rewards.terms)

    @property
    def has_varying_terms(self) -> bool:
        """Whether such a reward may differ between the responses to a problem."""
        constant = self.terms_of_nothing_alone if self.responses == 1 else ()
        return any(abs(t.weight) > NOTHING and t.name not in constant for t in self.phase.rewards.terms)

    @property
    def opposed_terms(self) -> tuple[str, ...]:
        """The whole rewards with a weight below 0."""
        return tuple(t.name for t in self.phase.rewards.terms if t.name in self.whole_terms and t.weight < 0)

    @property
    def levels(self) -> tuple[float, ...]:
        """The levels that are read, that of a correct answer first: a truncated response that is bootstrapped earns none."""
        rewards = self.phase.rewards
        answered = (rewards.correct, rewards.wrong, rewards.no_answer)
        return answered if self.phase.algorithm.truncated == "bootstrap" else (*answered, rewards.truncated)

    @property
    def has_equal_levels(self) -> bool:
        """Whether every grade earns the same."""
        return max(self.levels) - min(self.levels) <= NOTHING

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

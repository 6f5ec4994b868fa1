"""What in a recipe changes nothing, and what cannot do what it says.

1. `UNREAD` and `UNREAD_OF_RUN` list the keys that are read under a condition only. Where nothing reads a key that was changed
   from its default, that is a warning which names it.
2. `SENSELESS` lists settings that contradict one another: an error where nothing would be learnt, or something else than was
   asked for; a warning where the run only does less than it says.
3. `complaints_about_phases` and `complaints_about_run` hold a recipe against these tables.

The table of algorithms, which stands in a package further down, knows what an algorithm reads; its facts come as a `Reading`.
Training, the dry run and doctor ask `training/check.py`, so that all three say the same.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from laconic.config.node import Node
from laconic.config.phase import PhaseConfig
from laconic.config.recipe import Recipe
from laconic.system.text import brief

ALIKE = 0.5  # a distance from 1 above which clip_low is more likely meant as a bound of the ratio itself


@dataclass(frozen=True, slots=True)
class Complaint:
    """Something senseless: whether it ends the run or is only said, in which keys, and what."""

    level: Literal["warning", "error"]
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True, slots=True)
class Reading:
    """A phase of a recipe, and what its algorithm reads of it.

    levers           the keys of `algorithm` that only some algorithms read, and this one does
    min_group_size   the responses to a problem that the algorithm compares
    has_critic       whether there is a critic that learns
    has_reference    whether rollouts are scored under a reference
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
        return any(term.weight != 0 for term in self.phase.rewards.terms)

    @property
    def num_watches(self) -> int:
        """How often the watched set is measured after a step of the phase."""
        return -(-self.phase.steps // self.recipe.watch.every)


# --- keys that nothing reads -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Unread:
    """Keys that are read where `is_read`, and why they are not read elsewhere."""

    keys: tuple[str, ...]
    is_read: Callable[[Reading], bool]
    why: str


LEVERS = (
    "gamma",
    "gae_lambda",
    "critic",
    "scale_by_std",
    "whitening",
    "ratio",
    "clip_low",
    "clip_high",
    "old_logprobs",
)
"""The keys of `algorithm` that make a difference to some algorithms only; a row of the table of algorithms says to which."""


def _reads(lever: str) -> Callable[[Reading], bool]:
    return lambda reading: lever in reading.levers


UNREAD: tuple[Unread, ...] = (
    *(Unread((f"algorithm.{key}",), _reads(key), "{phase.algorithm.name} has no use for it") for key in LEVERS),
    Unread(
        ("algorithm.clip_low", "algorithm.clip_high"),
        lambda r: r.can_clip or "clip_low" not in r.levers,
        "old_logprobs and a single update per step leave the ratio at 1",
    ),
    Unread(
        ("algorithm.value_gae_lambda", "algorithm.value_clip", "optimizer.critic_lr"),
        lambda r: r.has_critic,
        "there is no critic that learns",
    ),
    Unread(
        ("algorithm.value_clip",),
        lambda r: r.moves_within_a_step or not r.has_critic,
        "with a single update per step the critic has not moved yet",
    ),
    Unread(("algorithm.kl_in", "algorithm.kl_estimator"), lambda r: r.phase.algorithm.kl_coef > 0, "kl_coef is 0"),
    Unread(
        ("algorithm.reference_model", "algorithm.reference_instruction"),
        lambda r: r.has_reference,
        "kl_coef is 0, and {phase.algorithm.name} needs no reference",
    ),
    Unread(("algorithm.reference",), lambda r: r.has_own_reference, "there is no reference that could move"),
    Unread(
        ("algorithm.ema_decay",),
        lambda r: r.has_own_reference and r.phase.algorithm.reference == "ema",
        "there is no reference = 'ema'",
    ),
    Unread(
        ("algorithm.reference_every",),
        lambda r: r.has_own_reference and r.phase.algorithm.reference != "frozen",
        "there is no reference that moves",
    ),
    Unread(
        ("algorithm.entropy_coef_step",),
        lambda r: r.phase.algorithm.entropy_target is not None,
        "there is no entropy_target",
    ),
    Unread(
        ("algorithm.max_draws",),
        lambda r: r.phase.algorithm.uniform_groups == "resample",
        "uniform_groups is not 'resample'",
    ),
    Unread(
        ("algorithm.options.ratio",),
        lambda r: r.phase.algorithm.options.get("pairs") != "reward",
        "pairs = 'reward' has no ratio",
    ),
    Unread(
        ("algorithm.truncated", "rewards.truncated"),
        lambda r: r.phase.rollouts != "solutions",
        "worked solutions are never cut off",
    ),
    Unread(
        ("rewards.truncated",),
        lambda r: r.phase.algorithm.truncated != "bootstrap",
        "truncated = 'bootstrap' takes the critic's value instead",
    ),
    Unread(
        (
            "rewards.correct",
            "rewards.wrong",
            "rewards.no_answer",
            "rewards.truncated",
            "rewards.standardize",
            "rewards.terms",
        ),
        lambda r: r.reads_rewards,
        "{phase.algorithm.name} learns from no reward",
    ),
    Unread(
        ("group_size",),
        lambda r: r.phase.rollouts != "solutions" or r.phase.group_size == 1,
        "there is one worked solution for each problem",
    ),
    Unread(
        ("select.options", "select.samples"),
        lambda r: r.phase.select.how != "everything",
        "how = 'everything' probes nothing",
    ),
    Unread(
        ("select.pool",),
        lambda r: r.phase.select.how != "everything" or _is_below(r.phase.select.pool, r.phase.select.count),
        "how = 'everything' takes the first problems, and count of them are fewer",
    ),
    Unread(
        ("select.count",),
        lambda r: r.phase.select.pool is None or _is_below(r.phase.select.count, r.phase.select.pool, or_equal=True),
        "pool leaves fewer problems to choose from",
    ),
    Unread(
        ("optimizer.schedule",),
        lambda r: r.phase.optimizer.schedule == "constant" or r.phase.steps - r.phase.optimizer.warmup_steps > 1,
        "the phase has no step in which the rate could fall",
    ),
    Unread(("optimizer.schedule",), lambda r: r.phase.optimizer.min_lr_frac < 1, "min_lr_frac = 1 keeps the rate"),
    Unread(("optimizer.min_lr_frac",), lambda r: r.phase.optimizer.schedule != "constant", "the schedule is constant"),
    Unread(
        ("end.patience",),
        lambda r: (r.phase.end.patience or 0) < r.num_watches,
        "the phase is over before so many measurements of the watched set",
    ),
    Unread(
        ("end.goal",),
        lambda r: r.phase.end.keep == "best" or r.phase.end.patience is not None or _has_guard(r.phase),
        "without a guard, patience or keep = 'best' no step is better than another",
    ),
)
"""In a phase. A key may stand in several rows: it is read where all of them say so."""


@dataclass(frozen=True, slots=True)
class UnreadOfRun:
    """Keys at the top of a recipe that are read where `is_read`; `why` they are not read elsewhere."""

    keys: tuple[str, ...]
    is_read: Callable[[Recipe], bool]
    why: str


UNREAD_OF_RUN: tuple[UnreadOfRun, ...] = (
    UnreadOfRun(
        ("report.temperatures", "report.samples", "report.margin"),
        lambda recipe: recipe.problems.report is not None,
        "there is no problems.report",
    ),
    UnreadOfRun(
        ("report.samples",),
        lambda recipe: recipe.problems.report is None or any(t > 0 for t in recipe.report.temperatures),
        "greedy decoding takes one sample",
    ),
)


# --- settings that contradict one another ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Senseless:
    """A setting of a phase that cannot do what it says where `holds`; `what` is filled with the `phase` and the `reading`."""

    level: Literal["warning", "error"]
    key: str
    holds: Callable[[Reading], bool]
    what: str


SENSELESS: tuple[Senseless, ...] = (
    Senseless(
        "error",
        "optimizer.critic_warmup_steps",
        lambda r: r.phase.optimizer.critic_warmup_steps >= r.phase.steps,
        "the phase is over before the policy learns; expected fewer than its {phase.steps} steps",
    ),
    Senseless(
        "error",
        "optimizer.weight_decay",
        lambda r: r.phase.optimizer.lr * r.phase.optimizer.weight_decay >= 1,
        "times the learning rate it is 1 or more, so that a step would leave nothing of the weights",
    ),
    Senseless(
        "error",
        "rewards.correct",
        lambda r: r.reads_rewards and r.phase.rewards.correct < _most_for_failing(r.phase),
        "a correct answer earns {phase.rewards.correct:g}, less than one that is not; expected the highest of the levels",
    ),
    Senseless(
        "error",
        "rewards",
        lambda r: r.reads_rewards and not r.has_effective_terms and _has_equal_levels(r.phase),
        "every response earns the same, so that there is nothing to learn; expected other levels, or terms",
    ),
    Senseless(
        "error",
        "algorithm.uniform_groups",
        lambda r: r.phase.algorithm.uniform_groups != "keep" and r.responses == 1,
        "a group of one response is always uniform, so that none would train; expected 'keep'",
    ),
    Senseless(
        "error",
        "rollouts",
        lambda r: r.responses < r.min_group_size <= r.phase.group_size,
        "'solutions' gives one response for each problem, and {phase.algorithm.name} compares {reading.min_group_size}",
    ),
    Senseless(
        "error",
        "algorithm.kl_in",
        lambda r: _prices_rewards(r.phase) and not r.makes_advantages_of_rewards,
        "puts the KL into rewards, of which {phase.algorithm.name} makes no advantages; expected 'loss'",
    ),
    Senseless(
        "error",
        "algorithm.kl_in",
        lambda r: _prices_rewards(r.phase) and r.phase.algorithm.kl_in == "centred" and r.responses == 1,
        "'centred' compares the responses of a group, which has one; expected 'reward' or 'loss'",
    ),
    Senseless(
        "error",
        "algorithm.clip_low",
        lambda r: r.phase.algorithm.clip_low > ALIKE and 1 < r.phase.algorithm.clip_high < 2,
        "{phase.algorithm.clip_low:g} and clip_high {phase.algorithm.clip_high:g} look like bounds of the ratio; expected "
        "distances from 1, such as 0.2 and 0.28",
    ),
    Senseless(
        "warning",
        "algorithm.clip_low",
        lambda r: r.phase.algorithm.clip_low >= 1,
        "the ratio is above 0, so that nothing is clipped below; it is a distance from 1",
    ),
    Senseless(
        "warning",
        "algorithm.clip_low",
        lambda r: ALIKE < r.phase.algorithm.clip_low < 1 and not 1 < r.phase.algorithm.clip_high < 2,
        "lets the ratio fall far; it is a distance from 1, as 0.2 is",
    ),
    Senseless(
        "warning",
        "algorithm.clip_high",
        lambda r: 1 < r.phase.algorithm.clip_high < 2 and r.phase.algorithm.clip_low <= ALIKE,
        "lets the ratio more than double; it is a distance from 1, as 0.28 is",
    ),
    Senseless(
        "error",
        "budget.high",
        lambda r: r.phase.budget is not None and r.phase.budget.high > r.phase.sampler.max_tokens,
        "asks for more tokens than sampler.max_tokens = {phase.sampler.max_tokens} lets a response have",
    ),
    Senseless(
        "warning",
        "rewards.wrong",
        lambda r: (
            r.reads_rewards
            and not r.has_effective_terms
            and not _has_equal_levels(r.phase)
            and r.phase.rewards.correct == r.phase.rewards.wrong
        ),
        "a wrong answer earns as much as a correct one",
    ),
    Senseless(
        "warning",
        "rewards.terms",
        lambda r: any(term.weight == 0 for term in r.phase.rewards.terms),
        "a term of weight 0 pays nothing",
    ),
    Senseless(
        "warning",
        "optimizer.warmup_steps",
        lambda r: r.phase.optimizer.warmup_steps >= r.phase.steps,
        "the phase is over, after {phase.steps} steps, before the learning rate has risen to lr",
    ),
    Senseless(
        "warning",
        "optimizer.minibatches",
        lambda r: r.phase.optimizer.minibatches > r.responses * r.phase.problems_per_step,
        "a step has fewer responses than minibatches: each update has one response",
    ),
    Senseless(
        "warning",
        "algorithm.reference_every",
        lambda r: (
            r.has_own_reference
            and r.phase.algorithm.reference != "frozen"
            and r.phase.algorithm.reference_every >= r.phase.steps
        ),
        "the phase is over, after {phase.steps} steps, before the reference moves",
    ),
    Senseless(
        "warning",
        "algorithm.ema_decay",
        lambda r: r.has_own_reference and r.phase.algorithm.reference == "ema" and r.phase.algorithm.ema_decay == 1,
        "1 never moves the reference",
    ),
    Senseless(
        "warning",
        "algorithm.max_draws",
        lambda r: r.phase.algorithm.uniform_groups == "resample" and r.phase.algorithm.max_draws == 1,
        "counts the first draw, so that nothing is drawn again: as uniform_groups = 'drop'",
    ),
)
"""In a phase, in the order in which errors are said."""


# --- holding a recipe against the tables -----------------------------------------------------------------------------


def complaints_about_phases(readings: Sequence[Reading]) -> Iterator[Complaint]:
    """Everything senseless in the phases of a recipe.

    A key that one phase does not read is not complained about where another phase has the same value and reads it: then it stands
    in `[defaults]`, or for symmetry.
    """
    for reading in readings:
        phase, place = reading.phase, f"phases.{reading.phase.name}"
        for rule in SENSELESS:
            if rule.holds(reading):
                yield Complaint(rule.level, f"{place}.{rule.key}", rule.what.format(phase=phase, reading=reading))
        for key, why in _unread_keys(reading).items():
            value = _value_at(phase, key)
            if not any(_value_at(other.phase, key) == value and _is_read(other, key) for other in readings):
                yield _unread(f"{place}.{key}", value, why.format(phase=phase))


def _unread_keys(reading: Reading) -> dict[str, str]:
    """The keys of a phase that were changed although nothing reads them, each with the first reason."""
    phase, plain = reading.phase, PhaseConfig(name=reading.phase.name, steps=reading.phase.steps)
    unread: dict[str, str] = {}
    for row in UNREAD:
        for key in () if row.is_read(reading) else row.keys:
            if _value_at(phase, key) != _value_at(plain, key):
                unread.setdefault(key, row.why)
    return unread


def _is_read(reading: Reading, key: str) -> bool:
    return all(row.is_read(reading) for row in UNREAD if key in row.keys)


def complaints_about_run(recipe: Recipe) -> Iterator[Complaint]:
    """Everything senseless at the top of a recipe, and in the table of defaults of its file."""
    for key in recipe.hidden_defaults:
        yield Complaint("warning", key, "it changes nothing: every phase has its own value")
    plain = Recipe(name=recipe.name, model=recipe.model, problems=recipe.problems, phases=recipe.phases)
    for row in UNREAD_OF_RUN:
        for key in () if row.is_read(recipe) else row.keys:
            if (value := _value_at(recipe, key)) != _value_at(plain, key):
                yield _unread(key, value, row.why)


def _unread(where: str, value: Any, why: str) -> Complaint:
    is_table = isinstance(value, dict) or (isinstance(value, tuple) and any(isinstance(item, Node) for item in value))
    return Complaint("warning", where, f"{'it' if is_table else brief(value)} changes nothing: {why}")


def _value_at(node: Any, key: str) -> Any:
    """The value at a dotted key of a table; None where an option is not given."""
    for part in key.split("."):
        node = node.get(part) if isinstance(node, dict) else getattr(node, part)
    return node


def _is_below(one: int | None, other: int | None, *, or_equal: bool = False) -> bool:
    """Whether one limit is below another; a limit of none is above every number."""
    if one is None or other is None:
        return one is not None or or_equal
    return one <= other if or_equal else one < other


def _has_guard(phase: PhaseConfig) -> bool:
    return phase.end.guard_drop is not None and phase.end.guard_drop < 1


def _most_for_failing(phase: PhaseConfig) -> float:
    return max(phase.rewards.wrong, phase.rewards.no_answer, phase.rewards.truncated)


def _has_equal_levels(phase: PhaseConfig) -> bool:
    rewards = phase.rewards
    return len({rewards.correct, rewards.wrong, rewards.no_answer, rewards.truncated}) == 1


def _prices_rewards(phase: PhaseConfig) -> bool:
    return phase.algorithm.kl_coef > 0 and phase.algorithm.kl_in != "loss"

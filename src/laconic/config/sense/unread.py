"""Keys that are read under a condition only. Where nothing reads a key that was changed from its default, that is a warning which
names it."""

from collections.abc import Callable
from dataclasses import dataclass

from laconic.config.phase import PhaseConfig
from laconic.config.recipe import Recipe
from laconic.config.sense.reading import Reading


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
    "importance_cap",
)
"""The keys of `algorithm` that make a difference to some algorithms only; a row of the table of algorithms says to which."""

ALARMS_OF_DRAWN = tuple(
    f"end.alarms.{name}" for name in ("truncation", "lengths", "entropy", "repetition", "ending", "format")
)
"""The alarms that are looked for only where the policy that learns draws the rollouts, as `collapse/alarms.py` says."""


def _reads(lever: str) -> Callable[[Reading], bool]:
    return lambda reading: lever in reading.levers


UNREAD: tuple[Unread, ...] = (
    *(Unread((f"algorithm.{key}",), _reads(key), "{phase.algorithm.name} has no use for it") for key in LEVERS),
    Unread(
        ("sampler.server", "sampler.server_seconds"),
        lambda r: r.phase.sampler.engine == "vllm",
        "the local sampler draws, without a server; set sampler.engine = 'vllm' to use one",
    ),
    Unread(
        ("sampler.compile",),
        lambda r: r.phase.sampler.engine == "local",
        "a vLLM server draws, which compiles by itself",
    ),
    Unread(
        ("algorithm.importance_cap",),
        lambda r: r.phase.sampler.engine == "vllm" or r.recipe.policy.dtype != "float32",
        "the local sampler draws by the trainer's own arithmetic, so that every weight is 1",
    ),
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
        lambda r: r.phase.algorithm.options.get("pairs") not in ("reward", "given"),
        "pairs = '{phase.algorithm.options[pairs]}' has no ratio",
    ),
    Unread(
        ("algorithm.truncated", "rewards.truncated"),
        lambda r: r.phase.rollouts != "solutions",
        "worked solutions are never cut off",
    ),
    Unread(("algorithm.truncated",), lambda r: r.phase.rollouts != "pairs", "given responses are never cut off"),
    Unread(
        ("algorithm.truncated",),
        lambda r: r.phase.algorithm.name != "sft",
        "{phase.algorithm.name} learns from correct responses alone, of which none was cut off",
    ),
    Unread(
        ("algorithm.uniform_groups",),
        lambda r: r.phase.rollouts != "pairs",
        "of a given pair one response is preferred, so that no group is uniform",
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
        ("rewards.timeout_seconds",),
        lambda r: any(".py:" in term.name for term in r.phase.rewards.terms),
        "there is no reward of one's own",
    ),
    Unread(
        ("end.alarms.steps",),
        lambda r: r.has_alarm,
        "every alarm is off",
    ),
    Unread(
        ALARMS_OF_DRAWN,
        lambda r: r.draws_rollouts,
        "the responses of rollouts = '{phase.rollouts}' do not come from the policy that learns, so that it is not looked for",
    ),
    Unread(
        ("end.alarms.rewards",),
        lambda r: r.makes_advantages_of_rewards,
        "{phase.algorithm.name} makes no advantages of rewards, so that it is not looked for",
    ),
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
    UnreadOfRun(
        ("grader.workers", "grader.timeout_seconds"),
        lambda recipe: not (recipe.grader.name or "").endswith(".toml"),
        "the judge of a rubric is asked as the rubric's file says",
    ),
)


def _is_below(one: int | None, other: int | None, *, or_equal: bool = False) -> bool:
    """Whether one limit is below another; a limit of none is above every number."""
    if one is None or other is None:
        return one is not None or or_equal
    return one <= other if or_equal else one < other


def _has_guard(phase: PhaseConfig) -> bool:
    return phase.end.guard_drop is not None and phase.end.guard_drop < 1

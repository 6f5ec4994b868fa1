"""Eight alarms as rows of one table: what each sees, when it applies, and which key of the recipe to try.

    truncation  nearly every response is cut off at the cap
    rewards     every reward is the same, so that there is nothing to learn from
    lengths     responses get much shorter or longer, and fewer of them are correct
    entropy     the next token is nearly certain
    repetition  responses repeat themselves
    ending      responses that ended by themselves do so no more
    kl          the policy is far from its reference, or moves far within one step
    format      responses end without an answer

1. A row is an `Alarm`. Its `see` gets the settled figures and those of the phase's first step, and returns what was seen in
   words, or "" where all is well.
2. The levels are constants below. Where a paper gives a number it is cited; the others are round numbers, held against runs that
   collapse and runs that do not (benchmarks/collapse.md).
3. Every level is compared with the phase's own beginning where a phase may legitimately begin beyond it, or move far.

What is left out: accuracy that falls on watched problems, which is the guard's (`training/phase_end.py`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from laconic.collapse.signals import (
    ACCURACY,
    CUT_OFF,
    END_PROBABILITY,
    ENDED,
    ENTROPY,
    REFERENCE_KL,
    REPEATED,
    REWARD_SPREAD,
    STEP_KL,
    TOKENS,
    UNANSWERED,
    UNIFORM,
)

FigureValues = Mapping[str, float]
"""Values by the name of a figure (`signals.py`)."""

MOST = 0.9
"""A share of responses from which on a step is wasted; a phase that began beyond it and improves by `PROGRESS` is left alone."""
PROGRESS = 0.05
ALL_BUT_ONE = 0.95
SHORTER, LONGER = 0.5, 2.0
"""Factors of the mean length. A two-phase run shortens by 40% to 60% (Fatemi et al. 2025, arXiv 2504.05185), and long chains of
thought grow manifold (DeepSeek-R1, arXiv 2501.12948); both keep or raise accuracy, which is why accuracy is read as well."""
LESS_CORRECT = 0.7
"""A factor of the share of correct responses."""
CERTAIN = 0.25
"""A factor of the entropy. In DAPO (arXiv 2503.14476, figure 2b) and Skywork-OR1 (arXiv 2505.22312, section 4) entropy falls to a
fraction of its first value within the steps in which accuracy stops to rise."""
REPEATING = 0.4
"""A share of tokens within n-grams that occurred before in the same response (Yeo et al. 2025, arXiv 2502.03373)."""
HALF = 0.5
FAR_FROM_REFERENCE = 1.0
"""Nats per token. Published runs end between 0.01 and 0.3."""
FAR_IN_ONE_STEP = 0.1
"""Nats per token: ten times the 0.01 at which implementations of PPO stop their epochs (Spinning Up, `target_kl`)."""
NO_SPREAD = 1e-9


@dataclass(frozen=True, slots=True)
class Applicability:
    """What alarms need to know about a phase: whether the policy that learns draws the rollouts, whether the algorithm reads
    rewards and compares the responses of a group, and whether the reference is a teacher and not the entering policy."""

    draws_rollouts: bool = True
    reads_rewards: bool = True
    compares_groups: bool = True
    has_teacher: bool = False


@dataclass(frozen=True, slots=True)
class Alarm:
    """One row. It is judged in steps that have all figures it `needs`, and reads those of `takes` too where there are any. In
    `lever`, `{phase}` stands for `phases.<name>`."""

    see: Callable[[FigureValues, FigureValues, Applicability], str]
    needs: tuple[str, ...]
    lever: str
    applies: Callable[[Applicability], bool] = lambda phase: phase.draws_rollouts
    takes: tuple[str, ...] = ()


def see_truncation(now: FigureValues, first: FigureValues, phase: Applicability) -> str:
    """At least 90% of the responses are cut off, and it was not much worse when the phase began."""
    return _share(now, first, CUT_OFF, MOST, "of the responses are cut off at the cap")


def see_rewards(now: FigureValues, first: FigureValues, phase: Applicability) -> str:
    """Nearly every group is uniform; or, where groups are not compared, all rewards of the step are equal."""
    is_flat = now[UNIFORM] >= ALL_BUT_ONE if phase.compares_groups else now[REWARD_SPREAD] <= NO_SPREAD
    if not is_flat:
        return ""
    what = f"in {now[UNIFORM]:.0%} of the groups all rewards are the same" if phase.compares_groups else ""
    return (
        f"{what or 'all rewards of a step are the same'}, and {now.get(ACCURACY, 0.0):.0%} of the responses are correct"
    )


def see_lengths(now: FigureValues, first: FigureValues, phase: Applicability) -> str:
    """Half as long and less than 0.7 as often correct; or twice as long and not more often correct."""
    is_less_correct = now[ACCURACY] < first[ACCURACY] and now[ACCURACY] <= LESS_CORRECT * first[ACCURACY]
    is_crash = now[TOKENS] <= SHORTER * first[TOKENS] and is_less_correct
    is_explosion = now[TOKENS] >= LONGER * first[TOKENS] and now[ACCURACY] <= first[ACCURACY]
    if not (is_crash or is_explosion):
        return ""
    return (
        f"responses take {now[TOKENS]:.0f} tokens and {now[ACCURACY]:.0%} of them are correct "
        f"({first[TOKENS]:.0f} tokens and {first[ACCURACY]:.0%} when the phase began)"
    )


def see_entropy(now: FigureValues, first: FigureValues, phase: Applicability) -> str:
    """The entropy of the next token is a quarter of what it was."""
    if now[ENTROPY] > CERTAIN * first[ENTROPY]:
        return ""
    return f"the entropy of the next token is {now[ENTROPY]:.2g} nats ({first[ENTROPY]:.2g} when the phase began)"


def see_repetition(now: FigureValues, first: FigureValues, phase: Applicability) -> str:
    """At least 40% of the tokens repeat what the same response said before, and twice as many as when the phase began."""
    share, at_first = now[REPEATED], first[REPEATED]
    if share < REPEATING or share < LONGER * at_first:
        return ""
    return f"{share:.0%} of the tokens repeat what their response said before ({at_first:.0%} when the phase began)"


def see_ending(now: FigureValues, first: FigureValues, phase: Applicability) -> str:
    """Half as many responses end by themselves as when the phase began; or the end token, where drawn, is half as probable."""
    if now[ENDED] <= HALF * first[ENDED] and first[ENDED] > 1.0 - MOST:
        return f"{now[ENDED]:.0%} of the responses end by themselves ({first[ENDED]:.0%} when the phase began)"
    end, end_at_first = now.get(END_PROBABILITY), first.get(END_PROBABILITY)
    if end is not None and end_at_first is not None and end <= HALF * end_at_first:
        return f"the end token is drawn with a probability of {end:.2g} ({end_at_first:.2g} when the phase began)"
    return ""


def see_kl(now: FigureValues, first: FigureValues, phase: Applicability) -> str:
    """More than 1 nat per token from the reference, and from a teacher twice as far as when the phase began; or more than 0.1
    nats within one step."""
    reference, at_first = now.get(REFERENCE_KL, 0.0), first.get(REFERENCE_KL, 0.0) if phase.has_teacher else 0.0
    if reference >= FAR_FROM_REFERENCE and reference >= LONGER * at_first:
        return f"the KL to the reference is {reference:.3g} nats per token ({at_first:.2g} when the phase began)"
    if now[STEP_KL] >= FAR_IN_ONE_STEP and phase.draws_rollouts:
        return f"the policy moves by a KL of {now[STEP_KL]:.3g} nats per token within one step"
    return ""


def see_format(now: FigureValues, first: FigureValues, phase: Applicability) -> str:
    """At least half of the responses that end have no answer, and it was not worse when the phase began."""
    return _share(now, first, UNANSWERED, HALF, "of the responses that end give no answer")


def _share(now: FigureValues, first: FigureValues, key: str, level: float, what: str) -> str:
    """`key` as a share of responses in words, where it reaches `level` and has not fallen since the phase began."""
    if now[key] < level or first[key] - now[key] >= PROGRESS:
        return ""
    return f"{now[key]:.0%} {what} ({first[key]:.0%} when the phase began)"


ALARMS: dict[str, Alarm] = {
    "truncation": Alarm(
        see_truncation,
        (CUT_OFF,),
        "raise {phase}.sampler.max_tokens, or choose easier problems with {phase}.select",
    ),
    "rewards": Alarm(
        see_rewards,
        (UNIFORM, REWARD_SPREAD),
        'choose problems that are solved sometimes: {phase}.select.how = "band"; or check {phase}.rewards',
        applies=lambda phase: phase.reads_rewards,
    ),
    "lengths": Alarm(
        see_lengths,
        (TOKENS, ACCURACY),
        "lower the weight of length in {phase}.rewards.terms or pay it to correct responses alone; or lower {phase}.optimizer.lr",
    ),
    "entropy": Alarm(
        see_entropy,
        (ENTROPY,),
        "raise {phase}.algorithm.entropy_coef or clip_high, lower {phase}.optimizer.lr, or train on more problems",
    ),
    "repetition": Alarm(
        see_repetition,
        (REPEATED,),
        'add the term "repetition" to {phase}.rewards.terms, and pay no wrong response for its length',
    ),
    "ending": Alarm(
        see_ending,
        (ENDED,),
        'set {phase}.algorithm.truncated = "penalise", and {phase}.rewards.truncated no higher than wrong',
        takes=(END_PROBABILITY,),
    ),
    "kl": Alarm(
        see_kl,
        (STEP_KL,),
        "lower {phase}.optimizer.lr, or raise {phase}.algorithm.kl_coef; or fewer epochs and minibatches",
        applies=lambda phase: True,
        takes=(REFERENCE_KL,),
    ),
    "format": Alarm(
        see_format,
        (UNANSWERED,),
        "set {phase}.rewards.no_answer below wrong, or ask for the answer's form in prompt.instruction",
    ),
}
"""Every alarm by name; the keys are those of a recipe's table `[phases.end.alarms]`."""

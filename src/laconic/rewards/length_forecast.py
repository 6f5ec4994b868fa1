"""The length forecast: whether a recipe makes responses shorter or longer, before a single step is run.

1. Exact sums of generalized advantages, for one reward at the end of a response: `mean_gae_advantage`, `sum_of_gae`.
2. The solve rate at which the mean reward is zero: `neutral_solve_rate`.
3. The effect of whitening on a token far from the end: `whitened_far_advantage`.
4. All of it in one line that a person can read before training: `forecast`.

The setting is Fatemi et al. 2025 (arXiv 2504.05185): gamma = 1, reward r on the last token, a critic whose value is v
everywhere. With d tokens to go after a token (d = 0 at the last), delta is r - v at the end and 0 elsewhere, so the
token's advantage is A = (r - v) lambda^d. Only about the last 1 / (1 - lambda) tokens feel the reward. Whitening
subtracts the mean over all tokens of the batch and divides by their standard deviation. So every other token gets a share
of the mean with the opposite sign: a price per token where r - v is positive on average, a bonus per token where it is
negative.

All depends on v. The paper states the case v = 0. A critic that knows the mean reward cancels the first-order pressure,
whitened or not; what is left is the covariance of correctness with length, and the critic's errors. A forecast is a
first-order argument about direction, not about size, and a measurement counts more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isnan, nan, sqrt
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from laconic.config.defaults import CORRECT, GAE_LAMBDA, WRONG

Direction = Literal["shorter", "longer", "neutral", "unknown"]


def mean_gae_advantage(reward: float, value: float, num_tokens: int, gae_lambda: float) -> float:
    """Mean advantage over a response of T tokens: (r - v) (1 - lambda^T) / ((1 - lambda) T), and r - v at lambda = 1.

    The loss averaged over a response is minus this. For T far above 1 / (1 - lambda) it falls as 1 / T; at lambda = 1
    it does not depend on T (Fatemi et al. 2025). `value` is v, the critic's value at every token.

    >>> [round(mean_gae_advantage(1.0, 0.0, num_tokens, 0.95), 3) for num_tokens in (100, 500, 1000, 5000)]
    [0.199, 0.04, 0.02, 0.004]
    """
    if num_tokens < 1:
        raise ValueError(f"num_tokens: expected at least 1, got {num_tokens}")
    return (reward - value) * float(_powers_sum(gae_lambda, num_tokens)) / num_tokens


def sum_of_gae(deltas: ArrayLike, gae_lambda: float) -> float:
    """Sum over a response of A_t = sum_l lambda^l delta_{t+l}, from its deltas [T] alone.

    sum_t A_t = sum_k delta_k (1 - lambda^{k+1}) / (1 - lambda), k from 0; at lambda = 1 the weight is k + 1: delta_k
    reaches the k + 1 tokens up to and including its own.

    >>> sum_of_gae([0.0, 0.0, 1.0], gae_lambda=0.5)  # A = 0.25, 0.5, 1
    1.75
    """
    delta = np.asarray(deltas, dtype=np.float64)
    return float(np.sum(delta * _powers_sum(gae_lambda, np.arange(1, len(delta) + 1))))


def neutral_solve_rate(correct: float, wrong: float) -> float:
    """The solve rate p at which p * correct + (1 - p) * wrong = 0; `nan` where none in [0, 1] does.

    Raises `ValueError` unless correct > wrong.

    >>> [round(neutral_solve_rate(1.0, wrong), 3) for wrong in (-1.0, -0.5, 0.0)]
    [0.5, 0.333, 0.0]
    """
    if not correct > wrong:
        raise ValueError(f"correct: expected more than wrong ({wrong}), got {correct}")
    rate = -wrong / (correct - wrong)
    return rate + 0.0 if 0.0 <= rate <= 1.0 else nan


def whitened_far_advantage(
    solve_rate: float,
    num_tokens: ArrayLike,
    gae_lambda: float = GAE_LAMBDA,
    *,
    correct: float = CORRECT,
    wrong: float = WRONG,
    value: float = 0.0,
    far_tokens: int = 200,
) -> float:
    """Expected whitened advantage of a token with at least `far_tokens` tokens after it, in standard deviations.

    `num_tokens` [N] are lengths the batch's responses are drawn from (or one length), apart from whether they are
    correct. With R = r - v, per token: mean m = E[R] E[sum_d lambda^d] / E[T], second moment s = E[R^2] E[sum_d
    lambda^2d] / E[T], and a far token's own raw advantage f = E[R] lambda^d averaged over d >= far_tokens (nearly 0 for
    large d):

        (f - m) / sqrt(s - m^2)

    These ratios of expectations are exact for a large batch. 0 where all tokens have the same advantage (lambda = 1, one reward);
    `nan` where no token is that far from the end.

    >>> lengths = np.arange(500, 6001)
    >>> [round(whitened_far_advantage(rate, lengths), 3) for rate in (0.0, 0.25, 0.5, 0.75, 1.0)]
    [0.11, 0.021, -0.035, -0.076, -0.11]
    """
    lengths = np.atleast_1d(np.asarray(num_tokens, dtype=np.float64))
    rewards, weights = np.array([correct, wrong]) - value, np.array([solve_rate, 1.0 - solve_rate])
    mean_reward, mean_square = float(weights @ rewards), float(weights @ rewards**2)
    far = np.maximum(lengths - far_tokens, 0.0)
    if far.sum() == 0.0:
        return nan
    mean = mean_reward * _powers_sum(gae_lambda, lengths).mean() / lengths.mean()
    second = mean_square * _powers_sum(gae_lambda**2, lengths).mean() / lengths.mean()
    own = mean_reward * gae_lambda**far_tokens * _powers_sum(gae_lambda, far).mean() / far.mean()
    variance = second - mean**2
    return float((own - mean) / sqrt(variance)) if variance > 1e-12 * second else 0.0


@dataclass(frozen=True, slots=True)
class Forecast:
    """Whether responses are expected to become shorter or longer. `direction` is "unknown" where it depends on a solve rate that
    was not measured, or on a user's own reward.

    `neutral_solve_rate` is the solve rate at which the pressure of the reward changes its sign (`nan`: none); `horizon_tokens` is
    1 / (1 - lambda), how far back from the end credit reaches; `sentence` is the forecast in one line.
    """

    direction: Direction
    neutral_solve_rate: float
    horizon_tokens: float
    sentence: str


def forecast(
    levels: Mapping[str, float],
    gae_lambda: float,
    whitening: bool,
    solve_rate: float | None,
    mean_tokens: float | None = None,
    *,
    length_terms: Sequence[str] = (),
    lengthening_terms: Sequence[str] = (),
    own_terms: Sequence[str] = (),
    has_group_baseline: bool = False,
    is_standardized: bool = False,
    critic_value: float | None = None,
) -> Forecast:
    """Forecast the direction of length from reward levels, lambda, whitening and the solve rate of the problems.

    `levels` holds `correct` and `wrong`, the mean pay of a failed attempt (where most failures are cut off or have no answer,
    give their level). `length_terms` names the reward terms that price length, `lengthening_terms` those that pay for it,
    `own_terms` the user's own rewards, whose pay is not known here. `is_standardized` says that a step's rewards are centred and
    divided by their standard deviation, so that their mean is 0 whatever the levels are. `critic_value` is the value of a critic
    that does not learn. None means a critic that learns: its value is taken as 0 under whitening (as in the published recipe,
    without a critic warm-up), and as calibrated without it.

    - a reward of the user's own: unknown;
    - explicit length terms: shorter, or longer where they pay for length, or unknown where there are both;
    - a group baseline (GRPO, RLOO): neutral, with no pressure at all in uniform groups;
    - lambda = 1, standardised rewards, or a critic at the mean reward: neutral, since only the covariance of correctness with
      length is left;
    - else the sign of the mean reward minus the critic's value: shorter above the neutral solve rate, longer below.

    Raises `ValueError` where a level is missing, correct <= wrong, or a number is out of its range.

    >>> forecast({"correct": 1.0, "wrong": -0.5}, 0.95, True, solve_rate=0.75, mean_tokens=3000).direction
    'shorter'
    """
    if own_terms:
        return Forecast("unknown", nan, horizon_tokens(gae_lambda), _own(own_terms))
    net_levels, is_calibrated = _net_levels(levels, whitening, critic_value)
    _check_ranges(gae_lambda, solve_rate, mean_tokens)
    neutral = nan if is_standardized else neutral_solve_rate(*net_levels)
    horizon = horizon_tokens(gae_lambda)
    if has_group_baseline:
        direction, reason = _group_pull(solve_rate)
    elif gae_lambda == 1.0:
        direction, reason = "neutral", f"at lambda 1 all tokens of a response share one credit; {_REST}"
    elif is_standardized:
        direction, reason = "neutral", f"rewards are centred over all that are paid at once; {_REST}"
    elif is_calibrated:
        direction, reason = "neutral", f"a calibrated critic cancels the mean reward; {_REST}"
    else:
        direction, reason = _mean_pull(net_levels, neutral, solve_rate)
        reason += _size(net_levels, gae_lambda, solve_rate, mean_tokens if whitening else None)
        reason += _LEARNING if critic_value is None else _NOT_LEARNING
    if lengthening_terms:
        return _with_pay_for_length(lengthening_terms, length_terms, neutral, horizon)
    if length_terms:
        return Forecast("shorter", neutral, horizon, _explicit(length_terms, direction, reason))
    return Forecast(direction, neutral, horizon, f"{_LEAD[direction]}: {reason}.")


def horizon_tokens(gae_lambda: float) -> float:
    """How far back from the end credit reaches: 1 / (1 - lambda) tokens.

    >>> horizon_tokens(0.75), horizon_tokens(1.0)
    (4.0, inf)
    """
    return inf if gae_lambda == 1.0 else 1.0 / (1.0 - gae_lambda)


_LEARNING = ", until the critic learns the mean reward"
_NOT_LEARNING = ", for the whole phase: its critic does not learn"
_REST = "what is left is the covariance of correctness with length, and the critic's errors"
_LEAD: Mapping[Direction, str] = {
    "shorter": "Expect shorter responses",
    "longer": "Expect longer responses",
    "neutral": "Expect no first-order push on length",
    "unknown": "The direction of length is open until the problems are probed",
}


def _net_levels(
    levels: Mapping[str, float], whitening: bool, critic_value: float | None
) -> tuple[tuple[float, float], bool]:
    """(correct - v, wrong - v), and whether the critic is assumed to be calibrated."""
    for name in ("correct", "wrong"):
        if name not in levels:
            raise ValueError(f"levels.{name}: missing")
    value = critic_value or 0.0
    return (levels["correct"] - value, levels["wrong"] - value), critic_value is None and not whitening


def _check_ranges(gae_lambda: float, solve_rate: float | None, mean_tokens: float | None) -> None:
    if not 0.0 <= gae_lambda <= 1.0:
        raise ValueError(f"gae_lambda: expected a number in [0, 1], got {gae_lambda}")
    if solve_rate is not None and not 0.0 <= solve_rate <= 1.0:
        raise ValueError(f"solve_rate: expected a number in [0, 1], got {solve_rate}")
    if mean_tokens is not None and not mean_tokens >= 1.0:
        raise ValueError(f"mean_tokens: expected at least 1, got {mean_tokens}")


def _group_pull(solve_rate: float | None) -> tuple[Direction, str]:
    if solve_rate in (0.0, 1.0):
        return "neutral", "every group is uniform, and a group baseline pays nothing in uniform groups"
    return "neutral", (
        "a group baseline pays nothing in uniform groups, and in mixed ones length follows only its covariance with "
        "correctness"
    )


def _mean_pull(net_levels: tuple[float, float], neutral: float, solve_rate: float | None) -> tuple[Direction, str]:
    """Direction and reason from the sign of E[r - v]."""
    correct, wrong = net_levels
    turn = "zero at no solve rate" if isnan(neutral) else f"zero at solve rate {neutral:.2f}"
    if solve_rate is None:
        return "unknown", f"mean reward minus the critic's value is {turn}, and positive means shorter"
    mean = round(solve_rate * correct + (1.0 - solve_rate) * wrong, 9) + 0.0
    direction: Direction = "neutral" if mean == 0.0 else "shorter" if mean > 0.0 else "longer"
    return direction, f"at solve rate {solve_rate:.2f} mean reward minus the critic's value is {mean:+.2f} ({turn})"


def _size(net_levels: tuple[float, float], gae_lambda: float, solve_rate: float | None, tokens: float | None) -> str:
    """How far credit reaches, and the whitened advantage of a token of the first half (left out where `tokens` is None)."""
    reach = f", with direct credit for about the last {horizon_tokens(gae_lambda):.0f} tokens"
    if solve_rate is None or tokens is None or tokens < 2:
        return reach
    correct, wrong = net_levels
    half = int(tokens // 2)
    far = whitened_far_advantage(solve_rate, tokens, gae_lambda, correct=correct, wrong=wrong, far_tokens=half)
    return f"{reach} and, by whitening, {far:+.3f} standard deviations for each token of the first half"


def _explicit(length_terms: Sequence[str], direction: Direction, reason: str) -> str:
    against = "; this works against the rest" if direction == "longer" else ""
    named = ", ".join(length_terms)
    return f"Expect shorter responses: the reward prices length ({named}){against}. Apart from it, {reason}."


def _with_pay_for_length(paying: Sequence[str], pricing: Sequence[str], neutral: float, horizon: float) -> Forecast:
    named = ", ".join(paying)
    if pricing:
        both = f"the reward pays for length ({named}) and prices it ({', '.join(pricing)})"
        return Forecast("unknown", neutral, horizon, f"The direction of length is unknown: {both}.")
    return Forecast("longer", neutral, horizon, f"Expect longer responses: the reward pays for length ({named}).")


def _own(names: Sequence[str]) -> str:
    return f"The direction of length is unknown: a reward of one's own ({', '.join(names)}) decides."


def _powers_sum(base: float, counts: ArrayLike) -> NDArray[np.float64]:
    """1 + base + ... + base^(n - 1) for each n in `counts`."""
    number = np.asarray(counts, dtype=np.float64)
    return number if base == 1.0 else (1.0 - base**number) / (1.0 - base)

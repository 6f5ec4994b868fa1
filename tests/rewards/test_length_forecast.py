"""What `length_forecast` claims: exact identities, whitening by simulation, and forecasts that say what they assume."""

from math import inf, isnan

import numpy as np
import pytest

from laconic.config.rewards import RewardsConfig
from laconic.rewards.from_recipe import lengthening_terms, pricing_terms
from laconic.rewards.length_forecast import (
    forecast,
    mean_gae_advantage,
    neutral_solve_rate,
    sum_of_gae,
    whitened_far_advantage,
)
from laconic.rewards.table import REWARDS

FATEMI = {"correct": 1.0, "wrong": -0.5}


def gae(deltas, gae_lambda):
    """The recursion, slow and obvious: A_t = delta_t + lambda A_{t+1}."""
    advantages, later = np.zeros(len(deltas)), 0.0
    for t in reversed(range(len(deltas))):
        later = deltas[t] + gae_lambda * later
        advantages[t] = later
    return advantages


@pytest.mark.parametrize("gae_lambda", [0.0, 0.5, 0.95, 1.0])
def test_sum_of_gae_is_the_sum_of_the_recursion(gae_lambda):
    """sum_t A_t = sum_k delta_k (1 - lambda^(k+1)) / (1 - lambda), to 1e-6, for any deltas."""
    deltas = np.random.default_rng(0).normal(size=300)
    assert sum_of_gae(deltas, gae_lambda) == pytest.approx(gae(deltas, gae_lambda).sum(), abs=1e-6)
    assert sum_of_gae([], gae_lambda) == 0.0


@pytest.mark.parametrize("gae_lambda", [0.0, 0.9, 0.95, 1.0])
@pytest.mark.parametrize("num_tokens", [1, 2, 57, 400])
def test_mean_gae_advantage_of_a_constant_critic(gae_lambda, num_tokens):
    """Reward 1, critic 0.3: the only delta is 0.7, on the last token."""
    deltas = np.zeros(num_tokens)
    deltas[-1] = 0.7
    expected = gae(deltas, gae_lambda).mean()
    assert mean_gae_advantage(1.0, 0.3, num_tokens, gae_lambda) == pytest.approx(expected, abs=1e-9)


def test_mean_gae_advantage_reproduces_the_printed_values():
    """r = 1, v = 0, T = 100, 500, 1000, 5000; at lambda 1 it does not know T."""
    for gae_lambda, values in [
        (0.95, (0.199, 0.040, 0.020, 0.004)),
        (0.99, (0.634, 0.199, 0.100, 0.020)),
        (1, (1,) * 4),
    ]:
        means = [mean_gae_advantage(1.0, 0.0, num_tokens, gae_lambda) for num_tokens in (100, 500, 1000, 5000)]
        assert means == pytest.approx(values, abs=0.0006)


def test_a_constant_error_of_the_critic_weighs_a_thousandfold_at_lambda_1():
    """Critic off by 0.2: 0.2 at lambda 1 for any T; 0.2 * 20 / 5000 = 0.0008 at lambda 0.95."""
    assert mean_gae_advantage(0.0, -0.2, 5000, 1.0) == pytest.approx(0.2)
    assert mean_gae_advantage(0.0, -0.2, 5000, 0.95) == pytest.approx(0.0008)
    with pytest.raises(ValueError, match="num_tokens"):
        mean_gae_advantage(1.0, 0.0, 0, 0.95)


def test_neutral_solve_rate_is_where_the_mean_reward_is_zero():
    """(+1, -0.5): 1/3; (+1, -1): 1/2; (+1, 0): 0; both positive: nowhere."""
    assert neutral_solve_rate(1.0, -0.5) == pytest.approx(1 / 3)
    assert neutral_solve_rate(1.0, -1.0) == 0.5
    assert str(neutral_solve_rate(1.0, 0.0)) == "0.0"
    assert isnan(neutral_solve_rate(1.0, 0.5))
    assert isnan(neutral_solve_rate(-0.5, -1.0))
    with pytest.raises(ValueError, match="correct"):
        neutral_solve_rate(0.0, 0.0)


def simulated_far_advantage(solve_rate, gae_lambda, rng, num_batches, *, far=200, shortest=500, longest=6000):
    """64 responses a batch, reward on the last token, v = 0, whitened over all tokens: the mean far from the end."""
    far_means = []
    for _ in range(num_batches):
        lengths = rng.integers(shortest, longest + 1, 64)
        rewards = np.where(rng.uniform(size=64) < solve_rate, 1.0, -0.5)
        tokens = [r * gae_lambda ** np.arange(t)[::-1] for r, t in zip(rewards, lengths, strict=True)]
        batch = np.concatenate(tokens)
        is_far = np.concatenate([np.arange(t)[::-1] >= far for t in lengths])
        far_means.append(((batch - batch.mean()) / batch.std())[is_far].mean())
    return np.mean(far_means)


RATES = (0.0, 0.125, 0.25, 0.5, 0.75, 0.9, 1.0)
LENGTHS = np.arange(500, 6001)


@pytest.mark.parametrize("solve_rate", RATES)
def test_whitened_far_advantage_agrees_with_simulation(solve_rate):
    """The closed form against 30 simulated batches of 64 responses, lambda 0.95."""
    simulated = simulated_far_advantage(solve_rate, 0.95, np.random.default_rng(7), num_batches=30)
    assert whitened_far_advantage(solve_rate, LENGTHS) == pytest.approx(simulated, abs=0.006)


def test_whitened_far_advantage_agrees_with_the_published_batch():
    """One earlier simulated batch a solve rate; a batch scatters by up to about 0.01, the signs do not."""
    printed = (0.106, 0.063, 0.022, -0.034, -0.083, -0.094, -0.120)
    forms = [whitened_far_advantage(rate, LENGTHS) for rate in RATES]
    assert forms == pytest.approx(printed, abs=0.011)
    assert np.sign(forms).tolist() == np.sign(printed).tolist()
    assert forms == sorted(forms, reverse=True)


def test_whitened_far_advantage_where_credit_reaches_everywhere():
    """lambda 0.999 and short responses: the far tokens' own advantage counts too."""
    rng = np.random.default_rng(3)
    simulated = simulated_far_advantage(0.75, 0.99, rng, num_batches=200, far=30, shortest=40, longest=120)
    form = whitened_far_advantage(0.75, np.arange(40, 121), 0.99, far_tokens=30)
    assert form == pytest.approx(simulated, abs=0.01)


def test_whitened_far_advantage_changes_sign_at_the_neutral_rate():
    """Zero at p = 1/3, 1/2 and 0 for wrong answers at -0.5, -1 and 0; at any p for a critic at the mean reward."""
    for wrong, rate in [(-0.5, 1 / 3), (-1.0, 0.5), (0.0, 0.0)]:
        assert neutral_solve_rate(1.0, wrong) == pytest.approx(rate)
        assert whitened_far_advantage(rate, 1000, wrong=wrong) == pytest.approx(0.0, abs=1e-12)
        assert whitened_far_advantage(rate + 0.1, 1000, wrong=wrong) < 0
    assert whitened_far_advantage(0.75, 1000, value=0.75 - 0.125) == pytest.approx(0.0, abs=1e-12)


def test_whitened_far_advantage_where_there_is_nothing_to_whiten():
    """lambda 1: every token of a response alike, no place is far. No token that far: nan."""
    assert whitened_far_advantage(1.0, 1000, 1.0) == 0.0
    assert whitened_far_advantage(0.5, 1000, 1.0) == pytest.approx(0.0, abs=1e-12)
    assert isnan(whitened_far_advantage(0.5, 150))


@pytest.mark.parametrize(
    ("solve_rate", "direction"), [(0.1, "longer"), (1 / 3, "neutral"), (0.75, "shorter"), (None, "unknown")]
)
def test_forecast_under_whitening_follows_the_sign_of_the_mean_reward(solve_rate, direction):
    """Below 1/3 longer, above shorter; without a probe it is open, and the neutral point is named all the same."""
    told = forecast(FATEMI, 0.95, True, solve_rate, 3000)
    assert told.direction == direction
    assert told.neutral_solve_rate == pytest.approx(1 / 3)
    assert told.horizon_tokens == pytest.approx(20)
    assert "0.33" in told.sentence
    assert "until the critic learns" in told.sentence
    assert "\n" not in told.sentence


def test_forecast_says_how_much_a_token_pays_where_it_knows_the_length():
    """The first half of 1000 tokens at p = 1, and no such number for lengths unknown."""
    half = whitened_far_advantage(1.0, 1000, far_tokens=500)
    assert f"{half:+.3f} standard deviations" in forecast(FATEMI, 0.95, True, 1.0, 1000).sentence
    assert "standard deviations" not in forecast(FATEMI, 0.95, True, 1.0).sentence


@pytest.mark.parametrize(
    ("terms", "direction"),
    [
        ([{"name": "linear_length"}], "shorter"),
        ([{"name": "linear_length", "weight": -0.5}], "longer"),
        ([{"name": "linear_length", "weight": 0.0}], "neutral"),
        ([{"name": "cosine"}], "shorter"),
        ([{"name": "cosine", "options": {"correct_start": 1.0, "correct_end": 2.0}}], "longer"),
        ([{"name": "cosine", "weight": -1.0, "options": {"correct_start": 1.0, "correct_end": 2.0}}], "shorter"),
        ([{"name": "linear_length", "weight": -0.5}, {"name": "kimi_length"}], "unknown"),
    ],
)
def test_forecast_reads_weights_and_ends(terms, direction):
    """A term that pays for length lengthens, one of weight 0 does nothing, and two against each other leave it open."""
    rewards = RewardsConfig(terms=terms)
    asked = {"length_terms": pricing_terms(rewards), "lengthening_terms": lengthening_terms(rewards)}
    told = forecast(FATEMI, 0.95, True, 0.5, has_group_baseline=True, **asked)
    assert told.direction == direction
    assert terms[0]["name"] in told.sentence or direction == "neutral"


def test_forecast_with_a_calibrated_critic_is_neutral():
    """Without whitening the critic is taken to be calibrated; said to stand at 0, the paper's case returns."""
    told = forecast(FATEMI, 0.95, False, 0.75, 3000)
    assert told.direction == "neutral"
    assert "covariance of correctness with length" in told.sentence
    assert forecast(FATEMI, 0.95, False, 0.75, 3000, critic_value=0.0).direction == "shorter"
    assert forecast(FATEMI, 0.95, False, 0.1, 3000, critic_value=0.0).direction == "longer"


def test_forecast_counts_what_the_critic_already_knows():
    """At p = 0.5 the mean reward is 0.25: a critic at 0.25 makes it neutral, one above it lengthens."""
    assert forecast(FATEMI, 0.95, True, 0.5, 3000, critic_value=0.25).direction == "neutral"
    told = forecast(FATEMI, 0.95, True, 0.5, 3000, critic_value=0.4)
    assert told.direction == "longer"
    assert told.neutral_solve_rate == pytest.approx(0.6)  # (0.4 + 0.5) / 1.5


def test_forecast_at_lambda_1_is_neutral():
    """One credit for all tokens of a response, an endless horizon."""
    told = forecast(FATEMI, 1.0, True, 0.9, 3000)
    assert (told.direction, told.horizon_tokens) == ("neutral", inf)


@pytest.mark.parametrize("critic_value", [None, 0.0])
@pytest.mark.parametrize("solve_rate", [0.1, 0.5, 0.9, None])
def test_forecast_of_standardised_rewards_is_neutral(solve_rate, critic_value):
    """Their mean over a step is 0 at every solve rate, so that nothing presses on length."""
    told = forecast(FATEMI, 0.95, True, solve_rate, 3000, is_standardized=True, critic_value=critic_value)
    assert told.direction == "neutral" and isnan(told.neutral_solve_rate)
    assert "centred over all that are paid at once" in told.sentence


def test_forecast_of_group_baselines():
    """Uniform groups pay nothing; in mixed ones only the covariance is left."""
    for rate in (0.0, 1.0):
        told = forecast(FATEMI, 0.95, True, rate, has_group_baseline=True)
        assert told.direction == "neutral"
        assert "every group is uniform" in told.sentence
    assert "covariance" in forecast(FATEMI, 0.95, False, 0.5, has_group_baseline=True).sentence


@pytest.mark.parametrize("name", sorted(name for name, reward in REWARDS.items() if reward.reads_length))
def test_forecast_with_an_explicit_length_term_is_shorter(name):
    """Whatever the rest says; where the rest pulls the other way the sentence owns it."""
    told = forecast(FATEMI, 0.95, True, 0.1, 3000, length_terms=[name])
    assert told.direction == "shorter"
    assert name in told.sentence
    assert "works against the rest" in told.sentence
    assert "works against" not in forecast(FATEMI, 0.95, True, 0.9, length_terms=[name]).sentence


def test_forecast_where_no_solve_rate_is_neutral():
    """Levels 1 and 0.5 are always positive: shorter everywhere."""
    told = forecast({"correct": 1.0, "wrong": 0.5}, 0.95, True, 0.0)
    assert told.direction == "shorter"
    assert isnan(told.neutral_solve_rate)
    assert "zero at no solve rate" in told.sentence


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (({"correct": 1.0}, 0.95, True, 0.5), "levels.wrong"),
        ((FATEMI, 1.5, True, 0.5), "gae_lambda"),
        ((FATEMI, 0.95, True, 1.5), "solve_rate"),
        ((FATEMI, 0.95, True, 0.5, 0.0), "mean_tokens"),
        (({"correct": 0.0, "wrong": 0.0}, 0.95, True, 0.5), "correct"),
    ],
)
def test_forecast_names_what_is_wrong(arguments, says):
    """Missing levels and numbers out of range."""
    with pytest.raises(ValueError, match=says):
        forecast(*arguments)

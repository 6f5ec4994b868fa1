"""What `advantages` claims, against loops, and what follows from it: who is paid for being short, and when (methods 1.4).

Legend: `T` tokens of a response, `K` responses of a group, v a constant critic, r the reward at the end.
"""

import math
from itertools import pairwise
from typing import Any

import oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from laconic.config.policy import PolicyConfig
from laconic.models.policy import Policy
from laconic.rl.advantages import discounted_sums, gae, group_centred, group_standardized, leave_one_out, td_errors
from laconic.rl.losses import clipped_surrogate
from laconic.rl.masked import masked_sum, standardize, token_weights
from laconic.training.algorithms import ALGORITHMS, estimate_advantages
from laconic.training.batching import collate
from laconic.training.experience import gather_experience

GARBAGE = (1e30, math.inf, -math.inf, math.nan)

finite = st.floats(-2, 2, width=32)
steps = st.lists(st.tuples(finite, finite), min_size=1, max_size=7)  # (reward, value) of each token
ragged = st.lists(st.tuples(steps, finite), min_size=1, max_size=4)  # with the value after the last token
decays = st.sampled_from([0.0, 0.5, 0.95, 1.0])


def padded(rows: list[list[float]], garbage: float) -> tuple[Tensor, Tensor]:
    width = max(map(len, rows)) + 2
    x = torch.tensor([[*row, *[garbage] * (width - len(row))] for row in rows])
    return x, torch.tensor([[t < len(row) for t in range(width)] for row in rows])


def same(x: Tensor, mask: Tensor, expected: list[list[float]]) -> None:
    """Counted entries equal the oracle's to 1e-6; everything else is exactly 0."""
    for row, keep, want in zip(x, mask, expected, strict=True):
        assert row[keep].tolist() == pytest.approx(want, abs=1e-6, rel=1e-6)
    assert x[~mask].eq(0).all()


# --- with a critic ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("garbage", GARBAGE)
@given(rows=ragged, gamma=decays, gae_lambda=decays)
@settings(max_examples=30, deadline=None)
def test_gae_and_its_parts_equal_the_double_loop(garbage: float, rows: Any, gamma: float, gae_lambda: float) -> None:
    """Ragged rows, single-token rows among them, garbage behind every row, and a value of its own after the last token."""
    rewards, mask = padded([[r for r, _ in row] for row, _ in rows], garbage)
    values, _ = padded([[v for _, v in row] for row, _ in rows], garbage)
    last = torch.tensor([last for _, last in rows])
    plain = [([r for r, _ in row], [v for _, v in row], last) for row, last in rows]
    same(
        td_errors(rewards, values, mask, last_values=last, gamma=gamma),
        mask,
        [oracles.td_errors(*row, gamma) for row in plain],
    )
    same(
        discounted_sums(rewards, mask, gae_lambda), mask, [oracles.discounted_sums(r, gae_lambda) for r, _, _ in plain]
    )
    same(
        gae(rewards, values, mask, last_values=last, gamma=gamma, gae_lambda=gae_lambda),
        mask,
        [oracles.gae(*row, gamma, gae_lambda) for row in plain],
    )


def test_gae_by_hand() -> None:
    """r = (0, 0, 1), V = (.5, .25, 0), gamma 1: delta = (-.25, -.25, 1). lambda .5: A = (-.125, .25, 1)."""
    rewards, values = torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([[0.5, 0.25, 0.0]])
    mask, last = torch.ones(1, 3, dtype=torch.bool), torch.zeros(1)
    assert td_errors(rewards, values, mask, last_values=last, gamma=1.0).tolist() == [[-0.25, -0.25, 1.0]]
    # 1; -.25 + .5 * 1 = .25; -.25 + .5 * .25 = -.125
    assert gae(rewards, values, mask, last_values=last, gamma=1.0, gae_lambda=0.5).tolist() == [[-0.125, 0.25, 1.0]]


def test_the_value_after_a_cut_off_response_goes_on() -> None:
    """One token, r = 0, V = .5, .75 after it: delta = .9 * .75 - .5 = .175; where the response ended: -.5."""
    mask = torch.tensor([[True, False]])
    rewards, values = torch.tensor([[0.0, math.nan]]), torch.tensor([[0.5, math.nan]])
    cut = td_errors(rewards, values, mask, last_values=torch.tensor([0.75]), gamma=0.9)
    ended = td_errors(rewards, values, mask, last_values=torch.tensor([0.0]), gamma=0.9)
    assert cut.tolist()[0] == pytest.approx([0.175, 0.0], abs=1e-6)
    assert ended.tolist()[0] == [-0.5, 0.0]


def test_at_lambda_one_the_targets_are_the_returns() -> None:
    """gamma = lambda = 1: A_t + V_t is the sum of the rewards still to come, whatever the critic says."""
    rewards, mask = padded([[0.5, -0.25, 1.0], [2.0]], math.nan)
    values, _ = padded([[9.0, -3.0, 0.5], [7.0]], math.nan)
    targets = gae(rewards, values, mask, last_values=torch.zeros(2), gamma=1.0, gae_lambda=1.0) + values
    assert targets[mask].tolist() == pytest.approx([1.25, 0.75, 1.0, 2.0], abs=1e-6)


def test_masked_rows_have_no_advantage() -> None:
    """A row of which nothing counts is 0 from end to end; its neighbour is untouched."""
    rewards = torch.tensor([[math.nan] * 3, [0.0, 0.0, 1.0]])
    mask = torch.tensor([[False] * 3, [True] * 3])
    out = gae(rewards, rewards, mask, last_values=torch.tensor([math.nan, 0.0]), gamma=1.0, gae_lambda=0.5)
    alone = gae(rewards[1:], rewards[1:], mask[1:], last_values=torch.zeros(1), gamma=1.0, gae_lambda=0.5)
    assert out[0].tolist() == [0.0, 0.0, 0.0]
    assert torch.equal(out[1:], alone)


def test_inputs_are_never_written_to() -> None:
    """Bit for bit, nan in the padding included."""
    rewards, mask = padded([[0.5, -0.25, 1.0], [2.0]], math.nan)
    values, _ = padded([[9.0, -3.0, 0.5], [7.0]], math.nan)
    last, groups = torch.tensor([0.5, 0.0]), torch.tensor([0, 0])
    inputs = (rewards, values, mask, last, groups)
    before = [x.clone() for x in inputs]
    gae(rewards, values, mask, last_values=last, gamma=1.0, gae_lambda=0.5)
    for score in (group_centred, leave_one_out, group_standardized):
        score(last, groups, torch.tensor([True, True]))
    for x, b in zip(inputs, before, strict=True):
        assert torch.equal(x.nan_to_num(7.5), b.nan_to_num(7.5))


# --- with a group ----------------------------------------------------------------------------------------------------

grouped = st.lists(st.lists(st.tuples(finite, st.booleans()), min_size=1, max_size=6), min_size=1, max_size=4)


@pytest.mark.parametrize("garbage", GARBAGE)
@given(problems=grouped)
@settings(max_examples=30, deadline=None)
def test_group_advantages_equal_the_loop_over_counted_responses(garbage: float, problems: Any) -> None:
    """Groups of every size, one response included; uncounted responses hold garbage, inform nothing and get 0."""
    rewards = torch.tensor([r if keep else garbage for group in problems for r, keep in group])
    counted = torch.tensor([keep for group in problems for _, keep in group])
    groups = torch.tensor([i for i, group in enumerate(problems) for _ in group])
    kept = [[r for r, keep in group if keep] for group in problems]
    for score, oracle in (
        (group_centred, oracles.centre),
        (leave_one_out, oracles.leave_one_out),
        (lambda *a: group_standardized(*a, eps=1e-2), lambda x: oracles.standardize(x, 1e-2)),
    ):
        out = score(rewards, groups, counted)
        expected = [v for group in kept if group for v in oracle(group)]
        assert out[counted].tolist() == pytest.approx(expected, abs=1e-6, rel=1e-6)
        assert out[~counted].eq(0).all()


def test_group_advantages_by_hand() -> None:
    """Rewards 1, 0, 0, 0: mean 1/4. Centred 3/4; leave one out 1 - 0 = 1; std = sqrt(3)/4, so 3/4 over it = sqrt(3)."""
    rewards, groups = torch.tensor([1.0, 0.0, 0.0, 0.0]), torch.zeros(4, dtype=torch.long)
    counted = torch.ones(4, dtype=torch.bool)
    assert group_centred(rewards, groups, counted).tolist() == [0.75, -0.25, -0.25, -0.25]
    assert leave_one_out(rewards, groups, counted).tolist() == pytest.approx([1.0, -1 / 3, -1 / 3, -1 / 3], abs=1e-6)
    root = math.sqrt(3)
    expected = [root, -root / 3, -root / 3, -root / 3]
    assert group_standardized(rewards, groups, counted, eps=0.0).tolist() == pytest.approx(expected, abs=1e-6)


@given(rewards=st.lists(finite, min_size=2, max_size=8))
@settings(max_examples=50, deadline=None)
def test_rloo_is_the_centred_reward_times_k_over_k_minus_1(rewards: list[float]) -> None:
    """r_i - (S - r_i)/(K - 1) = (r_i - S/K) K/(K - 1), against the loop over the others."""
    k = len(rewards)
    arguments = (torch.tensor(rewards), torch.zeros(k, dtype=torch.long), torch.ones(k, dtype=torch.bool))
    others = [r - (sum(rewards) - r) / (k - 1) for r in rewards]
    assert (group_centred(*arguments) * k / (k - 1)).tolist() == pytest.approx(others, abs=1e-5)
    assert leave_one_out(*arguments).tolist() == pytest.approx(others, abs=1e-5)


@given(reward=st.floats(-3, 3, width=32), k=st.integers(1, 64))
@settings(max_examples=200, deadline=None)
def test_a_uniform_group_has_no_advantage_at_all(reward: float, k: int) -> None:
    """Exactly 0, not a rounding error of 0: dividing one by a standard deviation would make it count."""
    arguments = (torch.full((k,), reward), torch.zeros(k, dtype=torch.long), torch.ones(k, dtype=torch.bool))
    for score in (group_centred, leave_one_out, group_standardized):
        assert score(*arguments).eq(0).all()


# --- the identities of methods 1.4 -----------------------------------------------------------------------------------


def outcome(
    reward: float, length: int, *, gae_lambda: float, value: float = 0.0, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    """Advantages [1, T] and mask of one response with its reward at the end, under a constant critic; gamma 1."""
    rewards = torch.zeros(1, length, dtype=dtype)
    rewards[0, -1] = reward
    mask = torch.ones(1, length, dtype=torch.bool)
    values = torch.full_like(rewards, value)
    last = torch.zeros(1, dtype=dtype)
    return gae(rewards, values, mask, last_values=last, gamma=1.0, gae_lambda=gae_lambda), mask


def mean_loss(reward: float, length: int, *, gae_lambda: float, value: float = 0.0) -> float:
    """L_avg: the policy's loss at ratio 1, aggregated per response, through gae, clipped_surrogate and token_weights."""
    advantages, mask = outcome(reward, length, gae_lambda=gae_lambda, value=value)
    weights = token_weights(mask, "response", num_responses=1, num_tokens=length, max_tokens=length)
    return masked_sum(clipped_surrogate(torch.zeros_like(advantages), advantages) * weights, mask).item()


def horizon(length: int, gae_lambda: float) -> float:
    """(1 - lambda^T) / ((1 - lambda) T): the share of T tokens that the reward reaches; 1 at lambda 1."""
    return 1.0 if gae_lambda == 1 else (1 - gae_lambda**length) / ((1 - gae_lambda) * length)


@given(row=steps, last=finite, gae_lambda=st.floats(0.0, 0.99))
@settings(max_examples=50, deadline=None)
def test_advantages_sum_to_discounted_td_errors(row: Any, last: float, gae_lambda: float) -> None:
    """sum_t A_t = sum_k delta_k (1 - lambda^(k+1)) / (1 - lambda): delta_k reaches the k + 1 tokens before and at it."""
    rewards = torch.tensor([[r for r, _ in row]], dtype=torch.float64)
    values = torch.tensor([[v for _, v in row]], dtype=torch.float64)
    mask, after = torch.ones_like(rewards, dtype=torch.bool), torch.tensor([last], dtype=torch.float64)
    advantages = gae(rewards, values, mask, last_values=after, gamma=1.0, gae_lambda=gae_lambda)
    deltas = oracles.td_errors(rewards[0].tolist(), values[0].tolist(), last, 1.0)
    expected = sum(d * (1 - gae_lambda ** (k + 1)) / (1 - gae_lambda) for k, d in enumerate(deltas))
    assert advantages.sum().item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("gae_lambda", "printed"),
    [
        (0.95, ["-.199", "-.040", "-.020", "-.004"]),
        (0.99, ["-.634", "-.199", "-.100", "-.020"]),
        (1.0, ["-1.000"] * 4),
    ],
)
def test_the_table_of_mean_losses(gae_lambda: float, printed: list[str]) -> None:
    """v = 0, r = 1, T = 100, 500, 1000, 5000: the losses of methods 1.4 to the printed digits."""
    losses = [mean_loss(1.0, length, gae_lambda=gae_lambda) for length in (100, 500, 1000, 5000)]
    assert [f"{loss:.3f}".replace("-0.", "-.") for loss in losses] == printed


@pytest.mark.parametrize("gae_lambda", [0.9, 0.95, 0.99, 1.0])
@pytest.mark.parametrize(("reward", "value"), [(1.0, 0.0), (-0.5, 0.0), (1.0, 0.3), (-1.0, -0.4), (0.3, 0.3)])
def test_the_mean_loss_under_a_constant_critic(gae_lambda: float, reward: float, value: float) -> None:
    """L_avg = -(r - v) (1 - lambda^T) / ((1 - lambda) T): the sign that matters is that of r - v."""
    for length in (1, 7, 100, 1000):
        expected = -(reward - value) * horizon(length, gae_lambda)
        assert mean_loss(reward, length, gae_lambda=gae_lambda, value=value) == pytest.approx(expected, abs=1e-6)


def test_below_lambda_one_the_shorter_right_answer_has_the_lower_loss_and_the_longer_wrong_one() -> None:
    """lambda .95: the loss of r = 1 rises with T, that of r = -1 falls; at lambda 1 both are flat."""
    lengths = (10, 50, 200, 1000)
    right = [mean_loss(1.0, length, gae_lambda=0.95) for length in lengths]
    wrong = [mean_loss(-1.0, length, gae_lambda=0.95) for length in lengths]
    assert all(short < long for short, long in pairwise(right))
    assert all(short > long for short, long in pairwise(wrong))
    flat = [mean_loss(1.0, length, gae_lambda=1.0) for length in lengths]
    assert flat == pytest.approx([-1.0] * 4, abs=1e-6)


@pytest.mark.parametrize("length", [1, 100, 1000, 5000])
def test_at_lambda_one_a_critic_error_moves_the_loss_by_itself_at_every_length(length: int) -> None:
    """v off by 0.2: L_avg = -(r - v) moves by 0.2 whatever T."""
    moved = mean_loss(1.0, length, gae_lambda=1.0, value=0.2) - mean_loss(1.0, length, gae_lambda=1.0)
    assert moved == pytest.approx(0.2, abs=1e-6)


def test_below_lambda_one_a_critic_error_fades_with_length() -> None:
    """dL_avg/dv = (1 - lambda^T) / ((1 - lambda) T) -> 20 / T at lambda .95; at T = 5000: 0.2 * 20 / 5000 = 0.0008."""
    moved = mean_loss(1.0, 5000, gae_lambda=0.95, value=0.2) - mean_loss(1.0, 5000, gae_lambda=0.95)
    assert moved == pytest.approx(0.0008, abs=1e-6)


def whitened_far_token(success: int, wrong_reward: float, *, responses: int = 12, length: int = 400) -> float:
    """The whitened advantage of the tokens 200 and more before the end, of a step with `success` right responses."""
    rewards = torch.zeros(responses, length)
    rewards[:, -1] = torch.tensor([1.0] * success + [wrong_reward] * (responses - success))
    mask = torch.ones_like(rewards, dtype=torch.bool)
    values, last = torch.zeros_like(rewards), torch.zeros(responses)
    advantages = gae(rewards, values, mask, last_values=last, gamma=1.0, gae_lambda=0.95)
    far = standardize(advantages, mask)[:, :200]
    assert far.max().item() - far.min().item() < 0.01  # raw, they are all 0.95^200 = 0.00004 or less
    return far.mean().item()


@pytest.mark.parametrize(
    ("wrong_reward", "neutral"),
    [(-0.5, 4), (-1.0, 6), (0.0, 0)],
    ids=["+1/-0.5: 1/3", "+1/-1: 1/2", "+1/0: 0"],
)
def test_whitening_pays_or_charges_every_token_by_the_sign_of_the_mean_reward(
    wrong_reward: float, neutral: int
) -> None:
    """Of 12 responses: mean reward 0 at 4/12 = 1/3 right (+1, -.5), at 6/12 = 1/2 (+1, -1), at 0 (+1, 0).

    Below it a token far from the end is paid for being there (longer), above it charged (shorter)."""
    far = [whitened_far_token(success, wrong_reward) for success in range(13)]
    assert all(value > 0.01 for value in far[:neutral])
    assert far[neutral] == pytest.approx(0.0, abs=1e-3)
    assert all(value < -0.01 for value in far[neutral + 1 :])


def test_without_whitening_a_far_token_is_neither_paid_nor_charged() -> None:
    """r = 1, lambda .95, 200 tokens before the end: 0.95^200 = 0.000035."""
    advantages, _ = outcome(1.0, 400, gae_lambda=0.95)
    assert advantages[0, 199].item() == pytest.approx(0.95**200, abs=1e-9)


# --- through a model's gradient --------------------------------------------------------------------------------------


def uniform_step(name: str, reward: float, whitening: str) -> tuple[float, float]:
    """Largest advantage and largest policy gradient of a step whose three responses all earned `reward`."""
    phase = oracles.make_phase(algorithm={"name": name, "critic": "zero", "whitening": whitening})
    policy = Policy(oracles.small_lm("llama"), PolicyConfig(device="cpu"), seed=0)
    policy.begin_phase(critic="zero", needs_reference=False)
    responses = [([7, 8, 9, 1], reward, "correct"), ([10, 1], reward, "correct"), ([11, 12, 1], reward, "correct")]
    batch = collate([oracles.make_group([4, 5, 6], responses)], truncated="penalise")
    experience = gather_experience(policy, batch, phase)
    estimated = estimate_advantages(ALGORITHMS[name], experience, phase.algorithm)
    gradients, _ = oracles.update_gradients(policy, phase, experience, estimated)
    return estimated.advantages.abs().max().item(), max(g.abs().max().item() for g in gradients.values())


@pytest.mark.parametrize("whitening", ["none", "batch"])
@pytest.mark.parametrize("reward", [1.0, -0.5, 0.7])
def test_a_uniform_group_moves_nothing_under_grpo_and_something_under_ppo(reward: float, whitening: str) -> None:
    """All right or all wrong: GRPO's and RLOO's gradient is exactly zero in every weight, PPO's is not."""
    for silent in ("grpo", "rloo"):
        assert uniform_step(silent, reward, whitening) == (0.0, 0.0)
    advantage, gradient = uniform_step("ppo", reward, whitening)
    assert advantage > 0.1
    assert gradient > 1e-3

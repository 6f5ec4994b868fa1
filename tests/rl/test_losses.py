"""What `losses` claims: each loss is its equation, clips exactly where it says, and has the gradient it is chosen for."""

import math
from typing import Any

import oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from laconic.rl.losses import (
    clipped_surrogate,
    entropy,
    is_clipped,
    kl,
    kl_k1,
    kl_k2,
    kl_k3,
    sequence_log_ratio,
    value_loss,
)
from laconic.rl.masked import masked_sum, token_weights

GARBAGE = (1e30, math.inf, -math.inf, math.nan)
AGGREGATIONS: tuple[Any, ...] = ("response", "token", "constant")

log_ratios = st.floats(-1.5, 1.5, width=32)
finite = st.floats(-2, 2, width=32)
bounds = st.floats(0.05, 0.5)


def rows_of(*fields: Any) -> Any:
    """Ragged rows of tuples, one to six tokens each."""
    return st.lists(st.lists(st.tuples(*fields), min_size=1, max_size=6), min_size=1, max_size=4)


def padded(rows: list[list[Any]], garbage: float) -> tuple[list[Tensor], Tensor]:
    """Each field of the tuples as [B, T] with garbage behind every row, and the mask."""
    width, fields = max(map(len, rows)) + 2, len(rows[0][0])
    out = [torch.tensor([[*(s[f] for s in r), *[garbage] * (width - len(r))] for r in rows]) for f in range(fields)]
    return out, torch.tensor([[t < len(row) for t in range(width)] for row in rows])


def aggregated(losses: Tensor, mask: Tensor, aggregation: Any) -> float:
    """The loss as the update makes it: weights, then a masked sum."""
    weights = token_weights(
        mask, aggregation, num_responses=len(mask), num_tokens=int(mask.sum()), max_tokens=mask.shape[1]
    )
    return masked_sum(losses * weights, mask).item()


def agrees(losses: Tensor, mask: Tensor, expected: list[list[float]]) -> None:
    """Every counted token and every aggregation equal the oracle's, garbage behind the rows or not."""
    want = [v for row in expected for v in row]
    assert losses[mask].tolist() == pytest.approx(want, abs=1e-6, rel=1e-6)
    for aggregation in AGGREGATIONS:
        total = oracles.aggregate(expected, aggregation, mask.shape[1])
        assert aggregated(losses, mask, aggregation) == pytest.approx(total, abs=1e-6, rel=1e-5)


# --- the clipped surrogate -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("garbage", GARBAGE)
@given(rows=rows_of(log_ratios, finite), low=bounds, high=bounds)
@settings(max_examples=30, deadline=None)
def test_clipped_surrogate_equals_the_loop(garbage: float, rows: Any, low: float, high: float) -> None:
    """On ragged rows, garbage in the padding of both arguments, in all three aggregations."""
    (log_ratio, advantages), mask = padded(rows, garbage)
    losses = clipped_surrogate(log_ratio, advantages, low, high)
    agrees(losses, mask, [[oracles.clipped_surrogate(x, a, low, high) for x, a in row] for row in rows])


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "slope"),
    [
        (1.0, 2.0, -2.0, -2.0),  # at ratio 1 the loss is -A and its slope in the log-ratio -A
        (1.1, 2.0, -2.2, -2.2),  # inside the bounds: -rho A
        (1.5, 2.0, -2.4, 0.0),  # good and already likelier: clipped at 1.2, no gradient
        (0.5, 2.0, -1.0, -1.0),  # good but less likely: pulled back
        (0.5, -2.0, 1.6, 0.0),  # bad and already less likely: clipped at 0.8, no gradient
        (1.5, -2.0, 3.0, 3.0),  # bad but likelier: pushed down
    ],
)
def test_clipped_surrogate_by_hand(ratio: float, advantage: float, loss: float, slope: float) -> None:
    """Bounds 0.8 and 1.2; d(-rho A)/d(log rho) = -rho A where not clipped. `is_clipped` is where the slope is 0."""
    log_ratio = torch.tensor([math.log(ratio)], requires_grad=True)
    advantages = torch.tensor([advantage])
    out = clipped_surrogate(log_ratio, advantages)
    torch.autograd.backward(out.sum())
    assert log_ratio.grad is not None
    assert out.item() == pytest.approx(loss, abs=1e-6)
    assert log_ratio.grad.item() == pytest.approx(slope, abs=1e-6)
    assert bool(is_clipped(log_ratio.detach(), advantages)) is (slope == 0.0)


@pytest.mark.parametrize("advantage", [0.0, 1.0])
def test_a_ratio_beyond_float32_gives_no_gradient_where_the_clip_silences_it(advantage: float) -> None:
    """e^100 is infinite in float32: of a good token the loss is that of the bound 1.2, and its slope is 0."""
    log_ratio = torch.tensor([100.0], requires_grad=True)
    out = clipped_surrogate(log_ratio, torch.tensor([advantage]))
    torch.autograd.backward(out.sum())
    assert log_ratio.grad is not None and log_ratio.grad.item() == 0.0
    assert out.item() == pytest.approx(-1.2 * advantage)


def test_clip_bounds_are_distances_from_one_on_either_side() -> None:
    """low 0.5, high 0.25: good at ratio 2 stops at 1.25, bad at ratio 0.25 stops at 0.5."""
    log_ratio, advantages = torch.tensor([math.log(2.0), math.log(0.25)]), torch.tensor([1.0, -1.0])
    assert clipped_surrogate(log_ratio, advantages, 0.5, 0.25).tolist() == pytest.approx([-1.25, 0.5], abs=1e-6)
    assert is_clipped(log_ratio, advantages, 0.5, 0.25).tolist() == [True, True]
    assert is_clipped(log_ratio, advantages, 0.8, 1.5).tolist() == [False, False]


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_at_ratio_one_the_gradient_is_the_policy_gradient(aggregation: Any) -> None:
    """d loss / d log pi = -A_t times the token's weight; descent makes good tokens likelier."""
    advantages = torch.tensor([[1.0, -0.5, 2.0], [3.0, math.nan, math.nan]])
    mask = torch.tensor([[True] * 3, [True, False, False]])
    log_ratio = torch.zeros(2, 3, requires_grad=True)
    weights = token_weights(mask, aggregation, num_responses=2, num_tokens=4, max_tokens=5)
    torch.autograd.backward(masked_sum(clipped_surrogate(log_ratio, advantages) * weights, mask))
    assert log_ratio.grad is not None
    expected = -(advantages * weights)[mask]
    assert log_ratio.grad[mask].tolist() == pytest.approx(expected.tolist(), abs=1e-6)


@given(rows=rows_of(log_ratios, finite), epsilon=bounds)
@settings(max_examples=50, deadline=None)
def test_grpos_loss_is_the_clipped_surrogate_with_equal_bounds(rows: Any, epsilon: float) -> None:
    """DeepSeekMath (arXiv 2402.03300), eq. 3 without its KL: 1/G sum_i 1/|o_i| sum_t min(rho A, clip(rho, 1-e, 1+e) A),
    maximised; A constant over a response."""
    rows = [[(x, row[0][1]) for x, _ in row] for row in rows]
    objective = 0.0
    for row in rows:
        terms = []
        for log_ratio, advantage in row:
            ratio = math.exp(log_ratio)
            terms.append(min(ratio * advantage, min(max(ratio, 1 - epsilon), 1 + epsilon) * advantage))
        objective += sum(terms) / len(row) / len(rows)
    (log_ratio, advantages), mask = padded(rows, math.nan)
    losses = clipped_surrogate(log_ratio, advantages, clip_low=epsilon, clip_high=epsilon)
    assert aggregated(losses, mask, "response") == pytest.approx(-objective, abs=1e-6, rel=1e-5)


def test_dr_grpos_token_weighs_the_same_at_every_length_and_grpos_does_not() -> None:
    """A = 1 on rows of 2 and 8 tokens, L_max 10: slopes -1/(10 * 2) everywhere; per response -1/(2 * 2) and -1/(8 * 2)."""
    mask = torch.tensor([[True] * 2 + [False] * 6, [True] * 8])
    slopes = {}
    for aggregation in AGGREGATIONS:
        log_ratio = torch.zeros(2, 8, requires_grad=True)
        weights = token_weights(mask, aggregation, num_responses=2, num_tokens=10, max_tokens=10)
        torch.autograd.backward(masked_sum(clipped_surrogate(log_ratio, torch.ones(2, 8)) * weights, mask))
        assert log_ratio.grad is not None
        slopes[aggregation] = log_ratio.grad
    assert slopes["constant"][mask].tolist() == pytest.approx([-0.05] * 10, abs=1e-6)
    assert slopes["response"][:, 0].tolist() == pytest.approx([-0.25, -0.0625], abs=1e-6)
    # a response's whole weight: 2/10 and 8/10 per token, in proportion to its length
    assert slopes["token"].sum(dim=1).tolist() == pytest.approx([-0.2, -0.8], abs=1e-6)


# --- the value loss --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("garbage", GARBAGE)
@given(rows=rows_of(finite, finite, finite), value_clip=st.sampled_from([None, 0.1, 0.5]))
@settings(max_examples=30, deadline=None)
def test_value_loss_equals_the_loop(garbage: float, rows: Any, value_clip: float | None) -> None:
    """Values, old values and targets on ragged rows, garbage in the padding of all three."""
    (values, old, returns), mask = padded(rows, garbage)
    agrees(
        value_loss(values, old, returns, value_clip),
        mask,
        [[oracles.value_loss(*s, value_clip) for s in r] for r in rows],
    )


@pytest.mark.parametrize(
    ("value", "target", "loss", "slope"),
    [
        (0.1, 1.0, 0.405, -0.9),  # within 0.2 of the old value 0: (1 - 0.1)^2 / 2, moves towards the target
        (0.5, 1.0, 0.320, 0.0),  # moved 0.5 towards it already: (1 - 0.2)^2 / 2, no gradient
        (-0.5, 1.0, 1.125, -1.5),  # moved away: the plain error is the worse one, pulled back
    ],
)
def test_value_loss_by_hand(value: float, target: float, loss: float, slope: float) -> None:
    """Old value 0, clip 0.2."""
    values = torch.tensor([value], requires_grad=True)
    out = value_loss(values, torch.zeros(1), torch.tensor([target]), 0.2)
    torch.autograd.backward(out.sum())
    assert values.grad is not None
    assert out.item() == pytest.approx(loss, abs=1e-6)
    assert values.grad.item() == pytest.approx(slope, abs=1e-6)


# --- KL and entropy --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("garbage", GARBAGE)
@given(rows=rows_of(log_ratios))
@settings(max_examples=20, deadline=None)
def test_kl_estimates_equal_the_loop(garbage: float, rows: Any) -> None:
    """k1, k2 and k3 on ragged rows; `kl` finds each by its name."""
    (log_ratio,), mask = padded(rows, garbage)
    for name, ours, oracle in (
        ("k1", kl_k1, oracles.kl_k1),
        ("k2", kl_k2, oracles.kl_k2),
        ("k3", kl_k3, oracles.kl_k3),
    ):
        expected = [[oracle(x) for (x,) in row] for row in rows]
        agrees(ours(log_ratio), mask, expected)
        agrees(kl(log_ratio, name), mask, expected)  # type: ignore[arg-type]


def test_kl_estimates_by_hand() -> None:
    """pi = 2 pi_ref, log-ratio ln 2: k1 = 0.693, k2 = 0.240, k3 = 1/2 - 1 + 0.693 = 0.193."""
    x = torch.tensor([math.log(2.0)])
    values = [kl(x, k).item() for k in ("k1", "k2", "k3")]  # type: ignore[arg-type]
    assert values == pytest.approx([0.693147, 0.240227, 0.193147], abs=1e-6)


def three_outcomes() -> tuple[Tensor, Tensor]:
    """Logits of a policy (leaf, float64) and fixed log-probabilities of a reference over three tokens."""
    policy = torch.tensor([0.2, -0.4, 0.9], dtype=torch.float64, requires_grad=True)
    return policy, torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64).log()


def test_k1_and_k3_are_unbiased_and_k2_is_not() -> None:
    """Expectations over all three outcomes of the policy, against sum p log(p/q) by hand."""
    logits, ref = three_outcomes()
    p = logits.softmax(-1).detach()
    exact = sum(float(a) * math.log(float(a) / float(b)) for a, b in zip(p, ref.exp(), strict=True))
    means = [(p * kl(p.log() - ref, k)).sum().item() for k in ("k1", "k2", "k3")]  # type: ignore[arg-type]
    assert means[0] == pytest.approx(exact, abs=1e-9)
    assert means[2] == pytest.approx(exact, abs=1e-9)
    assert abs(means[1] - exact) > 1e-3


def test_the_expected_gradient_of_k2_is_that_of_the_true_kl() -> None:
    """sum_x p(x) d k2(x) = d KL(p || q), with p(x) as sampled held fixed; k1's expected gradient is zero."""
    logits, ref = three_outcomes()
    logp = logits.log_softmax(-1)
    (true,) = torch.autograd.grad((logp.exp() * (logp - ref)).sum(), logits, retain_graph=True)
    sampled = logp.exp().detach()
    (k2,) = torch.autograd.grad((sampled * kl_k2(logp - ref)).sum(), logits, retain_graph=True)
    (k1,) = torch.autograd.grad((sampled * kl_k1(logp - ref)).sum(), logits)
    assert k2.tolist() == pytest.approx(true.tolist(), abs=1e-9)
    assert k1.tolist() == pytest.approx([0.0] * 3, abs=1e-9)
    assert max(map(abs, true.tolist())) > 0.01


@given(x=st.floats(-5, 5, width=32))
@settings(max_examples=50, deadline=None)
def test_k2_and_k3_are_never_negative_and_zero_only_where_the_policies_agree(x: float) -> None:
    """k3 is computed without cancellation: 1e-4 gives 5e-9, not 0."""
    log_ratio = torch.tensor([x])
    assert kl_k2(log_ratio).item() >= 0
    assert kl_k3(log_ratio).item() >= -1e-7
    assert kl_k3(torch.tensor([1e-4], dtype=torch.float64)).item() == pytest.approx(5e-9, rel=1e-3)


@given(logits=st.lists(st.floats(-8, 8, width=32), min_size=1, max_size=9))
@settings(max_examples=50, deadline=None)
def test_entropy_equals_the_loop(logits: list[float]) -> None:
    """-sum p log p, never below 0 nor above log V."""
    out = entropy(torch.tensor([logits])).item()
    assert out == pytest.approx(oracles.entropy(logits), abs=1e-5)
    assert -1e-5 <= out <= math.log(len(logits)) + 1e-5


def test_entropy_of_a_fair_coin_is_ln_2_whatever_the_offset() -> None:
    """Two equal logits, also large ones, leave two outcomes: ln 2."""
    logits = torch.tensor([[0.0, 0.0], [80.0, 80.0], [-80.0, -80.0]])
    assert entropy(logits).tolist() == pytest.approx([math.log(2)] * 3, abs=1e-5)


def test_a_sequence_ratio_is_the_mean_over_counted_tokens_whatever_the_padding_holds() -> None:
    """Means of .3 and .1, and of .4 alone; a row without counted tokens gets 0."""
    log_ratio = torch.tensor([[0.3, 0.1, torch.nan], [0.4, torch.nan, torch.inf], [torch.nan, 1.0, 2.0]])
    mask = torch.tensor([[True, True, False], [True, False, False], [False, False, False]])
    assert sequence_log_ratio(log_ratio, mask)[:, 0].tolist() == pytest.approx([0.2, 0.4, 0.0])


def test_inputs_are_never_written_to() -> None:
    """Bit for bit, nan included."""
    x, a = torch.tensor([0.3, -0.2, math.nan]), torch.tensor([1.0, -1.0, math.inf])
    before = x.clone(), a.clone()
    clipped_surrogate(x, a), is_clipped(x, a), value_loss(x, a, a), entropy(x)
    for name in ("k1", "k2", "k3"):
        kl(x, name)  # type: ignore[arg-type]
    assert torch.equal(x.nan_to_num(7.5), before[0].nan_to_num(7.5))
    assert torch.equal(a, before[1])


def test_a_token_without_an_advantage_is_not_clipped() -> None:
    """Its gradient is 0 whatever its ratio, and nothing was stopped."""
    log_ratio = torch.tensor([math.log(0.25), math.log(4.0)])
    assert is_clipped(log_ratio, torch.zeros(2)).tolist() == [False, False]

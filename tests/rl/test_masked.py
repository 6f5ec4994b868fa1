"""What `masked` claims: True means "counts", padding is never read, and weights divide once by the whole update's counts."""

import math
from collections.abc import Sequence
from typing import Any

import oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from laconic.rl.masked import masked_mean, masked_sum, standardize, token_weights, zeroed

GARBAGE = (1e30, math.inf, -math.inf, math.nan)
AGGREGATIONS: tuple[Any, ...] = ("response", "token", "constant")
ROWS = ([0.5, -1.25, 3.0], [2.0], [-0.75, 0.1, 0.2, 0.3, -4.0])

finite = st.floats(-4, 4, width=32)
ragged = st.lists(st.lists(finite, min_size=1, max_size=6), min_size=1, max_size=5)


def padded(rows: Sequence[Sequence[float]], garbage: float, extra: int = 2) -> tuple[Tensor, Tensor]:
    """Ragged rows as [B, T] with garbage behind each row, and the mask of what counts."""
    width = max(map(len, rows)) + extra
    x = torch.tensor([[*row, *[garbage] * (width - len(row))] for row in rows])
    return x, torch.tensor([[t < len(row) for t in range(width)] for row in rows])


def unpadded(x: Tensor, mask: Tensor) -> list[list[float]]:
    """The counted entries, row by row."""
    return [row[keep].tolist() for row, keep in zip(x, mask, strict=True)]


def flat(rows: Sequence[Sequence[float]]) -> list[float]:
    return [v for row in rows for v in row]


@pytest.mark.parametrize("garbage", GARBAGE)
def test_sums_and_means_read_only_what_counts(garbage: float) -> None:
    """Rows sum to 2.25, 2.0 and -4.15; nine entries count."""
    x, mask = padded(ROWS, garbage)
    assert masked_sum(x, mask).item() == pytest.approx(0.1, abs=1e-6)
    assert masked_sum(x, mask, dim=1).tolist() == pytest.approx([2.25, 2.0, -4.15], abs=1e-6)
    assert masked_mean(x, mask).item() == pytest.approx(0.1 / 9, abs=1e-6)
    assert masked_mean(x, mask, dim=1).tolist() == pytest.approx([0.75, 2.0, -0.83], abs=1e-6)
    assert zeroed(x, mask)[~mask].eq(0).all()


def test_a_mean_of_nothing_does_not_exist() -> None:
    """A row without counted entries sums to 0; its mean is nan, the others keep theirs."""
    x, mask = torch.tensor([[1.0, 3.0], [5.0, 7.0]]), torch.tensor([[True, True], [False, False]])
    assert masked_sum(x, mask, dim=1).tolist() == [4.0, 0.0]
    means = masked_mean(x, mask, dim=1)
    assert means[0] == 2.0
    assert means[1].isnan()


@pytest.mark.parametrize("garbage", GARBAGE)
@given(rows=ragged)
@settings(max_examples=30, deadline=None)
def test_standardize_is_the_population_z_score_of_all_counted_entries(garbage: float, rows: list[list[float]]) -> None:
    """Against the loop; 0 outside the mask; a large eps keeps near-constant draws comparable in float32."""
    x, mask = padded(rows, garbage)
    out = standardize(x, mask, eps=1e-2)
    assert flat(unpadded(out, mask)) == pytest.approx(oracles.standardize(flat(rows), 1e-2), abs=1e-6)
    assert out[~mask].eq(0).all()


def test_standardize_divides_by_the_population_standard_deviation() -> None:
    """1, 3, 5, 7: mean 4, variance (9 + 1 + 1 + 9) / 4 = 5 (with n - 1 it would be 6.67)."""
    x = torch.tensor([[1.0, 3.0], [5.0, 7.0]])
    expected = [v / math.sqrt(5) for v in (-3, -1, 1, 3)]
    assert flat(standardize(x, torch.ones(2, 2, dtype=torch.bool)).tolist()) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("constant", [0.7, 0.1, -0.3, 1e-3, 123.456])
def test_standardize_gives_no_signal_where_nothing_varies(constant: float) -> None:
    """30,000 equal entries: a mean that is off by one unit in the last place must not be blown up to +-1."""
    x = torch.full((30, 1000), constant)
    out = standardize(x, torch.ones_like(x, dtype=torch.bool))
    assert out.abs().max().item() < 1e-3


def test_standardize_of_a_single_entry_and_of_nothing_is_zero() -> None:
    """One entry is its own mean. A step in which nothing counts must not hand nan to the losses."""
    one = torch.tensor([[False, True, False]])
    x = torch.tensor([[math.nan, 3.3, math.inf]])
    assert standardize(x, one).tolist() == [[0.0, 0.0, 0.0]]
    assert standardize(x, torch.zeros_like(one)).tolist() == [[0.0, 0.0, 0.0]]


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("garbage", GARBAGE)
@given(rows=ragged)
@settings(max_examples=20, deadline=None)
def test_weights_times_losses_sum_to_the_aggregated_loss(
    aggregation: Any, garbage: float, rows: list[list[float]]
) -> None:
    """response: mean of the rows' means; token: mean over all tokens; constant: sum over max_tokens = 16 a response."""
    losses, mask = padded(rows, garbage)
    weights = token_weights(mask, aggregation, num_responses=len(rows), num_tokens=len(flat(rows)), max_tokens=16)
    assert weights[~mask].eq(0).all()
    total = masked_sum(losses * weights, mask).item()
    assert total == pytest.approx(oracles.aggregate(rows, aggregation, 16), abs=1e-6)


def test_weights_of_rows_with_2_and_4_tokens() -> None:
    """response: 1/(2*2), 1/(4*2); token: 1/6; constant with max_tokens 10: 1/(10*2)."""
    _, mask = padded([[0.0] * 2, [0.0] * 4], 0.0, extra=0)
    counts: dict[str, Any] = {"num_responses": 2, "num_tokens": 6, "max_tokens": 10}
    assert token_weights(mask, "response", **counts)[:, 0].tolist() == [0.25, 0.125]
    assert token_weights(mask, "token", **counts)[:, 0].tolist() == pytest.approx([1 / 6, 1 / 6], abs=1e-7)
    assert token_weights(mask, "constant", **counts)[:, 0].tolist() == pytest.approx([0.05, 0.05], abs=1e-7)


def test_a_response_weighs_the_same_per_response_and_in_proportion_to_its_length_per_token() -> None:
    """Rows of 3 and 12 tokens. response: 1/2 and 1/2; token: 3/15 and 12/15; constant: each token 1/(L_max * 2) at any T."""
    _, mask = padded([[0.0] * 3, [0.0] * 12], 0.0)
    counts: dict[str, Any] = {"num_responses": 2, "num_tokens": 15, "max_tokens": 20}
    rows = {a: token_weights(mask, a, **counts).sum(dim=1).tolist() for a in AGGREGATIONS}
    assert rows["response"] == pytest.approx([0.5, 0.5], abs=1e-6)
    assert rows["token"] == pytest.approx([0.2, 0.8], abs=1e-6)
    assert rows["token"][1] / rows["token"][0] == pytest.approx(12 / 3, abs=1e-5)
    each = token_weights(mask, "constant", **counts)[mask]
    assert each.tolist() == pytest.approx([1 / 40] * 15, abs=1e-7)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_any_cut_into_parts_sums_to_the_same_loss(aggregation: Any) -> None:
    """The counts are those of the whole update, so rows weigh the same in whichever part they travel."""
    losses, mask = padded(ROWS, math.nan)
    counts: dict[str, Any] = {"num_responses": 3, "num_tokens": 9, "max_tokens": 7}
    whole = masked_sum(losses * token_weights(mask, aggregation, **counts), mask).item()
    for cut in ([[0], [1], [2]], [[0, 2], [1]], [[2, 1], [0]]):
        parts = [masked_sum(losses[c] * token_weights(mask[c], aggregation, **counts), mask[c]).item() for c in cut]
        assert sum(parts) == pytest.approx(whole, abs=1e-6)


def test_rows_that_do_not_count_weigh_nothing() -> None:
    """A masked row has no tokens to divide by: its weights are 0, not nan, also where every row is masked."""
    mask = torch.zeros(2, 3, dtype=torch.bool)
    for aggregation in AGGREGATIONS:
        weights = token_weights(mask, aggregation, num_responses=1, num_tokens=1, max_tokens=3)
        assert weights.eq(0).all()


def test_inputs_are_never_written_to() -> None:
    """Bit for bit, nan included."""
    x, mask = padded(ROWS, math.nan)
    before_x, before_mask = x.clone(), mask.clone()
    zeroed(x, mask), masked_sum(x, mask, 1), masked_mean(x, mask), standardize(x, mask)
    token_weights(mask, "response", num_responses=3, num_tokens=9, max_tokens=5)
    assert torch.equal(x.nan_to_num(7.5), before_x.nan_to_num(7.5))
    assert torch.equal(mask, before_mask)


def test_padding_does_not_reach_the_gradient() -> None:
    """d(masked mean)/dx is 1/count on counted entries and exactly 0 on padding, garbage or not."""
    x, mask = padded(ROWS, math.inf)
    x.requires_grad_(True)
    torch.autograd.backward(masked_mean(x, mask))
    assert x.grad is not None
    assert torch.equal(x.grad, torch.where(mask, torch.tensor(1 / 9), torch.tensor(0.0)))

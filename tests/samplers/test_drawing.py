"""Drawing from a large vocabulary: the two-step search finds what one running sum finds, and top-p keeps what a sort keeps."""

import pytest
import torch
from torch import Tensor

from laconic.config.solver import SamplerConfig
from laconic.samplers.drawing import BLOCK_TOKENS, draw_tokens, invert_cdf, keep_likely, least_by_halving, least_by_rank

SIZES = (5, BLOCK_TOKENS, BLOCK_TOKENS + 1, 3 * BLOCK_TOKENS, 20_000)  # of vocabularies


def random_probs(num_rows: int, size: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Distributions from nearly one token to nearly uniform, a third of them with ties as bfloat16 logits have."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(num_rows, size, generator=generator) * torch.logspace(-2, 1.2, num_rows)[:, None]
    logits[::3] = logits[::3].bfloat16().float()
    return logits.to(dtype).softmax(-1)


def sorted_top_p(probs: Tensor, top_p: float) -> Tensor:
    """Which tokens top-p keeps, by a sort: those before which there is less than `top_p`, and all that tie with one of them."""
    ranked, order = probs.double().sort(dim=-1, descending=True)
    is_kept = ranked.cumsum(-1) - ranked < top_p * ranked.sum(-1, keepdim=True)
    least = ranked.masked_fill(~is_kept, 2.0).amin(-1, keepdim=True)
    return torch.zeros_like(is_kept).scatter(-1, order, ranked >= least)


@pytest.mark.parametrize("size", SIZES)
def test_a_token_is_the_one_that_a_running_sum_finds(size: int) -> None:
    """200 rows, random numbers and those at both ends: the number lies between the sums before and after the token, to 1e-6."""
    probs = random_probs(200, size, 0)
    uniform = torch.rand(200, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    uniform[:20], uniform[20:40] = 0.0, 1 - 2**-53
    tokens = invert_cdf(probs, uniform)[:, None]
    cumulative = probs.double().cumsum(-1) / probs.double().sum(-1, keepdim=True)
    after = cumulative.gather(-1, tokens)[:, 0]
    before = after - probs.double().gather(-1, tokens)[:, 0]
    assert (before - 1e-6 <= uniform).all()
    assert (uniform <= after + 1e-6).all()
    plain = torch.searchsorted(cumulative, uniform[:, None], right=True)
    assert (plain == tokens).float().mean() > 0.98  # rounding decides the rest


def test_no_number_draws_a_token_of_probability_zero() -> None:
    """Three tokens among 5,000, the first and last tokens and whole blocks at zero, sums that rounding may miss by a little."""
    probs = torch.zeros(1, 5000)
    probs[0, [1100, 1101, 4000]] = torch.tensor([0.1, 1e-9, 0.3])
    grid = torch.cat([torch.linspace(0, 1, 4000, dtype=torch.float64)[:-1], torch.tensor([0.25 - 1e-12, 1 - 2**-53])])
    tokens = invert_cdf(probs.expand(len(grid), -1), grid)
    assert set(tokens.tolist()) <= {1100, 1101, 4000}
    assert (tokens[grid < 0.249] == 1100).all()
    assert (tokens[grid > 0.251] == 4000).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("top_p", [1e-6, 0.3, 0.9, 0.999])
def test_top_p_keeps_what_a_sort_keeps(dtype: torch.dtype, top_p: float) -> None:
    """Both ways of finding the least likely token that is kept, from peaked rows (a few ranks) to flat ones (nearly all)."""
    for size in SIZES:
        probs = random_probs(30, size, size, dtype)
        limit = top_p * probs.sum(-1, keepdim=True, dtype=torch.float64)
        expected = sorted_top_p(probs, top_p)
        assert torch.equal(probs >= least_by_rank(probs, limit), expected)
        assert torch.equal(probs >= least_by_halving(probs, limit), expected)
        assert torch.equal(keep_likely(probs, top_p, 0.0) > 0, expected & (probs > 0))


def test_tokens_as_likely_as_the_last_one_are_kept() -> None:
    """Shares 1/2, 1/8, 1/8, 1/8, 1/8: three quarters need the first three, and the other two are as likely as the third."""
    probs = torch.tensor([[0.125, 0.5, 0.125, 0.125, 0.125]])
    assert (keep_likely(probs, 0.75, 0.0) > 0).tolist() == [[True] * 5]
    assert (keep_likely(probs, 0.5, 0.0) > 0).tolist() == [[False, True, False, False, False]]


@pytest.mark.parametrize("top_p", [1.0, 0.9])
def test_rows_that_are_nan_draw_a_token_of_the_vocabulary(top_p: float) -> None:
    """A model that diverged is found by its log-probabilities; until then its tokens are still indices."""
    tokens, logprobs = draw_tokens(
        torch.full((2, 3000), float("nan")), torch.tensor([0.1, 0.9]), SamplerConfig(top_p=top_p)
    )
    assert ((tokens >= 0) & (tokens < 3000)).all()
    assert logprobs.isnan().all()

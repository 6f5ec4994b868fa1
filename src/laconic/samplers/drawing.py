"""From logits to tokens: the inverse of the cumulative distribution turns one uniform number per row and step into a token.

1. The numbers are a hash of (key, step), so that the numbers of a row depend on its key alone.
2. A large vocabulary is searched in two steps, first for a block of tokens and then inside it: the running sum over all tokens in
   double precision is the longest part of a draw otherwise.
3. Top-p needs no order of the tokens but the probability of the least likely one that it keeps, which on a CPU is among the
   likeliest few, and elsewhere is found by halving.

All functions here are pure functions of tensors. Off the CPU none of them makes the host wait for the device, so that a graph may
hold them.

Legend: `S` rows, `V` vocabulary.
"""

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from laconic.config.solver import PenalizedSampler, SamplerConfig

BLOCK_TOKENS = 1024  # of a large vocabulary, searched as a whole
SUMMED_TOKENS = 64  # of a block, summed in single precision: more of them at once is slower in double
RANKED_TOKENS = 64  # the likeliest tokens among which the last one that top-p keeps is looked for at first

_GOLDEN, _MIX1, _MIX2 = -7046029254386353131, -4658895280553007687, -7723592293110705685


def uniforms(keys: Tensor, step: Tensor) -> Tensor:
    """One number in [0, 1) for each (key, step), both int64 of shapes that broadcast: the splitmix64 hash of
    key + step * golden ratio."""
    z = keys + (step + 1) * _GOLDEN
    z = (z ^ ((z >> 30) & 0x3FFFFFFFF)) * _MIX1
    z = (z ^ ((z >> 27) & 0x1FFFFFFFFF)) * _MIX2
    z = z ^ ((z >> 31) & 0x1FFFFFFFF)
    return ((z >> 11) & 0x1FFFFFFFFFFFFF).double() / 2**53


def keep_likely(probs: Tensor, top_p: float, min_p: float) -> Tensor:
    """`probs` [S, V] without the tokens that top-p (Holtzman et al. 2020) and min-p (Nguyen et al. 2024) drop, renormalised.

    min-p drops tokens below `min_p` times the probability of the likeliest. top-p then keeps a token if those that are likelier
    hold less than the share `top_p` of the probability that is left: the fewest tokens, the likeliest first, whose share reaches
    `top_p`, and those that are exactly as likely as the last of them.
    """
    if min_p > 0:
        probs = probs.masked_fill(probs < min_p * probs.amax(-1, keepdim=True), 0.0)
    if top_p < 1:
        limit = top_p * probs.sum(-1, keepdim=True, dtype=_wide(probs))
        find = least_by_rank if probs.device.type == "cpu" else least_by_halving
        probs = probs.masked_fill(probs < find(probs, limit), 0.0)
    return probs / probs.sum(-1, keepdim=True)


def least_by_rank(probs: Tensor, limit: Tensor, num_ranked: int = RANKED_TOKENS) -> Tensor:
    """The smallest probability [S, 1] in `probs` [S, V] above which there is less than `limit` [S, 1]; the `num_ranked` likeliest
    tokens are looked at first, and 16 times as many in the rows for which they are too few."""
    num_ranked = min(num_ranked, probs.shape[-1])
    ranked = probs.topk(num_ranked, -1).values
    reached = ranked.cumsum(-1, dtype=limit.dtype)
    least = ranked.gather(-1, (reached[:, :-1] < limit).sum(-1, keepdim=True))
    is_open = (reached[:, -1:] < limit)[:, 0]
    if num_ranked < probs.shape[-1] and is_open.any():
        least[is_open] = least_by_rank(probs[is_open], limit[is_open], 16 * num_ranked)
    return least


def least_by_halving(probs: Tensor, limit: Tensor) -> Tensor:
    """What `least_by_rank` finds, without an order and without a look at any number: floats that are not negative are ordered as
    their bits are, so as many halvings as a float has bits find the one that is wanted."""
    whole = torch.int32 if probs.dtype == torch.float32 else torch.int64
    bits, two = probs.view(whole), torch.full_like(limit, 2.0, dtype=probs.dtype)
    low, high = (
        torch.full_like(two, -1, dtype=whole),
        two.view(whole),
    )  # above `low` there is enough, above `high` too little
    for _ in range(torch.iinfo(whole).bits):
        middle = (low + high) >> 1
        is_little = probs.masked_fill(bits <= middle, 0.0).sum(-1, keepdim=True, dtype=limit.dtype) < limit
        low, high = torch.where(is_little, low, middle), torch.where(is_little, middle, high)
    return high.view(probs.dtype)


def invert_cdf(probs: Tensor, uniform: Tensor) -> Tensor:
    """The tokens [S] at which the cumulative sum of `probs` [S, V] first exceeds its total times `uniform` [S]; `probs` need not
    sum to 1, and a token of probability 0 is never drawn. Sums are exact to about 1e-7 of the total."""
    size, uniform = probs.shape[-1], uniform.to(_wide(probs))[:, None]
    if size <= BLOCK_TOKENS:
        cumulative = probs.cumsum(-1, dtype=uniform.dtype)
        return _first_above(cumulative, uniform * _below_last(cumulative))[:, 0]
    missing = -size % BLOCK_TOKENS
    blocks = (functional.pad(probs, (0, missing)) if missing else probs).unflatten(-1, (-1, BLOCK_TOKENS))
    sums = blocks.unflatten(-1, (-1, SUMMED_TOKENS)).sum(-1).sum(-1, dtype=uniform.dtype)
    cumulative = sums.cumsum(-1)
    threshold = uniform * _below_last(cumulative)
    block = _first_above(cumulative, threshold)
    inside = blocks.gather(1, block[:, :, None].expand(-1, 1, BLOCK_TOKENS))[:, 0].cumsum(-1, dtype=uniform.dtype)
    before = cumulative.gather(-1, block) - sums.gather(-1, block)
    tokens = block * BLOCK_TOKENS + _first_above(inside, torch.minimum(threshold - before, _below_last(inside)))
    return tokens[:, 0].clamp_(max=size - 1)


def _first_above(cumulative: Tensor, threshold: Tensor) -> Tensor:
    """The first index [S, 1] at which `cumulative` [S, N] exceeds `threshold` [S, 1]."""
    found = torch.searchsorted(cumulative, threshold, right=True)
    return found.clamp_(max=cumulative.shape[-1] - 1)  # NaN is never exceeded


def _below_last(cumulative: Tensor) -> Tensor:
    """The number [S, 1] just below the last sum: a threshold that rounding has brought up to that sum would be above them all."""
    return cumulative[:, -1:] * (1 - torch.finfo(cumulative.dtype).eps)


def _wide(probs: Tensor) -> torch.dtype:
    return torch.float32 if probs.device.type == "mps" else torch.float64


def penalized(logits: Tensor, decoding: PenalizedSampler) -> Tensor:
    """`logits` [S, V] less the penalty at the penalised tokens: z_v - penalty."""
    ids = penalized_ids(decoding.tokens, logits.device)
    return logits.index_add(-1, ids, logits.new_full((logits.shape[0], len(ids)), -decoding.penalty))


@lru_cache(maxsize=8)
def penalized_ids(tokens: tuple[int, ...], device: torch.device) -> Tensor:
    """The penalised tokens [N] on the device, copied there once: a graph that is being recorded may copy nothing."""
    return torch.tensor(tokens, dtype=torch.long, device=device)


def draw_tokens(logits: Tensor, uniform: Tensor, decoding: SamplerConfig) -> tuple[Tensor, Tensor]:
    """Token ids [S] and the log-probabilities [S] (nats) with which they were drawn, from logits [S, V] and uniforms [S].

    At temperature 0 it is the likeliest token, with its log-probability at temperature 1 (at temperature 0 it would always be 0).
    With a penalty on some tokens, both are those of the lowered logits.
    """
    if isinstance(decoding, PenalizedSampler):
        logits = penalized(logits, decoding)
    if decoding.temperature == 0:
        tokens = logits.argmax(-1)
        return tokens, logits.log_softmax(-1).gather(-1, tokens[:, None])[:, 0]
    scaled = logits if decoding.temperature == 1 else logits / decoding.temperature
    probs = scaled.softmax(-1)
    if decoding.top_p < 1 or decoding.min_p > 0:
        probs = keep_likely(probs, decoding.top_p, decoding.min_p)
    tokens = invert_cdf(probs, uniform)
    return tokens, probs.gather(-1, tokens[:, None])[:, 0].log()

"""From logits to tokens: the inverse of the cumulative distribution turns one uniform number per row and step into a token.

The numbers are a hash of (key, step), so that the numbers of a row depend on its key alone. All functions here are pure functions
of tensors.

Legend: `S` rows, `V` vocabulary.
"""

import torch
from torch import Tensor

from laconic.config.solver import SamplerConfig

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

    min-p drops tokens below `min_p` times the probability of the likeliest. top-p then keeps the fewest tokens, the likeliest
    first, whose share of the probability that is left reaches `top_p`.
    """
    if min_p > 0:
        probs = torch.where(probs >= min_p * probs.amax(-1, keepdim=True), probs, 0.0)
    if top_p < 1:
        ranked, order = probs.sort(dim=-1, descending=True)
        reached_before = ranked.cumsum(-1) - ranked >= top_p * probs.sum(-1, keepdim=True)
        probs = torch.zeros_like(probs).scatter(-1, order, torch.where(reached_before, 0.0, ranked))
    return probs / probs.sum(-1, keepdim=True)


def draw_tokens(logits: Tensor, uniform: Tensor, decoding: SamplerConfig) -> tuple[Tensor, Tensor]:
    """Token ids [S] and the log-probabilities [S] (nats) with which they were drawn, from logits [S, V] and uniforms [S].

    At temperature 0 it is the likeliest token, with its log-probability at temperature 1 (at temperature 0 it would always be 0).
    """
    if decoding.temperature == 0:
        tokens = logits.argmax(-1)
        return tokens, logits.log_softmax(-1).gather(-1, tokens[:, None])[:, 0]
    logprobs = (logits / decoding.temperature).log_softmax(-1)
    if decoding.top_p < 1 or decoding.min_p > 0:
        logprobs = keep_likely(logprobs.exp(), decoding.top_p, decoding.min_p).log()
    wide = torch.float32 if logits.device.type == "mps" else torch.float64
    cumulative = logprobs.exp().cumsum(-1, dtype=wide)
    threshold = uniform.to(wide)[:, None] * cumulative[:, -1:]
    tokens = torch.searchsorted(cumulative, threshold, right=True).clamp_(max=logits.shape[-1] - 1)
    return tokens[:, 0], logprobs.gather(-1, tokens)[:, 0]

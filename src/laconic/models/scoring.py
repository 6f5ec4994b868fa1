"""Log-probabilities, entropies and KL of response tokens, without holding the logits of all tokens in memory.

1. `score_tokens` and `exact_kl` compute them from hidden states, for the counted tokens, with one chunk of logits at a time.
2. `response_states` and `response_logprobs` take token ids and run a model first.

Legend: `B` rows, `L` tokens of prompt and response, `T` response tokens, `D` hidden size, `V` vocabulary.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from laconic.models.causal_lm import CausalLM
from laconic.rl.losses import entropy as entropy_of

EntropyKind = Literal["none", "measured", "learned"]
LOGITS_PER_CHUNK = 2**25  # float32 logits held at once while scoring: 128 MiB


def gather_states(hidden: Tensor, positions: Tensor) -> Tensor:
    """The states [B, T, D] of `hidden` [B, L, D] at `positions` [B, T]."""
    return hidden.gather(1, positions[..., None].expand(-1, -1, hidden.shape[-1]))


def response_states(lm: CausalLM, input_ids: Tensor, predictors: Tensor) -> Tensor:
    """The hidden states [B, T, D] at the positions `predictors` [B, T] of right-padded rows `input_ids` [B, L]."""
    return gather_states(lm.backbone(input_ids, use_cache=False).last_hidden_state, predictors)


def response_logprobs(
    lm: CausalLM,
    input_ids: Tensor,
    predictors: Tensor,
    response_ids: Tensor,
    mask: Tensor,
    *,
    temperature: float,
    entropy: EntropyKind = "none",
) -> tuple[Tensor, Tensor]:
    """Log-probabilities and entropies (nats) of the response tokens under `lm`, both [B, T].

    `input_ids` [B, L] are padded on the right; `predictors` [B, T] is the position whose hidden state predicts each response
    token; `response_ids` and `mask` are [B, T]. `mask`, `temperature` and `entropy` as in `score_tokens`.
    """
    with lm.autocast():
        states = response_states(lm, input_ids, predictors)
        return score_tokens(lm, states, response_ids, mask, temperature=temperature, entropy=entropy)


def score_tokens(
    lm: CausalLM, hidden: Tensor, token_ids: Tensor, mask: Tensor, *, temperature: float, entropy: EntropyKind
) -> tuple[Tensor, Tensor]:
    """Log-probabilities and entropies (nats) of `token_ids` [B, T] given the hidden states [B, T, D] that predict them.

    Both are [B, T] in float32, and 0 outside `mask` [B, T]; logits are divided by `temperature` first. `entropy` says whether
    entropies are left out (zeros), measured without a gradient, or have one. Logits are computed for counted tokens only,
    `LOGITS_PER_CHUNK` at a time, and computed again in the backward pass where there is more than one chunk.
    """
    flat, ids = hidden[mask], token_ids[mask]
    rows = max(1, LOGITS_PER_CHUNK // lm.text_config.vocab_size)

    def score(h: Tensor, i: Tensor) -> tuple[Tensor, Tensor]:
        logits = lm.head(h) / temperature
        logprobs = logits.gather(-1, i[:, None])[:, 0] - logits.logsumexp(dim=-1)
        if entropy == "none":
            return logprobs, torch.zeros_like(logprobs)
        return logprobs, entropy_of(logits if entropy == "learned" else logits.detach())

    chunks = list(zip(flat.split(rows), ids.split(rows), strict=True))
    recompute = len(chunks) > 1 and torch.is_grad_enabled()
    scored = [checkpoint(score, h, i, use_reentrant=False) if recompute else score(h, i) for h, i in chunks]
    out = [torch.zeros(mask.shape, device=flat.device) for _ in range(2)]
    for target, pieces in zip(out, zip(*scored, strict=True), strict=True):
        target[mask] = torch.cat(pieces)
    return out[0], out[1]


def exact_kl(
    lm: CausalLM,
    ref_head: Callable[[Tensor], Tensor],
    hidden: Tensor,
    ref_hidden: Tensor,
    mask: Tensor,
    *,
    temperature: float,
) -> Tensor:
    """KL(pi || pi_ref) in nats over the whole vocabulary, at each token: [B, T] in float32, 0 outside `mask` [B, T].

    The distributions are those that the states `hidden` [B, T, D] predict by the head of `lm`, and `ref_hidden` [B, T, D'] by
    `ref_head`. Logits are computed in chunks, and again in the backward pass, as in `score_tokens`.
    """
    flat, ref_flat = hidden[mask], ref_hidden[mask]
    rows = max(1, LOGITS_PER_CHUNK // (2 * lm.text_config.vocab_size))

    def divergence(h: Tensor, r: Tensor) -> Tensor:
        logprobs = (lm.head(h) / temperature).log_softmax(dim=-1)
        ref_logprobs = (ref_head(r) / temperature).log_softmax(dim=-1)
        return (logprobs.exp() * (logprobs - ref_logprobs)).sum(dim=-1)

    chunks = list(zip(flat.split(rows), ref_flat.split(rows), strict=True))
    recompute = len(chunks) > 1 and torch.is_grad_enabled()
    divergences = [
        checkpoint(divergence, h, r, use_reentrant=False) if recompute else divergence(h, r) for h, r in chunks
    ]
    out = torch.zeros(mask.shape, device=flat.device)
    out[mask] = torch.cat(divergences)
    return out

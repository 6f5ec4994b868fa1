"""Log-probabilities, entropies and KL of response tokens, without holding the logits of all tokens in memory.

1. `score_tokens` and `exact_kl` compute them from hidden states, for the counted tokens, in chunks of logits.
2. `response_states` and `response_logprobs` take token ids and run a model first.

Legend: `B` rows, `L` tokens of prompt and response, `T` response tokens, `D` hidden size, `V` vocabulary.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from laconic.models.causal_lm import CausalLM
from laconic.models.prefixes import PrefixTree
from laconic.models.vocabulary import EntropyKind, vocabulary_scores
from laconic.rl.losses import entropy as entropy_of

LOGITS_PER_CHUNK = 2**25  # float32 logits held at once while scoring: 128 MiB
DEVICE_CHUNKS = 4  # such chunks are one on a device other than a CPU, where small products waste its time
KEPT_CHUNKS = (
    4  # chunks kept for the backward pass of a plain head; half a chunk is computed beside them, and copied once
)


def logits_per_chunk(device_type: str) -> int:
    """How many logits are computed at once on a device ("cpu", "cuda")."""
    return LOGITS_PER_CHUNK * (1 if device_type == "cpu" else DEVICE_CHUNKS)


def gather_states(hidden: Tensor, positions: Tensor) -> Tensor:
    """The states [B, T, D] of `hidden` [B, L, D] at `positions` [B, T]."""
    return hidden.gather(1, positions[..., None].expand(-1, -1, hidden.shape[-1]))


def response_states(
    lm: CausalLM, input_ids: Tensor, predictors: Tensor, places: Tensor, tree: PrefixTree | None = None
) -> Tensor:
    """The hidden states [N, D] at the positions `predictors` [B, T] of right-padded rows `input_ids` [B, L], of which those at
    `places` [N] of the flattened [B, T] count.

    `tree` holds the prefixes of the rows, if they are computed once where rows share them.
    """
    if tree is not None:
        return lm.node_states(tree).index_select(0, tree.nodes.gather(1, predictors).flatten()[places])
    hidden: Tensor = lm.backbone(input_ids, use_cache=False).last_hidden_state
    first = torch.arange(0, input_ids.numel(), input_ids.shape[1], device=hidden.device)
    return hidden.flatten(0, 1).index_select(0, (predictors + first[:, None]).flatten()[places])


def response_logprobs(
    lm: CausalLM,
    input_ids: Tensor,
    predictors: Tensor,
    response_ids: Tensor,
    mask: Tensor,
    *,
    temperature: float,
    entropy: EntropyKind = "none",
    tree: PrefixTree | None = None,
    counted: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Log-probabilities and entropies (nats) of the response tokens under `lm`, both [B, T].

    `input_ids` [B, L] are padded on the right; `predictors` [B, T] is the position whose hidden state predicts each response
    token; `response_ids` and `mask` are [B, T]. `mask`, `temperature` and `entropy` as in `score_tokens`, `tree` as in
    `response_states`. `counted` [N] are the places of the counted tokens in the flattened mask; without them the host asks the
    device.
    """
    places = counted_places(mask) if counted is None else counted
    with lm.autocast():
        states = response_states(lm, input_ids, predictors, places, tree)
        logprobs, entropies = _scored(lm, states, response_ids.flatten()[places], temperature, entropy)
    return _spread(logprobs, places, mask), _spread(entropies, places, mask)


def score_tokens(
    lm: CausalLM, hidden: Tensor, token_ids: Tensor, mask: Tensor, *, temperature: float, entropy: EntropyKind
) -> tuple[Tensor, Tensor]:
    """Log-probabilities and entropies (nats) of `token_ids` [B, T] given the hidden states [B, T, D] that predict them.

    Both are [B, T] in float32, and 0 outside `mask` [B, T]; logits are divided by `temperature` first. `entropy` says whether
    entropies are left out (zeros), measured without a gradient, or have one. Logits are computed for counted tokens only, in
    chunks (`logits_per_chunk`). Where there is more than one chunk, they are computed again in the backward pass, except for what
    `vocabulary.py` keeps of a plain head.
    """
    places = counted_places(mask)
    flat, ids = hidden.flatten(0, 1)[places], token_ids.flatten()[places]
    logprobs, entropies = _scored(lm, flat, ids, temperature, entropy)
    return _spread(logprobs, places, mask), _spread(entropies, places, mask)


def counted_places(mask: Tensor) -> Tensor:
    """The places [N] of the true entries of a flattened mask. The host waits for a device that has to tell how many they are."""
    return mask.flatten().nonzero()[:, 0]


def _spread(values: Tensor, places: Tensor, mask: Tensor) -> Tensor:
    """`values` [N] at `places` of the flattened shape of `mask` [B, T], 0 elsewhere."""
    return torch.zeros(mask.numel(), device=values.device).index_copy(0, places, values).view(mask.shape)


def _scored(lm: CausalLM, flat: Tensor, ids: Tensor, temperature: float, entropy: EntropyKind) -> tuple[Tensor, Tensor]:
    """Log-probabilities and entropies [N] of `ids` [N] after the states `flat` [N, D]."""
    rows = max(1, logits_per_chunk(flat.device.type) // lm.text_config.vocab_size)
    weight = lm.plain_head
    if weight is not None and len(flat) > rows and torch.is_grad_enabled():
        return vocabulary_scores(
            flat,
            weight,
            ids,
            temperature=temperature,
            rows_per_chunk=max(1, rows // 2),
            num_kept=KEPT_CHUNKS * rows,
            dtype=lm.autocast_dtype or flat.dtype,
            entropy=entropy,
        )

    def score(h: Tensor, i: Tensor) -> tuple[Tensor, Tensor]:
        logits = lm.head(h) / temperature
        logprobs = logits.gather(-1, i[:, None])[:, 0] - logits.logsumexp(dim=-1)
        if entropy == "none":
            return logprobs, torch.zeros_like(logprobs)
        return logprobs, entropy_of(logits if entropy == "learned" else logits.detach())

    chunks = list(zip(flat.split(rows), ids.split(rows), strict=True))
    recompute = len(chunks) > 1 and torch.is_grad_enabled()
    scored = [checkpoint(score, h, i, use_reentrant=False) if recompute else score(h, i) for h, i in chunks]
    logprobs, entropies = zip(*scored, strict=True)
    return torch.cat(logprobs), torch.cat(entropies)


def exact_kl(
    lm: CausalLM,
    ref_head: Callable[[Tensor], Tensor],
    hidden: Tensor,
    ref_hidden: Tensor,
    places: Tensor,
    mask: Tensor,
    *,
    temperature: float,
) -> Tensor:
    """KL(pi || pi_ref) in nats over the whole vocabulary, at each token: [B, T] in float32, 0 outside `mask` [B, T].

    The distributions are those that the states `hidden` [N, D] predict by the head of `lm`, and `ref_hidden` [N, D'] by
    `ref_head`; `places` [N] are theirs in the flattened mask. Logits are computed in chunks, and again in the backward pass.

    Where one head has more rows than the other, as models of one family are padded to different widths, both distributions are
    those over the rows that both have. The tokenizer, which is the same, has no words for the others.
    """
    rows = max(1, logits_per_chunk(hidden.device.type) // (2 * lm.text_config.vocab_size))

    def divergence(h: Tensor, r: Tensor) -> Tensor:
        logits, ref_logits = lm.head(h), ref_head(r)
        num_common = min(logits.shape[-1], ref_logits.shape[-1])
        logprobs = (logits[..., :num_common] / temperature).log_softmax(dim=-1)
        ref_logprobs = (ref_logits[..., :num_common] / temperature).log_softmax(dim=-1)
        return (logprobs.exp() * (logprobs - ref_logprobs)).sum(dim=-1)

    chunks = list(zip(hidden.split(rows), ref_hidden.split(rows), strict=True))
    recompute = len(chunks) > 1 and torch.is_grad_enabled()
    divergences = [
        checkpoint(divergence, h, r, use_reentrant=False) if recompute else divergence(h, r) for h, r in chunks
    ]
    return _spread(torch.cat(divergences), places, mask)

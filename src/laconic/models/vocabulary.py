"""Scores of tokens under a plain output map, with few passes over the logits and few of them in memory.

The logits of a micro-batch are the largest tensor of an update. Autograd would keep several of that size, or compute them once
more in the backward pass. But the gradients need only log-probabilities l = z - log sum_v e^(z_v), z = h W' / temperature:

    log-probability of token a:  l_a,                  d/dz_v = [v = a] - e^(l_v)
    entropy H:                   -sum_v e^(l_v) l_v,   d/dz_v = -e^(l_v) (l_v + H)

1. Tokens are taken in chunks. The forward pass keeps `l` of as many chunks as `num_kept` says; the backward pass computes those
   of the others again, and turns `l` into the gradient of the logits where it stands.
2. The gradient of W is summed over the chunks in float32, also where the products are made of bfloat16 numbers.

Legend: `N` tokens, `D` hidden size, `V` vocabulary.
"""

from typing import Any, Literal

import torch
from torch import Tensor

from laconic.models.products.onednn import add_product, linear

EntropyKind = Literal["none", "measured", "learned"]


def vocabulary_scores(
    hidden: Tensor,
    weight: Tensor,
    ids: Tensor,
    *,
    temperature: float,
    rows_per_chunk: int,
    num_kept: int,
    dtype: torch.dtype,
    entropy: EntropyKind,
) -> tuple[Tensor, Tensor]:
    """Log-probabilities and entropies (nats, [N] in float32) of `ids` [N] after the states `hidden` [N, D], by the output map
    `weight` [V, D] at `temperature`.

    The log-probabilities of about `num_kept` tokens stay in memory for the backward pass, which may be made once. Products are
    made in `dtype`. `entropy` says whether entropies are left out (zeros), measured without a gradient, or have one.
    """
    num_kept = min(len(hidden), max(0, num_kept) // rows_per_chunk * rows_per_chunk)
    options = (temperature, rows_per_chunk, num_kept, dtype, entropy)
    out: tuple[Tensor, Tensor] = _Scores.apply(hidden, weight, ids, options)  # type: ignore[no-untyped-call]
    return out


class _Scores(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, ids: Tensor, options: Any) -> tuple[Tensor, Tensor]:
        temperature, rows, num_kept, dtype, entropy = options
        narrow, narrow_weight = hidden.to(dtype), weight.to(dtype)
        chunks = [slice(start, start + rows) for start in range(0, len(hidden), rows)]
        kept = torch.empty(num_kept, len(weight), device=hidden.device)
        logprobs, entropies = torch.zeros(2, len(hidden), device=hidden.device)
        for chunk in chunks:
            logs = _logs(narrow[chunk], narrow_weight, temperature, kept[chunk] if chunk.start < num_kept else None)
            logprobs[chunk] = logs.gather(1, ids[chunk, None])[:, 0]
            if entropy != "none":
                entropies[chunk] = -logs.exp().mul_(logs).sum(dim=1)
        if entropy != "learned":
            ctx.mark_non_differentiable(entropies)
        ctx.options, ctx.chunks, ctx.kept = options, chunks, kept
        ctx.save_for_backward(hidden, weight, ids, entropies)
        return logprobs, entropies

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        hidden, weight, ids, entropies = ctx.saved_tensors
        temperature, _, num_kept, dtype, entropy = ctx.options
        kept, ctx.kept = ctx.kept, None
        assert kept is not None, "the backward pass may be made once"
        narrow, narrow_weight = hidden.to(dtype), weight.to(dtype)
        dx, dw = torch.empty_like(hidden), torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        for chunk in ctx.chunks:
            logs = kept[chunk] if chunk.start < num_kept else _logs(narrow[chunk], narrow_weight, temperature, None)
            of_logprobs, of_entropies = (grad[chunk, None] for grad in grads)
            learned = (of_entropies, entropies[chunk, None]) if entropy == "learned" else None
            dz = _of_logits(logs, ids[chunk], of_logprobs, learned)
            narrow_dz = dz.div_(temperature).to(dtype)
            dx[chunk] = linear(narrow_dz, narrow_weight.t())
            if dw is not None:
                add_product(dw, narrow_dz, narrow[chunk])
        return dx, dw, None, None


def _logs(hidden: Tensor, weight: Tensor, temperature: float, out: Tensor | None) -> Tensor:
    """Log-probabilities of the whole vocabulary [N, V], in `out` where it is given."""
    logits = linear(hidden, weight).float()
    logits = logits if temperature == 1.0 else logits.div_(temperature)
    normalizer = logits.logsumexp(dim=1, keepdim=True)
    return logits.sub_(normalizer) if out is None else torch.sub(logits, normalizer, out=out)


def _of_logits(logs: Tensor, ids: Tensor, of_logprobs: Tensor, learned: tuple[Tensor, Tensor] | None) -> Tensor:
    """The gradient of the logits [N, V], in the memory of their log-probabilities `logs`, from those of the log-probabilities
    [N, 1] and, where they are `learned`, of the entropies, which come with it."""
    if learned is None:
        dz = logs.exp_().mul_(-of_logprobs)
    else:
        of_entropies, entropies = learned
        factor = (logs + entropies).mul_(-of_entropies).sub_(of_logprobs)
        dz = logs.exp_().mul_(factor)
    return dz.scatter_add_(1, ids[:, None], of_logprobs)

"""What `vocabulary` claims: the scores of autograd and its gradients, with the logits of some chunks kept or of none."""

from typing import Any

import pytest
import torch

from laconic.models.vocabulary import vocabulary_scores

TEMPERATURE = 0.7


def written_out(hidden: torch.Tensor, weight: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    logs = (hidden @ weight.t() / TEMPERATURE).log_softmax(dim=1)
    return logs.gather(1, ids[:, None])[:, 0], -(logs.exp() * logs).sum(dim=1)


@pytest.mark.parametrize("num_kept", [0, 9, 1000])
@pytest.mark.parametrize("entropy", ["none", "measured", "learned"])
def test_scores_and_gradients_are_those_of_autograd(num_kept: int, entropy: Any) -> None:
    """40 tokens in chunks of 4, of which none, two or all stay in memory; entropies count in the loss where they are learnt."""
    generator = torch.Generator().manual_seed(0)
    hidden, weight = (torch.randn(n, 16, generator=generator).requires_grad_() for n in (40, 50))
    ids = torch.randint(0, 50, (40,), generator=generator)
    pull, push = torch.randn(2, 40, generator=generator)
    results = []
    for is_ours in (True, False):
        if is_ours:
            logprobs, entropies = vocabulary_scores(
                hidden, weight, ids, temperature=TEMPERATURE, rows_per_chunk=4, num_kept=num_kept,
                dtype=torch.float32, entropy=entropy,
            )  # fmt: skip
            assert entropies.requires_grad is (entropy == "learned")
        else:
            logprobs, entropies = written_out(hidden, weight, ids)
            entropies = entropies if entropy != "none" else torch.zeros_like(entropies)
        loss = (pull * logprobs).sum() + ((push * entropies).sum() if entropy == "learned" else 0.0)
        gradients = torch.autograd.grad(loss, (hidden, weight))
        results.append((logprobs.detach(), entropies.detach(), *gradients))
    for found, wanted in zip(*results, strict=True):
        assert (found - wanted).abs().max().item() < 2e-5


def test_the_gradient_of_the_map_is_summed_in_float32() -> None:
    """64 chunks multiplied in bfloat16: the sum is within half a percent of one made in float32, whose gradient it is."""
    generator = torch.Generator().manual_seed(0)
    hidden, weight = (torch.randn(n, 16, generator=generator).requires_grad_() for n in (256, 50))
    ids = torch.randint(0, 50, (256,), generator=generator)
    of_weight = []
    for dtype in (torch.float32, torch.bfloat16):
        scores = vocabulary_scores(
            hidden, weight, ids, temperature=1.0, rows_per_chunk=4, num_kept=0, dtype=dtype, entropy="none"
        )
        of_weight.append(torch.autograd.grad(scores[0].sum(), weight)[0])
    wanted, found = of_weight
    assert (found - wanted).norm() < 5e-3 * wanted.norm()


def test_a_map_that_does_not_learn_gets_no_gradient() -> None:
    """As under LoRA."""
    hidden, weight = torch.randn(8, 4, requires_grad=True), torch.randn(10, 4)
    scores = vocabulary_scores(
        hidden,
        weight,
        torch.arange(8),
        temperature=1.0,
        rows_per_chunk=3,
        num_kept=3,
        dtype=torch.float32,
        entropy="none",
    )
    scores[0].sum().backward()
    assert weight.grad is None and hidden.grad is not None

"""Products through oneDNN are the plain ones, gradients included, and reach every linear map of a model."""

from typing import Any

import oracles
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from laconic.config.policy import LoraConfig, PolicyConfig
from laconic.models.policy import Policy
from laconic.models.products import onednn as products
from laconic.models.products.product_path import _SETTLED

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="PyTorch without oneDNN")


@pytest.fixture(autouse=True)
def through_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine would choose."""
    monkeypatch.setattr(_SETTLED, "path", "onednn")


def gradients(linear: Any, shape: tuple[int, ...], has_bias: bool) -> list[Tensor]:
    """The product of made-up numbers and the gradients of its squared sum."""
    generator = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(s, generator=generator) for s in ((*shape, 24), (40, 24), (40,)))
    leaves = [x, weight, bias] if has_bias else [x, weight]
    for leaf in leaves:
        leaf.requires_grad_()
    out = linear(x, weight, bias if has_bias else None)
    out.square().sum().backward()
    return [out.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]


@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("shape", [(200,), (3, 50), (2, 3, 17), (1,)])
def test_values_and_gradients_are_those_of_a_plain_product(shape: tuple[int, ...], has_bias: bool) -> None:
    """Any leading shape, one row included (which takes the plain way), relative to 1e-5."""
    ours, plain = gradients(products.linear, shape, has_bias), gradients(functional.linear, shape, has_bias)
    assert len(ours) == len(plain) == 3 + has_bias
    for one, other in zip(ours, plain, strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-4 * float(other.abs().max()))


def test_only_what_needs_a_gradient_gets_one() -> None:
    """A frozen weight under an adapter: dx and nothing else."""
    x, weight = torch.randn(64, 8, requires_grad=True), torch.randn(4, 8)
    products.linear(x, weight).sum().backward()
    assert x.grad is not None and weight.grad is None
    assert torch.allclose(x.grad, weight.sum(0).expand(64, 8), atol=1e-5)


def test_every_linear_map_of_a_model_goes_this_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two layers of seven maps, the same with adapters (three products a map), and only inside the context."""
    counted: list[int] = []
    product = products._product

    def counting(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        counted.append(x.numel())
        return product(x, weight, bias)

    monkeypatch.setattr(products, "_product", counting)
    lm, ids = oracles.small_lm("llama"), torch.arange(4, 36).repeat(2, 1)
    num_layers = lm.text_config.num_hidden_layers
    with torch.no_grad():
        lm.backbone(ids)
        assert len(counted) == 7 * num_layers
        lm.model(input_ids=ids)
        assert len(counted) == 7 * num_layers
        Policy(lm, PolicyConfig(device="cpu", lora=LoraConfig(rank=2)), seed=0)
        lm.backbone(ids)
    assert len(counted) == (7 + 21) * num_layers


def test_bfloat16_takes_the_usual_way() -> None:
    """Autocast and other dtypes are PyTorch's business."""
    x, weight = torch.randn(64, 8), torch.randn(4, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert products.linear(x, weight).dtype == torch.bfloat16
    assert products.linear(x.double(), weight.double()).dtype == torch.float64

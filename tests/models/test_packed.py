"""Products by packed weights are the plain ones, on either path, for any number of rows."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from laconic.models.products import packed as packing
from laconic.models.products.packed import MAX_PACKED_ROWS, MIN_PACKED_ROWS, packed_copy, packed_linear, packs_right
from laconic.models.products.product_path import _SETTLED, ProductPath

PATHS = [
    pytest.param("pytorch", marks=pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="without MKL")),
    pytest.param("onednn", marks=pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="without oneDNN")),
]
ROWS = (1, MIN_PACKED_ROWS - 1, MIN_PACKED_ROWS, 17, 63, 65, MAX_PACKED_ROWS, MAX_PACKED_ROWS + 1)


@pytest.fixture(params=PATHS)
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ProductPath:
    """Whatever this machine would choose."""
    chosen: ProductPath = request.param
    monkeypatch.setattr(_SETTLED, "path", chosen)
    return chosen


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("sides", [(40, 24), (7, 5), (576, 1536), (1, 33)])
def test_a_product_by_a_packed_weight_is_the_plain_one(sides: tuple[int, int], has_bias: bool) -> None:
    """To 1e-5 of the largest, for numbers of rows other than it was packed for, and beyond those that it is used for."""
    generator = torch.Generator().manual_seed(0)
    outputs, inputs = sides
    weight, bias = torch.randn(sides, generator=generator), torch.randn(outputs, generator=generator)
    packed = packed_copy(weight)
    assert packed is not None
    for rows in ROWS:
        x = torch.randn(rows, inputs, generator=generator)
        ours = packed_linear(x, weight, packed, bias if has_bias else None)
        plain = functional.linear(x.double(), weight.double(), bias.double() if has_bias else None)
        assert ours.shape == (rows, outputs)
        assert float((ours - plain).abs().max()) <= 1e-5 * float(plain.abs().max())


def test_the_packed_copy_is_what_is_multiplied_by(path: ProductPath) -> None:
    """Else nothing would be gained: where the weight has changed since, the product is still that of the weight before."""
    weight, x = torch.ones(8, 16), torch.ones(MIN_PACKED_ROWS, 16)
    packed = packed_copy(weight)
    assert packed is not None
    weight.zero_()
    assert packed_linear(x, weight, packed).unique().tolist() == [16], path


@pytest.mark.usefixtures("path")
def test_only_float32_is_packed() -> None:
    assert packed_copy(torch.ones(8, 16, dtype=torch.float64)) is None
    assert packed_copy(torch.ones(8, 16, dtype=torch.bfloat16)) is None


def test_a_library_that_is_wrong_for_other_numbers_of_rows_does_not_pack(
    path: ProductPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its packed product is tried out once, and must be right for every number of rows that is tried."""
    assert packs_right(path)
    right = packing._product

    def wrong_for_63(x: Tensor, weight: Tensor, packed: Tensor, bias: Tensor | None, path: ProductPath) -> Tensor:
        return right(x, weight, packed, bias, path) + (len(x) == 63)

    monkeypatch.setattr(packing, "_product", wrong_for_63)
    assert not packs_right.__wrapped__(path)


def test_a_build_without_the_operator_does_not_pack(path: ProductPath, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(weight: Tensor, path: ProductPath) -> Tensor:
        raise RuntimeError("Could not run 'mkldnn::_reorder_linear_weight'")

    monkeypatch.setattr(packing, "_packed", missing)
    assert not packs_right.__wrapped__(path)


def test_without_mkl_pytorchs_own_path_does_not_pack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: False)
    assert not packs_right.__wrapped__("pytorch")

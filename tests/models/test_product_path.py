"""The path of matrix products: forced, kept by a run, cached, or measured, in this order; a broken cache is measured anew."""

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from laconic.errors import ModelError
from laconic.models.products import onednn, product_path
from laconic.models.products.product_path import (
    CLEAR_GAIN,
    STEP_SIZES,
    UPDATE_SIZES,
    cache_file,
    fastest_seconds,
    keep_product_path,
    machine_key,
)

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="PyTorch without oneDNN")


@pytest.fixture(autouse=True)
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[str]]:
    """Nothing is forced or known, the cache is empty, and each measurement says `pytorch` and is written down."""
    measurements: list[str] = []

    def measure() -> str:
        measurements.append("pytorch")
        return "pytorch"

    monkeypatch.delenv("LACONIC_PRODUCTS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(product_path, "measured_path", measure)
    monkeypatch.setattr(product_path._SETTLED, "path", None)
    yield measurements


def anew(monkeypatch: pytest.MonkeyPatch) -> str:
    """The path of a new process."""
    monkeypatch.setattr(product_path._SETTLED, "path", None)
    return product_path.product_path()


def test_a_machine_is_measured_once(monkeypatch: pytest.MonkeyPatch, measured: list[str]) -> None:
    assert [anew(monkeypatch) for _ in range(3)] == ["pytorch"] * 3
    assert len(measured) == 1 and json.loads(cache_file().read_text("utf-8")) == {machine_key(): "pytorch"}


def test_another_machine_is_measured_too_and_both_stay(monkeypatch: pytest.MonkeyPatch, measured: list[str]) -> None:
    """A home folder that several machines share."""
    cache_file().parent.mkdir()
    cache_file().write_text('{"another": "onednn"}', encoding="utf-8")
    assert anew(monkeypatch) == "pytorch" and len(measured) == 1
    assert json.loads(cache_file().read_text("utf-8")) == {"another": "onednn", machine_key(): "pytorch"}


def test_what_is_cached_decides(monkeypatch: pytest.MonkeyPatch, measured: list[str]) -> None:
    cache_file().parent.mkdir()
    cache_file().write_text(json.dumps({machine_key(): "onednn"}), encoding="utf-8")
    assert anew(monkeypatch) == "onednn" and not measured


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", "\x00", '{"KEY": "fast"}', '{"KEY": 3}', '{"KEY": ["onednn"]}']
)
def test_a_broken_cache_is_measured_anew(
    monkeypatch: pytest.MonkeyPatch, measured: list[str], caplog: pytest.LogCaptureFixture, content: str
) -> None:
    """Said in a debug line where the file cannot be read, and mended."""
    cache_file().parent.mkdir()
    cache_file().write_text(content.replace("KEY", machine_key()), encoding="utf-8")
    with caplog.at_level(logging.DEBUG):
        assert anew(monkeypatch) == "pytorch"
    assert len(measured) == 1 and ("KEY" in content or "measured anew" in caplog.text)
    assert json.loads(cache_file().read_text("utf-8"))[machine_key()] == "pytorch"


def test_a_cache_that_cannot_be_written_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its folder is a file."""
    cache_file().parent.write_text("", encoding="utf-8")
    with caplog.at_level(logging.DEBUG):
        assert anew(monkeypatch) == "pytorch"
    assert "cannot be written" in caplog.text


def test_the_variable_decides_before_all_else(monkeypatch: pytest.MonkeyPatch, measured: list[str]) -> None:
    monkeypatch.setenv("LACONIC_PRODUCTS", "onednn")
    assert anew(monkeypatch) == "onednn"
    keep_product_path("pytorch")
    assert product_path.product_path() == "onednn" and not measured


def test_what_a_run_was_begun_with_decides_before_the_cache(measured: list[str]) -> None:
    keep_product_path("onednn")
    assert product_path.product_path() == "onednn" and not measured and not cache_file().exists()


def test_an_unknown_path_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LACONIC_PRODUCTS", "mkl")
    with pytest.raises(ModelError, match="LACONIC_PRODUCTS: 'mkl' is not a path"):
        anew(monkeypatch)
    monkeypatch.delenv("LACONIC_PRODUCTS")
    with pytest.raises(ModelError, match="the run: 'fast' is not a path"):
        keep_product_path("fast")


def test_without_onednn_nothing_is_measured(monkeypatch: pytest.MonkeyPatch, measured: list[str]) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert anew(monkeypatch) == "pytorch" and not measured
    with pytest.raises(ModelError, match="the run: 'onednn'"):
        keep_product_path("onednn")


def test_the_path_decides_who_multiplies(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []
    product = onednn._product
    monkeypatch.setattr(onednn, "_product", lambda *args: counted.append(1) or product(*args))
    x, weight = torch.randn(64, 8), torch.randn(4, 8)
    for path, count in (("onednn", 1), ("pytorch", 1)):
        keep_product_path(path)
        onednn.linear(x, weight)
        assert len(counted) == count


# --- the measurement -------------------------------------------------------------------------------------------------

find_path = product_path.measured_path


@pytest.mark.parametrize(
    ("gain", "path"), [(1.0, "onednn"), (0.9 * CLEAR_GAIN, "onednn"), (1.01 * CLEAR_GAIN, "pytorch")]
)
def test_only_a_clear_gain_changes_the_path(monkeypatch: pytest.MonkeyPatch, gain: float, path: str) -> None:
    """`pytorch` takes 1 s and `onednn` the gain, at every size."""
    monkeypatch.setattr(product_path, "fastest_seconds", lambda *products: [1.0, gain])
    assert find_path() == path


def test_all_products_are_weighed_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four times as fast at one of ten products and even at the others: the tenth root of 4 is 1.15."""
    num_products = len(STEP_SIZES) + 3 * len(UPDATE_SIZES)
    seconds = iter([[1.0, 4.0]] + [[1.0, 1.0]] * (num_products - 1))
    monkeypatch.setattr(product_path, "fastest_seconds", lambda *products: next(seconds))
    assert find_path() == "pytorch" and next(seconds, None) is None


def test_both_paths_multiply_the_same_factors(monkeypatch: pytest.MonkeyPatch) -> None:
    """The backward pass's transposed factors included."""

    def compare(pytorch: Callable[[], Tensor], onednn: Callable[[], Tensor]) -> list[float]:
        assert torch.equal(pytorch(), onednn())  # sums of ones are exact
        return [1.0, 1.0]

    monkeypatch.setattr(product_path, "fastest_seconds", compare)
    assert find_path() == "onednn"


def test_measuring_leaves_threads_and_random_numbers_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(product_path, "ROUNDS", 1)
    state, num_threads = torch.get_rng_state(), torch.get_num_threads()
    assert find_path() in ("pytorch", "onednn")
    assert torch.equal(state, torch.get_rng_state()) and torch.get_num_threads() == num_threads


def test_products_take_turns() -> None:
    calls: list[str] = []
    one = torch.ones(1)
    seconds = fastest_seconds(lambda: calls.append("a") or one, lambda: calls.append("b") or one)
    assert calls == ["a", "b"] * product_path.ROUNDS and all(0 <= s < 1 for s in seconds)

"""A run records by which library its matrices are multiplied, and a resumed run keeps it."""

import json
from pathlib import Path

import pytest
import torch
from small import save_small_model, small_recipe

from laconic.models.products import product_path
from laconic.models.products.product_path import cache_file, machine_key
from laconic.system.progress import Reporter
from laconic.training.run import start

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="PyTorch without oneDNN")


def cached(path: str) -> None:
    """What this machine chose, as a new process finds it."""
    product_path._SETTLED.path = None
    cache_file().parent.mkdir(exist_ok=True)
    cache_file().write_text(json.dumps({machine_key(): path}), encoding="utf-8")


def test_a_resumed_run_keeps_the_path_it_was_begun_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begun with `pytorch`; meanwhile the machine has come to choose `onednn`. Runs that record no path took `onednn`."""
    monkeypatch.delenv("LACONIC_PRODUCTS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(product_path._SETTLED, "path", None)
    recipe, quiet = small_recipe(save_small_model(tmp_path / "model")), Reporter(is_silent=True)
    cached("pytorch")
    start(recipe, tmp_path / "run", resume=False, reporter=quiet)
    environment = tmp_path / "run" / "environment.json"
    recorded = json.loads(environment.read_text("utf-8"))
    assert recorded["products"] == "pytorch"
    cached("onednn")
    start(recipe, tmp_path / "run", resume=True, reporter=quiet)
    assert product_path.product_path() == "pytorch"
    del recorded["products"]
    environment.write_text(json.dumps(recorded), encoding="utf-8")
    cached("pytorch")
    start(recipe, tmp_path / "run", resume=True, reporter=quiet)
    assert product_path.product_path() == "onednn"

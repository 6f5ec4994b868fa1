"""What every test shares: no network, one thread in every process, and the folder of real benchmark files where it is present.

`make test` runs one process for each core, so that a second thread in any of them would wait for a core. There coverage, which
takes a third of the time of whatever it watches, is off while tests of packages run that are not pure.
"""

import os
import platform
import sys
from collections.abc import Generator
from importlib import import_module
from pathlib import Path

import pytest
from house import ROOMS

from laconic.system.threads import available_cores

ROOT = Path(__file__).resolve().parents[1]
UNMEASURED = {row.name for row in ROOMS if not row.is_pure} | {"benchmarks", "recipes", "tests"}
"""The folders of tests that coverage leaves out. Those of recipes train every recipe, and those of no package run the docs."""

os.environ["HF_HUB_OFFLINE"] = "1"  # read once, when huggingface_hub is first imported
os.environ["OMP_NUM_THREADS"] = "1"  # read once, when torch is first imported, here and in children

if platform.machine() in ("x86_64", "AMD64"):  # elsewhere PyTorch may come without oneDNN
    os.environ["LACONIC_PRODUCTS"] = "onednn"  # results do not depend on what was measured on this machine

if "PYTEST_XDIST_WORKER" in os.environ:  # coverage begins after this line, and would watch the whole import
    import_module("transformers.modeling_utils")


def pytest_xdist_auto_num_workers() -> int:
    """What `--numprocesses=auto` stands for: the cores that may be used. pytest-xdist itself would count all of the machine."""
    return available_cores()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """A test with its fixtures; coverage pauses where the test is of a package that is not pure."""
    plugin = item.config.pluginmanager.getplugin("_cov")
    controller = plugin.cov_controller if plugin is not None else None
    folder = item.path.relative_to(ROOT).parent.name
    if controller is None or folder not in UNMEASURED:
        return (yield)
    controller.pause()
    try:
        return (yield)
    finally:
        controller.resume()


@pytest.fixture(autouse=True)
def one_torch_thread() -> None:
    """Sums come out the same on every machine; a test that never imported torch does not pay for it."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)


@pytest.fixture
def shared_data() -> Path:
    """The folder of real problem files beside the repository."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("shared/data is absent")
    return folder

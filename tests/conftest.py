"""What every test shares: no network, one thread in every process, and the folder of real benchmark files where it is present.

`make test` runs one process for each core, so that a second thread in any of them would wait for a core."""

import os
import sys
from pathlib import Path

import pytest

from laconic.system.threads import available_cores

os.environ["HF_HUB_OFFLINE"] = "1"  # read once, when huggingface_hub is first imported
os.environ["OMP_NUM_THREADS"] = "1"  # read once, when torch is first imported, here and in children


def pytest_xdist_auto_num_workers() -> int:
    """What `--numprocesses=auto` stands for: the cores that may be used. pytest-xdist itself would count all of the machine."""
    return available_cores()


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

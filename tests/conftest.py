"""What every test shares: no network, one torch thread, and the folder of real benchmark files where it is present."""

import os
import platform
import sys
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # read once, when huggingface_hub is first imported
if platform.machine() in ("x86_64", "AMD64"):  # elsewhere PyTorch may come without oneDNN
    os.environ["LACONIC_PRODUCTS"] = "onednn"  # results do not depend on what was measured on this machine


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

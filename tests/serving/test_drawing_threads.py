"""How many threads draw in the local server."""

import pytest

pytest.importorskip("starlette", reason="needs the extra serve")

import torch

from laconic.config.policy import PolicyConfig
from laconic.models.loading import load_model
from laconic.serving.local_server import worker


@pytest.mark.parametrize(
    ("num_cores", "most_bytes", "num_threads"), [(2, 1 << 28, 1), (4, 1 << 28, 3), (1, 1 << 28, 1), (2, 1, 4)]
)
def test_a_small_model_leaves_a_core_to_the_rest(
    num_cores: int, most_bytes: int, num_threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large one takes all threads that there are, here 4."""
    monkeypatch.setattr(worker, "allowed_cores", lambda: set(range(num_cores)))
    monkeypatch.setattr(worker, "LANE_BYTES", most_bytes)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        worker.leave_a_core(load_model("tiny", PolicyConfig()))
        assert torch.get_num_threads() == num_threads
    finally:
        torch.set_num_threads(before)

"""What is read of the machine."""

import os
from pathlib import Path

import pytest

from laconic.system import processor


@pytest.mark.parametrize(
    ("granted", "is_less"), [("1048576\n", True), ("max\n", False), (f"{2**62}", False), (None, False)]
)
def test_the_memory_is_what_is_installed_or_granted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, granted: str | None, is_less: bool
) -> None:
    """A control group grants a megabyte, everything, more than there is, or is not there."""
    file = tmp_path / "memory.max"
    if granted is not None:
        file.write_text(granted)
    monkeypatch.setattr(processor, "MEMORY_MAX", file)
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert processor.machine_memory() == (2**20 if is_less else installed)

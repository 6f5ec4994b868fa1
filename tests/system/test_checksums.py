"""Damage to a folder's files is noticed, and the file is named."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from laconic.system.checksums import CHECKSUMS_FILE, damage_in, has_checksums, write_checksums


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a").write_bytes(bytes(1000))
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "b").write_text("b")
    write_checksums(tmp_path)
    return tmp_path


def flip(file: Path, place: int = 0) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a flipped bit": (lambda folder: flip(folder / "a", 500), "a: is damaged"),
    "a file cut short": (lambda folder: (folder / "a").write_bytes(bytes(999)), "a: is damaged"),
    "a missing file": (lambda folder: (folder / "deep" / "b").unlink(), "deep/b: is missing"),
    "no checksums": (lambda folder: (folder / CHECKSUMS_FILE).unlink(), f"{CHECKSUMS_FILE}: cannot be read"),
    "empty checksums": (lambda folder: (folder / CHECKSUMS_FILE).write_text(""), f"{CHECKSUMS_FILE}: is damaged"),
    "checksums that are no text": (
        lambda folder: (folder / CHECKSUMS_FILE).write_bytes(b"\xff" * 9),
        f"{CHECKSUMS_FILE}: is damaged",
    ),
    "checksums cut short": (
        lambda folder: (folder / CHECKSUMS_FILE).write_text((folder / CHECKSUMS_FILE).read_text()[:100]),
        f"{CHECKSUMS_FILE}: is damaged",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_named(name: str, folder: Path) -> None:
    assert damage_in(folder) is None
    damage, says = DAMAGES[name]
    damage(folder)
    assert (damage_in(folder) or "").startswith(f"{folder}/{says}")


def test_every_bit_of_the_checksums_counts(folder: Path) -> None:
    """Any one flipped is noticed."""
    file = folder / CHECKSUMS_FILE
    for place in range(file.stat().st_size):
        flip(file, place)
        assert damage_in(folder), place
        flip(file, place)
    assert damage_in(folder) is None


def test_the_file_is_one_that_sha256sum_reads(folder: Path) -> None:
    """So a person can check a checkpoint without this package."""
    try:
        command = ["sha256sum", "--check", "--strict", CHECKSUMS_FILE]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("no sha256sum here")
    assert (done.returncode, done.stdout.splitlines()) == (0, ["a: OK", "deep/b: OK"]), done.stderr


def test_sums_of_another_program_are_not_ours(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    assert not has_checksums(tmp_path)
    (tmp_path / CHECKSUMS_FILE).write_text("6b86  a\n")
    assert not has_checksums(tmp_path)
    write_checksums(tmp_path)
    assert has_checksums(tmp_path)

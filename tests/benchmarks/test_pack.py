"""A model that is packed in parts and taken up in several calls is the same file; what is damaged or still to come is said."""

import os
import subprocess
from pathlib import Path

import pytest

REAL = Path(__file__).resolve().parents[2] / "benchmarks" / "real"
MODEL = bytes(range(256)) * 10


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """Three parts of a model of 2,560 bytes, a file of data, and no wheels."""
    (tmp_path / "small.gguf").write_bytes(MODEL)
    (tmp_path / "test.jsonl").write_text("{}\n")
    run(tmp_path, f"{REAL}/pack.sh {tmp_path}/small.gguf {tmp_path}/test.jsonl", PART_BYTES="1000")
    return tmp_path / ".gpu"


def run(folder: Path, command: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """A command in `folder`, where no wheel is fetched or installed."""
    places = {"PLACE": str(folder / ".gpu"), "UNPACKED": str(folder / "there"), "PIP": "true"}
    return subprocess.run(
        ["sh", "-c", command],
        cwd=folder,
        check=False,
        env=os.environ | places | variables,
        capture_output=True,
        text=True,
        timeout=60,
    )


def carried(packed: Path, folder: Path, *names: str) -> Path:
    """A machine's working tree to which only these files of the pack have come."""
    folder.mkdir(exist_ok=True)
    for name in ("SHA256SUMS", "commit", "name", *names):
        target = folder / ".gpu" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((packed / name).read_bytes())
    return folder


def test_parts_that_come_one_after_the_other_are_the_model(packed: Path, tmp_path: Path) -> None:
    """They are kept between the calls, although each call's tree is new."""
    assert sorted(path.name for path in packed.glob("part-*")) == ["part-00", "part-01", "part-02"]
    there = str(tmp_path / "there")
    first = run(carried(packed, tmp_path / "one", "part-00"), f". {REAL}/unpack.sh", UNPACKED=there)
    assert first.returncode == 3
    assert "still to come: ./data/test.jsonl ./part-01 ./part-02" in first.stdout
    assert not list((tmp_path / "there" / "model").iterdir())
    second = carried(packed, tmp_path / "two", "part-01", "part-02", "data/test.jsonl")
    says = 'cat "$LACONIC_GPU_MODEL" | wc -c; echo "$PYTHONPATH"; echo "commit $GPU_COMMIT"; ls "$LACONIC_DATA"'
    last = run(second, f". {REAL}/unpack.sh && {says}", UNPACKED=there)
    assert last.returncode == 0, last.stderr
    assert (tmp_path / "there" / "model" / "small.gguf").read_bytes() == MODEL
    assert (tmp_path / "there" / "data" / "test.jsonl").read_text() == "{}\n"
    _, size, path, commit, data = last.stdout.splitlines()
    assert data == "test.jsonl"
    assert int(size) == len(MODEL)
    assert path == f"{tmp_path}/two/src:{there}/site"
    assert commit == f"commit {(packed / 'commit').read_text().strip()}"


@pytest.mark.parametrize(
    ("name", "says"), [("part-01", "./part-01 is damaged"), ("SHA256SUMS", "SHA256SUMS is missing")]
)
def test_what_is_damaged_or_missing_is_one_line(packed: Path, tmp_path: Path, name: str, says: str) -> None:
    there = carried(packed, tmp_path / "one", "part-00", "part-01", "part-02", "data/test.jsonl")
    if name == "SHA256SUMS":
        (there / ".gpu" / name).unlink()
    else:
        (there / ".gpu" / name).write_bytes(b"x" * 1000)
    found = run(there, f". {REAL}/unpack.sh", UNPACKED=str(tmp_path / "there"))
    assert found.returncode == 1
    assert says in found.stderr and len(found.stderr.splitlines()) == 1


def test_a_model_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    found = run(tmp_path, f"{REAL}/pack.sh {tmp_path}/lost.gguf")
    assert (found.returncode, found.stderr) == (2, f"pack.sh: {tmp_path}/lost.gguf: no such file\n")

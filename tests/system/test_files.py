"""What `files` claims: whole or not at all, and errors that name file and line."""

import os

import pytest

from laconic.errors import InputError
from laconic.system.files import (
    append_jsonl,
    read_json,
    read_jsonl,
    read_numbered_jsonl,
    whole_folder,
    write_json_atomically,
)
from laconic.system.files import write_text_atomically as write_text


def test_writing_replaces_the_whole_file_and_leaves_nothing_beside_it(tmp_path):
    """The folder is made, the text replaced, no partial file stays."""
    path = tmp_path / "new" / "a.txt"
    write_text(path, "a long first text\n")
    write_text(path, "née\n")
    assert path.read_text(encoding="utf-8") == "née\n"
    assert [entry.name for entry in path.parent.iterdir()] == ["a.txt"]


def test_a_failed_write_leaves_the_old_file_untouched(tmp_path, monkeypatch):
    """The disk refuses at the last moment: the old text stands, the partial file is gone."""
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def full(*_):
        raise OSError("disk full")

    monkeypatch.setattr("laconic.system.files.os.fsync", full)
    with pytest.raises(OSError, match="disk full"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_a_whole_folder_takes_nobody_else_s_place(tmp_path):
    """What a killed process left goes, be it of a process that had our number; a folder of the user's, and what another process
    is writing, stay."""
    kept = [".out.1.partial", ".out.notes.partial", ".outer.999999999.partial", "out.partial"]  # process 1 always runs
    for name in (*kept, ".out.999999999.partial", f".out.{os.getpid()}.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text("mine")
    with whole_folder(tmp_path / "out") as folder:
        (folder / "b.txt").write_text("new")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [*kept[:3], "out", "out.partial"]
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["b.txt"]


def test_who_may_read_a_file_stays_as_it_was(tmp_path):
    """A private file stays private when it is written over; a new one is made with the mode that is asked for."""
    old, new = tmp_path / "old.txt", tmp_path / "new.txt"
    write_text(old, "a")
    old.chmod(0o600)
    write_text(old, "b", mode=0o644)
    write_text(new, "a", mode=0o600)
    assert [path.stat().st_mode & 0o777 for path in (old, new)] == [0o600, 0o600]


def test_jsonl_comes_back_as_it_went(tmp_path):
    """Records append in order; blank lines are passed over but counted."""
    path = tmp_path / "a.jsonl"
    append_jsonl(path, {"n": 1}, {"n": 2, "text": "ligne\nété"})
    with path.open("a") as file:
        file.write("\n")
    append_jsonl(path, {"n": 3})
    assert [record["n"] for record in read_jsonl(path)] == [1, 2, 3]
    assert [line for line, _ in read_numbered_jsonl(path)] == [1, 2, 4]


def test_nan_is_refused_and_nothing_is_written(tmp_path):
    """JSON has no nan: neither the line nor the file appears."""
    with pytest.raises(ValueError):
        append_jsonl(tmp_path / "a.jsonl", {"n": 1}, {"n": float("nan")})
    with pytest.raises(ValueError):
        write_json_atomically(tmp_path / "a.json", {"n": float("inf")})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "says"),
    [(b'{"n": ', "line 2: not JSON"), (b"[1]", "found list"), (b'{"n": "\xff"}', "line 2: not UTF-8 \\(byte 0xff")],
)
def test_a_bad_line_is_named(tmp_path, line, says):
    """Broken JSON, something else than an object, bytes that are not UTF-8."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"n": 1}\n' + line + b"\n")
    with pytest.raises(InputError, match=says) as error:
        list(read_jsonl(path))
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_an_input_error(tmp_path):
    """Missing files and folders in the place of files are the user's to mend."""
    for read in (lambda path: list(read_jsonl(path)), read_json):
        with pytest.raises(InputError, match="cannot be read"):
            read(tmp_path / "none")
        with pytest.raises(InputError, match="cannot be read"):
            read(tmp_path)


def test_json_comes_back_as_it_went(tmp_path):
    """`read_json` reads what `write_json_atomically` wrote."""
    write_json_atomically(tmp_path / "a.json", {"n": [1, None]})
    assert read_json(tmp_path / "a.json") == {"n": [1, None]}

"""Checksums of a folder's files, so that damage is noticed before what a file holds is used.

`write_checksums` writes the file SHA256SUMS, which `sha256sum --check SHA256SUMS` reads too; `damage_in` holds the folder against
it. Its first line counts the files, so that a list that was cut off is noticed. Files that it does not list are passed over.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from laconic.system.files import write_text_atomically

CHECKSUMS_FILE = "SHA256SUMS"


def write_checksums(folder: Path) -> None:
    """Write the checksum of every file in `folder`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != CHECKSUMS_FILE)
    lines = [f"{file_digest(file)}  {file.relative_to(folder).as_posix()}\n" for file in files]
    write_text_atomically(folder / CHECKSUMS_FILE, "".join([_count_line(len(lines)), *lines]))


def damage_in(folder: Path) -> str | None:
    """What is wrong with the folder's files, in words that begin with the file's path; None if they are as they were written."""
    sums = folder / CHECKSUMS_FILE
    if sums.exists() and not sums.is_file():
        return f"{sums}: is no plain file"
    try:
        first, *lines = sums.read_text(encoding="utf-8").splitlines(keepends=True)
    except OSError as error:
        return f"{sums}: cannot be read ({error.strerror})"
    except ValueError:
        return f"{sums}: is damaged"
    if first != _count_line(len(lines)):
        return f"{sums}: is damaged (it does not list all files)"
    return next(filter(None, (_damage(folder, line) for line in lines)), None)


def unlisted(folder: Path, files: Iterable[Path]) -> Path | None:
    """The first of the `files` in `folder` that its SHA256SUMS does not list; None if it lists them all."""
    lines = (folder / CHECKSUMS_FILE).read_text(encoding="utf-8").splitlines()
    names = {line.partition("  ")[2] for line in lines}
    return next((file for file in files if file.relative_to(folder).as_posix() not in names), None)


def has_checksums(folder: Path) -> bool:
    """Whether the folder's SHA256SUMS is one that `write_checksums` wrote; other programs write files of that name too."""
    try:
        return (folder / CHECKSUMS_FILE).read_bytes().startswith(b"# SHA-256 of ")
    except OSError:
        return False


def file_digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _count_line(count: int) -> str:
    return f"# SHA-256 of {count} files\n"


def _damage(folder: Path, line: str) -> str | None:
    digest, _, name = line.rstrip("\n").partition("  ")
    file = folder / name
    if not name:
        return f"{folder / CHECKSUMS_FILE}: is damaged"
    if not file.is_file():
        return f"{file}: is missing"
    try:
        return None if file_digest(file) == digest else f"{file}: is damaged (its SHA-256 is another)"
    except OSError as error:
        return f"{file}: cannot be read ({error.strerror})"

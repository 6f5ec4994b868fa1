"""What a GGUF file states, read without its weights: the header alone, in milliseconds.

1. `read_header` reads the fields, of which long lists are only counted, and the table of tensors. A file that is none, or is cut
   off in its header, raises a `ModelError` of one line.
2. The layout is that of versions 2 and 3 of the format, little-endian: `GGUF`, version, two counts, fields, tensors, padding to
   the alignment, data.
"""

import math
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from laconic.errors import ModelError

MAGIC = b"GGUF"
LFS_POINTER = b"version https://git-lfs"
VERSIONS = (2, 3)
ALIGNMENT = 32  # bytes, if no field states it
MOST_VALUES = 1024  # of a list that is read; a model has fewer layers
MOST_DIMENSIONS = 8  # of a tensor; llama.cpp has 4
NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
TEXT_KIND, LIST_KIND = 8, 9
"""The kinds of a field's value: numbers by their code in `struct`, texts, and lists of one of them."""

FETCH_AGAIN = "fetch the file again"


class StoredList(int):
    """The length of a list in a field, with its `values` where it holds few numbers, one for each layer for example."""

    values: tuple[float, ...]

    def __new__(cls, length: int, values: tuple[float, ...] = ()) -> "StoredList":
        """The list of that length and those values."""
        made = super().__new__(cls, length)
        made.values = values
        return made


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor of the file: its shape in torch's order, the number of its format, and where it begins in the data."""

    name: str
    shape: tuple[int, ...]
    kind: int
    offset: int

    @property
    def num_values(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """The fields of a file by name, a list as a `StoredList`; its tensors; and the byte at which their data begins."""

    fields: Mapping[str, Any]
    tensors: tuple[StoredTensor, ...]
    data_start: int


def field_number(fields: Mapping[str, Any], name: str, missing: int) -> int:
    """The whole number in a field; `missing` if there is no such field or it holds something else."""
    value = fields.get(name, missing)
    return value if isinstance(value, int) else missing


def read_header(path: Path) -> GgufHeader:
    """The header of the file at `path`. Raises `ModelError` if it cannot be read."""
    try:
        stated = path.stat()
        return _read(path, stated.st_mtime_ns, stated.st_size)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from None


@lru_cache(maxsize=4)
def _read(path: Path, _changed: int, size: int) -> GgufHeader:
    with path.open("rb") as file:
        _check_beginning(path, file.read(len(LFS_POINTER)))
        file.seek(len(MAGIC))
        reader = _Reader(file, size)
        try:
            version, num_tensors, num_fields = (reader.number(code) for code in "IQQ")
            _check_version(path, version)
            fields = {reader.text(): reader.value(reader.number("I")) for _ in range(num_fields)}
            tensors = tuple(reader.tensor() for _ in range(num_tensors))
        except (EOFError, UnicodeDecodeError):
            raise ModelError(f"{path}: is cut off or damaged in its header; {FETCH_AGAIN}") from None
        alignment = field_number(fields, "general.alignment", ALIGNMENT) or ALIGNMENT
        return GgufHeader(fields, tensors, -(-file.tell() // alignment) * alignment)


def _check_beginning(path: Path, beginning: bytes) -> None:
    if not beginning:
        raise ModelError(f"{path}: is empty; {FETCH_AGAIN}")
    if beginning.startswith(LFS_POINTER):
        raise ModelError(f"{path}: is a pointer of Git LFS, not the file itself; fetch it with git lfs pull")
    if not beginning.startswith(MAGIC):
        raise ModelError(f"{path}: is no GGUF file: it begins with {beginning[:4]!r}, expected {MAGIC!r}")


def _check_version(path: Path, version: int) -> None:
    if version not in VERSIONS:
        order = " or its bytes are in big-endian order" if version >> 16 else ""
        raise ModelError(f"{path}: is GGUF of version {version}{order}; expected version 2 or 3, little-endian")


class _Reader:
    """Reads the parts of a header. Raises `EOFError` at the end of the file and at what cannot be."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size = file, size

    def check(self, count: int) -> None:
        if count > self.size - self.file.tell():
            raise EOFError

    def bytes(self, count: int) -> bytes:
        self.check(count)
        return self.file.read(count)

    def number(self, code: str) -> Any:
        return struct.unpack(f"<{code}", self.bytes(struct.calcsize(f"<{code}")))[0]

    def text(self) -> str:
        return self.bytes(self.number("Q")).decode()

    def value(self, kind: int) -> Any:
        if kind in NUMBERS:
            return self.number(NUMBERS[kind])
        if kind == TEXT_KIND:
            return self.text()
        if kind != LIST_KIND:
            raise EOFError
        return self.stored_list()

    def stored_list(self) -> StoredList:
        """A list of numbers or texts; a long one, and one of texts, is passed over."""
        kind, count = self.number("I"), int(self.number("Q"))
        if kind in NUMBERS:
            size = count * struct.calcsize(f"<{NUMBERS[kind]}")
            self.check(size)
            if count <= MOST_VALUES:
                return StoredList(count, struct.unpack(f"<{count}{NUMBERS[kind]}", self.bytes(size)))
            self.file.seek(size, os.SEEK_CUR)
        elif kind == TEXT_KIND:
            for _ in range(count):
                self.text()
        else:
            raise EOFError
        return StoredList(count)

    def tensor(self) -> StoredTensor:
        name, num_dimensions = self.text(), self.number("I")
        if num_dimensions > MOST_DIMENSIONS:
            raise EOFError
        shape = tuple(self.number("Q") for _ in range(num_dimensions))
        return StoredTensor(name, shape[::-1], self.number("I"), self.number("Q"))

"""Packs response texts for a page: JSON, deflated, in base64, in chunks that a browser opens one at a time.

1. `ShelfBuilder` takes texts one by one and keeps them only in compressed form, so a folder of any size needs little more memory
   than one chunk.
2. A `Shelf` holds the chunks and says which rows of `samples.jsonl` they contain; `Shelf.text` returns the text of one row.
3. `every_nth` says which part of a large folder is kept: every n-th problem with all its samples, so that the responses before
   and after training belong to the same problems.

What is left out: escaping for HTML. Base64 has no characters that could close a tag or open one.
"""

import base64
import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from laconic.rollouts.rows import ResponseRow

CHUNK_CHARS = 400_000
LEVEL = 6


@dataclass(frozen=True, slots=True)
class Shelf:
    """Texts of some rows. `rows` are line numbers in the samples' file, ascending; chunk `i` holds the next `counts[i]` of them.

    `questions` gives question and gold answer of each problem held; `num_rows` counts all rows of the file.
    """

    rows: tuple[int, ...]
    chunks: tuple[str, ...]
    counts: tuple[int, ...]
    questions: Mapping[str, tuple[str, str]]
    num_rows: int

    def text(self, place: int) -> tuple[str, str | None]:
        """Text and extracted answer of the row that stands at `place` in `rows`."""
        for chunk, count in zip(self.chunks, self.counts, strict=True):
            if place < count:
                text, answer = unpack(chunk)[place]
                return text, answer
            place -= count
        raise IndexError(f"place {place} is beyond the shelf")


class ShelfBuilder:
    """Collects the texts of one evaluation."""

    def __init__(self, stride: int) -> None:
        self.stride = stride
        self.numbers: dict[str, int] = {}
        self.rows: list[int] = []
        self.chunks: list[str] = []
        self.counts: list[int] = []
        self.questions: dict[str, tuple[str, str]] = {}
        self.num_rows = self.size = 0
        self.waiting: list[tuple[str, str | None]] = []

    def add(self, row: ResponseRow) -> None:
        """Takes the next row of the file; ignores it if the texts of its problem are not kept."""
        number = self.numbers.setdefault(row.problem_id, len(self.numbers))
        if number % self.stride == 0:
            self.rows.append(self.num_rows)
            self.questions.setdefault(row.problem_id, (row.question, row.gold))
            self._put(row.text, row.answer)
        self.num_rows += 1

    def _put(self, text: str, answer: str | None) -> None:
        self.waiting.append((text, answer))
        self.size += len(text) + 16
        if self.size >= CHUNK_CHARS:
            self._close_chunk()

    def _close_chunk(self) -> None:
        if self.waiting:
            self.chunks.append(pack(self.waiting))
            self.counts.append(len(self.waiting))
        self.waiting, self.size = [], 0

    def build(self) -> Shelf:
        """The shelf, once every row was added."""
        self._close_chunk()
        return Shelf(tuple(self.rows), tuple(self.chunks), tuple(self.counts), self.questions, self.num_rows)


def every_nth(num_bytes: int, budget: int) -> int:
    """The n for which every n-th problem's texts are kept; 1 if all files together fit the budget.

    >>> every_nth(90, 100), every_nth(101, 100), every_nth(1000, 100)
    (1, 2, 10)
    """
    return max(1, -(-num_bytes // budget))


def pack(value: Any) -> str:
    """JSON, gzip, base64; the same bytes for the same value."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    return base64.b64encode(gzip.compress(text, compresslevel=LEVEL, mtime=0)).decode("ascii")


def unpack(packed: str) -> Any:
    """The value that `pack` packed.

    >>> unpack(pack([1, "</script>"]))
    [1, '</script>']
    """
    return json.loads(gzip.decompress(base64.b64decode(packed)).decode("utf-8", "surrogatepass"))

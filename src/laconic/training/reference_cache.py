"""Keeps the reference's log-probabilities of responses that it has scored before.

If a phase trains on few problems, they recur, and a policy that grows certain repeats whole responses. A reference with fixed
weights gives a repeated response the same scores. The cache is emptied when the reference moves, and also whenever a checkpoint
is written, so that a run resumed from the checkpoint scores the same rows again as one that was not interrupted.

Legend: `B` responses, `T` response tokens.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from laconic.training.batching import RolloutBatch

MAX_CACHED_TOKENS = 2**24  # 64 MiB of float32

Key = tuple[tuple[int, ...], tuple[int, ...]]


class ReferenceCache:
    """Log-probabilities of responses under the reference, by prompt and response; if it is full, the oldest are dropped first."""

    def __init__(self) -> None:
        self.held: dict[Key, Tensor] = {}
        self.num_tokens = 0

    def clear(self) -> None:
        """Forget everything."""
        self.held.clear()
        self.num_tokens = 0

    def unknown_rows(self, batch: RolloutBatch) -> list[int]:
        """Rows of `batch` to be scored: for each response that is not in the cache, the first row that has it."""
        first: dict[Key, int] = {}
        for row, key in enumerate(_keys(batch)):
            if key not in self.held:
                first.setdefault(key, row)
        return list(first.values())

    def complete(self, batch: RolloutBatch, scored: Tensor, rows: Sequence[int]) -> Tensor:
        """Log-probabilities [B, T] of the whole batch: those of `rows` from `scored` [B, T], all others from the cache. The
        scores of `rows` are added to the cache."""
        keys, lengths = _keys(batch), batch.lengths.tolist()
        for row in rows:
            self.held[keys[row]] = scored[row, : lengths[row]].clone()
            self.num_tokens += lengths[row]
        out = torch.zeros_like(scored)
        for row, key in enumerate(keys):
            out[row, : lengths[row]] = self.held[key]
        self._drop_oldest()
        return out

    def _drop_oldest(self) -> None:
        while self.num_tokens > MAX_CACHED_TOKENS:
            oldest = next(iter(self.held))
            self.num_tokens -= len(self.held.pop(oldest))


def _keys(batch: RolloutBatch) -> list[Key]:
    ids, lengths = batch.response_ids.tolist(), batch.lengths.tolist()
    return [(prompt, tuple(row[:n])) for prompt, row, n in zip(batch.prompts, ids, lengths, strict=True)]

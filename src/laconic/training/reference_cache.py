"""What the reference said about responses it has scored before.

A handful of problems recur, and a policy that grows sure of itself repeats whole responses: a reference that does not move
says the same of them each time. The cache is emptied when the reference moves and whenever a checkpoint is written, so that a
run that is resumed from there scores the same rows anew as the one that went on.

Legend: `B` responses, `T` response tokens.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from laconic.training.batching import RolloutBatch

MAX_CACHED_TOKENS = 2**24  # 64 MiB of float32

Key = tuple[tuple[int, ...], tuple[int, ...]]


class ReferenceCache:
    """Log-probabilities of responses under the reference, by prompt and response; the oldest leave first."""

    def __init__(self) -> None:
        self.held: dict[Key, Tensor] = {}
        self.num_tokens = 0

    def clear(self) -> None:
        """Forget everything."""
        self.held.clear()
        self.num_tokens = 0

    def unknown_rows(self, batch: RolloutBatch) -> list[int]:
        """Rows of `batch` to be scored: the first of each response that is not held."""
        first: dict[Key, int] = {}
        for row, key in enumerate(_keys(batch)):
            if key not in self.held:
                first.setdefault(key, row)
        return list(first.values())

    def complete(self, batch: RolloutBatch, scored: Tensor, rows: Sequence[int]) -> Tensor:
        """Log-probabilities [B, T] of the whole batch, from `scored` [B, T] for `rows` and from what is held for the others;
        what was scored is held from now on."""
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

"""The rows that are being drawn: each step draws one token for every row, and rows join and leave between steps.

1. The cache, the decoder and the draw are those of the local sampler (`samplers/`). That one is given all its requests at once
   and one way of drawing; here every row has its own temperature, top-p and cap, and no row waits for the end of another.
2. Rows that enter are prefilled together, equal prompts once. While a long prompt is prefilled, the others wait.
3. After each step the host reads the new tokens, and a row that has ended leaves at once. The others move together, long ones
   first, so that hardly more of the cache is read than they hold.

Randomness: the number of a row's token is a hash of (key, place), so it depends on no other row, and a seed gives the same
response in whatever company. (The logits may differ in the last bits with the number of rows, as in the local sampler.)

Legend: `R` live rows, `N` rows that enter, `V` vocabulary.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from laconic.config.solver import SamplerConfig
from laconic.models.causal_lm import CausalLM
from laconic.models.waiting import look_at_load
from laconic.samplers.cache import SlotCache
from laconic.samplers.decoders import make_decoder
from laconic.samplers.drawing import draw_tokens, uniforms
from laconic.samplers.local import PREFILL_TOKENS, moves_into_order
from laconic.serving.local_server.jobs import Job, LiveRow


class LiveRows:
    """Room for `num_slots` rows of at most `max_positions` tokens, prompt included."""

    def __init__(self, lm: CausalLM, num_slots: int, max_positions: int) -> None:
        self.lm, self.num_slots, self.max_positions = lm, num_slots, max_positions
        device, dtype = lm.device, lm.autocast_dtype or lm.model.dtype
        self.cache = SlotCache(num_slots, max_positions, device, dtype)
        self.decoder = make_decoder(lm, max_positions, is_compiled=False)
        self.lengths, self.keys, self.places, self.current = (
            torch.zeros(num_slots, dtype=torch.long, device=device) for _ in range(4)
        )
        self.rows: list[LiveRow] = []
        self.reached = np.zeros(num_slots, dtype=np.int64)  # positions that each row holds

    @property
    def num_free(self) -> int:
        """How many rows can enter."""
        return self.num_slots - len(self.rows)

    # --- entering ----------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def enter(self, jobs: Sequence[Job]) -> None:
        """Let jobs in, of which there are at most `num_free`, and draw the first token of each."""
        entering = sorted(jobs, key=lambda job: -len(job.prompt))
        first = len(self.rows)
        slots = slice(first, first + len(entering))
        prompts = list(dict.fromkeys(job.prompt for job in entering))
        logits: dict[tuple[int, ...], Tensor] = {}
        for begin, end in _batches([len(prompt) for prompt in prompts], PREFILL_TOKENS[self._device_kind()]):
            logits |= self._prefill(prompts[begin:end], first, entering)
        self.rows += [LiveRow(job, self.lm) for job in entering]
        self.reached[slots] = [len(job.prompt) for job in entering]
        self.lengths[slots] = torch.tensor([len(job.prompt) for job in entering], device=self.lm.device)
        self.keys[slots] = torch.tensor([job.key for job in entering], device=self.lm.device)
        self.places[slots] = 0
        self._draw(slots, torch.stack([logits[job.prompt] for job in entering]))
        self._take(slots)

    def _device_kind(self) -> str:
        kind = self.lm.device.type
        return kind if kind in PREFILL_TOKENS else "cuda"

    def _prefill(
        self, prompts: Sequence[tuple[int, ...]], first: int, entering: Sequence[Job]
    ) -> dict[tuple[int, ...], Tensor]:
        """The last logits [V] of each prompt, whose keys and values are written to the slots of the jobs that have it."""
        device, longest = self.lm.device, max(map(len, prompts))
        ids = torch.tensor([[*p, *[self.lm.pad_id] * (longest - len(p))] for p in prompts], device=device)
        logits, layers = self.decoder.prefill(ids, torch.tensor([len(p) - 1 for p in prompts], device=device))
        row_of = {prompt: row for row, prompt in enumerate(prompts)}
        members = [(first + place, job) for place, job in enumerate(entering) if job.prompt in row_of]
        slots, rows, lengths = (
            torch.tensor(column, device=device)
            for column in zip(*((slot, row_of[job.prompt], len(job.prompt)) for slot, job in members), strict=True)
        )
        self.cache.write_prompts(slots, rows, layers, lengths)
        return {prompt: logits[row] for prompt, row in row_of.items()}

    # --- a step ------------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def step(self) -> None:
        """One token for every live row; those that have ended leave."""
        look_at_load()
        live = len(self.rows)
        self.cache.plan_step(self.reached[:live])
        positions = self.lengths[:live]
        self.cache.begin_step(positions)
        logits = self.decoder(self.current[:live], positions, self.cache)
        positions += 1
        self.reached[:live] += 1
        self._draw(slice(0, live), logits)
        self._take(slice(0, live))

    def _draw(self, slots: slice, logits: Tensor) -> None:
        """Draw the next token of the rows in `slots` from `logits` [R, V], each as its job says."""
        numbers = uniforms(self.keys[slots], self.places[slots])
        for decoding, members in _alike(self.rows[slots]):
            if len(members) == len(logits):
                self.current[slots] = draw_tokens(logits, numbers, decoding)[0]
                continue
            chosen = torch.tensor(members, device=self.lm.device)
            self.current[chosen + slots.start] = draw_tokens(logits[chosen], numbers[chosen], decoding)[0]
        self.places[slots] += 1

    def _take(self, slots: slice) -> None:
        """Give the drawn tokens to their rows, and let rows leave."""
        drawn = self.current[slots].tolist()
        for slot, (row, token) in enumerate(zip(self.rows[slots], drawn, strict=True), start=slots.start):
            taken = row.take(token)
            if taken != token:
                self.current[slot] = taken
            row.report()
        self.leave()

    # --- leaving -----------------------------------------------------------------------------------------------------

    def leave(self) -> None:
        """Let go of the rows that have ended or whose clients have left; live rows move into the first slots."""
        stays = [not (row.finish or row.job.left.is_set()) for row in self.rows]
        if all(stays):
            return
        alive = np.flatnonzero(stays)
        free, moved = moves_into_order(alive, self.reached[alive] // self.cache.page_tokens)
        if len(free):
            target, source = (torch.from_numpy(slots).to(self.lm.device) for slots in (free, moved))
            self.cache.move(target, source, int(self.reached[moved].max()))
            for held in (self.lengths, self.keys, self.places, self.current):
                held[target] = held[source]
            self.reached[free] = self.reached[moved]
            for to, row in zip(free, [self.rows[origin] for origin in moved], strict=True):
                self.rows[to] = row
        self.rows = self.rows[: len(alive)]
        self.reached[len(alive) :] = 0


def _alike(rows: Sequence[LiveRow]) -> list[tuple[SamplerConfig, list[int]]]:
    """The rows by how they are drawn, as places in `rows`."""
    groups: dict[tuple[float, float, float], tuple[SamplerConfig, list[int]]] = {}
    for place, row in enumerate(rows):
        decoding = row.decoding
        key = decoding.temperature, decoding.top_p, decoding.min_p
        groups.setdefault(key, (decoding, []))[1].append(place)
    return list(groups.values())


def _batches(lengths: Sequence[int], most: int) -> list[tuple[int, int]]:
    """Where to cut prompts of these lengths, the longest first, so that no batch has more than `most` tokens, padding included.

    >>> _batches([5, 4, 4, 1], 10)
    [(0, 2), (2, 4)]
    """
    cuts, begin = [], 0
    while begin < len(lengths):
        end = begin + max(1, most // lengths[begin])
        cuts.append((begin, min(end, len(lengths))))
        begin = end
    return cuts

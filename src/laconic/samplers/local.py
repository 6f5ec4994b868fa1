"""The local sampler: an autoregressive loop over any Hugging Face causal LM, in this process.

1. Every (prompt, sample) pair is a row. Rows wait in order; up to `batch_size` of them are live, each in a slot.
2. Free slots are filled with waiting rows: each distinct prompt is prefilled once, its keys and values copied into the slots
   of all its samples. The tokens with which all prompts of a call begin, such as a system text, are computed once a call.
3. A step (`slots.py`) feeds one token per live row (`decoders.py`), over a cache that is read only as far as the live rows
   reach (`cache.py`), and draws the next token of each (`drawing.py`). The draw gives the log-probability, without a second
   forward pass.
4. A row that draws an end token or reaches the cap has ended and no longer changes. When enough rows have ended, live rows move
   together, long ones before short ones, and waiting rows take the slots behind them. A page of the cache is read up to the last
   row that reaches it, so in this order hardly more is read than the rows hold.

A row of `p` prompt tokens with a cap of `c` is never fed at position `p + c` or beyond: one that has ended, whether the host
knows it yet or not, is fed at its last position again and again. So `p + c` positions are room enough, however many steps lie
between two looks.

All state of a row is in tensors on the model's device; Python handles rows only when they enter and leave. The slots stay from
call to call, on CUDA with the graphs of their steps, and are given back where something else needs the memory (`make_room`).

Randomness: one uniform number per row and step, a hash of (seed, key, sample, step). A row's numbers do not depend on the other
rows. (Its logits may, in the last bits: matrix products round differently at different batch shapes. The same call gives the same
responses.)

Legend: `N` rows that enter, `V` vocabulary.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from laconic.config.solver import PenalizedSampler, SamplerConfig
from laconic.errors import Diverged, ModelError
from laconic.models.causal_lm import CausalLM
from laconic.models.waiting import look_at_load
from laconic.rng import seed_of
from laconic.samplers.decoders import Held, Prefilled, weight_bytes
from laconic.samplers.drawing import penalized_ids
from laconic.samplers.lanes import decode_in_lanes, num_lanes
from laconic.samplers.protocol import Request
from laconic.samplers.slots import Slots
from laconic.types import FinishReason, Progress, Response

LANE_BYTES = 2**28  # in models with more weights, arithmetic takes most of the time, and every lane would read them
LEAVING_SHARE = 0.125  # the share of rows that must have ended before live rows move together
LOOKS_EVERY = 8  # on CUDA, steps between two checks which rows have ended: a check makes the host wait
CHECK_STEPS, CHECK_SAMPLES = 3, 2  # products of a few rows may be computed in another way than those of more
CHECK_PROMPTS = (2, 5, 84)  # tokens; the longest passes a short window and goes on in a second page of the cache
COMMON_TOKENS, SPARED_TOKENS = 8, 512
"""Prompts' common beginning is computed once where it has so many tokens, and that spares so many: it takes a pass of its own."""
PREFILL_TOKENS = {"cpu": 2048, "cuda": 16_384}  # tokens of prompts that go through the model at once, padding included
KEPT_BYTES = 2**29  # off CUDA, a cache up to this size is kept for the next call, since new memory is slow at first
ROOM_MARGIN = 1.25  # the next peak of memory may be higher than all before it, by this factor
KNOWN_LAYERS = frozenset({"full_attention", "sliding_attention"})


class LocalSampler:
    """Draws responses with `lm` in this process, as the head of this module describes."""

    def __init__(self, lm: CausalLM) -> None:
        self.lm = lm
        self.is_checked = False
        self.slots: Slots | None = None  # those of the last call
        self.has_made_room = False
        if unknown := set(getattr(lm.text_config, "layer_types", None) or ()) - KNOWN_LAYERS:
            raise ModelError(
                f"{lm.name}: the local sampler has no cache for layers of kind {', '.join(sorted(unknown))}"
            )

    def sample(
        self, requests: Sequence[Request], decoding: SamplerConfig, *, seed: int, on_progress: Progress | None = None
    ) -> list[list[Response]]:
        """The responses to each request, in the order of requests and samples.

        Raises `ModelError` where a prompt and `decoding.max_tokens` do not fit the model's context, a prompt holds a token that
        the embedding lacks, or decoding gives other log-probabilities than the model's own forward pass; `Diverged` where those
        are not finite.
        """
        self._check_fit(requests, decoding.max_tokens)
        if isinstance(decoding, PenalizedSampler):
            penalized_ids(decoding.tokens, self.lm.device)
        was_training = self.lm.model.training
        self.lm.model.eval()
        try:
            self.check_decoding()
            return self._decode_on_all_cores(requests, decoding, seed, on_progress or _ignore)
        finally:
            self.lm.model.train(was_training)

    def _decode_on_all_cores(
        self, requests: Sequence[Request], decoding: SamplerConfig, seed: int, on_progress: Progress
    ) -> list[list[Response]]:
        """In lanes where they are faster; elsewhere arithmetic takes most of the time, and threads share it."""
        lanes = num_lanes(_num_rows(requests, decoding)) if self._takes_lanes(decoding) else 1
        if lanes == 1:
            return self._decode(requests, decoding, seed, on_progress)
        share = decoding.model_copy(update={"batch_size": math.ceil(decoding.batch_size / lanes)})
        return decode_in_lanes(lambda part, count: self._decode(part, share, seed, count), requests, lanes, on_progress)

    def _takes_lanes(self, decoding: SamplerConfig) -> bool:
        """Whether processes of one thread beat threads: for small models on a CPU, if nothing is compiled (a child would compile
        for itself, anew in each call)."""
        return self.lm.device.type == "cpu" and not decoding.compile and weight_bytes(self.lm) <= LANE_BYTES

    @torch.inference_mode()
    def _decode(
        self, requests: Sequence[Request], decoding: SamplerConfig, seed: int, on_progress: Progress
    ) -> list[list[Response]]:
        slots, self.slots = self._slots_for(requests, decoding), None
        decoder = slots.begin(_num_rows(requests, decoding), decoding.compile)
        with decoder.arithmetic():
            responses = _Decoding(slots, requests, decoding, seed, on_progress).run()
            slots.end()
        # masked entries are still multiplied by 0, which keeps a NaN: a cache that may hold one is not used again
        if not all(math.isfinite(response.logprobs[-1]) for row in responses for response in row):
            raise Diverged(
                f"the log-probabilities of what {self.lm.name} samples are not finite: its weights are too large, or NaN"
            )
        is_kept = self.lm.device.type == "cuda" or slots.num_bytes <= KEPT_BYTES
        self.slots = slots if is_kept else None
        return responses

    def _slots_for(self, requests: Sequence[Request], decoding: SamplerConfig) -> Slots:
        """The last call's slots where there is room in them, else new ones."""
        num_slots = _num_rows(requests, decoding)
        longest = max((len(request.prompt_ids) for request in requests), default=0) + decoding.max_tokens
        if self.slots is not None and self.slots.fits(num_slots, longest, decoding.max_tokens):
            return self.slots
        self.slots = None  # before new memory is taken
        return Slots(self.lm, num_slots, longest, decoding.max_tokens)

    def release(self) -> None:
        """Give back the memory that is kept for the next call, which then takes new memory."""
        self.slots = None

    def make_room(self) -> None:
        """Give back the kept memory where the caller, before an update, may run short of it.

        On CUDA that is where the highest use so far, with a margin, would not fit beside the slots; before the first call of this
        method that use is unknown. Off CUDA what is kept is small (`KEPT_BYTES`)."""
        if self.slots is not None and self.lm.device.type == "cuda":
            if not self.has_made_room or is_short(self.lm.device, self.slots.num_bytes):
                self.release()
            self.has_made_room = True

    def _check_fit(self, requests: Sequence[Request], max_tokens: int) -> None:
        limit = self.lm.context_length
        for request in requests:
            if not request.prompt_ids:
                raise ModelError(f"{request.key}: the prompt is empty; expected at least one token")
            self.lm.check_ids(request.prompt_ids, f"the prompt of {request.key}")
            if limit is not None and len(request.prompt_ids) + max_tokens > limit:
                raise ModelError(
                    f"{request.key}: a prompt of {len(request.prompt_ids)} tokens and max_tokens {max_tokens} "
                    f"exceed the context of {self.lm.name}, {self.lm.context_words}"
                )

    def check_decoding(self) -> None:
        """Compare a few steps from prompts of different length with the model's own forward pass, once.

        Raises `ModelError` where they differ, or the model's code fails.
        """
        if self.is_checked:
            return
        size, most = self.lm.text_config.vocab_size, (self.lm.context_length or math.inf) - CHECK_STEPS
        lengths = sorted({int(max(1, min(length, most))) for length in CHECK_PROMPTS})
        requests = [Request(str(n), tuple(token % size for token in range(1, n + 1)), CHECK_SAMPLES) for n in lengths]
        decoding = SamplerConfig(temperature=0.0, max_tokens=CHECK_STEPS, batch_size=CHECK_SAMPLES * len(requests))
        with self.lm.failing_in_one_line("sampled"):
            drawn = [row[0] for row in self._decode(requests, decoding, 0, _ignore)]
            plain = [
                self._forward(request.prompt_ids, response.token_ids)
                for request, response in zip(requests, drawn, strict=True)
            ]
        for response, expected in zip(drawn, plain, strict=True):
            is_exact = self.lm.model.dtype == torch.float32 and self.lm.autocast_dtype is None
            tolerance = 1e-3 if is_exact and not self.lm.is_quantized else 0.2  # inputs may round to a neighbour
            if not torch.allclose(torch.tensor(response.logprobs), expected, atol=tolerance, rtol=tolerance):
                kind = type(self.lm.model).__name__
                raise ModelError(
                    f"{self.lm.name}: the local sampler does not decode {kind} as its own forward pass does"
                )
        self.is_checked = True

    @torch.inference_mode()
    def _forward(self, prompt: Sequence[int], response: Sequence[int]) -> Tensor:
        """Log-probabilities of a response by one plain forward pass."""
        ids = torch.tensor([[*prompt, *response]], device=self.lm.device)
        with self.lm.autocast():
            hidden = self.lm.backbone(ids, use_cache=False).last_hidden_state[0, len(prompt) - 1 : -1]
            logprobs = self.lm.head(hidden).log_softmax(-1)
        return logprobs.gather(-1, ids[0, len(prompt) :, None])[:, 0].cpu()


def _num_rows(requests: Sequence[Request], decoding: SamplerConfig) -> int:
    """How many rows of a call are live at most."""
    return min(decoding.batch_size, sum(request.num_samples for request in requests))


def _ignore(responses: int, tokens: int) -> None:
    """Progress that nobody watches."""


@dataclass(slots=True)
class _Row:
    """One response that is being generated: the index of its request, and the number of its sample."""

    request: int
    sample: int


@dataclass(slots=True)
class _Prefix:
    """A prefilled prompt: its last logits [V] and where its keys and values are: row `row` of `layers`."""

    logits: Tensor
    layers: list[tuple[Tensor, Tensor]]
    row: int


class _Decoding:
    """One call of `sample`: the rows, which slots they are in, and the loop."""

    def __init__(
        self,
        slots: Slots,
        requests: Sequence[Request],
        decoding: SamplerConfig,
        seed: int,
        on_progress: Progress,
    ) -> None:
        self.slots, self.lm, self.requests, self.decoding = slots, slots.lm, requests, decoding
        self.seed, self.on_progress = seed, on_progress
        self.device = slots.device
        self.waiting = deque(_Row(r, s) for r, request in enumerate(requests) for s in range(request.num_samples))
        self.num_slots = min(decoding.batch_size, len(self.waiting))
        self.prefixes: dict[int, _Prefix] = {}
        self.num_common = self._num_common()
        self.beginning: Held | None = None  # of the common tokens, from the first prefill on
        self.rows: list[_Row] = []  # slot by slot: live rows and rows that have ended
        self.results: list[list[Response | None]] = [[None] * request.num_samples for request in requests]
        self.reached = np.zeros(slots.num_slots, dtype=np.int64)  # an upper bound of the positions that each row holds
        self.most = np.zeros(slots.num_slots, dtype=np.int64)  # how many each row can come to hold
        self.looks_every = 1 if slots.graphs is None else LOOKS_EVERY

    def run(self) -> list[list[Response]]:
        """Fill, step and empty slots until no row is left."""
        self._refill()
        while self.rows:
            look_at_load()
            for _ in range(self.looks_every):
                self._advance()
            self._let_go()
        return [[response for response in row if response is not None] for row in self.results]

    # --- filling -----------------------------------------------------------------------------------------------------

    def _refill(self) -> None:
        """Let waiting rows take the slots behind the live ones. A row may end with its first token."""
        first = len(self.rows)
        entering = [self.waiting.popleft() for _ in range(min(self.num_slots - first, len(self.waiting)))]
        if not entering:
            return
        entering.sort(key=lambda row: -len(self.requests[row.request].prompt_ids))
        self.rows += entering
        self._prefill_new({row.request for row in entering})
        self._write_prefixes(first, entering)
        lengths = [len(self.requests[row.request].prompt_ids) for row in entering]
        self.reached[first : len(self.rows)] = lengths
        self.most[first : len(self.rows)] = np.array(lengths) + self.decoding.max_tokens - 1
        self.slots.enter(
            slice(first, len(self.rows)),
            torch.tensor(lengths, device=self.device),
            torch.tensor([self._row_key(row) for row in entering], device=self.device),
            torch.stack([self.prefixes[row.request].logits for row in entering]),
            self.decoding,
        )
        still_needed = {row.request for row in self.waiting}
        self.prefixes = {request: prefix for request, prefix in self.prefixes.items() if request in still_needed}

    def _row_key(self, row: _Row) -> int:
        request = self.requests[row.request]
        return seed_of(self.seed, "sample", request.key, request.first_sample + row.sample)

    def _prefill_new(self, requests: set[int]) -> None:
        new = sorted(
            requests - self.prefixes.keys(), key=lambda request: (len(self.requests[request].prompt_ids), request)
        )
        if not new:
            return
        longest = len(self.requests[new[-1]].prompt_ids)
        at_once = max(1, PREFILL_TOKENS.get(self.device.type, PREFILL_TOKENS["cuda"]) // longest)
        for first in range(0, len(new), at_once):
            self._prefill(new[first : first + at_once])

    def _prefill(self, requests: Sequence[int]) -> None:
        """One pass over the prompts of some requests."""
        if self.num_common and self.beginning is None:
            _, self.beginning = self._run([self.requests[0].prompt_ids[: self.num_common]])
        rests = [self.requests[request].prompt_ids[self.num_common :] for request in requests]
        logits, layers = self._run(rests, self.beginning)
        for row, request in enumerate(requests):
            self.prefixes[request] = _Prefix(logits[row], layers, row)

    def _run(self, prompts: Sequence[Sequence[int]], beginning: Held | None = None) -> Prefilled:
        """One pass over prompts, or over what follows their beginning."""
        longest = max(map(len, prompts))
        ids = torch.tensor([[*p, *[self.lm.pad_id] * (longest - len(p))] for p in prompts], device=self.device)
        last = torch.tensor([len(p) - 1 for p in prompts], device=self.device)
        assert self.slots.decoder is not None
        return self.slots.decoder.prefill(ids, last, beginning)

    def _num_common(self) -> int:
        """The number of tokens with which all prompts begin, each of which goes on behind them; 0 where to compute them once is
        not worth a pass."""
        prompts = {request.prompt_ids for request in self.requests}
        if len(prompts) < 2 or self.slots.decoder is None or not self.slots.decoder.continues:
            return 0
        first, last = min(prompts), max(prompts)  # in the order of words: all others lie between these two
        length = min(map(len, prompts)) - 1
        common = next((i for i in range(length) if first[i] != last[i]), length)
        is_worth_it = common >= COMMON_TOKENS and common * (len(prompts) - 1) >= SPARED_TOKENS
        return common if is_worth_it else 0

    def _write_prefixes(self, first: int, entering: Sequence[_Row]) -> None:
        """Copy each row's prompt into its slot, from slot `first` on; those that were prefilled together are copied together."""
        batches: dict[int, list[int]] = {}
        for i, row in enumerate(entering):
            batches.setdefault(id(self.prefixes[row.request].layers), []).append(i)
        for members in batches.values():
            prefixes = [self.prefixes[entering[i].request] for i in members]
            rows = torch.tensor([prefix.row for prefix in prefixes], device=self.device)
            lengths = [len(self.requests[entering[i].request].prompt_ids) for i in members]
            targets = torch.tensor(members, device=self.device) + first
            self.slots.cache.write_prompts(targets, rows, prefixes[0].layers, torch.tensor(lengths, device=self.device))

    # --- stepping ----------------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """One token for every live row."""
        rows = slice(0, len(self.rows))
        self.slots.advance(len(self.rows), self.reached, self.decoding)
        self.reached[rows] = np.minimum(self.reached[rows] + 1, self.most[rows])

    # --- leaving -----------------------------------------------------------------------------------------------------

    def _let_go(self) -> None:
        """Take up the responses of rows that have ended, once enough have; the others move together and waiting rows enter."""
        live, slots = len(self.rows), self.slots
        num_ended = live - int(slots.alive[:live].sum())
        if num_ended < min(live, max(1, LEAVING_SHARE * live)):
            return
        is_alive = slots.alive[:live].bool()
        ended = (~is_alive).nonzero()[:, 0]
        self._release(
            ended.tolist(), slots.tokens[ended].cpu(), slots.logprobs[ended].cpu(), slots.produced[ended].tolist()
        )
        self._close_ranks(is_alive.tolist())
        self._refill()

    def _release(self, slots: list[int], tokens: Tensor, logprobs: Tensor, lengths: list[int]) -> None:
        for slot, ids, scores, length in zip(slots, tokens, logprobs, lengths, strict=True):
            row, token_ids = self.rows[slot], tuple(ids[:length].tolist())
            self.results[row.request][row.sample] = Response(
                token_ids=token_ids,
                logprobs=tuple(scores[:length].tolist()),
                text=self.lm.decode(token_ids),
                finish_reason=FinishReason.STOP if token_ids[-1] in self.lm.stop_ids else FinishReason.LENGTH,
            )
            self.on_progress(1, length)

    def _close_ranks(self, is_alive: list[bool]) -> None:
        """Move live rows into the first slots, those that reach more pages of the cache first."""
        alive = np.flatnonzero(is_alive)
        free, moved = moves_into_order(alive, self.reached[alive] // self.slots.cache.page_tokens)
        if len(free):
            target, source = (torch.from_numpy(slots).to(self.device) for slots in (free, moved))
            self.slots.move(target, source, int(self.reached[moved].max()))
            self.reached[free], self.most[free] = self.reached[moved], self.most[moved]
            for to, row in zip(free, [self.rows[origin] for origin in moved], strict=True):
                self.rows[to] = row
        live = len(alive)
        self.rows = self.rows[:live]
        self.reached[live:] = 0
        self.slots.close(live)


def moves_into_order(slots: NDArray[np.int64], sizes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The fewest moves that bring rows into the first slots, larger ones first: their targets and their sources. The rows are in
    `slots` [N], in ascending order, and have `sizes` [N].

    >>> [list(map(int, moved)) for moved in moves_into_order(np.array([0, 1, 3, 4]), np.array([2, 1, 2, 1]))]
    [[1, 2, 3], [3, 1, 4]]
    """
    sizes_in_order = np.sort(sizes)[::-1]
    stays = np.zeros(len(slots), dtype=bool)
    inside = slots < len(slots)
    stays[inside] = sizes[inside] == sizes_in_order[slots[inside]]
    moving = np.flatnonzero(~stays)
    moving = moving[np.argsort(-sizes[moving], kind="stable")]
    return np.setdiff1d(np.arange(len(slots)), slots[stays]), slots[moving]


def is_short(device: torch.device, num_bytes: int) -> bool:
    """Whether a CUDA device has no room for `num_bytes` beside the highest use of this process so far, with a margin."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) < ROOM_MARGIN * torch.cuda.max_memory_allocated(device) + num_bytes

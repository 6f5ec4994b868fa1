"""The local sampler: an autoregressive loop over any Hugging Face causal LM, in this process.

1. Every (prompt, sample) pair is a row. Rows wait in order; up to `batch_size` of them are live, each in a slot.
2. Free slots are filled with waiting rows: each distinct prompt is prefilled once, its keys and values copied into the slots
   of all its samples.
3. A step feeds one token per live row (`decoders.py`), over a cache that is read only as far as the live rows reach (`cache.py`),
   and draws the next token of each (`drawing.py`). The draw gives the log-probability, without a second forward pass.
4. A row that draws an end token or reaches the cap has ended and no longer changes. When enough rows have ended, live rows move
   together and waiting rows take the slots behind them. So older rows come first, and the cache's later pages are read for a few
   rows only.

A row of `p` prompt tokens with a cap of `c` is never fed at position `p + c` or beyond, and never writes behind token `c`: one that has
ended, as those that the host does not know to have ended, is fed at its last position again and again. So `p + c` positions are room
enough, whatever happens between two looks.

All state of a row is in tensors on the model's device; Python handles rows only when they enter and leave. On CUDA a step is
captured as a graph, once for each (rows, positions read), both rounded up so that there are few graphs.

Randomness: one uniform number per row and step, a hash of (seed, key, sample, step). A row's numbers do not depend on the other
rows. (Its logits may, in the last bits: matrix products round differently at different batch shapes. The same call gives the same
responses.)

Legend: `S` slots, `R` live rows, `H` key-value heads, `D` head size, `V` vocabulary.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from laconic.config.solver import SamplerConfig
from laconic.errors import ModelError
from laconic.models.causal_lm import CausalLM
from laconic.models.waiting import look_at_load
from laconic.rng import seed_of
from laconic.samplers.cache import SlotCache
from laconic.samplers.decoders import make_decoder, weight_bytes
from laconic.samplers.drawing import draw_tokens, uniforms
from laconic.samplers.lanes import decode_in_lanes, num_lanes
from laconic.samplers.protocol import Request
from laconic.types import FinishReason, Progress, Response

LANE_BYTES = 2**28  # in models with more weights, arithmetic takes most of the time, and every lane would read them
LEAVING_SHARE = 0.125  # the share of rows that must have ended before live rows move together
UNIFORM_STEPS = 64  # the number of steps whose uniform numbers are hashed at once
LOOKS_EVERY = 8  # on CUDA, steps between two checks which rows have ended: a check makes the host wait
ROUNDED_ROWS = 8  # on CUDA the live rows are rounded up to a multiple of this
CHECK_STEPS = 3
PREFILL_TOKENS = {"cpu": 2048, "cuda": 16_384}  # tokens of prompts that go through the model at once, padding included
KEPT_BYTES = 2**29  # a cache up to this size is kept for the next call, since new memory is slow at first
KNOWN_LAYERS = frozenset({"full_attention", "sliding_attention"})


class LocalSampler:
    """Draws responses with `lm` in this process, as the head of this module describes."""

    def __init__(self, lm: CausalLM) -> None:
        self.lm = lm
        self.is_checked = False
        self.cache: SlotCache | None = None  # the cache of the last call, where it is small
        if unknown := set(getattr(lm.text_config, "layer_types", None) or ()) - KNOWN_LAYERS:
            raise ModelError(
                f"{lm.name}: the local sampler has no cache for layers of kind {', '.join(sorted(unknown))}"
            )

    def sample(
        self, requests: Sequence[Request], decoding: SamplerConfig, *, seed: int, on_progress: Progress | None = None
    ) -> list[list[Response]]:
        """The responses to each request, in the order of requests and samples.

        Raises `ModelError` where a prompt and `decoding.max_tokens` do not fit the model's context, or where decoding gives other
        log-probabilities than the model's own forward pass.
        """
        self._check_fit(requests, decoding.max_tokens)
        was_training = self.lm.model.training
        self.lm.model.eval()
        try:
            if not self.is_checked:
                self._check_decoding()
            return self._decode_on_all_cores(requests, decoding, seed, on_progress or (lambda responses, tokens: None))
        finally:
            self.lm.model.train(was_training)

    def _decode_on_all_cores(
        self, requests: Sequence[Request], decoding: SamplerConfig, seed: int, on_progress: Progress
    ) -> list[list[Response]]:
        """In lanes where they are faster; elsewhere arithmetic takes most of the time, and threads share it."""
        num_rows = min(decoding.batch_size, sum(request.num_samples for request in requests))
        lanes = num_lanes(num_rows) if self._takes_lanes(decoding) else 1
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
        self, requests: Sequence[Request], decoding: SamplerConfig, seed: int, on_progress: Progress | None
    ) -> list[list[Response]]:
        with self.lm.autocast():
            job = _Decoding(self.lm, requests, decoding, seed, on_progress, self.cache)
            self.cache = None
            responses = job.run()
        # masked entries are still multiplied by 0, which keeps a NaN: a cache that may hold one is not used again
        is_sound = all(math.isfinite(response.logprobs[-1]) for row in responses for response in row)
        self.cache = job.cache if is_sound and job.cache.num_bytes <= KEPT_BYTES else None
        return responses

    def _check_fit(self, requests: Sequence[Request], max_tokens: int) -> None:
        limit = self.lm.context_length
        for request in requests:
            if not request.prompt_ids:
                raise ModelError(f"{request.key}: the prompt is empty; expected at least one token")
            if limit is not None and len(request.prompt_ids) + max_tokens > limit:
                raise ModelError(
                    f"{request.key}: a prompt of {len(request.prompt_ids)} tokens and max_tokens {max_tokens} "
                    f"exceed the context of {self.lm.name}, {limit} tokens"
                )

    def _check_decoding(self) -> None:
        """Compare a few steps from two prompts of different length with the model's own forward pass, once."""
        size = self.lm.text_config.vocab_size
        requests = [Request(str(n), tuple(token % size for token in range(1, n + 1)), 1) for n in (2, 5)]
        decoding = SamplerConfig(temperature=0.0, max_tokens=CHECK_STEPS, batch_size=2)
        drawn = [row[0] for row in self._decode(requests, decoding, 0, None)]
        for request, response in zip(requests, drawn, strict=True):
            expected = self._forward(request.prompt_ids, response.token_ids)
            tolerance = 1e-3 if self.lm.model.dtype == torch.float32 and self.lm.autocast_dtype is None else 0.2
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
    """One call of `sample`: the rows, their slots and the loop."""

    def __init__(
        self,
        lm: CausalLM,
        requests: Sequence[Request],
        decoding: SamplerConfig,
        seed: int,
        on_progress: Progress | None,
        cache: SlotCache | None = None,
    ) -> None:
        self.lm, self.requests, self.decoding = lm, requests, decoding
        self.seed, self.on_progress = seed, on_progress or (lambda responses, tokens: None)
        self.device = lm.device
        self.waiting = deque(_Row(r, s) for r, request in enumerate(requests) for s in range(request.num_samples))
        self.num_slots = min(decoding.batch_size, len(self.waiting))
        longest = max((len(request.prompt_ids) for request in requests), default=0) + decoding.max_tokens
        if cache is not None and cache.fits(self.num_slots, longest):
            self.cache = cache
            self.cache.reset()
        else:
            self.cache = SlotCache(self.num_slots, longest, self.device, lm.autocast_dtype or lm.model.dtype)
        self.decoder = make_decoder(lm, longest, is_compiled=decoding.compile)
        self.prefixes: dict[int, _Prefix] = {}
        self.rows: list[_Row] = []  # slot by slot: live rows and rows that have ended
        self.stops = torch.tensor(sorted(lm.stop_ids), dtype=torch.long, device=self.device)
        self.results: list[list[Response | None]] = [[None] * request.num_samples for request in requests]
        self.lengths = self._counters()  # positions in the cache, prompt included
        self.produced = self._counters()
        self.alive = self._counters()  # 1 for a live row, 0 for one that has ended
        self.keys = self._counters()
        self.current = self._counters()
        self.tokens = torch.empty(self.num_slots, decoding.max_tokens + 1, dtype=torch.long, device=self.device)
        self.logprobs = torch.empty(self.num_slots, decoding.max_tokens + 1, device=self.device)
        self.reached = np.zeros(self.num_slots, dtype=np.int64)  # on the host: an upper bound of `lengths`
        self.most = np.zeros(self.num_slots, dtype=np.int64)  # and what `lengths` cannot exceed
        self.numbers: Tensor | None = None  # uniforms of the coming steps [R, UNIFORM_STEPS]
        self.num_used = 0
        self.steps = _GraphedSteps(self._step) if self.device.type == "cuda" else None
        self.looks_every = LOOKS_EVERY if self.device.type == "cuda" else 1

    def _counters(self) -> Tensor:
        return torch.zeros(self.num_slots, dtype=torch.long, device=self.device)

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
        self.rows += entering
        slots = torch.arange(first, len(self.rows), device=self.device)
        self._prefill_new({row.request for row in entering})
        self._write_prefixes(slots, entering)
        lengths = [len(self.requests[row.request].prompt_ids) for row in entering]
        self.lengths[slots] = torch.tensor(lengths, device=self.device)
        self.reached[first : len(self.rows)] = lengths
        self.most[first : len(self.rows)] = np.array(lengths) + self.decoding.max_tokens - 1
        self.produced[slots], self.alive[slots] = 0, 1
        self.keys[slots] = torch.tensor([self._row_key(row) for row in entering], device=self.device)
        logits = torch.stack([self.prefixes[row.request].logits for row in entering])
        self._accept(slice(first, len(self.rows)), logits, uniforms(self.keys[slots], self.produced[slots]))
        still_needed = {row.request for row in self.waiting}
        self.prefixes = {request: prefix for request, prefix in self.prefixes.items() if request in still_needed}
        self.numbers = None

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
        prompts = [self.requests[request].prompt_ids for request in requests]
        longest = max(map(len, prompts))
        ids = torch.tensor([[*p, *[self.lm.pad_id] * (longest - len(p))] for p in prompts], device=self.device)
        last = torch.tensor([len(p) - 1 for p in prompts], device=self.device)
        logits, layers = self.decoder.prefill(ids, last)
        for row, request in enumerate(requests):
            self.prefixes[request] = _Prefix(logits[row], layers, row)

    def _write_prefixes(self, slots: Tensor, entering: Sequence[_Row]) -> None:
        """Copy each row's prompt into its slot; rows whose prompts were prefilled together are copied together."""
        batches: dict[int, list[int]] = {}
        for i, row in enumerate(entering):
            batches.setdefault(id(self.prefixes[row.request].layers), []).append(i)
        for members in batches.values():
            prefixes = [self.prefixes[entering[i].request] for i in members]
            rows = torch.tensor([prefix.row for prefix in prefixes], device=self.device)
            lengths = [len(self.requests[entering[i].request].prompt_ids) for i in members]
            targets = slots[torch.tensor(members, device=self.device)]
            self.cache.write_prompts(targets, rows, prefixes[0].layers, torch.tensor(lengths, device=self.device))

    # --- stepping ----------------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """One token for every live row."""
        live = len(self.rows)
        if self.steps is not None:
            live = min(-(-live // ROUNDED_ROWS) * ROUNDED_ROWS, self.num_slots)
        self.cache.plan_step(self.reached[:live])
        if self.steps is None:
            self._step(live)
        else:
            self.steps(live, tuple(self.cache.reads))
        rows = slice(0, len(self.rows))
        self.reached[rows] = np.minimum(self.reached[rows] + 1, self.most[rows])

    def _step(self, live: int) -> None:
        """Feed the current tokens and draw the next ones, on the device alone, so that a graph can replay the step."""
        positions = self.lengths[:live]
        self.cache.begin_step(positions)
        logits = self.decoder(self.current[:live], positions, self.cache)
        positions += self.alive[:live]
        self._accept(slice(0, live), logits, self._next_numbers(live))

    def _next_numbers(self, live: int) -> Tensor:
        """Uniforms [R] of this step. Hashed many steps ahead where that saves operations; live rows advance together."""
        if self.steps is not None:
            return uniforms(self.keys[:live], self.produced[:live])
        if self.numbers is None or self.num_used == UNIFORM_STEPS:
            ahead = self.produced[:live, None] + torch.arange(UNIFORM_STEPS, device=self.device)
            self.numbers, self.num_used = uniforms(self.keys[:live, None], ahead), 0
        self.num_used += 1
        return self.numbers[:, self.num_used - 1]

    def _accept(self, slots: slice, logits: Tensor, numbers: Tensor) -> None:
        """Draw a token for each of `slots` and record it; rows that end stand still from here on."""
        tokens, logprobs = draw_tokens(logits, numbers, self.decoding)
        produced, alive = self.produced[slots], self.alive[slots]
        self.tokens[slots].scatter_(1, produced[:, None], tokens[:, None])  # what has ended writes behind its end
        self.logprobs[slots].scatter_(1, produced[:, None], logprobs[:, None])
        self.current[slots] = tokens
        produced += alive
        alive *= ~((tokens[:, None] == self.stops).any(-1) | (produced >= self.decoding.max_tokens))

    # --- leaving -----------------------------------------------------------------------------------------------------

    def _let_go(self) -> None:
        """Take up the responses of rows that have ended, once enough have; the others move together and waiting rows enter."""
        live = len(self.rows)
        num_ended = live - int(self.alive[:live].sum())
        if num_ended < min(live, max(1, LEAVING_SHARE * live)):
            return
        is_alive = self.alive[:live].bool()
        ended = (~is_alive).nonzero()[:, 0]
        self._release(
            ended.tolist(), self.tokens[ended].cpu(), self.logprobs[ended].cpu(), self.produced[ended].tolist()
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
        """Move live rows from the back into the slots of the rows that left."""
        live = sum(is_alive)
        free = [slot for slot in range(live) if not is_alive[slot]]
        moved = [slot for slot in range(live, len(is_alive)) if is_alive[slot]]
        if free:
            target, source = torch.tensor(free, device=self.device), torch.tensor(moved, device=self.device)
            self.cache.move(target, source, int(self.reached[moved].max()))
            for held in (self.lengths, self.produced, self.alive, self.keys, self.current, self.tokens, self.logprobs):
                held[target] = held[source]
            self.reached[free], self.most[free] = self.reached[moved], self.most[moved]
            for to, origin in zip(free, moved, strict=True):
                self.rows[to] = self.rows[origin]
        self.rows = self.rows[:live]
        self.alive[live:], self.reached[live:] = 0, 0
        self.numbers = None


class _GraphedSteps:
    """Steps captured as CUDA graphs, one for each (rows, pages read). The first such step runs without a graph, so that whatever
    must not happen during a capture happens then; the second is captured, and all further ones are replayed."""

    def __init__(self, step: Callable[[int], None]) -> None:
        self.step, self.memory = step, torch.cuda.graph_pool_handle()
        self.graphs: dict[tuple[int, tuple[tuple[int, int], ...]], torch.cuda.CUDAGraph | None] = {}

    def __call__(self, live: int, reads: tuple[tuple[int, int], ...]) -> None:
        """One step of `live` rows."""
        bucket = (live, reads)
        if bucket not in self.graphs:
            self.graphs[bucket] = None
            self.step(live)
            return
        graph = self.graphs[bucket]
        if graph is None:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self.memory):  # captures without running
                self.step(live)
            self.graphs[bucket] = graph
        graph.replay()

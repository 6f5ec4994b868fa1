"""The slots in which rows are written: keys and values, the state of each row, and one step of all live rows.

1. `Slots` has room for a number of rows, positions and tokens. It is kept from call to call while calls fit into it, and
   `begin` makes it ready for the next.
2. A row enters a slot with the length of its prompt and the key of its random numbers (`enter`). `advance` feeds one token per
   live row and draws the next ones. `move` puts rows together, and `close` says that only the first slots are live.
3. A step reads and writes only tensors that live as long as `Slots`. So on CUDA it is captured as a graph, once for each kind of
   step (`StepGraphs`), and a later call replays the graphs of an earlier one. Graphs hold the addresses of the weights too:
   `begin` drops them where a weight lies elsewhere than before, and renews the decoder's copies of weights in place. Where the
   model's own modules run under autocast, graphs live for one call, since autocast's copies of weights die with its context.
4. Nothing in a captured step may make the host wait. So models whose rotations do are not captured, and a capture that fails is
   reported, once, and given up: the steps then run one operation at a time.

Legend: `S` slots, `R` live rows, `V` vocabulary.
"""

import functools
import logging
import os
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from laconic.config.solver import PenalizedSampler, SamplerConfig
from laconic.models.causal_lm import CausalLM
from laconic.samplers.cache import SlotCache
from laconic.samplers.decoders import Decoder, can_fuse, has_changing_rotations, make_decoder
from laconic.samplers.drawing import draw_tokens, uniforms

UNIFORM_STEPS = 64  # the number of steps whose uniform numbers are hashed at once
ROUNDED_ROWS = 8  # live rows are rounded up to a multiple of this where steps are captured: there are fewer kinds

_log = logging.getLogger(__name__)

Replay = Callable[[], None]
Capture = Callable[[Callable[[], None]], Replay]
"""Records the operations of a step without running them, and returns what runs them."""


class StepGraphs:
    """Steps by kind. The first step of a kind runs without a graph, so that whatever must not happen during a capture happens
    then; the second is captured, and all further ones are replayed. Once a capture has failed, nothing is captured."""

    def __init__(self, capture: Capture) -> None:
        self.capture: Capture | None = capture
        self.replays: dict[Hashable, Replay | None] = {}

    def run(self, kind: Hashable, step: Callable[[], None]) -> None:
        """One step; steps of one kind differ only in what their tensors hold."""
        if self.capture is not None and self.replays.get(kind, step) is None:
            self.replays[kind] = self._captured(self.capture, step)
        replay = self.replays.setdefault(kind, None)
        (replay or step)()

    def _captured(self, capture: Capture, step: Callable[[], None]) -> Replay | None:
        """What replays the step; None where it cannot be captured."""
        try:
            return capture(step)
        except RuntimeError as error:
            self.capture = None
            self.replays.clear()
            (reason, *_) = str(error).strip().splitlines() or [type(error).__name__]
            _say_once(f"a sampling step could not be captured as a CUDA graph, so steps run without: {reason}")
            return None


@functools.cache
def _say_once(message: str) -> None:
    _log.warning(message)


def capture_on(device: torch.device) -> Capture | None:
    """How steps are captured on `device`; None where they are not, as with LACONIC_CUDA_GRAPHS=0 in the environment."""
    if device.type != "cuda" or os.environ.get("LACONIC_CUDA_GRAPHS") == "0":
        return None
    memory = torch.cuda.graph_pool_handle()

    def capture(step: Callable[[], None]) -> Replay:
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream(device)
        try:
            with torch.cuda.graph(graph, pool=memory, capture_error_mode="thread_local"):
                step()
        except RuntimeError:
            torch.cuda.set_stream(stream)  # where a capture fails, its own stream stays the current one
            raise
        replay: Replay = graph.replay
        return replay

    return capture


class Slots:
    """Room for `num_slots` rows, or a few more, of at most `max_positions` positions, of which `max_tokens` are drawn."""

    def __init__(self, lm: CausalLM, num_slots: int, max_positions: int, max_tokens: int) -> None:
        self.lm, self.max_positions, self.max_tokens = lm, max_positions, max_tokens
        self.device = lm.device
        self.graphs = self._new_graphs()
        # captured steps of as many rows, whether the slots were made for this call or for an earlier one of more rows
        self.num_slots = num_slots = num_slots if self.graphs is None else -(-num_slots // ROUNDED_ROWS) * ROUNDED_ROWS
        self.cache = SlotCache(num_slots, max_positions, self.device, _cache_dtype(lm))
        self.lengths = self._counters()  # positions in the cache, prompt included
        self.produced = self._counters()
        self.alive = self._counters()  # 1 for a live row, 0 for one that has ended
        self.keys = self._counters()
        self.current = self._counters()
        self.tokens = torch.zeros(num_slots, max_tokens + 1, dtype=torch.long, device=self.device)
        self.logprobs = torch.zeros(num_slots, max_tokens + 1, device=self.device)
        self.numbers: Tensor | None = None  # uniforms of the coming steps [R, UNIFORM_STEPS]
        self.num_used = 0
        self.built_for: Hashable = None
        self.stops = torch.empty(0, dtype=torch.long, device=self.device)
        self.decoder: Decoder | None = None

    def _new_graphs(self) -> StepGraphs | None:
        capture = capture_on(self.device)
        if capture is None:
            return None
        if has_changing_rotations(self.lm):
            _say_once(
                f"{self.lm.name}: sampling steps run without CUDA graphs: rotations depend on the sequence's length"
            )
            return None
        return StepGraphs(capture)

    def _counters(self) -> Tensor:
        return torch.zeros(self.num_slots, dtype=torch.long, device=self.device)

    def fits(self, num_slots: int, max_positions: int, max_tokens: int) -> bool:
        """Whether the model is where it was, and there is room for so many rows of so many positions and tokens."""
        is_alike = self.cache.device == self.lm.device and self.cache.dtype == _cache_dtype(self.lm)
        has_room = self.num_slots >= num_slots and self.max_positions >= max_positions
        return is_alike and has_room and self.max_tokens >= max_tokens

    @property
    def num_bytes(self) -> int:
        """The size in bytes of what the slots and their decoder hold for the next call."""
        return self.cache.num_bytes + (0 if self.decoder is None else self.decoder.num_bytes)

    # --- a call ------------------------------------------------------------------------------------------------------

    def begin(self, num_rows: int, compile_layers: bool) -> Decoder:
        """Make ready for a call of at most `num_rows` rows at a time: no row is live, and the decoder, which is returned, has the
        weights that the model has now. How it computes depends on this call's rows, never on those of an earlier one, for which
        the slots were made."""
        self.cache.reset()
        for held in (self.lengths, self.produced, self.alive, self.keys, self.current):
            held.zero_()
        self.numbers = None
        built_for = (_addresses(self.lm), self.lm.stop_ids, can_fuse(self.lm), compile_layers)
        if self.decoder is not None and built_for == self.built_for:
            self.decoder.refresh()
            return self.decoder
        self._drop_graphs()
        self.decoder = make_decoder(self.lm, self.max_positions, num_rows=num_rows, is_compiled=compile_layers)
        self.stops = torch.tensor(sorted(self.lm.stop_ids), dtype=torch.long, device=self.device)
        self.built_for = built_for
        return self.decoder

    def end(self) -> None:
        """Drop what serves the next call no better than if it were made anew: without lasting graphs, the copies of weights."""
        if self.graphs is None or self.decoder is None or not self.decoder.is_lasting:
            self._drop_graphs()
            self.decoder = None

    def _drop_graphs(self) -> None:
        if self.graphs is not None:
            self.graphs.replays.clear()

    # --- entering and leaving ----------------------------------------------------------------------------------------

    def enter(self, slots: slice, lengths: Tensor, keys: Tensor, logits: Tensor, decoding: SamplerConfig) -> None:
        """Rows enter whose prompts of `lengths` [N] are in the cache, with the keys of their random numbers [N] and the logits
        [N, V] from which their first tokens are drawn. A row may end with its first token."""
        self.lengths[slots], self.keys[slots] = lengths, keys
        self.produced[slots], self.alive[slots] = 0, 1
        self._accept(slots, logits, uniforms(keys, self.produced[slots]), decoding)
        self.numbers = None

    def move(self, target: Tensor, source: Tensor, positions: int) -> None:
        """Rows that hold at most `positions` positions move from slots `source` to slots `target`."""
        self.cache.move(target, source, positions)
        for held in (self.lengths, self.produced, self.alive, self.keys, self.current, self.tokens, self.logprobs):
            held[target] = held[source]

    def close(self, live: int) -> None:
        """From here on only the first `live` slots hold rows."""
        self.alive[live:] = 0
        self.numbers = None

    # --- a step ------------------------------------------------------------------------------------------------------

    def advance(self, live: int, reached: "np.ndarray[Any, Any]", decoding: SamplerConfig) -> None:
        """One token for each of the first `live` slots. The row of slot `s` holds at most `reached[s]` positions [S]."""
        if self.graphs is not None:
            live = -(-live // ROUNDED_ROWS) * ROUNDED_ROWS
        self.cache.plan_step(reached[:live])
        if self.graphs is None:
            self._step(live, decoding)
            return
        kind = (
            live,
            self.cache.step_kind(),
            decoding.temperature,
            decoding.top_p,
            decoding.min_p,
            decoding.max_tokens,
            (decoding.penalty, decoding.tokens) if isinstance(decoding, PenalizedSampler) else None,
        )
        self.graphs.run(kind, lambda: self._step(live, decoding))

    def _step(self, live: int, decoding: SamplerConfig) -> None:
        """Feed the current tokens and draw the next ones, on the device alone, so that a graph can replay the step."""
        assert self.decoder is not None
        positions = self.lengths[:live]
        self.cache.begin_step(positions)
        logits = self.decoder(self.current[:live], positions, self.cache)
        positions += self.alive[:live]
        self._accept(slice(0, live), logits, self._next_numbers(live), decoding)

    def _next_numbers(self, live: int) -> Tensor:
        """Uniforms [R] of this step. Hashed many steps ahead where that saves operations; live rows advance together."""
        if self.graphs is not None:
            return uniforms(self.keys[:live], self.produced[:live])
        if self.numbers is None or self.num_used == UNIFORM_STEPS:
            ahead = self.produced[:live, None] + torch.arange(UNIFORM_STEPS, device=self.device)
            self.numbers, self.num_used = uniforms(self.keys[:live, None], ahead), 0
        self.num_used += 1
        return self.numbers[:, self.num_used - 1]

    def _accept(self, slots: slice, logits: Tensor, numbers: Tensor, decoding: SamplerConfig) -> None:
        """Draw a token for each of `slots` and record it; rows that end stand still from here on."""
        tokens, logprobs = draw_tokens(logits, numbers, decoding)
        produced, alive = self.produced[slots], self.alive[slots]
        self.tokens[slots].scatter_(1, produced[:, None], tokens[:, None])  # what has ended writes behind its end
        self.logprobs[slots].scatter_(1, produced[:, None], logprobs[:, None])
        self.current[slots] = tokens
        produced += alive
        alive *= ~((tokens[:, None] == self.stops).any(-1) | (produced >= decoding.max_tokens))


def _cache_dtype(lm: CausalLM) -> torch.dtype:
    return lm.autocast_dtype or lm.model.dtype


def _addresses(lm: CausalLM) -> Hashable:
    """Where every weight and buffer of the model lies, and in which form."""
    held = (*lm.model.parameters(), *lm.model.buffers())
    return tuple((tensor.data_ptr(), tensor.dtype, tensor.shape) for tensor in held)

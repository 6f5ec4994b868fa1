"""The local sampler: an autoregressive loop over any Hugging Face causal LM, in this process.

1. Every (prompt, sample) pair is a row. Rows wait in order; up to `batch_size` of them are live, each in a slot.
2. Free slots are filled with waiting rows: each distinct prompt is prefilled once, its keys and values copied into the slots
   of all its samples.
3. A step feeds one token a slot. Keys and values are written to a preallocated cache at each row's own position and read only
   up to the longest live row.
4. A row that draws an end token or reaches the cap leaves; its slot is refilled, or, when nothing waits, the live rows are
   moved together as soon as a fifth of the slots is dead.

Randomness: one uniform number a row and step, a hash of (seed, key, sample, step), turned into a token by the inverse of the
cumulative distribution. A row's numbers do not depend on its neighbours. (Its logits may, in the last bits: matrix products
round differently at different batch shapes. The same call gives the same responses.)

Legend: `S` live slots, `H` key-value heads, `C` cached positions, `D` head size, `V` vocabulary.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import Cache

from laconic.config import SamplerConfig
from laconic.errors import ModelError
from laconic.models import CausalLM
from laconic.rng import seed_of
from laconic.samplers import Progress, Request
from laconic.types import FinishReason, Response

CONTEXT_STEP = 32  # the cache grows and is read in multiples of this many positions
DEAD_SHARE = 0.2
_GOLDEN, _MIX1, _MIX2 = -7046029254386353131, -4658895280553007687, -7723592293110705685


def uniforms(keys: Tensor, step: Tensor) -> Tensor:
    """One number in [0, 1) for each (key, step), both int64 [S]: the splitmix64 hash of key + step * golden ratio."""
    z = keys + (step + 1) * _GOLDEN
    z = (z ^ ((z >> 30) & 0x3FFFFFFFF)) * _MIX1
    z = (z ^ ((z >> 27) & 0x1FFFFFFFFF)) * _MIX2
    z = z ^ ((z >> 31) & 0x1FFFFFFFF)
    return ((z >> 11) & 0x1FFFFFFFFFFFFF).double() / 2**53


def keep_likely(probs: Tensor, top_p: float, min_p: float) -> Tensor:
    """`probs` [S, V] with what top-p (Holtzman et al. 2020) and min-p (Nguyen et al. 2024) drop set to 0, renormalised.

    min-p drops tokens below `min_p` times the likeliest; top-p keeps the fewest likeliest tokens that together reach it.
    """
    if min_p > 0:
        probs = torch.where(probs >= min_p * probs.amax(-1, keepdim=True), probs, 0.0)
    if top_p < 1:
        ranked, order = probs.sort(dim=-1, descending=True)
        reached_before = ranked.cumsum(-1) - ranked >= top_p * probs.sum(-1, keepdim=True)
        probs = torch.zeros_like(probs).scatter(-1, order, torch.where(reached_before, 0.0, ranked))
    return probs / probs.sum(-1, keepdim=True)


def draw_tokens(logits: Tensor, uniform: Tensor, decoding: SamplerConfig) -> tuple[Tensor, Tensor]:
    """Token ids [S] and the log-probabilities [S] they were drawn with, from logits [S, V] and uniforms [S].

    At temperature 0 the likeliest token, with its log-probability at temperature 1 (that of a point mass says nothing).
    """
    if decoding.temperature == 0:
        tokens = logits.argmax(-1)
        return tokens, logits.log_softmax(-1).gather(-1, tokens[:, None])[:, 0]
    logprobs = (logits / decoding.temperature).log_softmax(-1)
    if decoding.top_p < 1 or decoding.min_p > 0:
        logprobs = keep_likely(logprobs.exp(), decoding.top_p, decoding.min_p).log()
    wide = torch.float32 if logits.device.type == "mps" else torch.float64
    cumulative = logprobs.exp().to(wide).cumsum(-1)
    threshold = uniform.to(wide)[:, None] * cumulative[:, -1:]
    tokens = torch.searchsorted(cumulative, threshold, right=True).clamp(max=logits.shape[-1] - 1)
    return tokens[:, 0], logprobs.gather(-1, tokens)[:, 0]


class SlotCache(Cache):
    """Keys and values of `S` rows of different length: [S, H, C, D] a layer, written at each row's own position."""

    def __init__(self) -> None:
        super().__init__(layers=[])
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        self.slots = torch.empty(0, dtype=torch.long)
        self.positions = torch.empty(0, dtype=torch.long)
        self.context = 0

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Write one position a row ([S, H, 1, D]) and hand back everything up to the longest live row."""
        keys, values = self.keys[layer_idx], self.values[layer_idx]
        keys[self.slots, :, self.positions] = key_states[:, :, 0].to(keys.dtype)
        values[self.slots, :, self.positions] = value_states[:, :, 0].to(values.dtype)
        live = len(self.slots)
        return keys[:live, :, : self.context], values[:live, :, : self.context]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Positions that are read."""
        return self.context

    def reserve(self, slots: int, context: int, like: list[tuple[Tensor, Tensor]]) -> None:
        """Room for `slots` rows of `context` positions; what is held already is kept."""
        if self.keys and self.keys[0].shape[0] >= slots and self.keys[0].shape[2] >= context:
            return
        if self.keys:
            slots, context = max(slots, self.keys[0].shape[0]), max(context, self.keys[0].shape[2] * 3 // 2)
        for held, index in ((self.keys, 0), (self.values, 1)):
            for layer, example in enumerate(like):
                shape = (slots, example[index].shape[1], context, example[index].shape[3])
                grown = example[index].new_zeros(shape)
                if layer < len(held):
                    old = held[layer]
                    grown[: old.shape[0], :, : old.shape[2]] = old
                    held[layer] = grown
                else:
                    held.append(grown)

    def move(self, target: Tensor, source: Tensor, context: int) -> None:
        """Copy the first `context` positions of rows `source` to slots `target`."""
        for held in (self.keys, self.values):
            for tensor in held:
                tensor[target, :, :context] = tensor[source, :, :context]


@dataclass(slots=True)
class _Row:
    """One response in the making: which request and sample it is."""

    request: int
    sample: int


class LocalSampler:
    """Draws responses with `lm` in this process. See the module's story."""

    def __init__(self, lm: CausalLM) -> None:
        self.lm = lm
        self.kinds = _attention_kinds(lm)

    @torch.inference_mode()
    def sample(
        self, requests: Sequence[Request], decoding: SamplerConfig, *, seed: int, on_progress: Progress | None = None
    ) -> list[list[Response]]:
        """Responses to each request, in the order of requests and samples.

        Raises `ModelError` where a prompt and `decoding.max_tokens` do not fit the model's context.
        """
        self._check_fit(requests, decoding.max_tokens)
        was_training = self.lm.model.training
        self.lm.model.eval()
        try:
            with self.lm.autocast():
                return _Decoding(self, requests, decoding, seed, on_progress).run()
        finally:
            self.lm.model.train(was_training)

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

    def prefill(self, prompts: Sequence[tuple[int, ...]]) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Last logits [P, V] and each layer's keys and values [P, H, longest, D] of right-padded prompts."""
        longest = max(map(len, prompts))
        ids = torch.tensor([[*p, *[self.lm.pad_id] * (longest - len(p))] for p in prompts], device=self.lm.device)
        cache = DynamicCache()
        hidden = self.lm.backbone(ids, past_key_values=cache, use_cache=True).last_hidden_state
        last = torch.tensor([len(p) - 1 for p in prompts], device=ids.device)
        logits = self.lm.head(hidden[torch.arange(len(prompts), device=ids.device), last])
        held: list[Any] = cache.layers
        return logits, [(layer.keys, layer.values) for layer in held]

    def masks(self, lengths: Tensor, context: int) -> Any:
        """Attention masks [S, 1, 1, context], True where a row may look: at its own tokens, within a layer's window."""
        positions = torch.arange(context, device=lengths.device)
        causal = positions[None] <= lengths[:, None]
        by_kind = {
            kind: (causal if window is None else causal & (positions[None] > lengths[:, None] - window))[:, None, None]
            for kind, window in self.kinds.items()
        }
        if self.lm.model.config._attn_implementation == "eager":
            by_kind = {kind: torch.zeros(m.shape, device=m.device).masked_fill(~m, -1e9) for kind, m in by_kind.items()}
        return next(iter(by_kind.values())) if len(by_kind) == 1 and "only" in by_kind else by_kind


def _attention_kinds(lm: CausalLM) -> dict[str, int | None]:
    """The window of each kind of attention layer (None: all positions). Raises `ModelError` for kinds without a plain cache."""
    window = getattr(lm.text_config, "sliding_window", None)
    kinds = set(getattr(lm.text_config, "layer_types", None) or ())
    if not kinds:
        return {"only": window}
    if unknown := kinds - {"full_attention", "sliding_attention"}:
        raise ModelError(f"{lm.name}: the local sampler has no cache for layers of kind {', '.join(sorted(unknown))}")
    if kinds == {"full_attention"}:
        return {"only": None}
    return {"full_attention": None, "sliding_attention": window}


class _Decoding:
    """One call of `sample`: the rows, their slots and the loop."""

    def __init__(
        self,
        sampler: LocalSampler,
        requests: Sequence[Request],
        decoding: SamplerConfig,
        seed: int,
        on_progress: Progress | None,
    ) -> None:
        self.sampler, self.lm, self.requests, self.decoding = sampler, sampler.lm, requests, decoding
        self.seed, self.on_progress = seed, on_progress or (lambda responses, tokens: None)
        self.device = self.lm.device
        self.waiting = deque(_Row(r, s) for r, request in enumerate(requests) for s in range(request.num_samples))
        self.num_slots = min(decoding.batch_size, len(self.waiting))
        self.cache = SlotCache()
        self.prefixes: dict[int, tuple[Tensor, list[tuple[Tensor, Tensor]]]] = {}
        self.rows: list[_Row | None] = []
        self.stops = torch.tensor(sorted(self.lm.stop_ids), device=self.device)
        self.results: list[list[Response | None]] = [[None] * request.num_samples for request in requests]
        self.lengths = self._counters(self.num_slots)  # positions in the cache, prompt included
        self.produced = self._counters(self.num_slots)
        self.alive = self._counters(self.num_slots)  # 1 for a live slot, 0 for a dead one, which stands still
        self.keys = self._counters(self.num_slots)
        self.current = self._counters(self.num_slots)
        self.tokens = self._counters(self.num_slots, decoding.max_tokens)
        self.logprobs = torch.zeros(self.num_slots, decoding.max_tokens, device=self.device)

    def _counters(self, *shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.long, device=self.device)

    def run(self) -> list[list[Response]]:
        """Fill, step and empty slots until no row is left."""
        while self.waiting or any(row is not None for row in self.rows):
            if self._should_refill():
                self._refill()
            else:
                self._step()
            if self._num_dead() > DEAD_SHARE * len(self.rows) and not self.waiting:
                self._compact()
        return [[response for response in row if response is not None] for row in self.results]

    def _num_dead(self) -> int:
        return sum(row is None for row in self.rows)

    def _should_refill(self) -> bool:
        """Waiting rows enter when an eighth of the slots is free (prefilling one at a time would cost a step each)."""
        free = self.num_slots - len(self.rows) + self._num_dead()
        return bool(self.waiting) and free >= min(max(1, self.num_slots // 8), len(self.waiting))

    # --- filling -----------------------------------------------------------------------------------------------------

    def _refill(self) -> None:
        free = [slot for slot, row in enumerate(self.rows) if row is None]
        free += range(len(self.rows), self.num_slots)
        entering = [(slot, self.waiting.popleft()) for slot in free[: len(self.waiting)]]
        self._prefill_new({row.request for _, row in entering})
        self.rows += [None] * (max(slot for slot, _ in entering) + 1 - len(self.rows))
        slots = torch.tensor([slot for slot, _ in entering], device=self.device)
        for slot, row in entering:
            self.rows[slot] = row
        self._write_prefixes(entering)
        logits = torch.stack([self.prefixes[row.request][0] for _, row in entering])
        self.lengths[slots] = torch.tensor(
            [len(self.requests[r.request].prompt_ids) for _, r in entering], device=self.device
        )
        self.produced[slots] = 0
        self.alive[slots] = 1
        keys = [self._row_key(row) for _, row in entering]
        self.keys[slots] = torch.tensor(keys, dtype=torch.long, device=self.device)
        self._accept(slots, logits)
        still_needed = {row.request for row in self.waiting}
        self.prefixes = {request: prefix for request, prefix in self.prefixes.items() if request in still_needed}

    def _row_key(self, row: _Row) -> int:
        request = self.requests[row.request]
        return seed_of(self.seed, "sample", request.key, request.first_sample + row.sample)

    def _prefill_new(self, wanted: set[int]) -> None:
        new = sorted(wanted - self.prefixes.keys())
        if not new:
            return
        logits, layers = self.sampler.prefill([self.requests[r].prompt_ids for r in new])
        for i, request in enumerate(new):
            length = len(self.requests[request].prompt_ids)
            self.prefixes[request] = (
                logits[i],
                [(k[i : i + 1, :, :length], v[i : i + 1, :, :length]) for k, v in layers],
            )

    def _write_prefixes(self, entering: list[tuple[int, _Row]]) -> None:
        by_request: dict[int, list[int]] = {}
        for slot, row in entering:
            by_request.setdefault(row.request, []).append(slot)
        longest = max(len(self.requests[r].prompt_ids) for r in by_request)
        self.cache.reserve(self.num_slots, longest + CONTEXT_STEP, self.prefixes[next(iter(by_request))][1])
        for request, targets in by_request.items():
            for layer, (k, v) in enumerate(self.prefixes[request][1]):
                self.cache.keys[layer][targets, :, : k.shape[2]] = k
                self.cache.values[layer][targets, :, : v.shape[2]] = v

    # --- stepping ----------------------------------------------------------------------------------------------------

    def _step(self) -> None:
        live = len(self.rows)
        slots, lengths = torch.arange(live, device=self.device), self.lengths[:live]
        needed = int(lengths.max()) + 1
        context = -(-needed // CONTEXT_STEP) * CONTEXT_STEP
        self.cache.reserve(self.num_slots, context, list(zip(self.cache.keys, self.cache.values, strict=True)))
        self.cache.slots, self.cache.positions, self.cache.context = slots, lengths, context
        hidden = self.lm.backbone(
            self.current[:live, None],
            position_ids=lengths[:, None],
            attention_mask=self.sampler.masks(lengths, context),
            past_key_values=self.cache,
            use_cache=True,
        ).last_hidden_state
        self.lengths[:live] += self.alive[:live]
        self._accept(slots, self.lm.head(hidden[:, 0]))

    def _accept(self, slots: Tensor, logits: Tensor) -> None:
        """Draw a token for each of `slots`, record it, and let finished rows leave."""
        produced = self.produced[slots]
        tokens, logprobs = draw_tokens(logits, uniforms(self.keys[slots], produced), self.decoding)
        room = produced.clamp(max=self.decoding.max_tokens - 1)
        self.tokens[slots, room] = tokens
        self.logprobs[slots, room] = logprobs
        self.current[slots] = tokens
        self.produced[slots] = produced + 1
        has_ended = torch.isin(tokens, self.stops)
        is_done = (has_ended | (produced + 1 >= self.decoding.max_tokens)) & (self.alive[slots] == 1)
        if bool(is_done.any()):
            self._release(slots[is_done].tolist(), has_ended[is_done].tolist())

    def _release(self, slots: list[int], has_ended: list[bool]) -> None:
        for slot, ended in zip(slots, has_ended, strict=True):
            row, length = self.rows[slot], int(self.produced[slot])
            assert row is not None
            ids = tuple(self.tokens[slot, :length].tolist())
            self.results[row.request][row.sample] = Response(
                token_ids=ids,
                logprobs=tuple(self.logprobs[slot, :length].tolist()),
                text=self.lm.decode(ids),
                finish_reason=FinishReason.STOP if ended else FinishReason.LENGTH,
            )
            self.rows[slot] = None
            self.lengths[slot] = self.alive[slot] = 0
            self.on_progress(1, length)

    def _compact(self) -> None:
        """Move live rows from the back into dead slots at the front."""
        live = sum(row is not None for row in self.rows)
        dead = [slot for slot, row in enumerate(self.rows[:live]) if row is None]
        moved = [slot for slot, row in enumerate(self.rows) if row is not None and slot >= live]
        if dead:
            target, source = torch.tensor(dead, device=self.device), torch.tensor(moved, device=self.device)
            self.cache.move(target, source, int(self.lengths[source].max()))
            for held in (self.lengths, self.produced, self.alive, self.keys, self.current, self.tokens, self.logprobs):
                held[target] = held[source]
            for t, s in zip(dead, moved, strict=True):
                self.rows[t] = self.rows[s]
        self.rows = self.rows[:live]

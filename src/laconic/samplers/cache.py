"""Keys and values of rows of different length, in pages.

1. Every row owns a slot. Page `j` of a layer holds positions `jP` to `(j+1)P - 1` of all slots, in one block of memory.
2. A step writes one position per row, at the end of the row, and attends over the positions of the row: page `j` is read only
   for the slots up to the last one that reaches it. So the cost of a step grows with what its live rows hold, not with the room
   that they have.
3. On a CPU in float32 pages are short, and attention is two batched products per page. The keys of a page are transposed, as
   the product with a few queries reads them fastest. Elsewhere a single page holds all positions. On CUDA a kernel reads each
   row of it to its own end (`kernels/`), so that all steps of as many rows are alike; where there is no kernel, PyTorch's fused
   attention reads every row to the longest one.

Hugging Face models call `attend` through the attention function `ATTENTION`, which this module registers. Their masks are never
built and grouped queries are never repeated; windows and soft caps are applied here.

Legend: `S` slots, `R` live rows (slots 0 to R-1), `Q` query heads, `H` key-value heads, `P` positions a page, `D` head size, `C`
positions read.
"""

import contextlib
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import AttentionInterface
from transformers.cache_utils import Cache

from laconic.errors import ModelError
from laconic.samplers.kernels.attention import attention_kernel

ATTENTION = "laconic_slots"
PAGE_TOKENS = 64  # a page is read whole: reading half of one in every row takes longer
FUSED_WIDTH = 256  # a single page is read in multiples of this many positions
MASKED = float("-inf")

_active: ContextVar["SlotCache"] = ContextVar("laconic_slot_cache")


class SlotCache(Cache):
    """The cache of one call of `sample`. `begin_step` sets the positions of the step's tokens; `attend` writes and reads them."""

    def __init__(self, num_slots: int, max_positions: int, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__(layers=[])
        self.num_slots, self.device, self.dtype = num_slots, device, dtype
        self.is_paged = device.type == "cpu" and dtype == torch.float32
        self.width_step = PAGE_TOKENS if self.is_paged else FUSED_WIDTH
        self.page_tokens = PAGE_TOKENS if self.is_paged else _rounded_up(max_positions, self.width_step)
        self.num_pages = -(-max_positions // self.page_tokens)
        self.pools: list[Tensor] = []  # a layer's [2 (keys, values), pages, S, H, P, D], transposed keys as [..., D, P]
        places = self.num_pages * self.page_tokens
        self.bias = torch.full((num_slots, places), MASKED, device=device)  # 0 where a row may look, -inf elsewhere
        self.scores: dict[int, Tensor] = {}  # by number of query heads: scratch [S, Q, places], always finite
        self.by_position: list[tuple[Tensor, Tensor]] = []  # a layer's keys and values as [pages * S, P, H, D]
        self.positions = torch.zeros(0, dtype=torch.long, device=device)
        self.places = self.positions, self.positions  # the page of a slot, and the position in it, that each row writes
        self.slots = torch.arange(num_slots, device=device)
        self.reads: list[tuple[int, int]] = []  # (rows, width) of each page that the step reads
        self.has_kernels = device.type == "cuda"  # until a layer has none
        self._views: dict[tuple[int, int, int], tuple[Tensor, Tensor]] = {}
        self._biases: dict[int | None, Tensor] = {}

    # --- room --------------------------------------------------------------------------------------------------------

    def _allocate(self, shapes: Sequence[tuple[int, int]]) -> None:
        """Allocate the room that rows may later need; `shapes` is (H, D) per layer. On a CPU memory is assigned when written."""
        self.pools = [
            self._zeros(2, self.num_pages, self.num_slots, heads, self.page_tokens, size) for heads, size in shapes
        ]
        held = [(self._keys(pool), pool[1]) for pool in self.pools]
        self.by_position = [
            (keys.flatten(0, 1).transpose(1, 2), values.flatten(0, 1).transpose(1, 2)) for keys, values in held
        ]

    def _zeros(self, *shape: int) -> Tensor:
        if self.is_paged:
            return torch.from_numpy(np.zeros(shape, np.float32))  # in huge pages, zeroed when they are first written
        return torch.zeros(shape, dtype=self.dtype, device=self.device)

    def reset(self) -> None:
        """Forget all rows, and keep the memory."""
        self.bias.fill_(MASKED)

    def fits(self, num_slots: int, max_positions: int) -> bool:
        """Whether there is room for so many rows of so many positions."""
        return self.num_slots >= num_slots and self.num_pages * self.page_tokens >= max_positions

    @property
    def num_bytes(self) -> int:
        """The size in bytes of the room for keys and values."""
        return sum(pool.numel() * pool.element_size() for pool in self.pools)

    def write_prompts(
        self, slots: Tensor, rows: Tensor, layers: Sequence[tuple[Tensor, Tensor]], lengths: Tensor
    ) -> None:
        """Put prompts into `slots` [N]: row `rows[i]` of each layer's keys and values [prompts, H, longest, D], of which the
        first `lengths[i]` positions count."""
        longest = layers[0][0].shape[2]
        if not self.pools:
            self._allocate([(keys.shape[1], keys.shape[3]) for keys, _ in layers])
        for pool, states in zip(self.pools, layers, strict=True):
            for kind, source in enumerate(states):
                held = self._keys(pool) if kind == 0 else pool[1]
                for page, start in enumerate(range(0, longest, self.page_tokens)):
                    piece = source[:, :, start : start + self.page_tokens]
                    held[page, slots, :, : piece.shape[2]] = piece[rows].to(self.dtype)
        columns = torch.arange(self.bias.shape[1], device=self.device)
        self.bias[slots] = torch.zeros_like(self.bias[slots]).masked_fill_(columns >= lengths[:, None], MASKED)

    def _keys(self, pool: Tensor) -> Tensor:
        """A layer's keys as [pages, S, H, P, D], whether they are transposed or not."""
        keys = pool[0]
        return keys.view(*keys.shape[:3], keys.shape[4], keys.shape[3]).transpose(3, 4) if self.is_paged else keys

    def move(self, target: Tensor, source: Tensor, positions: int) -> None:
        """Copy the first `positions` positions of slots `source` to slots `target`."""
        pages = -(-positions // self.page_tokens)
        for pool in self.pools:
            for page in pool[:, :pages].unbind(1):  # one by one: a copy of all that moves would take memory
                page[:, target] = page[:, source]
        self.bias[target] = self.bias[source]

    # --- a step ------------------------------------------------------------------------------------------------------

    def plan_step(self, lengths: "np.ndarray[Any, Any]") -> None:
        """Decide which pages the next step reads, whose rows hold at most `lengths` [R] positions."""
        longest = int(lengths.max()) + 1
        assert longest <= self.num_pages * self.page_tokens
        reads = list(self._plan_reads(lengths, longest))
        if reads != self.reads:
            self.reads = reads
            self._views.clear()

    def step_kind(self) -> tuple[tuple[int, int], ...]:
        """What the planned step's operations depend on beside the number of rows."""
        return () if self.has_kernels else tuple(self.reads)

    def begin_step(self, positions: Tensor) -> None:
        """Begin the planned step, which feeds one token per live row, at `positions` [R]."""
        self.positions = positions.clone()
        self.bias[: len(positions)].scatter_(1, positions[:, None], 0.0)  # an indexed assignment makes CUDA's host wait
        page, offset = positions // self.page_tokens, positions % self.page_tokens
        self.places = page * self.num_slots + self.slots[: len(positions)], offset
        self._biases.clear()

    def _plan_reads(self, lengths: "np.ndarray[Any, Any]", longest: int) -> Iterator[tuple[int, int]]:
        pages = lengths // self.page_tokens
        for page in range(-(-longest // self.page_tokens)):
            rows = len(lengths) if page == 0 else int(np.flatnonzero(pages >= page)[-1]) + 1
            yield rows, min(_rounded_up(longest - page * self.page_tokens, self.width_step), self.page_tokens)

    def attend(
        self, layer: int, q: Tensor, k: Tensor, v: Tensor, *, scaling: float, window: int | None, softcap: float | None
    ) -> Tensor:
        """Write keys and values [R, H, D] at the rows' positions. Returns the attention [R, Q, D] of the queries [R, Q, D] over
        the positions that the rows then hold."""
        pool = self.pools[layer]
        for held, states in zip(self.by_position[layer], (k, v), strict=True):
            held.index_put_(self.places, states.to(self.dtype))
        q = q.to(self.dtype)
        if not self.is_paged:
            kernel = attention_kernel(self.device, self.dtype, q.shape[1] // pool.shape[3], pool.shape[5])
            if kernel is not None:
                keys, values = pool[:, 0, : len(q)]
                return kernel(q, keys, values, self.positions, scaling=scaling, window=window, softcap=softcap)
            self.has_kernels = False
        if not self.is_paged and softcap is None:
            return self._attend_fused(pool, q, scaling, window)
        return self._attend_pages(layer, q if scaling == 1.0 else q * scaling, window, softcap)

    def _attend_fused(self, pool: Tensor, q: Tensor, scaling: float, window: int | None) -> Tensor:
        ((rows, width),) = self.reads
        keys, values = (pool[kind, 0, :rows, :, :width] for kind in (0, 1))
        mask = self._bias(window, width).to(self.dtype)[:, None, None]
        # the queries of one key-value head are rows of one product: no head is repeated
        grouped = q.reshape(rows, pool.shape[3], -1, q.shape[-1])
        out = functional.scaled_dot_product_attention(grouped, keys, values, attn_mask=mask, scale=scaling)
        return out.view(q.shape)

    def _attend_pages(self, layer: int, q: Tensor, window: int | None, softcap: float | None) -> Tensor:
        rows, num_queries, size = q.shape
        heads, width = self.pools[layer].shape[3], self._width()
        q = q.reshape(rows * heads, num_queries // heads, size)
        scores = self._scratch(num_queries)[:rows, :, :width]
        by_head = scores.view(rows * heads, num_queries // heads, width)
        for page, (n, w) in enumerate(self.reads):
            keys, _ = self._page(layer, page, n, w)
            # a product into a strided place is ten times slower than a product and a copy
            by_head[: n * heads, :, self._span(page)] = torch.bmm(q[: n * heads], keys)
        if softcap is not None:
            scores = (scores / softcap).tanh_().mul_(softcap)
        weights = (scores + self._bias(window, width)[:, None]).softmax(-1, dtype=torch.float32).to(self.dtype)
        weights = weights.view(rows * heads, num_queries // heads, width)
        out = torch.bmm(weights[:, :, self._span(0)], self._page(layer, 0, *self.reads[0])[1])
        for page, (n, w) in enumerate(self.reads[1:], start=1):
            out[: n * heads].baddbmm_(weights[: n * heads, :, self._span(page)], self._page(layer, page, n, w)[1])
        return out.view(rows, num_queries, size)

    def _page(self, layer: int, page: int, rows: int, width: int) -> tuple[Tensor, Tensor]:
        """Keys [rows * H, D, width] and values [rows * H, width, D] of a page: views, made once while the reads stay."""
        key = (layer, page, rows)
        if key not in self._views:
            pool = self.pools[layer]
            keys, values = self._keys(pool)[page, :rows].flatten(0, 1), pool[1, page, :rows].flatten(0, 1)
            self._views[key] = keys[:, :width].transpose(1, 2), values[:, :width]
        return self._views[key]

    def _span(self, page: int) -> slice:
        return slice(page * self.page_tokens, (page + 1) * self.page_tokens)

    def _width(self) -> int:
        return (len(self.reads) - 1) * self.page_tokens + self.reads[-1][1]

    def _scratch(self, num_queries: int) -> Tensor:
        if num_queries not in self.scores:
            shape = (self.num_slots, num_queries, self.bias.shape[1])
            self.scores[num_queries] = self._zeros(*shape)
        return self.scores[num_queries]

    def _bias(self, window: int | None, width: int) -> Tensor:
        """The bias [R, C] added to the scores: -inf outside a row's tokens and, with a window, before its last `window`."""
        if window not in self._biases:
            bias = self.bias[: len(self.positions), :width]
            if window is not None:
                columns = torch.arange(width, device=self.device)
                bias = bias.masked_fill(columns <= self.positions[:, None] - window, MASKED)
            self._biases[window] = bias
        return self._biases[window]

    # --- Hugging Face's side -----------------------------------------------------------------------------------------

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """The step's keys and values, unchanged: `attend` writes them."""
        return key_states, value_states

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """The number of positions that the step reads."""
        return self._width() if self.reads else 0

    @contextlib.contextmanager
    def attached(self, config: Any) -> Iterator[None]:
        """Inside, a Hugging Face model with this config attends through this cache."""
        before = config._attn_implementation
        token = _active.set(self)
        config._attn_implementation = ATTENTION
        try:
            yield
        finally:
            config._attn_implementation = before
            _active.reset(token)


def _rounded_up(number: int, step: int) -> int:
    return -(-number // step) * step


def _attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """The attention function of a step: query [R, Q, 1, D], key and value [R, H, 1, D] -> [R, 1, Q, D]."""
    if kwargs.get("s_aux") is not None:
        raise ModelError(f"{type(module).__name__}: the local sampler does not know attention sinks")
    out = _active.get().attend(
        module.layer_idx,
        query[:, :, 0],
        key[:, :, 0],
        value[:, :, 0],
        scaling=kwargs.get("scaling") or query.shape[-1] ** -0.5,
        window=kwargs.get("sliding_window"),
        softcap=kwargs.get("softcap"),
    )
    return out[:, None], None


AttentionInterface.register(ATTENTION, _attention)

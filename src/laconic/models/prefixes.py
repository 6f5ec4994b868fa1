"""Rows that begin alike, computed once: the layers of a model see every distinct beginning of a micro-batch's rows once.

The responses of a group follow one prompt, and some of them begin alike too. What a causal model computes at a token depends on
the tokens up to it alone, so a tree of prefixes has one node for each token that differs in itself or in what stands before it.

1. `prefix_tree` finds the nodes of some rows, and cuts the rows into blocks of nearly equal length.
2. `hidden_states` feeds the nodes to a model as one sequence. Everything but attention looks at each token alone, and takes its
   position from `position_ids`. Only attention reads other tokens: it gathers queries, keys and values of the nodes into whole
   rows, block by block, calls the model's own attention on them, and takes each node's result from the first row that has it.
3. The gradient of a node is the sum over the rows that have it, so loss and gradients are those of whole rows, to rounding.

Sharing is decided in one place, `is_worth_sharing`, by counts alone: the products that it saves must outweigh the copies that it
makes. Models in training mode never share (`CausalLM.sharing_width`): dropout draws a mask for every row, and recomputed
activations would be recomputed without the tree. Nor do models whose layers read other tokens by other means than attention.

Legend: `b` rows, `L` tokens of the longest, `N` nodes, `M` places of all rows in their blocks, padding included, `W` any width.
"""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import pairwise, takewhile
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

SHARED_ATTENTION = "laconic_prefixes"
COPY_PRICE = 64  # numbers of a token's hidden state that pay for copying one token into its row
PROBE = ((5, 6, 7, 8, 9, 10, 11), (5, 6, 7, 8, 12, 13, 14))  # tokens of two rows that begin alike
PROBE_TOLERANCE = (
    1e-3  # of the largest number in float32, 100 times that in 16 bits; wrong states differ by about all of it
)
BLOCK_FILL = 0.9  # the shortest row of a block is at least this share of the longest


@dataclass(frozen=True, slots=True)
class PrefixTree:
    """The distinct prefixes of some rows. Node `n` is a token `token_ids[n]` at position `depths[n]` after one prefix."""

    token_ids: Tensor  # [N] int64
    depths: Tensor  # [N] int64
    nodes: Tensor  # [b, L] int64: the node of each token; 0 in the padding
    blocks: tuple[tuple[int, int], ...]  # (rows, tokens) of each block of whole rows
    places: Tensor  # [M] int64: the node at each place of the blocks; 0 in the padding
    first: Tensor  # [N]: the first place of each node
    again: Tensor  # [M']: its further places, in order
    again_nodes: Tensor  # [M']: the node at each of those

    def to(self, device: torch.device) -> "PrefixTree":
        """The tree with its tensors on `device`."""
        moved = {name: getattr(self, name).to(device) for name in self.__slots__ if name != "blocks"}
        return PrefixTree(blocks=self.blocks, **moved)


def is_worth_sharing(num_nodes: int, num_tokens: int, width: int) -> bool:
    """Whether rows of `num_tokens` tokens, `num_nodes` distinct prefixes, are computed as a tree, by a model of this hidden size.

    A saved token saves products of 24 width^2 operations or more in each layer and pass. For each token of the rows a few vectors
    of its width are copied. So what is gained over what it costs grows as the saved share times the width.

    >>> is_worth_sharing(2600, 3600, width=576), is_worth_sharing(2600, 3600, width=128)  # saved: 28% of all tokens
    (True, False)
    """
    return (num_tokens - num_nodes) * width >= COPY_PRICE * num_tokens


def common_length(one: Sequence[int], other: Sequence[int]) -> int:
    """The number of tokens with which both begin.

    >>> common_length([5, 6, 7], [5, 6, 8, 9])
    2
    """
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def in_order(rows: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """The rows' numbers, in an order in which each has most in common with the one before it, and how many tokens that is.

    >>> in_order([[5, 6, 8], [4, 9], [5, 6, 7]])
    [(1, 0), (2, 0), (0, 2)]
    """
    order = sorted(range(len(rows)), key=lambda row: tuple(rows[row]))
    common = [common_length(rows[a], rows[b]) for a, b in pairwise(order)]
    return list(zip(order, [0, *common], strict=False))  # of no rows there is no first one either


def prefix_tree(rows: Sequence[Sequence[int]]) -> PrefixTree:
    """The tree of `rows`, each a list of at least one token id."""
    lengths = [len(row) for row in rows]
    nodes = torch.zeros(len(rows), max(lengths), dtype=torch.long)
    token_ids: list[int] = []
    depths: list[int] = []
    before = 0
    for row, shared in in_order(rows):
        nodes[row, :shared] = nodes[before, :shared]
        nodes[row, shared : lengths[row]] = torch.arange(lengths[row] - shared) + len(token_ids)
        token_ids += rows[row][shared:]
        depths += range(shared, lengths[row])
        before = row
    places = _places(nodes, lengths, len(token_ids))
    return PrefixTree(torch.tensor(token_ids), torch.tensor(depths), nodes, *places)


def _blocks(lengths: list[int]) -> list[list[int]]:
    """Rows of nearly equal length, longest first."""
    blocks: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: (-lengths[row], row)):
        if not blocks or lengths[row] < BLOCK_FILL * lengths[blocks[-1][0]]:
            blocks.append([])
        blocks[-1].append(row)
    return blocks


def _places(
    nodes: Tensor, lengths: list[int], num_nodes: int
) -> tuple[tuple[tuple[int, int], ...], Tensor, Tensor, Tensor, Tensor]:
    """The shapes of the blocks and all places of their rows: see `PrefixTree`."""
    blocks = _blocks(lengths)
    shapes = tuple((len(block), lengths[block[0]]) for block in blocks)
    by_block = [nodes[block, :width] for block, (_, width) in zip(blocks, shapes, strict=True)]
    real = [
        torch.arange(width)[None] < torch.tensor([lengths[row] for row in block])[:, None]
        for block, (_, width) in zip(blocks, shapes, strict=True)
    ]
    places = torch.cat([part.flatten() for part in by_block])
    counted = torch.cat([part.flatten() for part in real]).nonzero()[:, 0]
    of_counted = places[counted]
    first = torch.full((num_nodes,), len(places)).scatter_reduce(0, of_counted, counted, "amin")
    again = counted[first[of_counted] != counted]
    return shapes, places, first, again, places[again]


# --- gathering nodes into rows, and back -----------------------------------------------------------------------------


class _IntoRows(torch.autograd.Function):
    """[N, W] to [M, W]: every place gets its node. The gradient of a node is the sum over its places."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, tree: PrefixTree) -> Tensor:
        ctx.tree = tree
        return x.index_select(0, tree.places)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (dy,), tree = grads, ctx.tree
        dx = dy.index_select(0, tree.first)
        return dx.index_add_(0, tree.again_nodes, dy.index_select(0, tree.again)), None


class _OutOfRows(torch.autograd.Function):
    """[M, W] to [N, W]: every node gets what is at its first place; the other places get no gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, tree: PrefixTree) -> Tensor:
        ctx.tree, ctx.num_places = tree, x.shape[0]
        return x.index_select(0, tree.first)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (dy,), tree = grads, ctx.tree
        return dy.new_zeros(ctx.num_places, dy.shape[1]).index_copy_(0, tree.first, dy), None


# --- Hugging Face's side ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Attending:
    tree: PrefixTree
    implementation: str  # the model's own: "sdpa" or "eager"


_active: ContextVar[_Attending] = ContextVar("laconic_prefixes")


@contextlib.contextmanager
def _attached(config: Any, tree: PrefixTree) -> Iterator[None]:
    """Inside, a Hugging Face model with this config attends over the rows of `tree`."""
    before = config._attn_implementation
    token = _active.set(_Attending(tree, before))
    config._attn_implementation = SHARED_ATTENTION
    try:
        yield
    finally:
        config._attn_implementation = before
        _active.reset(token)


def hidden_states(body: nn.Module, tree: PrefixTree) -> Tensor:
    """The hidden states [N, D] of the nodes under `body`, a Hugging Face model without its head."""
    config: Any = body.config
    ones = torch.ones_like(tree.token_ids)[None]  # with a mask of its own the model does not look for packed sequences
    with _attached(config.get_text_config(), tree):
        output = body(
            input_ids=tree.token_ids[None], position_ids=tree.depths[None], attention_mask=ones, use_cache=False
        )
    states: Tensor = output.last_hidden_state[0]
    return states


def _attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **options: Any
) -> tuple[Tensor, None]:
    """Attention of the nodes, [1, heads, N, D] each, over the rows of the tree: [1, N, heads, D]."""
    attending = _active.get()
    tree = attending.tree
    own: Any = getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)
    attend = AttentionInterface().get_interface(attending.implementation, own)
    sizes = [rows * tokens for rows, tokens in tree.blocks]
    blocks = zip(
        tree.blocks, *(_rows_of(x, tree).split(sizes) for x in (query, key, value)), attention_mask, strict=True
    )
    out = []
    for (rows, tokens), *inputs, mask in blocks:
        whole = [x.unflatten(0, (rows, tokens)).transpose(1, 2) for x in inputs]
        out.append(attend(module, *whole, mask, **options)[0].flatten(0, 1))
    together = out[0] if len(out) == 1 else torch.cat(out)
    nodes: Tensor = _OutOfRows.apply(together.flatten(1), tree)  # type: ignore[no-untyped-call]
    return nodes.view(1, -1, *together.shape[1:]), None


def _rows_of(x: Tensor, tree: PrefixTree) -> Tensor:
    """[1, heads, N, D] at the nodes to [M, heads, D] at the places."""
    by_node = x[0].transpose(0, 1)
    rows: Tensor = _IntoRows.apply(by_node.flatten(1), tree)  # type: ignore[no-untyped-call]
    return rows.view(-1, *by_node.shape[1:])


def _masks(*, mask_function: Any, dtype: torch.dtype, **options: Any) -> tuple[Tensor | None, ...]:
    """What a token may look at, [1, 1, L, L] for each block, of which the model says by `mask_function` whether one position may
    look at another. None where that is every earlier position, which fused attention knows by itself."""
    attending, window = _active.get(), options.get("local_size")
    device = attending.tree.token_ids.device
    is_eager = attending.implementation == "eager"
    may_skip = not is_eager and options.get("allow_is_causal_skip", True)
    masks: list[Tensor | None] = []
    for _, tokens in attending.tree.blocks:
        if may_skip and (window is None or tokens <= window):
            masks.append(None)
            continue
        positions = torch.arange(tokens, device=device)
        zero = torch.zeros(1, 1, 1, 1, dtype=torch.long, device=device)
        seen = mask_function(zero, zero, positions[None, None, :, None], positions[None, None, None, :])
        unseen = torch.zeros(seen.shape, dtype=dtype, device=device).masked_fill(~seen, torch.finfo(dtype).min)
        masks.append(unseen if is_eager else seen)
    return tuple(masks)


# --- whether a model can ---------------------------------------------------------------------------------------------


@torch.no_grad()
def shares_correctly(body: nn.Module, device: torch.device) -> bool:
    """Whether `body` computes the same hidden states by a tree as by whole rows, tried on two short rows in the arithmetic of
    the caller. Layers that read other tokens by other means than transformers' attention functions (state spaces, convolutions,
    biases by distance) give others."""
    config: Any = body.config
    rows = [[token % config.get_text_config().vocab_size for token in row] for row in PROBE]
    tree, ids = prefix_tree(rows).to(device), torch.tensor(rows, device=device)
    whole = body(input_ids=ids, use_cache=False).last_hidden_state  # first: what fails here is no matter of sharing
    try:
        shared = hidden_states(body, tree)[tree.nodes]
    except Exception as error:  # a model's own code may take none of what it is given here: errors of many kinds
        from laconic.parallel.endings import runs_out_of_memory

        if runs_out_of_memory(error):
            raise
        return False
    is_exact = whole.dtype.itemsize >= 4 and not torch.is_autocast_enabled(device.type)
    tolerance = PROBE_TOLERANCE * whole.abs().max() * (1 if is_exact else 100)
    return bool((shared - whole).abs().max() <= tolerance)


AttentionInterface.register(SHARED_ATTENTION, _attention)
AttentionMaskInterface.register(SHARED_ATTENTION, _masks)

"""The sources of the two Triton kernels; `attention.py` compiles them and says what they are for.

Triton gives these names their meaning and reads the source, so nothing here is typed. Arguments in capitals are known when the
kernel is compiled. Tensors are pointers to their first number, and every place is computed from strides, in numbers.
"""

# mypy: ignore-errors
# ruff: noqa: N803, ANN001, ANN201

try:
    import triton.language as tl
    from triton.language import constexpr
except ImportError:  # without Triton this module can be imported, not run
    constexpr = int


def part(
    q,
    keys,
    values,
    positions,
    parts,
    weights,
    key_row,
    key_head,
    key_place,
    value_row,
    value_head,
    value_place,
    scaling,
    softcap,
    window,
    num_parts,
    HEADS: constexpr,
    GROUP: constexpr,
    GROUP_BLOCK: constexpr,
    SIZE: constexpr,
    WIDTH: constexpr,
    PART: constexpr,
    BLOCK: constexpr,
    HAS_CAP: constexpr,
    HAS_WINDOW: constexpr,
):
    """One part of one row's positions for the queries of one key-value head: their attention over it [GROUP, SIZE], to `parts`,
    and the logarithm of its sum of weights [GROUP], to `weights`; -inf where the row sees nothing of the part."""
    row, head, index = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.program_id(2)
    last = tl.load(positions + row).to(tl.int32)
    first = 0
    if HAS_WINDOW:
        first = tl.maximum(last - window + 1, 0)
    start = index * PART
    members, columns = tl.arange(0, GROUP_BLOCK), tl.arange(0, WIDTH)
    is_member, is_column = members < GROUP, columns < SIZE
    queries = (row * HEADS + head) * GROUP + members
    place = queries * num_parts + index
    if (start > last) | (start + PART <= first):
        tl.store(weights + place, tl.full([GROUP_BLOCK], float("-inf"), tl.float32), mask=is_member)
        return
    is_number = is_member[:, None] & is_column[None, :]
    wanted = tl.load(q + queries[:, None] * SIZE + columns[None, :], mask=is_number, other=0.0)
    best = tl.full([GROUP_BLOCK], float("-inf"), tl.float32)
    total = tl.zeros([GROUP_BLOCK], tl.float32)
    attended = tl.zeros([GROUP_BLOCK, WIDTH], tl.float32)
    stop = tl.minimum(last + 1, start + PART)
    for offset in range(tl.maximum(start, first // BLOCK * BLOCK), stop, BLOCK):
        seen = offset + tl.arange(0, BLOCK)
        is_seen = (seen <= last) & (seen >= first)
        key_places = row * key_row + head * key_head + seen[None, :] * key_place + columns[:, None]
        key = tl.load(keys + key_places, mask=is_column[:, None] & is_seen[None, :], other=0.0)
        scores = tl.dot(wanted, key, input_precision="ieee") * scaling
        if HAS_CAP:
            scores = softcap * (2.0 * tl.sigmoid(2.0 * scores / softcap) - 1.0)  # tanh
        scores = tl.where(is_seen[None, :], scores, float("-inf"))
        top = tl.maximum(best, tl.max(scores, 1))  # every block has a position that is seen, so it is finite
        fade, share = tl.exp(best - top), tl.exp(scores - top[:, None])
        value_places = row * value_row + head * value_head + seen[:, None] * value_place + columns[None, :]
        value = tl.load(values + value_places, mask=is_seen[:, None] & is_column[None, :], other=0.0)
        attended = attended * fade[:, None] + tl.dot(share.to(value.dtype), value, input_precision="ieee")
        total = total * fade + tl.sum(share, 1)
        best = top
    tl.store(parts + place[:, None] * SIZE + columns[None, :], attended / total[:, None], mask=is_number)
    tl.store(weights + place, best + tl.log(total), mask=is_member)


def joined(
    parts,
    weights,
    out,
    num_parts,
    SIZE: constexpr,
    WIDTH: constexpr,
    PARTS: constexpr,
    STEP: constexpr,
):
    """The attention of one query [SIZE] over all parts, to `out`: the mean of the parts' by the exponentials of `weights`."""
    query, columns = tl.program_id(0).to(tl.int64), tl.arange(0, WIDTH)
    index = tl.arange(0, PARTS)
    logs = tl.load(weights + query * num_parts + index, mask=index < num_parts, other=float("-inf"))
    top = tl.max(logs, 0)
    total = tl.sum(tl.exp(logs - top), 0)
    attended = tl.zeros([WIDTH], tl.float32)
    for begin in range(0, num_parts, STEP):
        chunk = begin + tl.arange(0, STEP)
        logs = tl.load(weights + query * num_parts + chunk, mask=chunk < num_parts, other=float("-inf"))
        is_there = (logs > float("-inf"))[:, None] & (columns < SIZE)[None, :]
        places = (query * num_parts + chunk)[:, None] * SIZE + columns[None, :]
        held = tl.load(parts + places, mask=is_there, other=0.0)
        attended += tl.sum(held * tl.exp(logs - top)[:, None], 0)
    tl.store(out + query * SIZE + columns, attended / total, mask=columns < SIZE)

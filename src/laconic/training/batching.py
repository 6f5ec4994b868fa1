"""Turns groups into tensors, and tensors into micro-batches. Padding is added here and nowhere else.

1. `collate` flattens the rollouts of a step that can train into one `RolloutBatch`, responses padded on the right.
2. `micro_batches` sorts rows by length and cuts them by a budget of tokens, so that little of a micro-batch is padding. Rows that
   begin alike, as those of a group do, it may keep together instead; the model then computes what they share once
   (`models/prefixes.py`).
3. `shared_micro_batches` gives each process of a team its share of a step's rows, and everyone as many micro-batches.
4. `minibatch_rows` cuts the step's rows into the updates of an epoch, shuffled by a named stream.

Ungradable rollouts are left out here, because they train nothing. `loss_rows` says which of the others count in the loss.

Legend: `B` responses of the step, `T` response tokens (padded), `L` prompt and response tokens (padded).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from laconic.config.defaults import CPU_MICRO_BATCH_TOKENS, MICRO_BATCH_TOKENS
from laconic.config.optimizer import OptimizerConfig
from laconic.models.prefixes import PrefixTree, in_order, is_worth_sharing, prefix_tree
from laconic.parallel.team import Team
from laconic.rng import stream
from laconic.types import Grade, Group

FILLER = 0  # its value is never used: padding is outside every mask and to the right of every token
MIN_FILL = 0.9  # so under a tenth of any row is padding, and about a twentieth of all
ATTENDED = (
    0.25  # of the memory of a token that goes through the layers, what it takes at most to attend to a shared one
)


@dataclass(frozen=True, slots=True)
class RolloutBatch:
    """All rollouts of a step as tensors. `response_mask` is a fact; `loss_rows` [B] a decision."""

    prompts: tuple[tuple[int, ...], ...]
    response_ids: Tensor  # [B, T] int64
    response_mask: Tensor  # [B, T] bool
    sampler_logprobs: Tensor  # [B, T] float32, nats
    rewards: Tensor  # [B] float32
    groups: Tensor  # [B] int64, index of the problem in the step
    is_correct: Tensor  # [B] bool
    is_truncated: Tensor  # [B] bool
    loss_rows: Tensor  # [B] bool
    is_drawn: Tensor  # [B, T] bool: False where a token was written for the model
    ref_prompts: tuple[tuple[int, ...], ...]  # the prompts that the reference reads

    @property
    def num_rows(self) -> int:
        """Responses, B."""
        return self.response_ids.shape[0]

    @property
    def lengths(self) -> Tensor:
        """Response lengths in tokens, [B]."""
        return self.response_mask.sum(dim=1)

    @property
    def loss_mask(self) -> Tensor:
        """Tokens that count in the loss, [B, T]."""
        return self.response_mask & self.is_drawn & self.loss_rows[:, None]


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Rows that go through the model together. `predictors` [b, t] are the positions from which the response tokens are
    predicted; `final` [b] are the positions of the states after the last response tokens; `counted` [n] are the places of the
    response tokens in the flattened `mask`, known on the host without a look at the device."""

    rows: Tensor  # [b] int64, into the RolloutBatch
    input_ids: Tensor  # [b, L]
    predictors: Tensor  # [b, t]
    response_ids: Tensor  # [b, t]
    mask: Tensor  # [b, t] bool
    final: Tensor  # [b]
    counted: Tensor  # [n] int64
    tree: PrefixTree | None = None  # the prefixes of the rows, where those that several rows share are computed once

    @property
    def is_idle(self) -> bool:
        """Whether none of its tokens counts: it goes through the model for company."""
        return self.counted.shape[0] == 0


def collate(groups: Sequence[Group], *, truncated: Literal["penalise", "bootstrap", "mask"]) -> RolloutBatch:
    """The gradable rollouts of a step's groups. With `truncated="mask"` truncated ones count in baselines but not in the loss.

    Raises `ValueError` if no rollout is gradable.
    """
    pairs = [(i, g, r) for i, g in enumerate(groups) for r in g.rollouts if r.grade is not Grade.UNGRADABLE]
    if not pairs:
        raise ValueError("collate: no gradable rollout in this step")
    responses = [rollout.response for _, _, rollout in pairs]
    is_truncated = torch.tensor([response.is_truncated for response in responses])
    response_mask = _pad([[1] * response.num_tokens for response in responses], torch.bool)
    is_drawn = response_mask.clone()
    for row, response in enumerate(responses):
        is_drawn[row, slice(*response.forced)] = False
    return RolloutBatch(
        prompts=tuple(group.prompt_ids for _, group, _ in pairs),
        response_ids=_pad([response.token_ids for response in responses], torch.long),
        response_mask=response_mask,
        sampler_logprobs=_pad([response.logprobs for response in responses], torch.float32),
        rewards=torch.tensor([rollout.reward for _, _, rollout in pairs], dtype=torch.float32),
        groups=torch.tensor([index for index, _, _ in pairs]),
        is_correct=torch.tensor([rollout.grade is Grade.CORRECT for _, _, rollout in pairs]),
        is_truncated=is_truncated,
        loss_rows=~is_truncated if truncated == "mask" else torch.ones_like(is_truncated),
        is_drawn=is_drawn,
        ref_prompts=tuple(g.prompt_ids if g.ref_prompt_ids is None else g.ref_prompt_ids for _, g, _ in pairs),
    )


def _pad(rows: Sequence[Sequence[float]], dtype: torch.dtype) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[FILLER] * (longest - len(row))] for row in rows]).to(dtype)


def token_budget(config: OptimizerConfig, device: torch.device) -> int:
    """Most tokens of a micro-batch on `device`: the recipe's number, or one that uses the device well without overflowing
    caches."""
    return config.micro_batch_tokens or (CPU_MICRO_BATCH_TOKENS if device.type == "cpu" else MICRO_BATCH_TOKENS)


def micro_batches(
    batch: RolloutBatch,
    rows: Sequence[int],
    token_budget: int,
    device: torch.device,
    sharing_width: int | None = None,
) -> list[MicroBatch]:
    """`rows` of `batch`, longest first, in micro-batches of at most `token_budget` tokens, padding included.

    The shortest row of a micro-batch is at least `MIN_FILL` of its longest. A row longer than the budget makes a micro-batch of
    its own. With `sharing_width`, the hidden size of a model that can compute shared prefixes once, micro-batches are cut for
    that (`_shared_cuts`) where it is worth it.
    """
    lengths = batch.lengths.tolist()
    if sharing_width is not None:
        sequences = [(*batch.prompts[row], *batch.response_ids[row, : lengths[row]].tolist()) for row in rows]
        shared = [(rows[place], len(sequences[place]), common) for place, common in in_order(sequences)]
        num_tokens, num_nodes = sum(map(len, sequences)), sum(length - common for _, length, common in shared)
        if is_worth_sharing(num_nodes, num_tokens, sharing_width):
            return [_micro_batch(batch, cut, device, shares=True) for cut in _shared_cuts(shared, token_budget)]
    sizes = {row: len(batch.prompts[row]) + lengths[row] for row in rows}
    ordered = sorted(rows, key=lambda row: (-sizes[row], row))
    cuts: list[list[int]] = []
    for row in ordered:
        longest = sizes[cuts[-1][0]] if cuts else 0
        if not cuts or (len(cuts[-1]) + 1) * longest > token_budget or sizes[row] < MIN_FILL * longest:
            cuts.append([])
        cuts[-1].append(row)
    return [_micro_batch(batch, cut, device) for cut in cuts]


def _shared_cuts(ordered: Sequence[tuple[int, int, int]], token_budget: int) -> list[list[int]]:
    """Rows in cuts of at most `token_budget` tokens. `ordered` holds rows, their lengths, and how many tokens each has in common
    with the one before, which count `ATTENDED`; every other token counts 1. A row longer than the budget makes a cut of its own.
    """
    cuts: list[list[int]] = []
    size = 0.0
    for row, length, common in ordered:
        added = length - common + ATTENDED * common
        if not cuts or size + added > token_budget:
            cuts.append([])
            size, added = 0.0, length
        cuts[-1].append(row)
        size += added
    return cuts


def _micro_batch(batch: RolloutBatch, rows: list[int], device: torch.device, *, shares: bool = False) -> MicroBatch:
    index = torch.tensor(rows)
    lengths = batch.lengths[index]
    longest = int(lengths.max())
    responses, mask = batch.response_ids[index, :longest], batch.response_mask[index, :longest]
    sequences = [[*batch.prompts[row], *batch.response_ids[row, : int(batch.lengths[row])].tolist()] for row in rows]
    starts = torch.tensor([len(batch.prompts[row]) for row in rows])
    predictors = starts[:, None] - 1 + torch.arange(longest)[None]
    last = starts + lengths - 1
    return MicroBatch(
        rows=index.to(device),
        input_ids=_pad(sequences, torch.long).to(device),
        predictors=torch.minimum(predictors, last[:, None]).to(device),
        response_ids=responses.to(device),
        mask=mask.to(device),
        final=last.to(device),
        counted=mask.flatten().nonzero()[:, 0].to(device),
        tree=prefix_tree(sequences).to(device) if shares else None,
    )


def shared_micro_batches(
    batch: RolloutBatch,
    rows: Sequence[int],
    token_budget: int,
    device: torch.device,
    sharing_width: int | None,
    team: Team,
) -> list[MicroBatch]:
    """The `micro_batches` of those of the `rows` that this process of the team computes. Every process gets as many, since spread
    weights come together only if all take part: one that has fewer gets idle ones.

    A process takes a stretch of the rows, in the order of their groups, with about as many tokens as everyone's.
    """
    if team.size == 1:
        return micro_batches(batch, rows, token_budget, device, sharing_width)
    ordered, lengths = sorted(rows), batch.lengths.tolist()
    part = team.part([len(batch.prompts[row]) + lengths[row] for row in ordered])
    micros = micro_batches(batch, [ordered[place] for place in part], token_budget, device, sharing_width)
    num_idle = team.most(len(micros)) - len(micros)
    return micros + [_idle(_micro_batch(batch, ordered[:1], device)) for _ in range(num_idle)]


def _idle(micro: MicroBatch) -> MicroBatch:
    return replace(micro, mask=torch.zeros_like(micro.mask), counted=micro.counted[:0])


def minibatch_rows(num_rows: int, minibatches: int, *, seed: int, step: int, epoch: int) -> list[list[int]]:
    """All rows, shuffled, in `minibatches` parts whose sizes differ by at most one (fewer parts if there are fewer rows)."""
    rows = list(range(num_rows))
    stream(seed, "minibatches", step, epoch).shuffle(rows)
    parts = min(minibatches, num_rows)
    return [rows[part::parts] for part in range(parts)]

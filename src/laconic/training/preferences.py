"""Pairs of responses to one problem, of which one is preferred, and the weights that turn a pair's loss into a likelihood.

1. A rule of `PAIRS` names the preferred and the other response of each pair in a group.
2. `pair_weights` turns pairs into one weight per response. The gradient of a pair's loss -log sigmoid(z_w - z_l), with z = beta
   times a response's score, is that of a weighted likelihood: the preferred response has weight beta sigmoid(z_l - z_w), the
   other one minus that. So pairs need no loss of their own: weights computed from the current policy give the exact gradient.
   They are computed once per step, so if a step has several updates, the later ones use stale weights.

DPO (Rafailov et al. 2023, arXiv 2305.18290, eq. 7): the score is the log-ratio to the reference, summed over tokens. SimPO (Meng
et al. 2024, arXiv 2405.14734, eq. 6): the score is the mean log-probability of a token, with a margin and without a reference.

Legend: `B` responses of a step, `K` of a group.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from laconic.rl.shapes import check_shapes

PreferencePair = tuple[int, int]
"""Rows (preferred, other)."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a rule needs to know of a response."""

    row: int
    length: int
    reward: float
    is_correct: bool


def kimi_pairs(group: Sequence[Candidate], ratio: float = 1.5) -> Iterator[PreferencePair]:
    """The shortest correct response is preferred to each longer wrong one, and to each correct one more than `ratio` times as
    long (Kimi k1.5, arXiv 2501.12599, section 2.4, "DPO")."""
    correct = sorted((c for c in group if c.is_correct), key=lambda c: (c.length, c.row))
    for other in group if correct else ():
        best = correct[0]
        is_longer_wrong = not other.is_correct and other.length > best.length
        if is_longer_wrong or (other.is_correct and other.length > ratio * best.length):
            yield best.row, other.row


def extreme_pairs(group: Sequence[Candidate], ratio: float = 1.0) -> Iterator[PreferencePair]:
    """The shortest correct response is preferred to the longest correct one, if that is more than `ratio` times as long
    (O1-Pruner's DPO baseline, arXiv 2501.12570)."""
    correct = sorted((c for c in group if c.is_correct), key=lambda c: (c.length, c.row))
    if len(correct) > 1 and correct[-1].length > ratio * correct[0].length:
        yield correct[0].row, correct[-1].row


def reward_pairs(group: Sequence[Candidate], ratio: float = 1.0) -> Iterator[PreferencePair]:
    """The response of highest reward is preferred to the one of lowest reward among those of the same correctness. With DAST's
    reward these are the pairs of its paper (arXiv 2503.04472): of two correct ones the shorter is preferred, of two wrong ones
    the longer. `ratio` is not used."""
    for is_correct in (True, False):
        paid = sorted((c for c in group if c.is_correct is is_correct), key=lambda c: (-c.reward, c.row))
        if len(paid) > 1 and paid[0].reward > paid[-1].reward:
            yield paid[0].row, paid[-1].row


def given_pairs(group: Sequence[Candidate], ratio: float = 1.0) -> Iterator[PreferencePair]:
    """The response of highest reward is preferred to the one of lowest reward, whatever their correctness: with rollouts =
    "pairs" that is what people preferred. `ratio` is not used."""
    paid = sorted(group, key=lambda c: (-c.reward, c.row))
    if len(paid) > 1 and paid[0].reward > paid[-1].reward:
        yield paid[0].row, paid[-1].row


PAIRS: Mapping[str, Callable[..., Iterator[PreferencePair]]] = {
    "kimi": kimi_pairs,
    "extremes": extreme_pairs,
    "reward": reward_pairs,
    "given": given_pairs,
}


def pair_weights(scores: Tensor, pairs: Sequence[PreferencePair], beta: float, margin: float = 0.0) -> Tensor:
    """Weights [B] whose product with the gradients of `scores` [B], averaged over pairs, is minus the gradient of the pair loss
    -log sigmoid(beta (s_w - s_l) - margin). All 0 without pairs.

    >>> pair_weights(torch.tensor([0.0, 0.0, 7.0]), [(0, 1)], beta=2.0).tolist()  # 2 sigmoid(0) = 1
    [1.0, -1.0, 0.0]
    """
    check_shapes("pair_weights", scores=(scores, "B"))
    weights = torch.zeros_like(scores)
    if not pairs:
        return weights
    preferred, other = (torch.tensor(column) for column in zip(*pairs, strict=True))
    surprise = torch.sigmoid(margin - beta * (scores[preferred] - scores[other]))
    weights.index_add_(0, preferred, beta * surprise / len(pairs))
    weights.index_add_(0, other, -beta * surprise / len(pairs))
    return weights


def all_pairs(
    lengths: Tensor,
    rewards: Tensor,
    is_correct: Tensor,
    groups: Tensor,
    loss_rows: Tensor,
    rule: str,
    ratio: float | None = None,
) -> list[PreferencePair]:
    """The pairs of every group among the responses that count in the loss; arguments [B]. `ratio` None means the rule's
    default."""
    check_shapes(
        "all_pairs",
        lengths=(lengths, "B"),
        rewards=(rewards, "B"),
        is_correct=(is_correct, "B"),
        groups=(groups, "B"),
        loss_rows=(loss_rows, "B"),
    )
    columns = zip(lengths.tolist(), rewards.tolist(), is_correct.tolist(), groups.tolist(), strict=True)
    by_group: dict[int, list[Candidate]] = {}
    for row, (length, reward, correct, group) in enumerate(columns):
        if loss_rows[row]:
            by_group.setdefault(group, []).append(Candidate(row, int(length), reward, correct))
    given = {} if ratio is None else {"ratio": ratio}
    return [pair for group in by_group.values() for pair in PAIRS[rule](group, **given)]

"""Advantages: how much better a token, or a response, did than expected.

With a critic (token level, [B, T]):

    delta_t = r_t + gamma V_{t+1} - V_t            td_errors
    A_t     = sum_l (gamma lambda)^l delta_{t+l}   gae: discounted_sums of the td_errors

With a group baseline (response level, [B]; `groups` [B] says which problem a response answers):

    RLOO   r_i - mean of the other r_j             leave_one_out = (r_i - mean) K / (K - 1)
    GRPO   (r_i - mean) / std                      group_centred, divided by the group's standard deviation

Padding, and responses that are not counted, may hold any values. Every advantage has the unit of the rewards, except that of
GRPO, which has none. A tensor of another shape than stated raises `ValueError` (`shapes.py`).
What is left out: reductions (`masked.py`) and losses (`losses.py`).
"""

import torch
from torch import Tensor

from laconic.rl.masked import zeroed
from laconic.rl.shapes import check_shapes


def td_errors(rewards: Tensor, values: Tensor, mask: Tensor, *, last_values: Tensor, gamma: float) -> Tensor:
    """delta_t = r_t + gamma V_{t+1} - V_t, shape [B, T]; 0 outside `mask`.

    `rewards`, `values` and `mask` are [B, T]; the counted tokens of a row begin at its left end and have no gaps. `last_values`
    [B] are the values after the last counted token: 0 where the response ended, V of the last state where it was truncated and
    is bootstrapped.
    """
    check_shapes(
        "td_errors", rewards=(rewards, "BT"), values=(values, "BT"), mask=(mask, "BT"), last_values=(last_values, "B")
    )
    values = zeroed(values, mask)
    following = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], dim=1)
    is_last = mask & ~torch.cat([mask[:, 1:], torch.zeros_like(mask[:, :1])], dim=1)
    following = torch.where(is_last, last_values[:, None].to(values.dtype), following)
    return zeroed(zeroed(rewards, mask) + gamma * following - values, mask)


def discounted_sums(x: Tensor, mask: Tensor, decay: float) -> Tensor:
    """s_t = x_t + decay * s_{t+1} along the last dimension; `x`, `mask` and the result are [B, T]; 0 outside `mask`."""
    check_shapes("discounted_sums", x=(x, "BT"), mask=(mask, "BT"))
    x = zeroed(x, mask)
    out = torch.empty_like(x)
    running = torch.zeros_like(x[:, 0])
    for t in range(x.shape[1] - 1, -1, -1):
        running = x[:, t] + decay * running
        out[:, t] = running
    return zeroed(out, mask)


def gae(
    rewards: Tensor, values: Tensor, mask: Tensor, *, last_values: Tensor, gamma: float, gae_lambda: float
) -> Tensor:
    """Generalised advantage estimates A_t = sum_l (gamma lambda)^l delta_{t+l}, shape [B, T] (Schulman et al. 2016, eq. 16).

    Arguments as in `td_errors`. The targets of the values are `gae(...) + values`; they may be computed with another lambda than
    the advantages (VAPO, arXiv 2504.05118).
    """
    check_shapes(
        "gae", rewards=(rewards, "BT"), values=(values, "BT"), mask=(mask, "BT"), last_values=(last_values, "B")
    )
    deltas = td_errors(rewards, values, mask, last_values=last_values, gamma=gamma)
    return discounted_sums(deltas, mask, gamma * gae_lambda)


def _group_sums(x: Tensor, groups: Tensor, is_counted: Tensor) -> tuple[Tensor, Tensor]:
    """For each row, the sum of the counted entries of its group and the number of them, both [B]."""
    num_groups = int(groups.max()) + 1
    sums = torch.zeros(num_groups, dtype=x.dtype, device=x.device).index_add(0, groups, zeroed(x, is_counted))
    counts = torch.zeros(num_groups, dtype=x.dtype, device=x.device).index_add(0, groups, is_counted.to(x.dtype))
    return sums[groups], counts[groups]


def group_centred(rewards: Tensor, groups: Tensor, is_counted: Tensor) -> Tensor:
    """r_i - mean of the group's counted rewards, shape [B]; 0 where not counted (Dr. GRPO's advantage, arXiv 2503.20783).

    `rewards` [B]; `groups` [B] holds the index of each response's group, from 0; `is_counted` [B] is False where ungradable.
    """
    check_shapes("group_centred", rewards=(rewards, "B"), groups=(groups, "B"), is_counted=(is_counted, "B"))
    if not rewards.is_floating_point():
        raise ValueError(f"group_centred: expected rewards as floating-point numbers, got {rewards.dtype}")
    # in float64 a sum of equal float32 numbers is exact: a uniform group is centred to exactly 0
    wide = rewards.double()
    sums, counts = _group_sums(wide, groups, is_counted)
    return zeroed(wide - sums / counts.clamp(min=1), is_counted).to(rewards.dtype)


def leave_one_out(rewards: Tensor, groups: Tensor, is_counted: Tensor) -> Tensor:
    """r_i - mean of the others in the group, shape [B] (RLOO, Ahmadian et al. 2024, arXiv 2402.14740, eq. 8).

    Equal to the centred reward times K / (K - 1), K being the group's number of counted responses; 0 where K is 1, since there
    are no others. Arguments as in `group_centred`.
    """
    check_shapes("leave_one_out", rewards=(rewards, "B"), groups=(groups, "B"), is_counted=(is_counted, "B"))
    _, counts = _group_sums(rewards, groups, is_counted)
    scale = counts / (counts - 1).clamp(min=1)
    return group_centred(rewards, groups, is_counted) * scale


def group_standardized(rewards: Tensor, groups: Tensor, is_counted: Tensor, eps: float = 1e-6) -> Tensor:
    """(r_i - mean) / (std + eps) within the group, population standard deviation, shape [B] (GRPO, arXiv 2402.03300).

    Exactly 0 in a uniform group, because its centred rewards are exactly 0. Arguments as in `group_centred`.
    """
    check_shapes("group_standardized", rewards=(rewards, "B"), groups=(groups, "B"), is_counted=(is_counted, "B"))
    centred = group_centred(rewards, groups, is_counted)
    squares, counts = _group_sums(centred.square(), groups, is_counted)
    return centred / ((squares / counts.clamp(min=1)).sqrt() + eps)

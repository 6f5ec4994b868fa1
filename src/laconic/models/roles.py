"""The roles beside the policy in a phase: a critic that predicts its reward, and a reference that it must stay close to.

1. A critic is a second model (`SeparateCritic`) or an adapter on the policy's base weights (`AdapterCritic`), each with a value
   head that begins at zero. Without a critic all values are zero.
2. A reference is a copy of the policy (`CopyReference`), an adapter that equals the policy's (`AdapterReference`), or another
   model that never changes (`Teacher`). Inside `lm_at_work` it is a model to score with.
3. One that never moves is what a resumed run can make again, so it is in no checkpoint, and it is held rounded
   (`CausalLM.hold_rounded`).

What is left out: when they are made and dropped (`policy.py`).
"""

import contextlib
import copy
from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor, nn

from laconic.models.causal_lm import CausalLM
from laconic.models.lora.adapters import CRITIC_ADAPTER, POLICY_ADAPTER, REFERENCE_ADAPTER, Adapters, is_of_adapter
from laconic.models.prefixes import PrefixTree, hidden_states
from laconic.models.products.onednn import fast_products
from laconic.models.scoring import gather_states


class Critic(Protocol):
    """A model that predicts the reward at every position."""

    @property
    def value_head(self) -> nn.Linear:
        """The linear map from a hidden state to a value."""
        ...

    def parameters(self) -> dict[str, nn.Parameter]:
        """The weights that are trained, by name."""
        ...

    def at_work(self) -> contextlib.AbstractContextManager[None]:
        """The context for a forward and its backward pass together."""
        ...

    def values(self, input_ids: Tensor, positions: Tensor, tree: PrefixTree | None = None) -> Tensor:
        """Values [B, T] of the states after `positions` [B, T] of `input_ids` [B, L]; `tree` as in `response_states`."""
        ...


class Reference(Protocol):
    """A model from which the policy must not drift far, or that it learns from."""

    lm: CausalLM

    @property
    def can_move(self) -> bool:
        """Whether it may follow the policy."""
        ...

    def parameters(self) -> dict[str, nn.Parameter]:
        """The weights that a resumed run needs where it can move, by name."""
        ...

    def lm_at_work(self) -> contextlib.AbstractContextManager[CausalLM]:
        """The reference as a model to score with."""
        ...

    def move(self, decay: float) -> None:
        """theta_ref <- decay * theta_ref + (1 - decay) * theta."""
        ...


def zero_head(lm: CausalLM) -> nn.Linear:
    """A value head whose value is 0 everywhere."""
    head = nn.Linear(lm.text_config.hidden_size, 1, device=lm.device)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def _named_head(head: nn.Linear) -> dict[str, nn.Parameter]:
    return {f"value_head.{name}": p for name, p in head.named_parameters()}


# --- critics ---------------------------------------------------------------------------------------------------------


class SeparateCritic:
    """A copy of the policy's backbone with a value head. Where the policy has an adapter, only the copy's adapter is trained."""

    def __init__(self, lm: CausalLM, adapters: Adapters | None) -> None:
        self.lm = lm
        self.body: nn.Module = copy.deepcopy(getattr(lm.model, lm.model.base_model_prefix))
        for name, parameter in self.body.named_parameters():
            parameter.requires_grad_(adapters is None or is_of_adapter(name, POLICY_ADAPTER))
        self.value_head = zero_head(lm)

    def parameters(self) -> dict[str, nn.Parameter]:
        """The trained weights of the copy and of the head, by name."""
        return {n: p for n, p in self.body.named_parameters() if p.requires_grad} | _named_head(self.value_head)

    def at_work(self) -> contextlib.AbstractContextManager[None]:
        """An empty context: the critic shares no weights, so nothing has to be switched."""
        return contextlib.nullcontext()

    def values(self, input_ids: Tensor, positions: Tensor, tree: PrefixTree | None = None) -> Tensor:
        """Values [B, T] in float32."""
        with self.lm.autocast(), fast_products(self.lm.device):
            if tree is not None:
                return _node_values(self.value_head, hidden_states(self.body, tree), positions, tree)
            hidden = self.body(input_ids=input_ids, use_cache=False).last_hidden_state
        return _values(self.value_head, hidden, positions)


class AdapterCritic:
    """A critic that is an adapter on the policy's base weights, with a value head."""

    def __init__(self, lm: CausalLM, adapters: Adapters) -> None:
        self.lm, self.adapters = lm, adapters
        adapters.renew(CRITIC_ADAPTER)
        self.value_head = zero_head(lm)

    def parameters(self) -> dict[str, nn.Parameter]:
        """The weights of the adapter and of the head, by name."""
        return self.adapters.parameters(CRITIC_ADAPTER) | _named_head(self.value_head)

    def at_work(self) -> contextlib.AbstractContextManager[None]:
        """The context in which the critic's adapter is active; recomputing activations in the backward pass needs it too."""
        return self.adapters.at_work(CRITIC_ADAPTER)

    def values(self, input_ids: Tensor, positions: Tensor, tree: PrefixTree | None = None) -> Tensor:
        """Values [B, T] in float32."""
        with self.lm.autocast(), self.at_work():
            if tree is not None:
                return _node_values(self.value_head, self.lm.node_states(tree), positions, tree)
            hidden = self.lm.backbone(input_ids, use_cache=False).last_hidden_state
        return _values(self.value_head, hidden, positions)


def _values(head: nn.Linear, hidden: Tensor, positions: Tensor) -> Tensor:
    """The head's values [B, T] of the states `hidden` [B, L, D] at `positions` [B, T]."""
    values: Tensor = head(gather_states(hidden, positions).float())[..., 0]
    return values


def _node_values(head: nn.Linear, states: Tensor, positions: Tensor, tree: PrefixTree) -> Tensor:
    """The head's values [B, T] of the nodes' `states` [N, D] at `positions` [B, T] of the rows."""
    with torch.autocast(states.device.type, enabled=False):
        values: Tensor = head(states.float())[:, 0]
    return values[tree.nodes.gather(1, positions)]


# --- references ------------------------------------------------------------------------------------------------------


class CopyReference:
    """A whole copy of the policy's model as it was when the copy was made."""

    def __init__(self, lm: CausalLM, can_move: bool) -> None:
        self.policy, self.can_move = lm, can_move
        self.lm = CausalLM(copy.deepcopy(lm.model).requires_grad_(False).eval(), lm.tokenizer, lm.name)
        self.lm.autocast_dtype = lm.autocast_dtype
        if not can_move:
            self.lm.hold_rounded()

    def parameters(self) -> dict[str, nn.Parameter]:
        """All weights of the copy, by name."""
        return dict(self.lm.model.named_parameters())

    def lm_at_work(self) -> contextlib.AbstractContextManager[CausalLM]:
        """The copy."""
        return contextlib.nullcontext(self.lm)

    def move(self, decay: float) -> None:
        """theta_ref <- decay * theta_ref + (1 - decay) * theta."""
        _move(zip(self.policy.model.parameters(), self.lm.model.parameters(), strict=True), decay)


class AdapterReference:
    """An adapter on the policy's base weights: a copy of the policy's adapter as it was when the copy was made."""

    def __init__(self, lm: CausalLM, adapters: Adapters, can_move: bool) -> None:
        self.lm, self.adapters, self.can_move = lm, adapters, can_move
        adapters.renew_as_policy(REFERENCE_ADAPTER)

    def parameters(self) -> dict[str, nn.Parameter]:
        """The weights of the reference's adapter, by name."""
        return self.adapters.parameters(REFERENCE_ADAPTER)

    @contextlib.contextmanager
    def lm_at_work(self) -> Iterator[CausalLM]:
        """The policy's model with the reference's adapter active."""
        with self.adapters.at_work(REFERENCE_ADAPTER):
            yield self.lm

    def move(self, decay: float) -> None:
        """theta_ref <- decay * theta_ref + (1 - decay) * theta."""
        _move(self.adapters.pairs(REFERENCE_ADAPTER), decay)


class Teacher:
    """Another model. It never changes, so a resumed run loads it again."""

    can_move = False

    def __init__(self, lm: CausalLM) -> None:
        lm.model.requires_grad_(False)
        self.lm = lm

    def parameters(self) -> dict[str, nn.Parameter]:
        """Empty, since a resumed run loads the teacher from its own files."""
        return {}

    def lm_at_work(self) -> contextlib.AbstractContextManager[CausalLM]:
        """The teacher."""
        return contextlib.nullcontext(self.lm)

    def move(self, decay: float) -> None:
        """Never called: a teacher does not change."""
        raise AssertionError(f"{self.lm.name}: a teacher does not move")


@torch.no_grad()
def _move(
    pairs: "Iterator[tuple[nn.Parameter, nn.Parameter]] | zip[tuple[nn.Parameter, nn.Parameter]]", decay: float
) -> None:
    """T1's moving reference (arXiv 2501.11651); `decay` 0 resets it to the policy."""
    for source, target in pairs:
        target.mul_(decay).add_(source.to(target.dtype), alpha=1.0 - decay)

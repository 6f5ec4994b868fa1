"""Who stands beside the policy in a phase: a critic that predicts its reward, a reference that it must not drift far from.

1. A critic is a model of its own (`SeparateCritic`) or an adapter on the policy's base (`AdapterCritic`), each with a value head
   that begins at zero. No critic at all is the constant zero.
2. A reference is a copy of the policy (`CopyReference`), an adapter that equals the policy's (`AdapterReference`), or another
   model that never moves (`Teacher`). `lm_at_work` gives it as a model to score with.

What is left out: when they are made and thrown away (`policy.py`).
"""

import contextlib
import copy
from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor, nn

from laconic.models.adapters import CRITIC_ADAPTER, POLICY_ADAPTER, REFERENCE_ADAPTER, Adapters
from laconic.models.causal_lm import CausalLM
from laconic.models.onednn import fast_products
from laconic.models.scoring import gather_states, response_states


class Critic(Protocol):
    """What predicts the reward at every position."""

    @property
    def value_head(self) -> nn.Linear:
        """From a hidden state to a value."""
        ...

    def parameters(self) -> dict[str, nn.Parameter]:
        """The weights that learn, by name."""
        ...

    def at_work(self) -> contextlib.AbstractContextManager[None]:
        """The context for a forward and its backward pass together."""
        ...

    def values(self, input_ids: Tensor, positions: Tensor) -> Tensor:
        """Values [B, T] of the states after `positions` [B, T] of `input_ids` [B, L]."""
        ...


class Reference(Protocol):
    """What the policy is held against. `can_move` where it may follow the policy."""

    @property
    def can_move(self) -> bool:
        """Whether it may follow the policy."""
        ...

    def parameters(self) -> dict[str, nn.Parameter]:
        """Its weights, by name, where a resumed run needs them."""
        ...

    def lm_at_work(self) -> contextlib.AbstractContextManager[CausalLM]:
        """The reference as a model to score with."""
        ...

    def move(self, decay: float) -> None:
        """theta_ref <- decay * theta_ref + (1 - decay) * theta."""
        ...


def zero_head(lm: CausalLM) -> nn.Linear:
    """A value head that says 0 everywhere."""
    head = nn.Linear(lm.text_config.hidden_size, 1, device=lm.device)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def _named_head(head: nn.Linear) -> dict[str, nn.Parameter]:
    return {f"value_head.{name}": p for name, p in head.named_parameters()}


# --- critics ---------------------------------------------------------------------------------------------------------


class SeparateCritic:
    """A copy of the policy's backbone, with its adapter where it has one: then only that learns."""

    def __init__(self, lm: CausalLM, adapters: Adapters | None) -> None:
        self.lm = lm
        self.body: nn.Module = copy.deepcopy(getattr(lm.model, lm.model.base_model_prefix))
        for name, parameter in self.body.named_parameters():
            parameter.requires_grad_(adapters is None or f".{POLICY_ADAPTER}." in name)
        self.value_head = zero_head(lm)

    def parameters(self) -> dict[str, nn.Parameter]:
        """Those of the copy that learn, and the head's."""
        return {n: p for n, p in self.body.named_parameters() if p.requires_grad} | _named_head(self.value_head)

    def at_work(self) -> contextlib.AbstractContextManager[None]:
        """Nothing is shared, so nothing has to be switched."""
        return contextlib.nullcontext()

    def values(self, input_ids: Tensor, positions: Tensor) -> Tensor:
        """Values [B, T] in float32."""
        with self.lm.autocast(), fast_products(self.lm.device):
            hidden = self.body(input_ids=input_ids, use_cache=False).last_hidden_state
        values: Tensor = self.value_head(gather_states(hidden, positions).float())[..., 0]
        return values


class AdapterCritic:
    """An adapter of its own on the policy's base."""

    def __init__(self, lm: CausalLM, adapters: Adapters) -> None:
        self.lm, self.adapters = lm, adapters
        adapters.renew(CRITIC_ADAPTER)
        self.value_head = zero_head(lm)

    def parameters(self) -> dict[str, nn.Parameter]:
        """The adapter's and the head's."""
        return self.adapters.parameters(CRITIC_ADAPTER) | _named_head(self.value_head)

    def at_work(self) -> contextlib.AbstractContextManager[None]:
        """Activations that are recomputed in the backward pass need the adapter as much as the first time."""
        return self.adapters.at_work(CRITIC_ADAPTER)

    def values(self, input_ids: Tensor, positions: Tensor) -> Tensor:
        """Values [B, T] in float32."""
        with self.lm.autocast(), self.at_work():
            states = response_states(self.lm, input_ids, positions)
        values: Tensor = self.value_head(states.float())[..., 0]
        return values


# --- references ------------------------------------------------------------------------------------------------------


class CopyReference:
    """The policy's model as it was, copied whole."""

    can_move = True

    def __init__(self, lm: CausalLM) -> None:
        self.policy = lm
        self.lm = CausalLM(copy.deepcopy(lm.model).requires_grad_(False).eval(), lm.tokenizer, lm.name)
        self.lm.autocast_dtype = lm.autocast_dtype

    def parameters(self) -> dict[str, nn.Parameter]:
        """All of the copy's."""
        return dict(self.lm.model.named_parameters())

    def lm_at_work(self) -> contextlib.AbstractContextManager[CausalLM]:
        """The copy."""
        return contextlib.nullcontext(self.lm)

    def move(self, decay: float) -> None:
        """theta_ref <- decay * theta_ref + (1 - decay) * theta."""
        _move(zip(self.policy.model.parameters(), self.lm.model.parameters(), strict=True), decay)


class AdapterReference:
    """An adapter on the policy's base that was the policy's own."""

    can_move = True

    def __init__(self, lm: CausalLM, adapters: Adapters) -> None:
        self.lm, self.adapters = lm, adapters
        adapters.renew_as_policy(REFERENCE_ADAPTER)

    def parameters(self) -> dict[str, nn.Parameter]:
        """The adapter's."""
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
    """Another model. It never moves, so a resumed run loads it again."""

    can_move = False

    def __init__(self, lm: CausalLM) -> None:
        lm.model.requires_grad_(False)
        self.lm = lm

    def parameters(self) -> dict[str, nn.Parameter]:
        """None that a resumed run would miss."""
        return {}

    def lm_at_work(self) -> contextlib.AbstractContextManager[CausalLM]:
        """The teacher."""
        return contextlib.nullcontext(self.lm)

    def move(self, decay: float) -> None:
        """A teacher stays as it is; nobody asks it to move."""
        raise AssertionError(f"{self.lm.name}: a teacher does not move")


@torch.no_grad()
def _move(
    pairs: "Iterator[tuple[nn.Parameter, nn.Parameter]] | zip[tuple[nn.Parameter, nn.Parameter]]", decay: float
) -> None:
    """T1's moving reference (arXiv 2501.11651); `decay` 0 resets it to the policy."""
    for source, target in pairs:
        target.mul_(decay).add_(source.to(target.dtype), alpha=1.0 - decay)

"""A policy whose weights are spread over the processes of a team, beside the whole model that samples.

1. The `whole` policy is on every process as it would be in one: its model draws responses, is saved and is copied.
2. What is trained is a copy of that model, spread over the processes (`parallel/spreading.py`), and so are its critic and its
   reference. `begin_phase` makes all of them anew from the whole model, as a policy in one process would.
3. `hand_over` gives the trained weights to the whole model, after every step and wherever weights were loaded.

So a process holds the model once whole, for sampling, and its share of everything that training needs.
"""

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from laconic.models.policy import Policy, Role, Scored
from laconic.models.roles import AdapterReference, Critic, Reference, SeparateCritic
from laconic.parallel.spreading import Spread, mesh_of, put_together, share_of, spread_over
from laconic.parallel.team import Team


class ShardedPolicy(Policy):
    """What `Policy` is, for a team. All of its methods but `save` are called by every process."""

    def __init__(self, whole_policy: Policy, team: Team) -> None:
        self.whole, self.team = whole_policy, team
        self.config, self.seed = whole_policy.config, whole_policy.seed
        self.mesh = mesh_of(whole_policy.lm.device, team.size)
        self.critic, self.reference = None, None
        self.policy_parts: Spread | None = None
        self.critic_parts: Spread | None = None
        self.reference_parts: Spread | None = None
        self._copy_whole()
        self.policy_parts = spread_over(self.mesh, self.lm.model)
        self.settle()

    def _copy_whole(self) -> None:
        """Take a copy of the whole model, which is whole as yet, with its adapters."""
        held = self.whole
        _ = held.lm.sharing_width  # found out where the weights are whole
        self.adapters = copy.deepcopy(held.adapters)
        model = copy.deepcopy(held.lm.model) if self.adapters is None else self.adapters.model
        self.lm = copy.copy(held.lm)
        self.lm.model, self.lm.text_config = model, model.config.get_text_config()

    # --- roles -------------------------------------------------------------------------------------------------------

    def begin_phase(
        self,
        *,
        critic: str,
        needs_reference: bool,
        reference_model: str | None = None,
        reference_moves: bool = True,
    ) -> None:
        """As in `Policy`."""
        self.policy_parts = self.critic_parts = self.reference_parts = None  # before new memory is taken
        self._copy_whole()
        super().begin_phase(
            critic=critic,
            needs_reference=needs_reference,
            reference_model=reference_model,
            reference_moves=reference_moves,
        )
        shares_weights = self.critic is not None and self.critic_parts is None
        heads = [self.critic.value_head] if self.critic is not None and shares_weights else []
        self.policy_parts = spread_over(self.mesh, self.lm.model, *heads)

    def _new_critic(self, kind: str) -> Critic | None:
        critic = super()._new_critic(kind)
        if isinstance(critic, SeparateCritic):
            self.critic_parts = spread_over(self.mesh, critic.body, critic.value_head)
        return critic

    def _new_reference(self, teacher: str | None, moves: bool) -> Reference:
        reference = super()._new_reference(teacher, moves)
        if not isinstance(reference, AdapterReference):
            _ = reference.lm.sharing_width
            self.reference_parts = spread_over(self.mesh, reference.lm.model)
        return reference

    def update_reference(self, decay: float) -> None:
        """As in `Policy`."""
        self._rest()
        super().update_reference(decay)

    # --- parameters --------------------------------------------------------------------------------------------------

    def policy_parameters(self) -> dict[str, nn.Parameter]:
        """As in `Policy`, spread."""
        self._rest()
        return super().policy_parameters()

    def critic_parameters(self) -> dict[str, nn.Parameter]:
        """As in `Policy`, spread."""
        self._rest()
        return super().critic_parameters()

    def reference_parameters(self) -> dict[str, nn.Parameter]:
        """As in `Policy`, spread."""
        self._rest()
        return super().reference_parameters()

    def placed(self, value: Tensor, like: Tensor) -> Tensor:
        """As in `Policy`: this process's share."""
        return share_of(value, like)

    def average_with(self, state: Mapping[str, Tensor], share: float) -> None:
        """As in `Policy`."""
        super().average_with(state, share)
        self.hand_over()

    def load_trainable_state(
        self, state: Mapping[str, Tensor], roles: Sequence[str] = ("policy", "critic", "reference")
    ) -> None:
        """As in `Policy`."""
        super().load_trainable_state(state, roles)
        self.hand_over()

    @torch.no_grad()
    def hand_over(self) -> None:
        """Give the trained weights to the whole model."""
        held = self.whole.policy_parameters()
        for name, parameter in self.policy_parameters().items():
            held[name].copy_(put_together(parameter))

    def settle(self) -> None:
        """As in `Policy`; each process keeps no more than its share."""
        super().settle()
        self._rest()

    def _rest(self) -> None:
        for parts in (self.policy_parts, self.critic_parts, self.reference_parts):
            if parts is not None:
                parts.rest()

    # --- scoring -----------------------------------------------------------------------------------------------------

    def _computed(self, compute: Callable[[], Scored], *roles: Role) -> Scored:
        """As in `Policy`: the weights of `roles` are whole while `compute` runs, and in its backward pass. A role without parts
        of its own is a part of the policy, as adapters and the heads of a shared body are."""
        own = {"policy": self.policy_parts, "critic": self.critic_parts, "reference": self.reference_parts}
        needed = dict.fromkeys(own[role] or self.policy_parts for role in roles)
        for parts in reversed(needed):
            compute = functools.partial(parts, compute) if parts is not None else compute
        return compute()

    # --- saving ------------------------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """As in `Policy`; for one process to call."""
        self.whole.save(folder)

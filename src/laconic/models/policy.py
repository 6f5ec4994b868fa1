"""The trained model with its critic and its reference.

1. `Policy` holds the model that learns and the roles beside it; `begin_phase` sets those that a phase needs (`roles.py`).
2. With LoRA all roles may share one set of base weights (`adapters.py`).
3. It asks its roles for log-probabilities, KL and values (`scoring.py`).
4. Saving writes the same format that was loaded, tokenizer and generation config included, LoRA merged in.

Left out: loading (`loading.py`), padding and batching (`training/batching.py`), optimisation (`training/updates.py`).

Legend: `B` rows, `L` tokens of prompt and response, `T` response tokens.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from laconic.config.policy import LoraConfig, PolicyConfig
from laconic.config.recipe import Recipe
from laconic.errors import ModelError
from laconic.models.adapters import POLICY_ADAPTER, Adapters
from laconic.models.causal_lm import CausalLM
from laconic.models.loading import copy_model, load_model, quiet
from laconic.models.onednn import fast_products
from laconic.models.roles import (
    AdapterCritic,
    AdapterReference,
    CopyReference,
    Critic,
    Reference,
    SeparateCritic,
    Teacher,
)
from laconic.models.scoring import EntropyKind, exact_kl, response_logprobs, response_states
from laconic.models.teachers import check_vocabulary
from laconic.rng import seed_of


class Policy:
    """The trained model with its reference and critic. Made once; `begin_phase` sets the roles that a phase needs.

    `critic` None is the constant zero.
    """

    def __init__(self, lm: CausalLM, config: PolicyConfig, *, seed: int) -> None:
        self.lm, self.config, self.seed = lm, config, seed
        self.adapters = self._new_adapters(config.lora) if config.lora else None
        self.critic: Critic | None = None
        self.reference: Reference | None = None
        if config.gradient_checkpointing:
            lm.model.gradient_checkpointing_enable(
                gradient_checkpointing_kwargs={"use_reentrant": False, "context_fn": self._contexts}
            )

    def _new_adapters(self, lora: LoraConfig) -> Adapters:
        torch.manual_seed(self.seed)
        return Adapters(self.lm.model, lora)

    def _contexts(self) -> tuple[contextlib.AbstractContextManager[Any], contextlib.AbstractContextManager[Any]]:
        """Around a layer's first forward pass, and around the one that is made again in the backward pass."""
        return contextlib.nullcontext(), fast_products(self.lm.device)

    # --- roles -------------------------------------------------------------------------------------------------------

    def begin_phase(self, *, critic: str, needs_reference: bool, reference_model: str | None = None) -> None:
        """Set up a fresh critic (`separate`, `lora` or `zero`) and, where needed, a reference: `reference_model`, or one equal to
        the policy now.

        Raises `ModelError` where a LoRA critic is asked for without LoRA, or `reference_model` speaks another vocabulary.
        """
        if critic == "lora" and self.adapters is None:
            raise ModelError("critic 'lora' shares the policy's base weights: it needs policy.lora")
        torch.manual_seed(self.seed)
        self.critic, self.reference = (
            None,
            None,
        )  # the old ones leave before the new ones come: memory is for one of each
        self.critic = self._new_critic(critic)
        self.reference = self._new_reference(reference_model) if needs_reference else None

    def _new_critic(self, kind: str) -> Critic | None:
        if kind == "zero":
            return None
        if kind == "lora" and self.adapters is not None:
            return AdapterCritic(self.lm, self.adapters)
        return SeparateCritic(self.lm, self.adapters)

    def _new_reference(self, teacher: str | None) -> Reference:
        if teacher:
            return Teacher(self._load_teacher(teacher))
        return CopyReference(self.lm) if self.adapters is None else AdapterReference(self.lm, self.adapters)

    def _load_teacher(self, name: str) -> CausalLM:
        teacher = load_model(name, self.config.model_copy(update={"lora": None}))
        check_vocabulary(name, teacher.tokenizer, self.lm.name, self.lm.tokenizer)
        return teacher

    @property
    def has_reference(self) -> bool:
        """Whether there is a reference."""
        return self.reference is not None

    @property
    def has_moving_reference(self) -> bool:
        """Whether there is a reference that may follow the policy."""
        return self.reference is not None and self.reference.can_move

    def update_reference(self, decay: float) -> None:
        """theta_ref <- decay * theta_ref + (1 - decay) * theta (T1, arXiv 2501.11651); `decay` 0 resets it to the policy."""
        assert self.reference is not None
        self.reference.move(decay)

    def average_with(self, state: Mapping[str, Tensor], share: float) -> None:
        """theta <- share * theta_state + (1 - share) * theta, over the policy's weights of a `trainable_state` (Kimi k1.5's model
        merging, arXiv 2501.12599, section 2.4)."""
        with torch.no_grad():
            for name, parameter in self.policy_parameters().items():
                other = state[f"policy/{name}"].to(parameter.device, parameter.dtype)
                parameter.mul_(1.0 - share).add_(other, alpha=share)

    # --- parameters --------------------------------------------------------------------------------------------------

    def policy_parameters(self) -> dict[str, nn.Parameter]:
        """The policy's weights that learn, by name."""
        return (
            dict(self.lm.model.named_parameters())
            if self.adapters is None
            else self.adapters.parameters(POLICY_ADAPTER)
        )

    def critic_parameters(self) -> dict[str, nn.Parameter]:
        """The critic's weights that learn, by name; empty for the zero critic."""
        return {} if self.critic is None else self.critic.parameters()

    def reference_parameters(self) -> dict[str, nn.Parameter]:
        """The reference's weights, by name; empty where there is none, or a teacher."""
        return {} if self.reference is None else self.reference.parameters()

    @contextlib.contextmanager
    def learning(self) -> Iterator[None]:
        """Training mode around an update, backward pass included, where it changes anything we want: activations that are
        recomputed, or LoRA's dropout. Elsewhere dropout stays off, so that the update scores what was sampled."""
        has_dropout = self.config.lora is not None and self.config.lora.dropout > 0
        wanted = self.config.gradient_checkpointing or has_dropout
        critic = [self.critic.body] if isinstance(self.critic, SeparateCritic) else []
        for module in (self.lm.model, *critic):
            module.train(wanted)
        try:
            yield
        finally:
            for module in (self.lm.model, *critic):
                module.eval()

    # --- scoring -----------------------------------------------------------------------------------------------------

    def logprobs(
        self,
        input_ids: Tensor,
        predictors: Tensor,
        response_ids: Tensor,
        mask: Tensor,
        *,
        temperature: float,
        entropy: EntropyKind = "none",
    ) -> tuple[Tensor, Tensor]:
        """Log-probabilities and entropies (nats) of the response tokens under the policy, [B, T]; see `response_logprobs`."""
        return response_logprobs(
            self.lm, input_ids, predictors, response_ids, mask, temperature=temperature, entropy=entropy
        )

    @torch.no_grad()
    def ref_logprobs(
        self, input_ids: Tensor, predictors: Tensor, response_ids: Tensor, mask: Tensor, *, temperature: float
    ) -> Tensor:
        """The same log-probabilities under the reference, [B, T]."""
        assert self.reference is not None
        with self.reference.lm_at_work() as lm:
            return response_logprobs(lm, input_ids, predictors, response_ids, mask, temperature=temperature)[0]

    def exact_kl(self, input_ids: Tensor, predictors: Tensor, mask: Tensor, *, temperature: float) -> Tensor:
        """KL to the reference over the whole vocabulary, at each response token, [B, T]; arguments as in `logprobs`.

        The reference's head is read with the policy's adapter active: adapters leave the head as it is.
        """
        assert self.reference is not None
        with torch.no_grad(), self.reference.lm_at_work() as reference, reference.autocast():
            theirs = response_states(reference, input_ids, predictors)
        with self.lm.autocast():
            ours = response_states(self.lm, input_ids, predictors)
            return exact_kl(self.lm, reference, ours, theirs, mask, temperature=temperature)

    def critic_at_work(self) -> contextlib.AbstractContextManager[None]:
        """The context for the critic's forward and backward pass together."""
        return contextlib.nullcontext() if self.critic is None else self.critic.at_work()

    def values(self, input_ids: Tensor, positions: Tensor) -> Tensor:
        """The critic's values [B, T] of the states after `positions` [B, T]; zeros for the zero critic."""
        if self.critic is None:
            return torch.zeros(positions.shape, device=positions.device)
        return self.critic.values(input_ids, positions)

    # --- saving ------------------------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Weights, config, generation config and tokenizer in Hugging Face format, in the dtype that was loaded."""
        model = self.lm.model if self.adapters is None else self.adapters.merged()
        state = _converted(model.state_dict(), self.lm.stored_dtype)
        with quiet():
            model.save_pretrained(folder, state_dict=state)
            model.config.dtype = self.lm.stored_dtype  # save_pretrained states the dtype of the live weights instead
            model.config.save_pretrained(folder)
            self.lm.tokenizer.save_pretrained(folder)

    def trainable_state(self) -> dict[str, Tensor]:
        """Every weight a resumed run needs, in full precision, by role and name."""
        roles = {
            "policy": self.policy_parameters(),
            "critic": self.critic_parameters(),
            "reference": self.reference_parameters(),
        }
        return {f"{role}/{name}": p.detach() for role, named in roles.items() for name, p in named.items()}

    def load_trainable_state(
        self, state: Mapping[str, Tensor], roles: Sequence[str] = ("policy", "critic", "reference")
    ) -> None:
        """Put the named roles of a `trainable_state` back. Raises `KeyError` where the state lacks a weight."""
        with torch.no_grad():
            for name, parameter in self.trainable_state().items():
                if name.partition("/")[0] in roles:
                    parameter.copy_(state[name].to(parameter.device))


def load_policy(recipe: Recipe, given: CausalLM | None = None) -> Policy:
    """The recipe's model as a policy; the same recipe gives the same weights, adapters included.

    `given` is that model where it was handed over in memory: the policy is a copy of it.
    """
    return Policy(load_entry(recipe, recipe.policy, given), recipe.policy, seed=seed_of(recipe.seed, "policy"))


def load_entry(recipe: Recipe, config: PolicyConfig, given: CausalLM | None = None) -> CausalLM:
    """The model that a run begins from, by its name, or copied from the one that was handed over in memory."""
    return load_model(recipe.model, config) if given is None else copy_model(given, config, recipe.model)


def _converted(state: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """The tensors in `dtype`; those that share memory (tied embeddings) still do, so that they are saved once."""
    made: dict[tuple[int, torch.Size], Tensor] = {}
    for tensor in state.values():
        made.setdefault((tensor.data_ptr(), tensor.shape), tensor.to(dtype))
    return {name: made[tensor.data_ptr(), tensor.shape] for name, tensor in state.items()}

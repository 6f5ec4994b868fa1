"""The trained model with its critic and its reference: roles, log-probabilities, values, save.

1. `Policy` holds which weights learn, a reference that is frozen, moving or reset, and a critic that is a separate model, a
   LoRA adapter with a value head on the shared base, or the constant zero.
2. With LoRA all three roles share one set of base weights: adapters `default` (the policy), `critic` and `reference`.
3. Saving writes the same format that was loaded, tokenizer and generation config included, LoRA merged in.

Left out: loading (`loading.py`), padding and batching (`training/batching.py`), optimisation (`training/updates.py`).

Legend: `B` rows, `L` tokens of prompt and response, `T` response tokens, `D` hidden size.
"""

import contextlib
import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from laconic.config.policy import LoraConfig, PolicyConfig
from laconic.config.recipe import Recipe
from laconic.errors import ModelError
from laconic.models.loading import CausalLM, EntropyKind, exact_kl, load_model, quiet, score_tokens
from laconic.models.onednn import fast_products
from laconic.models.teachers import check_vocabulary
from laconic.rng import seed_of

POLICY_ADAPTER, CRITIC_ADAPTER, REFERENCE_ADAPTER = "default", "critic", "reference"


class Policy:
    """The trained model with its reference and critic. Made once; `begin_phase` sets the roles that a phase needs."""

    def __init__(self, lm: CausalLM, config: PolicyConfig, *, seed: int) -> None:
        self.lm, self.config, self.seed = lm, config, seed
        self.peft: Any = self._add_lora(config.lora) if config.lora else None
        self.critic: nn.Module | None = None
        self.value_head: nn.Linear | None = None
        self.reference: nn.Module | None = None
        self.teacher: CausalLM | None = None  # a reference of its own, which never moves
        self.has_reference = False
        self.active_adapter = POLICY_ADAPTER
        if config.gradient_checkpointing:
            lm.model.gradient_checkpointing_enable(
                gradient_checkpointing_kwargs={"use_reentrant": False, "context_fn": self._contexts}
            )

    # --- roles -------------------------------------------------------------------------------------------------------

    def _add_lora(self, lora: LoraConfig) -> Any:
        from peft import LoraConfig as PeftLoraConfig
        from peft import get_peft_model

        torch.manual_seed(self.seed)
        targets = lora.targets if isinstance(lora.targets, str) else list(lora.targets)
        self.peft_config = PeftLoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,  # type: ignore[arg-type]
            lora_dropout=lora.dropout,
            target_modules=targets,
            task_type="CAUSAL_LM",
        )
        return get_peft_model(self.lm.model, self.peft_config)

    def begin_phase(self, *, critic: str, needs_reference: bool, reference_model: str | None = None) -> None:
        """Set up a fresh critic (`separate`, `lora` or `zero`) and, where needed, a reference: `reference_model`, or one equal to
        the policy now.

        Raises `ModelError` where a LoRA critic is asked for without LoRA, or `reference_model` speaks another vocabulary.
        """
        if critic == "lora" and self.peft is None:
            raise ModelError("critic 'lora' shares the policy's base weights: it needs policy.lora")
        torch.manual_seed(self.seed)
        self.critic, self.value_head, self.reference, self.teacher = None, None, None, None
        self.has_reference = needs_reference
        if critic != "zero":
            self._add_critic(critic)
        if needs_reference and reference_model:
            self.teacher = self._load_teacher(reference_model)
        elif needs_reference:
            self._add_reference()

    def _add_critic(self, kind: str) -> None:
        if kind == "lora":
            self._fresh_adapter(CRITIC_ADAPTER)
        else:
            body = getattr(self.lm.model, self.lm.model.base_model_prefix)
            self.critic = copy.deepcopy(body).requires_grad_(self.peft is None)
            for name, parameter in self.critic.named_parameters():
                parameter.requires_grad_(self.peft is None or f".{POLICY_ADAPTER}." in name)
        self.value_head = nn.Linear(self.lm.text_config.hidden_size, 1, device=self.lm.device)
        nn.init.zeros_(self.value_head.weight)
        nn.init.zeros_(self.value_head.bias)

    def _load_teacher(self, name: str) -> CausalLM:
        teacher = load_model(name, self.config.model_copy(update={"lora": None}))
        check_vocabulary(name, teacher.tokenizer, self.lm.name, self.lm.tokenizer)
        teacher.model.requires_grad_(False)
        return teacher

    def _add_reference(self) -> None:
        if self.peft is None:
            self.reference = copy.deepcopy(self.lm.model).requires_grad_(False).eval()
            return
        self._fresh_adapter(REFERENCE_ADAPTER)
        for source, target in self._adapter_pairs(REFERENCE_ADAPTER):
            target.data.copy_(source.data)
            target.requires_grad_(False)

    def _fresh_adapter(self, name: str) -> None:
        if name in self.peft.peft_config:
            self.peft.delete_adapter(name)
        self.peft.add_adapter(name, self.peft_config)
        self.peft.set_adapter(POLICY_ADAPTER)
        for key, parameter in self.peft.named_parameters():
            if f".{CRITIC_ADAPTER}." in key or f".{POLICY_ADAPTER}." in key:
                parameter.requires_grad_(True)

    def _adapter_pairs(self, name: str) -> Iterator[tuple[nn.Parameter, nn.Parameter]]:
        """(policy's parameter, adapter `name`'s parameter) in a fixed order."""
        parameters = dict(self.peft.named_parameters())
        for key, parameter in parameters.items():
            if f".{POLICY_ADAPTER}." in key:
                yield parameter, parameters[key.replace(f".{POLICY_ADAPTER}.", f".{name}.")]

    def update_reference(self, decay: float) -> None:
        """theta_ref <- decay * theta_ref + (1 - decay) * theta (T1, arXiv 2501.11651); `decay` 0 resets it to the policy."""
        with torch.no_grad():
            for source, target in self._reference_pairs():
                target.mul_(decay).add_(source.to(target.dtype), alpha=1.0 - decay)

    def average_with(self, state: Mapping[str, Tensor], share: float) -> None:
        """theta <- share * theta_state + (1 - share) * theta, over the policy's weights of a `trainable_state` (Kimi k1.5's model
        merging, arXiv 2501.12599, section 2.4)."""
        with torch.no_grad():
            for name, parameter in self.policy_parameters().items():
                other = state[f"policy/{name}"].to(parameter.device, parameter.dtype)
                parameter.mul_(1.0 - share).add_(other, alpha=share)

    def _reference_pairs(self) -> Iterator[tuple[nn.Parameter, nn.Parameter]]:
        if self.peft is not None:
            return self._adapter_pairs(REFERENCE_ADAPTER)
        assert self.reference is not None
        return iter(zip(self.lm.model.parameters(), self.reference.parameters(), strict=True))

    @contextlib.contextmanager
    def _adapter(self, name: str) -> Iterator[None]:
        """The shared base with adapter `name` active; gradients stay as they were set."""
        before = self.active_adapter
        if name == before:
            yield
            return
        learns = {key: p.requires_grad for key, p in self.peft.named_parameters()}
        try:
            self._activate(name, learns)
            yield
        finally:
            self._activate(before, learns)

    def _activate(self, name: str, learns: dict[str, bool]) -> None:
        self.active_adapter = name
        self.peft.base_model.set_adapter(name)
        self._restore(learns)

    def critic_at_work(self) -> contextlib.AbstractContextManager[None]:
        """The context for the critic's forward and backward pass together: activations that are recomputed in the backward
        pass need the critic's adapter as much as the first time."""
        is_adapter = self.value_head is not None and self.critic is None
        return self._adapter(CRITIC_ADAPTER) if is_adapter else contextlib.nullcontext()

    def _restore(self, learns: dict[str, bool]) -> None:
        for key, parameter in self.peft.named_parameters():
            parameter.requires_grad_(learns[key])

    def _contexts(self) -> tuple[contextlib.AbstractContextManager[Any], contextlib.AbstractContextManager[Any]]:
        """Around a layer's first forward pass, and around the one that is made again in the backward pass."""
        return contextlib.nullcontext(), fast_products(self.lm.device)

    # --- parameters --------------------------------------------------------------------------------------------------

    def policy_parameters(self) -> dict[str, nn.Parameter]:
        """The policy's weights that learn, by name."""
        named = dict(self.lm.model.named_parameters())
        if self.peft is None:
            return named
        return {name: p for name, p in named.items() if f".{POLICY_ADAPTER}." in name}

    def critic_parameters(self) -> dict[str, nn.Parameter]:
        """The critic's weights that learn, by name; empty for the zero critic."""
        if self.value_head is None:
            return {}
        head = {f"value_head.{name}": p for name, p in self.value_head.named_parameters()}
        if self.critic is not None:
            return {name: p for name, p in self.critic.named_parameters() if p.requires_grad} | head
        return {n: p for n, p in self.lm.model.named_parameters() if f".{CRITIC_ADAPTER}." in n} | head

    def reference_parameters(self) -> dict[str, nn.Parameter]:
        """The reference's weights, by name; empty where there is none."""
        if self.reference is not None:
            return dict(self.reference.named_parameters())
        if self.peft is None or REFERENCE_ADAPTER not in self.peft.peft_config:
            return {}
        return {n: p for n, p in self.lm.model.named_parameters() if f".{REFERENCE_ADAPTER}." in n}

    @contextlib.contextmanager
    def learning(self) -> Iterator[None]:
        """Training mode around an update, backward pass included, where it changes anything we want: activations that are
        recomputed, or LoRA's dropout. Elsewhere dropout stays off, so that the update scores what was sampled."""
        has_dropout = self.config.lora is not None and self.config.lora.dropout > 0
        wanted = self.config.gradient_checkpointing or has_dropout
        modules = [module for module in (self.lm.model, self.critic) if module is not None]
        for module in modules:
            module.train(wanted)
        try:
            yield
        finally:
            for module in modules:
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
        """Log-probabilities and entropies (nats) of the response tokens under the policy, both [B, T].

        `input_ids` [B, L] right-padded; `predictors` [B, T] the position whose hidden state predicts each response token;
        `response_ids`, `mask` [B, T].
        """
        return self._score(self.lm, input_ids, predictors, response_ids, mask, temperature, entropy)

    @torch.no_grad()
    def ref_logprobs(
        self, input_ids: Tensor, predictors: Tensor, response_ids: Tensor, mask: Tensor, *, temperature: float
    ) -> Tensor:
        """The same log-probabilities under the reference, [B, T]."""
        with self._reference_at_work() as reference:
            return self._score(reference, input_ids, predictors, response_ids, mask, temperature, "none")[0]

    def exact_kl(self, input_ids: Tensor, predictors: Tensor, mask: Tensor, *, temperature: float) -> Tensor:
        """KL to the reference over the whole vocabulary, at each response token, [B, T]; arguments as in `logprobs`."""
        with torch.no_grad(), self._reference_at_work() as reference, reference.autocast():
            theirs = reference.backbone(input_ids, use_cache=False).last_hidden_state
        with self.lm.autocast():
            ours = self.lm.backbone(input_ids, use_cache=False).last_hidden_state
            states = _gather_states(ours, predictors), _gather_states(theirs, predictors)
            return exact_kl(self.lm, reference, *states, mask, temperature=temperature)

    @contextlib.contextmanager
    def _reference_at_work(self) -> Iterator[CausalLM]:
        """The reference as a model to score with: the teacher, the base with the reference's adapter, or the copy."""
        if self.teacher is not None:
            yield self.teacher
        elif self.peft is not None:
            with self._adapter(REFERENCE_ADAPTER):
                yield self.lm
        else:
            assert isinstance(self.reference, PreTrainedModel)
            reference = CausalLM(self.reference, self.lm.tokenizer, self.lm.name)
            reference.autocast_dtype = self.lm.autocast_dtype
            yield reference

    @staticmethod
    def _score(
        lm: CausalLM,
        input_ids: Tensor,
        predictors: Tensor,
        response_ids: Tensor,
        mask: Tensor,
        temperature: float,
        entropy: EntropyKind,
    ) -> tuple[Tensor, Tensor]:
        with lm.autocast():
            hidden = lm.backbone(input_ids, use_cache=False).last_hidden_state
            read = _gather_states(hidden, predictors)
            return score_tokens(lm, read, response_ids, mask, temperature=temperature, entropy=entropy)

    def values(self, input_ids: Tensor, positions: Tensor) -> Tensor:
        """The critic's values [B, T] of the states after `positions` [B, T]; zeros for the zero critic."""
        if self.value_head is None:
            return torch.zeros(positions.shape, device=positions.device)
        with self.lm.autocast():
            if self.critic is not None:
                with fast_products(self.lm.device):
                    hidden = self.critic(input_ids=input_ids, use_cache=False).last_hidden_state
            else:
                with self.critic_at_work():
                    hidden = self.lm.backbone(input_ids, use_cache=False).last_hidden_state
        values: Tensor = self.value_head(_gather_states(hidden, positions).float())[..., 0]
        return values

    # --- saving ------------------------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Weights, config, generation config and tokenizer in Hugging Face format, in the dtype that was loaded."""
        model = self.lm.model if self.peft is None else self._merged()
        state = _converted(model.state_dict(), self.lm.stored_dtype)
        with quiet():
            model.save_pretrained(folder, state_dict=state)
            model.config.dtype = self.lm.stored_dtype  # save_pretrained states the dtype of the live weights instead
            model.config.save_pretrained(folder)
            self.lm.tokenizer.save_pretrained(folder)

    def _merged(self) -> PreTrainedModel:
        """A model of the loaded architecture whose weights are base + adapter; the live model is left as it is."""
        state: dict[str, Tensor] = {}
        for name, module in self.lm.model.named_modules():
            if name.endswith(".base_layer"):
                continue  # read below, through the layer that adapts it
            base = getattr(module, "base_layer", None)
            holder = base if base is not None else module
            for key, tensor in _own_tensors(holder):
                path = f"{name}.{key}".removeprefix(".")
                if ".lora_" in f".{path}":
                    continue
                is_weight = base is not None and key == "weight"
                delta = module.get_delta_weight(POLICY_ADAPTER) if is_weight else None
                state[path] = tensor.detach() if delta is None else (tensor + delta.to(tensor.dtype)).detach()
        with torch.device("meta"):
            merged = type(self.lm.model)(copy.deepcopy(self.lm.model.config))
        merged.load_state_dict(state, strict=False, assign=True)
        merged.tie_weights()
        merged.generation_config = self.lm.model.generation_config
        return merged

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


def load_policy(recipe: Recipe) -> Policy:
    """The recipe's model as a policy; the same recipe gives the same weights, adapters included."""
    return Policy(load_model(recipe.model, recipe.policy), recipe.policy, seed=seed_of(recipe.seed, "policy"))


def _converted(state: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """The tensors in `dtype`; those that share memory (tied embeddings) still do, so that they are saved once."""
    made: dict[tuple[int, torch.Size], Tensor] = {}
    for tensor in state.values():
        made.setdefault((tensor.data_ptr(), tensor.shape), tensor.to(dtype))
    return {name: made[tensor.data_ptr(), tensor.shape] for name, tensor in state.items()}


def _own_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters(recurse=False)
    yield from ((k, b) for k, b in module.named_buffers(recurse=False) if k not in module._non_persistent_buffers_set)


def _gather_states(hidden: Tensor, positions: Tensor) -> Tensor:
    """hidden [B, L, D] at positions [B, T] -> [B, T, D]."""
    return hidden.gather(1, positions[..., None].expand(-1, -1, hidden.shape[-1]))

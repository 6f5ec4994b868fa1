"""The trained model with its critic and its reference.

1. `Policy` holds the model that is trained and the roles beside it; `begin_phase` makes those that a phase needs (`roles.py`).
2. With LoRA all roles may share one set of base weights (`lora/adapters.py`).
3. It computes log-probabilities, KL and values with its roles (`scoring.py`).
4. Saving writes the format that was loaded, tokenizer and generation config included, with LoRA merged into the weights.

What is left out: loading (`loading.py`), padding and batching (`training/batching.py`), optimisation (`training/updates.py`).

Legend: `B` rows, `L` tokens of prompt and response, `T` response tokens.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from laconic.config.policy import LoraConfig, PolicyConfig
from laconic.config.recipe import Recipe
from laconic.errors import ModelError
from laconic.models.causal_lm import CausalLM
from laconic.models.loading import copy_model, kept_in_float32, load_model, quiet
from laconic.models.lora.adapters import POLICY_ADAPTER, Adapters
from laconic.models.prefixes import PrefixTree
from laconic.models.products.onednn import fast_products
from laconic.models.roles import (
    AdapterCritic,
    AdapterReference,
    CopyReference,
    Critic,
    Reference,
    SeparateCritic,
    Teacher,
)
from laconic.models.scoring import counted_places, exact_kl, response_logprobs, response_states
from laconic.models.teachers import check_vocabulary
from laconic.models.vocabulary import EntropyKind
from laconic.parallel.team import ALONE, Team
from laconic.prompts.endings import stated_ends
from laconic.rng import seed_of
from laconic.system.files import read_json, write_json_atomically

Role = Literal["policy", "critic", "reference"]
Scored = TypeVar("Scored")


class Policy:
    """The trained model with its reference and critic. A run makes one; `begin_phase` makes the roles that a phase needs.

    Where `critic` is None, all values are zero. `team` holds the processes over which its weights are spread.
    """

    team: Team = ALONE

    def __init__(self, lm: CausalLM, config: PolicyConfig, *, seed: int) -> None:
        if lm.is_quantized:
            raise ModelError(f"{lm.name}: its weights are quantized; train the model that they were made from")
        self.lm, self.config, self.seed = lm, config, seed
        self.adapters = self._new_adapters(config.lora) if config.lora else None
        self.critic: Critic | None = None
        self.reference: Reference | None = None
        if config.gradient_checkpointing:
            # a method would be copied with every copy of the model, and this policy with it
            contexts = functools.partial(_contexts_of_checkpointing, lm.device)
            lm.model.gradient_checkpointing_enable(
                gradient_checkpointing_kwargs={"use_reentrant": False, "context_fn": contexts}
            )
            _drop_nothing(lm.model)
        self.settle()

    def _new_adapters(self, lora: LoraConfig) -> Adapters:
        torch.manual_seed(self.seed)
        return Adapters(self.lm.model, lora, self.lm.name)

    # --- roles -------------------------------------------------------------------------------------------------------

    def begin_phase(
        self,
        *,
        critic: str,
        needs_reference: bool,
        reference_model: str | None = None,
        reference_moves: bool = True,
    ) -> None:
        """Make a new critic (`separate`, `lora` or `zero`) and, where needed, a reference: `reference_model`, or one that equals
        the present policy, and may follow it if `reference_moves`.

        Raises `ModelError` where `critic` is `lora` and the policy has no LoRA, or `reference_model` has another vocabulary.
        """
        if critic == "lora" and self.adapters is None:
            raise ModelError("critic 'lora' shares the policy's base weights: it needs policy.lora")
        torch.manual_seed(self.seed)
        self.critic, self.reference = (
            None,
            None,
        )  # the old ones are dropped before the new ones are made, since memory holds one of each
        self.critic = self._new_critic(critic)
        self.reference = self._new_reference(reference_model, reference_moves) if needs_reference else None
        self.settle()

    def _new_critic(self, kind: str) -> Critic | None:
        if kind == "zero":
            return None
        if kind == "lora" and self.adapters is not None:
            return AdapterCritic(self.lm, self.adapters)
        return SeparateCritic(self.lm, self.adapters)

    def _new_reference(self, teacher: str | None, moves: bool) -> Reference:
        if teacher:
            return Teacher(self._load_teacher(teacher))
        if self.adapters is None:
            return CopyReference(self.lm, moves)
        return AdapterReference(self.lm, self.adapters, moves)

    def _load_teacher(self, name: str) -> CausalLM:
        teacher = load_model(name, self.config.model_copy(update={"lora": None}), is_trained=False)
        check_vocabulary(name, teacher.tokenizer, self.lm.name, self.lm.tokenizer)
        return teacher

    @property
    def has_reference(self) -> bool:
        """Whether there is a reference."""
        return self.reference is not None

    @property
    def has_moving_reference(self) -> bool:
        """Whether there is a reference that `update_reference` may move."""
        return self.reference is not None and self.reference.can_move

    def update_reference(self, decay: float) -> None:
        """theta_ref <- decay * theta_ref + (1 - decay) * theta (T1, arXiv 2501.11651); `decay` 0 resets it to the policy."""
        assert self.reference is not None
        self.reference.move(decay)

    def average_with(self, state: Mapping[str, Tensor], share: float) -> None:
        """theta <- share * theta_state + (1 - share) * theta, where theta_state are the policy's weights in `state`, a
        `trainable_state` (Kimi k1.5's model merging, arXiv 2501.12599, section 2.4)."""
        with torch.no_grad():
            for name, parameter in self.policy_parameters().items():
                other = self.placed(state[f"policy/{name}"], parameter).to(parameter.dtype)
                parameter.mul_(1.0 - share).add_(other, alpha=share)

    # --- parameters --------------------------------------------------------------------------------------------------

    def policy_parameters(self) -> dict[str, nn.Parameter]:
        """The policy's weights that are trained, by name."""
        return (
            dict(self.lm.model.named_parameters())
            if self.adapters is None
            else self.adapters.parameters(POLICY_ADAPTER)
        )

    def critic_parameters(self) -> dict[str, nn.Parameter]:
        """The critic's weights that are trained, by name; empty for the zero critic."""
        return {} if self.critic is None else self.critic.parameters()

    def reference_parameters(self) -> dict[str, nn.Parameter]:
        """The reference's weights, by name; empty where there is no reference, or it is a teacher."""
        return {} if self.reference is None else self.reference.parameters()

    def placed(self, value: Tensor, like: Tensor) -> Tensor:
        """`value`, which is whole, where the weight `like` is."""
        return value.to(like.device)

    def hand_over(self) -> None:
        """Give the trained weights to the model that samples and is saved: nothing to do where they are one model."""

    @contextlib.contextmanager
    def learning(self) -> Iterator[None]:
        """The context of an update, backward pass included. In training mode are the modules that recompute their activations,
        LoRA's dropout, and with them the model as a whole, by its own flag. The model's other modules stay as they sampled: no
        dropout and no noise of their own, so that the update scores with the model that sampled."""
        has_dropout = self.config.lora is not None and self.config.lora.dropout > 0
        for module in self._modules():
            for name, part in module.named_modules():
                part.training = _recomputes(part) or (has_dropout and "lora_dropout" in name)
        self.lm.model.training = self.config.gradient_checkpointing or has_dropout
        try:
            yield
        finally:
            self.settle()

    def settle(self) -> None:
        """Put policy and critic in evaluation mode, in which nothing is drawn at random. They are in it outside of `learning`:
        layers that are new, such as those of an adapter, begin in training mode."""
        for module in self._modules():
            module.eval()

    @contextlib.contextmanager
    def _settled(self) -> Iterator[None]:
        """Inside `learning`, a stretch in which the model is in evaluation mode, as for scoring with an adapter reference."""
        learning = [part for part in self.lm.model.modules() if part.training]
        self.lm.model.eval()
        try:
            yield
        finally:
            for part in learning:
                part.training = True

    def _modules(self) -> list[nn.Module]:
        return [self.lm.model, *([self.critic.body] if isinstance(self.critic, SeparateCritic) else [])]

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
        tree: PrefixTree | None = None,
        counted: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Log-probabilities and entropies (nats) of the response tokens under the policy, [B, T]; see `response_logprobs`."""
        inputs = (input_ids, predictors, response_ids, mask)
        options: dict[str, Any] = {"temperature": temperature, "entropy": entropy, "tree": tree, "counted": counted}
        return self._computed(lambda: response_logprobs(self.lm, *inputs, **options), "policy")

    @torch.no_grad()
    def ref_logprobs(
        self,
        input_ids: Tensor,
        predictors: Tensor,
        response_ids: Tensor,
        mask: Tensor,
        *,
        temperature: float,
        tree: PrefixTree | None = None,
        counted: Tensor | None = None,
    ) -> Tensor:
        """The log-probabilities (nats) of the response tokens under the reference, [B, T]; arguments as in `logprobs`."""
        assert self.reference is not None
        self._check_known(input_ids)
        reference, inputs = self.reference, (input_ids, predictors, response_ids, mask)

        def score() -> Tensor:
            with reference.lm_at_work() as lm:
                return response_logprobs(lm, *inputs, temperature=temperature, tree=tree, counted=counted)[0]

        return self._computed(score, "reference")

    def exact_kl(
        self,
        input_ids: Tensor,
        predictors: Tensor,
        mask: Tensor,
        *,
        temperature: float,
        tree: PrefixTree | None = None,
        counted: Tensor | None = None,
    ) -> Tensor:
        """KL (nats) to the reference over the whole vocabulary, at each response token, [B, T]; arguments as in `logprobs`."""
        assert self.reference is not None
        self._check_known(input_ids)
        held, places = self.reference, counted_places(mask) if counted is None else counted

        def score() -> Tensor:
            with torch.no_grad(), self._settled(), held.lm_at_work() as reference, reference.autocast():
                ref_tree = tree if reference.sharing_width else None
                ref_states = response_states(reference, input_ids, predictors, places, ref_tree)
            with self.lm.autocast():
                states = response_states(self.lm, input_ids, predictors, places, tree)
                heads = (self.lm, self._reference_head)
                return exact_kl(*heads, states, ref_states, places, mask, temperature=temperature)

        return self._computed(score, "reference", "policy")  # the reference's head is used in the backward pass too

    def _check_known(self, input_ids: Tensor) -> None:
        """Raise `ModelError` where `input_ids` hold a row of the policy's embedding that a narrower teacher lacks. No text has
        one, so it is only drawn by chance, from weights that were never trained."""
        assert self.reference is not None
        teacher = self.reference.lm
        if teacher.vocabulary_size < self.lm.vocabulary_size and int(input_ids.max()) >= teacher.vocabulary_size:
            raise ModelError(
                f"{teacher.name}: as reference_model it has {teacher.vocabulary_size:,} rows of words, and a response of "
                f"{self.lm.name} holds the token {int(input_ids.max())}; take a teacher with as many rows, or sample with top_p"
            )

    def _reference_head(self, hidden: Tensor) -> Tensor:
        """The reference's logits. Its adapter is made active where one changes the head; elsewhere all adapters share it."""
        assert self.reference is not None
        if self.adapters is None or not self.adapters.has_head:
            return self.reference.lm.head(hidden)
        with torch.no_grad(), self.reference.lm_at_work() as lm:
            return lm.head(hidden)

    def critic_at_work(self) -> contextlib.AbstractContextManager[None]:
        """The context of the critic's forward pass and its backward pass together."""
        return contextlib.nullcontext() if self.critic is None else self.critic.at_work()

    def values(self, input_ids: Tensor, positions: Tensor, tree: PrefixTree | None = None) -> Tensor:
        """The critic's values [B, T] of the states after `positions` [B, T]; zeros for the zero critic. `tree` as elsewhere."""
        if self.critic is None:
            return torch.zeros(positions.shape, device=positions.device)
        critic = self.critic
        return self._computed(lambda: critic.values(input_ids, positions, tree), "critic")

    def _computed(self, compute: Callable[[], Scored], *roles: Role) -> Scored:
        """What `compute` returns, for which the weights of `roles` are needed whole, as they are in one process."""
        return compute()

    # --- saving ------------------------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Write weights, config, generation config and tokenizer to `folder` in Hugging Face format, in the loaded dtype."""
        model, state = self.plain(self.lm.stored_dtype)
        with quiet():
            model.save_pretrained(folder, state_dict=state)
            model.config.dtype = self.lm.stored_dtype  # save_pretrained states the dtype of the live weights instead
            model.config.save_pretrained(folder)
            self.lm.tokenizer.save_pretrained(folder)
            self._save_ends(folder)

    def plain(self, dtype: torch.dtype) -> tuple[PreTrainedModel, dict[str, Tensor]]:
        """A plain model of the policy's weights, LoRA merged, and its state in `dtype`, in which tied weights share memory."""
        model = self.lm.model if self.adapters is None else self.adapters.merged(dtype)
        return model, _converted(model.state_dict(), dtype, kept_in_float32(model, dtype))

    def _save_ends(self, folder: Path) -> None:
        """Let the saved generation config state every token at which responses ended here, so that they end there elsewhere."""
        stated = stated_ends(self.lm.model.generation_config.eos_token_id)
        if missing := sorted(self.lm.stop_ids - set(stated)):
            file = folder / "generation_config.json"  # transformers saves no changed one that it finds fault with
            write_json_atomically(file, read_json(file) | {"eos_token_id": [*stated, *missing]})

    def trainable_state(self) -> dict[str, Tensor]:
        """Every weight that a resumed run cannot make again, in full precision, by "role/name". A reference that never moves is
        made again from the weights that entered the phase."""
        roles = {
            "policy": self.policy_parameters(),
            "critic": self.critic_parameters(),
            "reference": self.reference_parameters() if self.has_moving_reference else {},
        }
        return {f"{role}/{name}": p.detach() for role, named in roles.items() for name, p in named.items()}

    def load_trainable_state(
        self, state: Mapping[str, Tensor], roles: Sequence[str] = ("policy", "critic", "reference")
    ) -> None:
        """Load the weights of these roles from a `trainable_state`. Raises `KeyError` where the state lacks a weight."""
        with torch.no_grad():
            for name, parameter in self.trainable_state().items():
                if name.partition("/")[0] in roles:
                    parameter.copy_(self.placed(state[name], parameter))


def load_policy(recipe: Recipe, given: CausalLM | None = None) -> Policy:
    """The recipe's model as a policy; the same recipe gives the same weights, adapters included.

    `given` is that model where it was passed in memory; the policy is then a copy of it.
    """
    return Policy(load_entry(recipe, recipe.policy, given), recipe.policy, seed=seed_of(recipe.seed, "policy"))


def load_entry(
    recipe: Recipe, config: PolicyConfig, given: CausalLM | None = None, *, is_trained: bool = True
) -> CausalLM:
    """The model that a run begins with: loaded by the recipe's name for it, or a copy of `given`, the one passed in memory."""
    if given is None:
        return load_model(recipe.model, config, is_trained=is_trained)
    return copy_model(given, config, recipe.model, is_trained=is_trained)


def _contexts_of_checkpointing(
    device: torch.device,
) -> tuple[contextlib.AbstractContextManager[Any], contextlib.AbstractContextManager[Any]]:
    """The contexts of a layer's first forward pass, and of the one that is repeated in the backward pass."""
    return contextlib.nullcontext(), fast_products(device)


def _recomputes(part: nn.Module) -> bool:
    """Whether a module recomputes its activations, which transformers' modules do in training mode alone."""
    return bool(getattr(part, "gradient_checkpointing", False))


def _drop_nothing(model: nn.Module) -> None:
    """Set the shares that recomputing modules drop by themselves to 0, as some do without a module for it (OPT's layers). The
    config, which is saved, keeps them."""
    for part in filter(_recomputes, model.modules()):
        for name in [name for name, value in vars(part).items() if "drop" in name and isinstance(value, float)]:
            setattr(part, name, 0.0)


def _converted(state: Mapping[str, Tensor], dtype: torch.dtype, kept: Sequence[str]) -> dict[str, Tensor]:
    """The tensors in `dtype`, those with one of `kept` in their names in float32. Tensors that share memory (tied embeddings)
    still share it, so that they are saved once."""
    copies: dict[tuple[int, torch.Size], Tensor] = {}
    for name, tensor in state.items():
        wanted = torch.float32 if any(part in name for part in kept) else dtype
        copies.setdefault((tensor.data_ptr(), tensor.shape), tensor.to(wanted))
    return {name: copies[tensor.data_ptr(), tensor.shape] for name, tensor in state.items()}

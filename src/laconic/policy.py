"""A causal LM, its critic and its reference: load, log-probabilities, values, save.

1. `CausalLM` holds a Hugging Face model as a backbone (token ids to hidden states) and a head (hidden states to logits), so
   that logits are only ever made where they are read. Loading checks that the two together give the model's own logits.
2. `Policy` adds what training needs: which weights learn, a reference that is frozen, moving or reset, and a critic that is a
   separate model, a LoRA adapter with a value head on the shared base, or the constant zero.
3. With LoRA all three roles share one set of base weights: adapters `default` (the policy), `critic` and `reference`.
4. Saving writes the same format that was loaded, tokenizer and generation config included, LoRA merged in.

Weights that learn are float32; with `dtype = "bfloat16"` the arithmetic runs under autocast. Logits are always float32.
Left out: padding and batching (`batching.py`), optimisation (`updates.py`).

Legend: `B` rows, `L` tokens of prompt and response, `T` response tokens, `N` counted tokens, `D` hidden size, `V` vocabulary.
"""

import contextlib
import copy
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from laconic.config import LoraConfig, PolicyConfig
from laconic.errors import ModelError
from laconic.losses import entropy as entropy_of

TINY = "tiny"
TINY_FOLDER = Path(__file__).parent / "tiny" / "checkpoint"
LOGITS_PER_CHUNK = 2**25  # float32 logits held at once while scoring: 128 MiB
HEAD_TOLERANCE = 1e-3
TOKENIZER_PROBE = "So x = -12.5, is it? Let's check: \\boxed{3/4} w1 w2 mod 7.\n\n\tYes,  12345."
POLICY_ADAPTER, CRITIC_ADAPTER, REFERENCE_ADAPTER = "default", "critic", "reference"


class CausalLM:
    """A Hugging Face causal LM seen as backbone and head, with its tokenizer."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
        self.model, self.tokenizer, self.name = model, tokenizer, name
        self.text_config = model.config.get_text_config()
        self.stored_dtype: torch.dtype = torch.float32
        self.autocast_dtype: torch.dtype | None = None

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    @property
    def context_length(self) -> int | None:
        """Most tokens of prompt and response together, where the model's config states it."""
        return getattr(self.text_config, "max_position_embeddings", None)

    @property
    def stop_ids(self) -> frozenset[int]:
        """End tokens: those of the generation config and the tokenizer's own."""
        stated = getattr(self.model.generation_config, "eos_token_id", None)
        stated = stated if isinstance(stated, list) else [stated]
        return frozenset(i for i in (*stated, self.tokenizer.eos_token_id) if i is not None)

    @property
    def pad_id(self) -> int:
        """The padding token, or any token: padding is never read."""
        return self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else min(self.stop_ids, default=0)

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of a response, without special tokens."""
        return str(self.tokenizer.decode(list(token_ids), skip_special_tokens=True))

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """The arithmetic this model was asked to run in."""
        if self.autocast_dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.autocast_dtype)

    def backbone(self, input_ids: Tensor, **kwargs: Any) -> Any:
        """The model without its head: [B, L] token ids to an output whose `last_hidden_state` is [B, L, D].

        Rows are padded on the right, so causal attention alone keeps padding out and no mask is needed.
        """
        return getattr(self.model, self.model.base_model_prefix)(input_ids=input_ids, **kwargs)

    def head(self, hidden: Tensor) -> Tensor:
        """Logits [..., V] in float32 of hidden states [..., D], with the architecture's scaling and soft cap."""
        embeddings: nn.Module = self.model.get_output_embeddings()
        logits: Tensor = embeddings(hidden).float()
        if scale := getattr(self.text_config, "logit_scale", None):
            logits = logits * scale
        if scaling := getattr(self.text_config, "logits_scaling", None):
            logits = logits / scaling
        if cap := getattr(self.text_config, "final_logit_softcapping", None):
            logits = cap * torch.tanh(logits / cap)
        return logits

    @torch.no_grad()
    def check_head(self) -> None:
        """Raises `ModelError` where backbone and head together do not give the model's own logits."""
        ids = torch.arange(1, 9, device=self.device)[None] % self.text_config.vocab_size
        own = self.model(input_ids=ids).logits.float()  # a soft cap under autocast is too coarse to compare
        ours = self.head(self.backbone(ids).last_hidden_state)
        tolerance = HEAD_TOLERANCE if self.model.dtype == torch.float32 else 20 * HEAD_TOLERANCE
        if not torch.allclose(own, ours, atol=tolerance, rtol=tolerance):
            kind = type(self.model).__name__
            raise ModelError(f"{self.name}: {kind} makes its logits in a way this version does not know")


def resolve_model(name: str) -> str:
    """The folder or hub name that `name` stands for: "tiny" is the embedded reasoner. Raises `ModelError` for a folder that
    is there but holds no model."""
    if name == TINY:
        return str(TINY_FOLDER)
    folder = Path(name)
    looks_local = folder.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1
    if not looks_local:
        return name
    if not folder.is_dir():
        raise ModelError(f"{name}: no such folder; expected a local model folder, a hub name, or {TINY!r}")
    if not (folder / "config.json").exists():
        raise ModelError(f"{name}: no config.json; expected a folder in Hugging Face format")
    if not any(folder.glob("*.safetensors")):
        raise ModelError(f"{name}: no *.safetensors; expected weights in safetensors format")
    return name


def load_model(name: str, config: PolicyConfig, *, check: bool = True) -> CausalLM:
    """The model at `name` (local folder, hub name, or "tiny") with its tokenizer, ready for scoring and sampling.

    Raises `ModelError` with one line where it cannot be loaded.
    """
    source = resolve_model(name)
    options: dict[str, Any] = {"trust_remote_code": config.trust_remote_code}
    try:
        with _quiet():
            tokenizer = AutoTokenizer.from_pretrained(source, **options)
            hub_config = AutoConfig.from_pretrained(source, **options)
            stored = getattr(hub_config.get_text_config(), "dtype", None) or torch.float32
            # soft-capped attention (Gemma 2) exists only in the eager implementation
            attention = "eager" if getattr(hub_config, "attn_logit_softcapping", None) else "sdpa"
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                source,
                dtype=_held_dtype(config, stored),
                use_safetensors=True,
                attn_implementation=attention,
                output_loading_info=True,
                **options,
            )
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        raise ModelError(f"{name}: cannot be loaded: {str(error).strip().splitlines()[0]}") from None
    model, loading = loaded
    if missing := sorted(loading["missing_keys"]):  # transformers would fill them with random numbers
        raise ModelError(f"{name}: {len(missing)} weights are missing from *.safetensors, the first is {missing[0]}")
    tokenizer = _as_written(tokenizer, source)
    placed = model.to(pick_device(config.device))
    causal_lm = CausalLM(placed.eval(), tokenizer, name)
    causal_lm.stored_dtype = stored
    causal_lm.autocast_dtype = torch.bfloat16 if _computes_in_bfloat16(config, stored) else None
    if check:
        causal_lm.check_head()
    return causal_lm


def _as_written(tokenizer: Any, source: str) -> Any:
    """The tokenizer that a local folder's tokenizer.json describes.

    For some architectures transformers builds a tokenizer of its own in its place, which cuts text otherwise; the file decides.
    """
    file = Path(source) / "tokenizer.json"
    if not file.exists():
        return tokenizer
    written = Tokenizer.from_file(str(file))
    loaded = tokenizer(TOKENIZER_PROBE, add_special_tokens=False).input_ids
    if loaded == written.encode(TOKENIZER_PROBE, add_special_tokens=False).ids:
        return tokenizer
    with _quiet():
        return PreTrainedTokenizerFast.from_pretrained(source)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Loading without progress bars and advice meant for library authors."""
    from transformers.utils import logging as hf_logging

    hf_logging.disable_progress_bar()
    level = hf_logging.get_verbosity()
    hf_logging.set_verbosity(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            hf_logging.set_verbosity(level)


def _computes_in_bfloat16(config: PolicyConfig, stored: torch.dtype) -> bool:
    return config.dtype == "bfloat16" or (config.dtype == "auto" and stored == torch.bfloat16)


def _held_dtype(config: PolicyConfig, stored: torch.dtype) -> torch.dtype:
    """Weights that learn are float32; base weights that only carry adapters are held in the compute dtype."""
    return torch.bfloat16 if config.lora and _computes_in_bfloat16(config, stored) else torch.float32


def pick_device(name: str) -> torch.device:
    """The named device, or for "auto" a CUDA device where one is there, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def score_tokens(
    lm: CausalLM, hidden: Tensor, token_ids: Tensor, mask: Tensor, *, temperature: float, with_entropy: bool
) -> tuple[Tensor, Tensor]:
    """Log-probabilities and entropies (nats) of `token_ids` [B, T] given the hidden states [B, T, D] that predict them.

    Both [B, T] in float32, 0 outside `mask`; logits are divided by `temperature` first. Logits are made for counted tokens
    only, `LOGITS_PER_CHUNK` at a time, and made again in the backward pass where there is more than one chunk.
    """
    flat, ids = hidden[mask], token_ids[mask]
    rows = max(1, LOGITS_PER_CHUNK // lm.text_config.vocab_size)

    def score(h: Tensor, i: Tensor) -> tuple[Tensor, Tensor]:
        logits = lm.head(h) / temperature
        logprobs = logits.gather(-1, i[:, None])[:, 0] - logits.logsumexp(dim=-1)
        return logprobs, entropy_of(logits) if with_entropy else torch.zeros_like(logprobs)

    chunks = list(zip(flat.split(rows), ids.split(rows), strict=True))
    recompute = len(chunks) > 1 and torch.is_grad_enabled()
    scored = [checkpoint(score, h, i, use_reentrant=False) if recompute else score(h, i) for h, i in chunks]
    out = [torch.zeros(mask.shape, device=flat.device) for _ in range(2)]
    for target, pieces in zip(out, zip(*scored, strict=True), strict=True):
        target[mask] = torch.cat(pieces)
    return out[0], out[1]


class Policy:
    """The trained model with its reference and critic. Made once; `begin_phase` sets the roles that a phase needs."""

    def __init__(self, lm: CausalLM, config: PolicyConfig, *, seed: int) -> None:
        self.lm, self.config, self.seed = lm, config, seed
        self.peft: Any = self._add_lora(config.lora) if config.lora else None
        self.critic: nn.Module | None = None
        self.value_head: nn.Linear | None = None
        self.reference: nn.Module | None = None
        if config.gradient_checkpointing:
            lm.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})

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

    def begin_phase(self, *, critic: str, needs_reference: bool) -> None:
        """Set up a fresh critic (`separate`, `lora` or `zero`) and, where needed, a reference equal to the policy now.

        Raises `ModelError` where a LoRA critic is asked for without LoRA.
        """
        if critic == "lora" and self.peft is None:
            raise ModelError("critic 'lora' shares the policy's base weights: it needs policy.lora")
        torch.manual_seed(self.seed)
        self.critic, self.value_head, self.reference = None, None, None
        if critic != "zero":
            self._add_critic(critic)
        if needs_reference:
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

    def _reference_pairs(self) -> Iterator[tuple[nn.Parameter, nn.Parameter]]:
        if self.peft is not None:
            return self._adapter_pairs(REFERENCE_ADAPTER)
        assert self.reference is not None
        return iter(zip(self.lm.model.parameters(), self.reference.parameters(), strict=True))

    @contextlib.contextmanager
    def _adapter(self, name: str) -> Iterator[None]:
        """The shared base with adapter `name` active; gradients stay as they were set."""
        learns = {key: p.requires_grad for key, p in self.peft.named_parameters()}
        self.peft.base_model.set_adapter(name)
        self._restore(learns)
        try:
            yield
        finally:
            self.peft.base_model.set_adapter(POLICY_ADAPTER)
            self._restore(learns)

    def _restore(self, learns: dict[str, bool]) -> None:
        for key, parameter in self.peft.named_parameters():
            parameter.requires_grad_(learns[key])

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
        with_entropy: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Log-probabilities and entropies (nats) of the response tokens under the policy, both [B, T].

        `input_ids` [B, L] right-padded; `predictors` [B, T] the position whose hidden state predicts each response token;
        `response_ids`, `mask` [B, T].
        """
        return self._score(self.lm, input_ids, predictors, response_ids, mask, temperature, with_entropy)

    @torch.no_grad()
    def ref_logprobs(
        self, input_ids: Tensor, predictors: Tensor, response_ids: Tensor, mask: Tensor, *, temperature: float
    ) -> Tensor:
        """The same log-probabilities under the reference, [B, T]."""
        if self.peft is not None:
            with self._adapter(REFERENCE_ADAPTER):
                return self._score(self.lm, input_ids, predictors, response_ids, mask, temperature, False)[0]
        assert isinstance(self.reference, PreTrainedModel)
        reference = CausalLM(self.reference, self.lm.tokenizer, self.lm.name)
        reference.autocast_dtype = self.lm.autocast_dtype
        return self._score(reference, input_ids, predictors, response_ids, mask, temperature, False)[0]

    @staticmethod
    def _score(
        lm: CausalLM,
        input_ids: Tensor,
        predictors: Tensor,
        response_ids: Tensor,
        mask: Tensor,
        temperature: float,
        with_entropy: bool,
    ) -> tuple[Tensor, Tensor]:
        with lm.autocast():
            hidden = lm.backbone(input_ids, use_cache=False).last_hidden_state
            read = _gather_states(hidden, predictors)
            return score_tokens(lm, read, response_ids, mask, temperature=temperature, with_entropy=with_entropy)

    def values(self, input_ids: Tensor, positions: Tensor) -> Tensor:
        """The critic's values [B, T] of the states after `positions` [B, T]; zeros for the zero critic."""
        if self.value_head is None:
            return torch.zeros(positions.shape, device=positions.device)
        with self.lm.autocast():
            if self.critic is not None:
                hidden = self.critic(input_ids=input_ids, use_cache=False).last_hidden_state
            else:
                with self._adapter(CRITIC_ADAPTER):
                    hidden = self.lm.backbone(input_ids, use_cache=False).last_hidden_state
        values: Tensor = self.value_head(_gather_states(hidden, positions).float())[..., 0]
        return values

    # --- saving ------------------------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Weights, config, generation config and tokenizer in Hugging Face format, in the dtype that was loaded."""
        model = self.lm.model if self.peft is None else self._merged()
        state = _converted(model.state_dict(), self.lm.stored_dtype)
        with _quiet():
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

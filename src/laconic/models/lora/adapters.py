"""LoRA adapters on one set of base weights: one for the policy, and perhaps one for a critic and one for a reference.

`Adapters` adds them to a model, switches between them, copies one into another, and merges the policy's into plain weights.
`low_rank` says what the active ones add to a linear map.
"""

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from laconic.config.policy import LoraConfig
from laconic.models.loading import quiet
from laconic.models.lora.targets import check_targets

POLICY_ADAPTER, CRITIC_ADAPTER, REFERENCE_ADAPTER = "default", "critic", "reference"


class Adapters:
    """The adapters of one model. The policy's exists from the beginning, and is active unless another one is `at_work`."""

    def __init__(self, model: PreTrainedModel, lora: LoraConfig, name: str) -> None:
        from peft import LoraConfig as PeftLoraConfig
        from peft import get_peft_model

        check_targets(model, lora.targets, name)
        targets = lora.targets if isinstance(lora.targets, str) else list(lora.targets)
        self.model, self.active = model, POLICY_ADAPTER
        self.config = PeftLoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,  # type: ignore[arg-type]
            lora_dropout=lora.dropout,
            target_modules=targets,
            task_type="CAUSAL_LM",
        )
        with quiet(), _named_modules_alone():  # of tied weights: they are saved apart where they are adapted
            self.peft: Any = get_peft_model(model, self.config)

    def renew(self, name: str) -> None:
        """Make a new adapter `name`, in place of the old one if there is one; the policy's stays active."""
        if name in self.peft.peft_config:
            self.peft.delete_adapter(name)
        with quiet(), _named_modules_alone():
            self.peft.add_adapter(name, self.config)
        self.peft.set_adapter(POLICY_ADAPTER)
        for key, parameter in self.peft.named_parameters():
            if is_of_adapter(key, CRITIC_ADAPTER) or is_of_adapter(key, POLICY_ADAPTER):
                parameter.requires_grad_(True)

    def renew_as_policy(self, name: str) -> None:
        """Make a new adapter `name` that equals the policy's and is not trained."""
        self.renew(name)
        for source, target in self.pairs(name):
            target.data.copy_(source.data)
            target.requires_grad_(False)

    def pairs(self, name: str) -> Iterator[tuple[nn.Parameter, nn.Parameter]]:
        """Pairs (parameter of the policy's adapter, the same parameter of adapter `name`), in a fixed order."""
        parameters = dict(self.peft.named_parameters())
        for key, parameter in parameters.items():
            if is_of_adapter(key, POLICY_ADAPTER):
                path = [name if part == POLICY_ADAPTER else part for part in key.split(".")]
                yield parameter, parameters[".".join(path)]

    def parameters(self, name: str) -> dict[str, nn.Parameter]:
        """The weights of adapter `name`, by their names in the model."""
        return {key: p for key, p in self.model.named_parameters() if is_of_adapter(key, name)}

    @property
    def has_head(self) -> bool:
        """Whether the head that makes logits is adapted."""
        return _is_adapted(self.model.get_output_embeddings())

    @contextlib.contextmanager
    def at_work(self, name: str) -> Iterator[None]:
        """Inside, adapter `name` is active; which weights are trained does not change."""
        before = self.active
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
        self.active = name
        self.peft.base_model.set_adapter(name)
        for key, parameter in self.peft.named_parameters():
            parameter.requires_grad_(learns[key])

    def merged(self, dtype: torch.dtype) -> PreTrainedModel:
        """A plain model whose weights are the base weights plus the policy's adapter; the live model is not changed. They are
        added in float32, one weight at a time, and the sums are rounded to `dtype`.

        Embedding and head share one weight in some models. Where one of the two is adapted, they are no longer equal, and the
        plain model holds both.
        """
        config = copy.deepcopy(self.model.config)
        if self.has_head or _is_adapted(self.model.get_input_embeddings()):
            for part in (config, config.get_text_config()):
                part.tie_word_embeddings = False
        with torch.device("meta"):
            merged = type(self.model)(config)
        merged.load_state_dict(dict(self._merged_weights(dtype)), strict=False, assign=True)
        merged.tie_weights()
        assert not any(tensor.is_meta for tensor in merged.state_dict().values()), "a weight was not merged"
        merged.generation_config = self.model.generation_config
        return merged

    def _merged_weights(self, dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
        for name, module in self.model.named_modules():
            if name.endswith(".base_layer"):
                continue  # it is read through the layer that wraps it
            base = getattr(module, "base_layer", None)
            for key, tensor in _own_tensors(module if base is None else base):
                path = f"{name}.{key}".removeprefix(".")
                if ".lora_" in f".{path}":
                    continue
                delta = module.get_delta_weight(POLICY_ADAPTER) if base is not None and key == "weight" else None
                yield path, tensor.detach() if delta is None else (tensor.float() + delta.float()).detach().to(dtype)


@contextlib.contextmanager
def _named_modules_alone() -> Iterator[None]:
    """Inside, peft adapts the maps that are named, and nothing in their place.

    Where the experts of a mixture are one tensor, as in transformers 5, peft would put what is meant for maps of the same names
    (`down_proj`) on that tensor and on the router, and in some models on maps that are none of the experts' (DeepSeek's first
    layers). Experts and routers stay as they are.
    """
    try:
        from peft.utils import transformers_weight_conversion as conversion
    except ImportError:  # older versions of peft put nothing in their place
        yield
        return
    before = conversion.convert_peft_config_for_transformers
    conversion.convert_peft_config_for_transformers = lambda *_, **__: None
    try:
        yield
    finally:
        conversion.convert_peft_config_for_transformers = before


def is_of_adapter(key: str, name: str) -> bool:
    """Whether a parameter belongs to the adapter `name`. In linear maps that is a module, in embeddings the parameter itself.

    >>> is_of_adapter("q_proj.lora_A.default.weight", "default"), is_of_adapter("embed_tokens.lora_embedding_A.default", "critic")
    (True, False)
    """
    return name in key.split(".")


def is_plain_map(module: nn.Module) -> bool:
    """Whether a module is a linear map, or one with adapters that add a product of two matrices to it and nothing else."""
    adapted: Any = module
    if type(module) is nn.Linear or not hasattr(module, "lora_A"):
        return type(module) is nn.Linear
    is_plain = not (adapted.lora_variant or adapted.merged or adapted.disable_adapters or adapted.fan_in_fan_out)
    has_biases = any(down.bias is not None for down in adapted.lora_B.values())
    return is_plain and not has_biases and type(adapted.base_layer) is nn.Linear


def low_rank(module: nn.Module) -> tuple[Tensor, Tensor] | None:
    """The matrices A [rank, in] and B [out, rank], scaled, that the active adapters of a plain map add to its weight as B A; None
    where it has none."""
    adapted: Any = module
    active = [name for name in getattr(module, "active_adapters", ()) if name in adapted.lora_A]
    if not active:
        return None
    ups = [adapted.lora_B[name].weight * adapted.scaling[name] for name in active]
    return torch.cat([adapted.lora_A[name].weight for name in active]), torch.cat(ups, dim=1)


def _is_adapted(module: nn.Module | None) -> bool:
    return hasattr(module, "base_layer")


def _own_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters(recurse=False)
    yield from ((k, b) for k, b in module.named_buffers(recurse=False) if k not in module._non_persistent_buffers_set)

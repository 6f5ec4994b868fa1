"""A model without its weights, for what can be checked before they are read: tokens, context, layers.

Its modules are made on torch's "meta" device, where a weight has a shape and no numbers: even the largest takes no memory.
"""

import contextlib
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedModel

from laconic.config.policy import PolicyConfig
from laconic.errors import ModelError
from laconic.models.causal_lm import CausalLM
from laconic.models.gguf.model_file import is_gguf, keep_ends
from laconic.models.loading import (
    check_files,
    hub_options,
    load_tokenizer,
    quiet,
    read_config,
    resolve_model,
    unread_reason,
)


def bare_model(config: Any, *, trust_remote_code: bool = False) -> PreTrainedModel:
    """The modules that a model's config describes, without weights. Raises what transformers raises for a config that it does not
    know."""
    with torch.device("meta"), quiet():
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    return model


def read_bare_model(name: str, config: PolicyConfig) -> PreTrainedModel:
    """The modules of the model at `name`, without weights. Raises `ModelError` with one line where its config cannot be read."""
    source = resolve_model(name)
    options: dict[str, Any] = {"trust_remote_code": config.trust_remote_code} | hub_options(source)
    try:
        with quiet():
            found = read_config(source, options)
        return bare_model(found, trust_remote_code=config.trust_remote_code)
    except (Exception, SystemExit) as error:  # broken files raise errors of many kinds, and a model's own code any
        raise ModelError(f"{name}: cannot be read: {unread_reason(error, name, options)}") from None


def load_weightless(name: str, config: PolicyConfig) -> CausalLM:
    """The model at `name` as `load_model` gives it, but without weights: tokenizer, end tokens and context are its own.

    Raises `ModelError` with one line where it cannot be read.
    """
    source = resolve_model(name)
    check_files(name, Path(source))
    tokenizer, model = load_tokenizer(name, config), read_bare_model(name, config)
    if is_gguf(source):
        keep_ends(model, Path(source))
        return CausalLM(model, tokenizer, name)
    with quiet(), contextlib.suppress(OSError):  # where there is none, that of the config stands
        model.generation_config = GenerationConfig.from_pretrained(source, **hub_options(source))
    return CausalLM(model, tokenizer, name)

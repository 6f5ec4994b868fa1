"""What a recipe says of its model in vain: a shape, code, a target of entropy, compiled layers, dropout of adapters.

A model in a folder has a config of its own, which is read here without its weights. Of a model on the hub nothing is asked.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import nn

from laconic.bundled import BUNDLED
from laconic.config.policy import ShapeConfig
from laconic.config.recipe import Recipe
from laconic.config.sense.complaints import Complaint
from laconic.errors import InputError, ModelError
from laconic.models.loading import named_device, pick_device
from laconic.models.lora.targets import adapts_embeddings_alone
from laconic.system.files import read_json

CONFIG_NAMES = {
    "layers": "num_hidden_layers",
    "hidden": "hidden_size",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
    "intermediate": "intermediate_size",
    "vocabulary": "vocab_size",
    "tied": "tie_word_embeddings",
}
"""The keys of `policy.shape`, each with its name in a model's config.json."""


def complaints_about_model(recipe: Recipe) -> Iterator[Complaint]:
    """Everything that the model of the recipe, or the device on which it is held, makes senseless."""
    config = _config_of(recipe.model)
    if recipe.policy.shape is not None and (differing := _differences(recipe.policy.shape, config)):
        what = f"is not read, and differs from the config of {recipe.model}: {', '.join(differing)}"
        yield Complaint("warning", "policy.shape", what)
    if recipe.policy.trust_remote_code and not any(map(_may_have_code, _models(recipe))):
        what = f"true changes nothing: {recipe.model} comes without code"
        yield Complaint("warning", "policy.trust_remote_code", what)
    hidden, lora = config.get("hidden_size"), recipe.policy.lora
    if isinstance(hidden, int) and lora is not None and lora.rank > hidden > 0:
        what = (
            f"{lora.rank} is more than the {hidden} rows of the model's maps: its adapters have more weights than these"
        )
        yield Complaint("warning", "policy.lora.rank", what)
    vocabulary = config.get("vocab_size")
    for phase in recipe.phases:
        target, place = phase.algorithm.entropy_target, f"phases.{phase.name}"
        if isinstance(vocabulary, int) and vocabulary > 0 and target is not None and target > math.log(vocabulary):
            most = f"the logarithm of the {vocabulary} tokens of its vocabulary, {math.log(vocabulary):.2f}"
            yield Complaint("error", f"{place}.algorithm.entropy_target", f"is above what the model can have, {most}")
        is_local = phase.sampler.engine == "local"
        if is_local and phase.sampler.compile and named_device(recipe.policy.device).type == "cpu":
            what = "gains nothing on a CPU, where compiled layers were slower in every case that was measured"
            yield Complaint("warning", f"{place}.sampler.compile", what)


def complaints_about_device(recipe: Recipe) -> Iterator[Complaint]:
    """A device that this machine lacks: training refuses it here, and a plan may be for another machine."""
    try:
        pick_device(recipe.policy.device)
    except ModelError as error:
        where, _, what = str(error).partition(": ")
        yield Complaint("warning", where, f"{what}; training here would refuse it")


def complaints_about_adapters(recipe: Recipe, model: nn.Module) -> Iterator[Complaint]:
    """What the recipe says in vain of the adapters of `model`, which needs no weights and may have them already."""
    lora = recipe.policy.lora
    if lora is not None and lora.dropout > 0 and adapts_embeddings_alone(model, lora.targets):
        what = f"{lora.dropout:g} changes nothing: only embeddings are adapted, and their adapters have no dropout"
        yield Complaint("warning", "policy.lora.dropout", what)


def _config_of(model: str) -> dict[str, Any]:
    """What the config of a model in a folder says; nothing for any other model, or where it cannot be read."""
    try:
        config = read_json(BUNDLED.get(model, Path(model)) / "config.json")
    except (InputError, OSError):  # a broken config is named where the model is loaded
        return {}
    text = config.get("text_config")
    return text if isinstance(text, dict) else config


def _differences(shape: ShapeConfig, config: dict[str, Any]) -> list[str]:
    """Where the model's config states another number than the shape, in words."""
    stated = {key: config[name] for key, name in CONFIG_NAMES.items() if config.get(name) is not None}
    return [
        f"{key} {getattr(shape, key)} ({CONFIG_NAMES[key]} {value})"
        for key, value in stated.items()
        if getattr(shape, key) != value
    ]


def _models(recipe: Recipe) -> list[str]:
    return [recipe.model, *(phase.algorithm.reference_model or recipe.model for phase in recipe.phases)]


def _may_have_code(model: str) -> bool:
    """Whether a model may come with code of its own: a folder that holds some or refers to some, or a model that is elsewhere."""
    folder = BUNDLED.get(model, Path(model))
    if not folder.is_dir():
        return not folder.is_file()
    configs = [folder / name for name in ("config.json", "tokenizer_config.json") if (folder / name).is_file()]
    return any(folder.glob("*.py")) or any(b"auto_map" in file.read_bytes() for file in configs)

"""Whether the numbers in a model's configs can be meant, and how long a context they allow.

transformers checks of which kind a value of config.json is, and builds what the numbers say. A size of 0 or of 10^12, a rotary
base that is NaN or an epsilon below 0 would end in an error far from its cause, or in responses of noise. The settings of
generation_config.json are not read here, but copied beside the trained model, for whoever serves that.
"""

from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any

import torch

from laconic.system.text import brief

MOST_LAYERS = 1000  # of a model; the deepest that are known have fewer than 200
LARGEST_SIZE = 10**9
LARGEST_NUMBER = 10**18  # of other numbers; rotary bases of models with long contexts go up to 10^10
SIZES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
)
WINDOW, HAS_WINDOW = "sliding_window", "use_sliding_window"
EPSILONS = ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon")
ABOVE_0 = ("rope_theta", "factor", "original_max_position_embeddings")
"""Of the numbers of rotary embeddings, those by which positions are divided."""
GENERATION = ("temperature", "top_p", "min_p", "top_k", "repetition_penalty", "max_length", "max_new_tokens")


def check_numbers(config: Any) -> None:
    """Raise `ValueError`, naming the key, where a model's config states a number that no model has. A key that is missing is
    left to whoever builds the model."""
    text = config.get_text_config()
    stated = {name: getattr(text, name, None) for name in (*SIZES, *EPSILONS)}
    for name in SIZES:
        _check(name, stated[name], 1, LARGEST_SIZE)
    least = 0 if getattr(text, HAS_WINDOW, None) is False else 1  # transformers writes 0 for none (Qwen2's mixtures)
    _check(WINDOW, getattr(text, WINDOW, None), least, LARGEST_SIZE)
    _check("num_hidden_layers", getattr(text, "num_hidden_layers", None), 1, MOST_LAYERS)
    for name in EPSILONS:
        _check(name, stated[name], 0, 1)
    dtype = getattr(text, "dtype", None)
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise ValueError(f"dtype is {brief(dtype)}, expected one of floating-point numbers, such as bfloat16")
    for name, value in _numbers(getattr(text, "rope_parameters", None)):
        _check(f"rope_parameters.{name}", value, 0, LARGEST_NUMBER, is_above=name.rpartition(".")[2] in ABOVE_0)


def context_of(text_config: Any) -> int | None:
    """The largest number of tokens of prompt and response together; None where a model's text config does not state it.

    LongRoPE has a second set of rotations, which replaces the first at all positions once a sequence passes the original length:
    keys that are in a cache by then have the first. So a score would depend on what is computed beside it. Up to the original
    length there is one set for every sampler, score and engine, and that length is the limit.
    """
    stated: int | None = getattr(text_config, "max_position_embeddings", None)
    rope: Mapping[str, Any] = getattr(text_config, "rope_parameters", None) or {}
    tables = [table for table in (rope, *rope.values()) if isinstance(table, Mapping)]  # or one for each kind of layer
    originals = [table.get("original_max_position_embeddings") for table in tables if _switches_rotations(table)]
    return min((length for length in (stated, *originals) if length is not None), default=None)


def context_words(text_config: Any) -> str:
    """The limit of `context_of` in words, for a message that refuses a text; with its reason where it is not what the config
    states."""
    limit, stated = context_of(text_config), getattr(text_config, "max_position_embeddings", None)
    if limit in (None, stated):
        return f"{limit} tokens"
    return f"{limit} tokens ({stated} in its config, but past {limit} LongRoPE scores every token anew)"


def _switches_rotations(table: Mapping[str, Any]) -> bool:
    return table.get("rope_type") == "longrope" and table.get("short_factor") != table.get("long_factor")


def check_generation(stated: Mapping[str, Any]) -> None:
    """Raise `ValueError`, naming the key, where a generation config states something else than a number that can be meant."""
    for name in GENERATION:
        _check(name, stated.get(name), -1 if name == "top_k" else 0, LARGEST_NUMBER)  # some engines write -1 for none
    pad = stated.get("pad_token_id")
    if pad is not None and (isinstance(pad, bool) or not isinstance(pad, int) or not -1 <= pad <= LARGEST_SIZE):
        raise ValueError(f"pad_token_id is {brief(pad)}, expected the id of a token, or null")


def _check(name: str, value: Any, least: float, most: float, *, is_above: bool = False) -> None:
    if value is None or isinstance(value, list | tuple):  # some models have one number for each layer
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} is {brief(value)}, expected a number")
    if not (isfinite(value) and least <= value <= most) or (is_above and value == least):
        beginning = f"above {least:,}" if is_above else f"from {least:,}"
        raise ValueError(f"{name} is {value:,}, expected a number {beginning} to {most:,}")


def _numbers(tree: Any, place: str = "") -> Iterator[tuple[str, float]]:
    """Every number of nested tables, by its dotted key."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _numbers(value, f"{place}.{key}" if place else str(key))
    elif isinstance(tree, int | float) and not isinstance(tree, bool):
        yield place, tree

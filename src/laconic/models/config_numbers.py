"""Whether the numbers in a model's config can be meant.

transformers checks of which kind a value is, and builds what the numbers say. A size of 0 or of 10^12, a rotary base that is NaN
or an epsilon below 0 would end in an error far from its cause, or in responses of noise.
"""

from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any

MOST_LAYERS = 1000  # of a model; the deepest that are known have fewer than 200
LARGEST_SIZE = 10**9
SIZES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
)
EPSILONS = ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon")
ABOVE_0 = ("rope_theta", "factor", "original_max_position_embeddings")
"""Of the numbers of rotary embeddings, those by which positions are divided."""


def check_numbers(config: Any) -> None:
    """Raise `ValueError`, naming the key, where a model's config states a number that no model has. A key that is missing, or
    holds something else than a number, is left to whoever builds the model."""
    text = config.get_text_config()
    stated = {name: getattr(text, name, None) for name in (*SIZES, *EPSILONS)}
    for name in SIZES:
        _check(name, stated[name], 1, LARGEST_SIZE)
    _check("num_hidden_layers", getattr(text, "num_hidden_layers", None), 1, MOST_LAYERS)
    for name in EPSILONS:
        _check(name, stated[name], 0, 1)
    for name, value in _numbers(getattr(text, "rope_parameters", None)):
        _check(f"rope_parameters.{name}", value, 0, LARGEST_SIZE, is_above=name.rpartition(".")[2] in ABOVE_0)


def _check(name: str, value: Any, least: float, most: float, *, is_above: bool = False) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
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

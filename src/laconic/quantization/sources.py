"""Whether a model can be quantized: its weights are in safetensors, whole, and in floating point, and nothing of what they were
made of was forgotten.

Each refusal is one line that names the model, and what to give instead.
"""

from laconic.errors import ModelError
from laconic.models.loading import check_sums, hub_options, read_config, resolve_model
from laconic.problems.made_from_traffic import refuse_models
from laconic.samplers.endpoints import is_endpoint


def check_source(model: str) -> str:
    """Where the model's weights are, as `resolve_model` gives it. Raises `ModelError` where they cannot be quantized, and
    `ProblemsError` where they were made of a request that was forgotten."""
    if is_endpoint(model):
        raise ModelError(f"{model}: runs elsewhere, so its weights are not here; name the model's folder")
    if model.lower().endswith(".gguf"):
        raise ModelError(
            f"{model}: is a GGUF file, mostly quantized already; name the folder in safetensors that it was made from"
        )
    source = resolve_model(model)
    refuse_models([source])
    check_sums(source)
    if method := quantization_of(source):
        raise ModelError(f"{model}: is quantized already ({method}); name the model that it was made from")
    return source


def quantization_of(source: str) -> str | None:
    """The method by which a model's weights are quantized, as its config states it; None where they are not."""
    try:
        config = read_config(source, hub_options(source))
    except ModelError:
        raise
    except Exception as error:  # for a broken file, the library raises errors of many kinds
        raise ModelError(f"{source}: its config cannot be read ({' '.join(str(error).split()):.160})") from None
    stated = getattr(config.get_text_config(), "quantization_config", None) or getattr(
        config, "quantization_config", None
    )
    if stated is None:
        return None
    method = stated.get("quant_method") if isinstance(stated, dict) else getattr(stated, "quant_method", None)
    return str(getattr(method, "value", method) or "unnamed")

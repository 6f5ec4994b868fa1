"""llm-compressor and torchao, each behind one function: from a model's folder to a quantized model in a folder.

1. `linear_widths` are the numbers of inputs of the layers that are rounded: every linear map but the output map, whose
   error would go straight into the choice of a token.
2. `compress_by_llm_compressor` writes the compressed-tensors format, which vLLM and transformers read.
3. `compress_by_torchao` writes torchao's own format, which transformers reads where torchao is installed.

Both libraries are loud; their logs and bars are switched off.
"""

import contextlib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM

from laconic.errors import ModelError
from laconic.models.loading import quiet
from laconic.quantization.calibration import CalibrationText
from laconic.quantization.schemes import LLM_COMPRESSOR, TORCHAO, Scheme

GROUP_SIZES = (128, 64, 32)
"""How many 4-bit weights share a scale, the largest first: as many as divide the inputs of every layer."""

PER_CHANNEL = "channel"


@dataclass(frozen=True, slots=True)
class Compression:
    """What was done: by which version of which library, in how large groups, and the bytes of the weights before."""

    library: str
    group_size: int | None
    num_bytes_before: int


def linear_widths(model: Any) -> list[int]:
    """The inputs of each layer that is rounded. Raises `ModelError` where there is none, as in models of other maps."""
    head = model.get_output_embeddings()
    widths = [m.in_features for m in model.modules() if isinstance(m, nn.Linear) and m is not head]
    if not widths:
        raise ModelError(f"{model.config.name_or_path}: has no linear layers that could be quantized")
    return widths


def group_size_of(widths: Sequence[int]) -> int | None:
    """The largest group that divides all widths; None where none does, and each output has one scale.

    >>> group_size_of([128, 384]), group_size_of([576, 1536]), group_size_of([100])
    (128, 64, None)
    """
    return next((size for size in GROUP_SIZES if all(width % size == 0 for width in widths)), None)


def compress_by_llm_compressor(source: str, scheme: Scheme, text: CalibrationText | None, out: Path) -> Compression:
    """Quantize by llm-compressor's `oneshot`, on a GPU where there is one."""
    with muted_libraries():
        from compressed_tensors.quantization import preset_name_to_scheme
        from llmcompressor import oneshot
        from llmcompressor.modifiers.quantization import GPTQModifier, QuantizationModifier

        model = _load(source)
        widths, num_bytes = linear_widths(model), _num_bytes(model)
        how = preset_name_to_scheme(scheme.preset, ["Linear"])
        group_size = group_size_of(widths) if scheme.num_bits == 4 else None
        if scheme.num_bits == 4:
            how.weights = how.weights.model_copy(
                update={"group_size": group_size} if group_size else {"strategy": PER_CHANNEL, "group_size": None}
            )
        kind = QuantizationModifier if text is None else GPTQModifier
        modifier = kind(config_groups={"group_0": how}, ignore=[_head_name(model)])
        oneshot(model=model, recipe=modifier, **({} if text is None else _data(text)))
        model.save_pretrained(out, save_compressed=True)
    return Compression(f"{LLM_COMPRESSOR} {version('llmcompressor')}", group_size, num_bytes)


def compress_by_torchao(source: str, scheme: Scheme, text: CalibrationText | None, out: Path) -> Compression:
    """Quantize by torchao: weights and, token by token, inputs are rounded to the nearest 8-bit integer."""
    assert text is None and scheme.name == "w8a8", "schemes.py lets nothing else through"
    with muted_libraries():
        from torchao.quantization import Int8DynamicActivationInt8WeightConfig
        from transformers import TorchAoConfig

        num_bytes = _num_bytes(_load(source))
        model = _load(source, quantization_config=TorchAoConfig(Int8DynamicActivationInt8WeightConfig()))
        model.save_pretrained(out)
    return Compression(f"{TORCHAO} {version('torchao')}", None, num_bytes)


Compress = Callable[[str, Scheme, CalibrationText | None, Path], Compression]
COMPRESS: dict[str, Compress] = {LLM_COMPRESSOR: compress_by_llm_compressor, TORCHAO: compress_by_torchao}


def _load(source: str, **options: Any) -> Any:
    return AutoModelForCausalLM.from_pretrained(source, dtype="auto", use_safetensors=True, **options).eval()


def _head_name(model: Any) -> str:
    head = model.get_output_embeddings()
    return next(str(name) for name, module in model.named_modules() if module is head)


def _num_bytes(model: nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in model.parameters())


def _data(text: CalibrationText) -> dict[str, Any]:
    rows = [torch.tensor([ids]) for ids in text.texts]
    loader: Any = DataLoader(rows, batch_size=None, collate_fn=_row)  # type: ignore[arg-type]  # a list is a dataset
    longest = max(map(len, text.texts))
    return {"dataset": loader, "num_calibration_samples": len(rows), "max_seq_length": longest}


def _row(ids: Tensor) -> dict[str, Tensor]:
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


@contextlib.contextmanager
def muted_libraries() -> Iterator[None]:
    """A context in which the libraries write neither logs nor bars; what goes wrong they raise.

    llm-compressor reads its variable when it is imported.
    """
    os.environ.setdefault("LLM_COMPRESSOR_LOG_LEVEL", "ERROR")
    with quiet(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield

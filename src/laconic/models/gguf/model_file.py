"""A GGUF file as a model: its config, tokenizer and weights, read through transformers.

1. `check_gguf` refuses in one line what is no whole language model: files that are cut off, parts of a split model, projectors of
   images, adapters, embeddings, architectures that transformers does not read. It reads the header alone.
2. `gguf_config` and `gguf_tokenizer` read what the file states. Three things that transformers leaves out are added: fields of
   the architecture (`architecture_fields`), the end of a turn as an end token, and for some tokenizers the rule that cuts text
   into words.
3. `gguf_weights` dequantizes once. What comes of it is an ordinary model, and is saved as an ordinary folder.
"""

import contextlib
import functools
import io
import re
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from tokenizers import pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from laconic.errors import MissingExtraError, ModelError
from laconic.models.gguf.architecture_fields import settle_fields
from laconic.models.gguf.header import FETCH_AGAIN, GgufHeader, field_number, read_header

SUFFIX = ".gguf"
PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")
"""How the parts of a split model are named."""

FULL_KIND, HALF_KIND = 0, 30  # float32, bfloat16
ENDS = tuple(f"tokenizer.ggml.{name}_token_id" for name in ("eos", "eot", "eom"))
"""The fields that name end tokens: of a text, a turn, a message."""
READ_IDS = (*ENDS, *(f"tokenizer.ggml.{name}_token_id" for name in ("bos", "unknown", "padding")))
"""The fields that name tokens which somebody looks up."""

TOKEN_LIST = "tokenizer.ggml.tokens"
EMBEDDING = "token_embd.weight"
ROPE_FACTORS = frozenset({"rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"})
"""Tensors by which rotary frequencies are scaled one by one, as Llama 3 and LongRoPE do it."""

DIGIT_BY_DIGIT = frozenset({"starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b"})
"""Values of `tokenizer.ggml.pre` for which llama.cpp cuts every digit off before it cuts as GPT-2 does. transformers does not
know them and leaves the digits, after which "\\n\\n1" is other tokens than the model was trained on."""


def is_gguf(source: str | Path) -> bool:
    """Whether `source` is a file that is named as a GGUF file."""
    return Path(source).suffix.lower() == SUFFIX and Path(source).is_file()


# --- checks ----------------------------------------------------------------------------------------------------------


def check_gguf(path: Path) -> None:
    """Raise `ModelError` if the file at `path` is not a whole language model, `MissingExtraError` if the extra is missing."""
    header = read_header(path)
    _check_kind(path, header)
    _check_numbers(path, header)
    if find_spec("gguf") is None:
        raise MissingExtraError(str(path), "gguf")
    _check_size(path, header)


def _check_kind(path: Path, header: GgufHeader) -> None:
    part, count = field_number(header.fields, "split.no", 0) + 1, field_number(header.fields, "split.count", 1)
    if named := PART.search(path.name):
        part, count = int(named[1]), int(named[2])
    if count > 1:
        raise ModelError(f"{path}: is part {part} of {count} of a split model; join them: llama-gguf-split --merge")
    if (kind := header.fields.get("general.type", "model")) != "model":
        raise ModelError(f"{path}: holds {kind!r} by its general.type; expected a language model")
    if "general.architecture" not in header.fields:
        raise ModelError(f"{path}: states no general.architecture; expected a language model")
    if not header.tensors:
        raise ModelError(f"{path}: holds no weights; expected a language model")
    if TOKEN_LIST not in header.fields:
        raise ModelError(f"{path}: holds no tokenizer; expected a language model")
    if scaled := next((tensor.name for tensor in header.tensors if tensor.name in ROPE_FACTORS), None):
        raise ModelError(
            f"{path}: scales its rotary frequencies ({scaled}), which transformers does not read from GGUF; "
            "use the model's Hugging Face folder"
        )


def _check_numbers(path: Path, header: GgufHeader) -> None:
    """Hold the heads against one another, and the ids of tokens against their number: transformers would fail at them later,
    in words that do not name them."""
    prefix = f"{header.fields['general.architecture']}.attention"
    heads = field_number(header.fields, f"{prefix}.head_count", 1)
    groups = field_number(header.fields, f"{prefix}.head_count_kv", heads)
    if not 1 <= groups <= heads or heads % groups:
        raise ModelError(
            f"{path}: states {heads} attention heads (head_count) and {groups} of keys and values (head_count_kv); "
            "expected a multiple of the latter"
        )
    count = field_number(header.fields, TOKEN_LIST, 0)
    for name in READ_IDS:
        if not 0 <= (value := field_number(header.fields, name, 0)) < count:
            raise ModelError(f"{path}: {name} is {value}, of {count:,} tokens; expected the id of one")


def _check_size(path: Path, header: GgufHeader) -> None:
    from gguf.constants import GGML_QUANT_SIZES

    unknown = {tensor.kind for tensor in header.tensors} - set(map(int, GGML_QUANT_SIZES))
    if unknown:
        raise ModelError(f"{path}: holds weights in formats {sorted(unknown)}, which the package gguf does not know")
    sizes = {int(kind): block for kind, block in GGML_QUANT_SIZES.items()}
    ends = (t.offset + t.num_values // sizes[t.kind][0] * sizes[t.kind][1] for t in header.tensors)
    expected, size = header.data_start + max(ends), path.stat().st_size
    if size < expected:
        raise ModelError(f"{path}: is incomplete: {size:,} bytes of {expected:,}; {FETCH_AGAIN}")


# --- config and tokenizer --------------------------------------------------------------------------------------------


def gguf_config(path: Path) -> Any:
    """The config of the file's fields, with the dtype of the dequantized weights. Raises `ValueError`, naming it, for a field
    that transformers cannot be told."""
    return _config(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=2)
def _config(path: Path, _changed: int) -> Any:
    config = AutoConfig.from_pretrained(str(path), gguf_file=path.name)
    if config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise ValueError(f"{config.model_type} is no causal language model")
    header = read_header(path)
    settle_fields(config, header)
    config.dtype = _stored_dtype(header)
    return config


def _stored_dtype(header: GgufHeader) -> torch.dtype:
    """bfloat16 if the file holds its matrices in it; every other format is dequantized to float32."""
    return torch.bfloat16 if {HALF_KIND} == {t.kind for t in header.tensors} - {FULL_KIND} else torch.float32


def gguf_ends(path: Path) -> tuple[int, ...]:
    """The ids of the end tokens that the file names."""
    fields = read_header(path).fields
    return tuple(dict.fromkeys(end for end in (field_number(fields, name, -1) for name in ENDS) if end >= 0))


def gguf_tokenizer(path: Path) -> Any:
    """The tokenizer that the file describes, chat template included; files that lie beside it change nothing."""
    tokenizer = PreTrainedTokenizerFast(gguf_file=path.name, name_or_path=str(path.parent))
    if read_header(path).fields.get("tokenizer.ggml.pre") in DIGIT_BY_DIGIT:
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    return tokenizer


def embedding_rows(path: Path) -> int | None:
    """The number of rows of the input embedding, by the header; None if no tensor has its name."""
    return next((t.shape[0] for t in read_header(path).tensors if t.name == EMBEDDING), None)


def gguf_formats(path: Path) -> list[str]:
    """The names of the formats in which the file holds its matrices."""
    from gguf.constants import GGMLQuantizationType

    return sorted({GGMLQuantizationType(t.kind).name for t in read_header(path).tensors if len(t.shape) > 1})


# --- weights ---------------------------------------------------------------------------------------------------------


def gguf_weights(path: Path, config: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The model with dequantized weights, and transformers' report about loading; `options` are those of `from_pretrained`.

    Raises `ValueError` if transformers leaves weights of the file out, such as biases that its config does not foresee.
    """
    from transformers import GgufConfig

    # the folder is empty, so that no adapter or config that lies beside the file is read; the bars are tqdm's own
    with tempfile.TemporaryDirectory() as empty, contextlib.redirect_stderr(io.StringIO()), _one_table_of_names():
        model, loading = AutoModelForCausalLM.from_pretrained(
            empty,
            config=config,
            gguf_file=str(path.resolve()),
            quantization_config=GgufConfig(dequantize=True),
            **options,
        )
    held, read = sum(t.num_values for t in read_header(path).tensors), model.num_parameters()
    if held != read:
        raise ValueError(
            f"the file holds {held:,} weights, of which transformers reads {read:,}; use its folder instead"
        )
    model.config.name_or_path = str(path)
    keep_ends(model, path)
    return model, loading


def keep_ends(model: Any, path: Path) -> None:
    """Give the model's generation config every end token that the file names; transformers takes the first."""
    if len(ends := gguf_ends(path)) > 1:
        model.generation_config.eos_token_id = list(ends)


@contextlib.contextmanager
def _one_table_of_names() -> Iterator[None]:
    """transformers asks `gguf` for the same table of names again for every module of the model; inside, it is made once."""
    import gguf

    made = gguf.get_tensor_name_map
    gguf.get_tensor_name_map = functools.cache(made)
    try:
        yield
    finally:
        gguf.get_tensor_name_map = made

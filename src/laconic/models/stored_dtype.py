"""In which dtype a model's files hold its weights: it decides what `dtype = "auto"` computes in, and how large the result is.

1. The headers of the files say it, whatever a config says: of several dtypes the one that most weights have. Only headers are
   read, some kilobytes of each file, in a folder or in the hub's cache.
2. Where there are none (a model on the hub that is not fetched, files that cannot be read, weights that a library has packed),
   it is what the config of the text model states, else the config that is around it, else float32. A GGUF file's config states
   what its weights are dequantized to.
"""

import json
from collections import Counter
from math import prod
from pathlib import Path
from typing import Any

import torch

from laconic.system.hub import cached_file

SHARD_INDEX, ONE_FILE = "model.safetensors.index.json", "model.safetensors"
COUNTED = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""The names of dtypes in headers. Whole numbers and eight-bit floats are what a library has made of weights."""
LENGTH_BYTES, LARGEST_HEADER = 8, 100 * 2**20


def stored_dtype(source: str, config: Any) -> torch.dtype:
    """The dtype of most weights of the model at `source`, as `resolve_model` gives it; `config` is the model's own."""
    counts: Counter[str] = Counter()
    for file in _weight_files(source):
        counts.update(_dtypes_in(file))
    if counts:
        return COUNTED[counts.most_common(1)[0][0]]
    stated = (getattr(part, "dtype", None) for part in (config.get_text_config(), config))
    return next((dtype for dtype in stated if isinstance(dtype, torch.dtype)), torch.float32)


def _weight_files(source: str) -> list[Path]:
    """The files of safetensors that are loaded, of those that are on this machine."""
    index, whole = _held(source, SHARD_INDEX), _held(source, ONE_FILE)
    if whole is not None:
        return [whole]
    if index is None:
        return []
    try:
        named = json.loads(index.read_bytes())["weight_map"].values()
        return [file for name in sorted(set(named)) if (file := _held(source, name)) is not None]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):  # whoever loads the model says what is wrong
        return []


def _held(source: str, name: str) -> Path | None:
    folder = Path(source)
    file = folder / name if folder.exists() else cached_file(source, name)
    return file if file is not None and file.is_file() else None


def _dtypes_in(file: Path) -> Counter[str]:
    """How many weights of each dtype a file of safetensors holds, by its header; nothing where that cannot be read."""
    counts: Counter[str] = Counter()
    try:
        with file.open("rb") as content:
            length = int.from_bytes(content.read(LENGTH_BYTES), "little")
            header = json.loads(content.read(length)) if length <= LARGEST_HEADER else {}
        for name, entry in header.items():
            if name != "__metadata__" and entry["dtype"] in COUNTED:
                counts[entry["dtype"]] += prod(entry["shape"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return Counter()
    return counts

"""By which library float32 matrix products run on a CPU, decided once for a machine by a short measurement.

1. There are two paths: `pytorch` is PyTorch's own product, by MKL where PyTorch was built with it and plain where not; `onednn`
   is that of oneDNN, which comes with PyTorch too (`onednn.py`). Which one is faster depends on the processor's maker.
2. `product_path` gives this process's path: the one that the variable LACONIC_PRODUCTS names; else the one that a resumed run was
   begun with (`keep_product_path`); else the one in the cache; else the one that the measurement finds, which is then cached.
3. The measurement takes products of the sizes that sampling and training ask for, on one thread and in that thread's processor
   time, so that neither other work nor the number of threads decides. The paths take turns, and the fastest round of each counts.
   `onednn` is taken unless `pytorch` is faster by `CLEAR_GAIN`.

The path decides the last bits of every result, so it must not change from one run to the next: hence the margin, the cache and
the run's record.
"""

import hashlib
import logging
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

import torch
from torch import Tensor

from laconic.errors import InputError, ModelError
from laconic.system.files import read_json, write_json_atomically
from laconic.system.processor import instruction_sets, processor_name

ProductPath = Literal["pytorch", "onednn"]
PATH_VARIABLE = "LACONIC_PRODUCTS"
CLEAR_GAIN = 1.08  # beside eight busy processes the measurement varied by 0.07, on idle cores by less
STEP_SIZES = ((64, 128, 384), (64, 352, 128), (64, 576, 1536), (64, 1536, 576))
UPDATE_SIZES = ((512, 128, 704), (512, 576, 576))
"""Rows, inputs and outputs of the measured products: those of a sampling step, and those of a micro-batch, each of which has two
more in the backward pass; of a model of 0.65M and of one of 135M parameters."""
ROUNDS = 8
FINE_SECONDS = 1e-6

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Settled:
    """This process's path, once it is known."""

    path: ProductPath | None = None


_SETTLED: Final = _Settled()


def product_path() -> ProductPath:
    """The path of this process. Raises `ModelError` where LACONIC_PRODUCTS names none, or one that is not there."""
    if _SETTLED.path is None:
        _SETTLED.path = _forced() or _cached_or_measured()
    return _SETTLED.path


def keep_product_path(path: str) -> None:
    """Take the path that a run was begun with, unless LACONIC_PRODUCTS names one. Raises `ModelError` where it is not there."""
    _SETTLED.path = _forced() or _checked(path, "the run")


def _forced() -> ProductPath | None:
    name = os.environ.get(PATH_VARIABLE)
    return _checked(name, PATH_VARIABLE) if name else None


def _path_named(name: object) -> ProductPath | None:
    """The path of that name; None where there is none, or where it is not there."""
    if name == "pytorch":
        return "pytorch"
    return "onednn" if name == "onednn" and torch.backends.mkldnn.is_available() else None


def _checked(name: str, asker: str) -> ProductPath:
    if path := _path_named(name):
        return path
    known = " or ".join(get_args(ProductPath))
    raise ModelError(
        f"{asker}: {name!r} is not a path that matrix products can take here; {PATH_VARIABLE}={known} sets one"
    )


# --- the cache -------------------------------------------------------------------------------------------------------


def cache_file() -> Path:
    """The file that holds the paths of this user's machines: product_paths.json in the user's cache folder."""
    folder = os.environ.get("XDG_CACHE_HOME")
    return (Path(folder) if folder else Path.home() / ".cache") / "laconic" / "product_paths.json"


def machine_key() -> str:
    """What the choice depends on: the processor, its instruction sets, and PyTorch's version."""
    digest = hashlib.blake2b(" ".join(sorted(instruction_sets())).encode(), digest_size=4).hexdigest()
    return f"{processor_name()}; instructions {digest}; torch {torch.__version__}"


def _cached_or_measured() -> ProductPath:
    if not torch.backends.mkldnn.is_available():
        return "pytorch"
    held = _held()
    if path := _path_named(held.get(machine_key())):
        return path
    found = measured_path()
    try:
        write_json_atomically(cache_file(), held | {machine_key(): found})
    except OSError as error:
        _log.debug("%s cannot be written (%s): the path %s holds for this process alone", cache_file(), error, found)
    return found


def _held() -> dict[str, str]:
    """The cache's content; empty where there is none or it cannot be read."""
    try:
        return read_json(cache_file()) if cache_file().exists() else {}
    except (InputError, OSError) as error:
        _log.debug("%s: measured anew", error)
        return {}


# --- the measurement -------------------------------------------------------------------------------------------------


@torch.no_grad()
def measured_path() -> ProductPath:
    """`pytorch` where it is faster than `onednn` by the margin, on the geometric mean over all measured products."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        gains = [_gain(*pair) for pair in _measured_products()]
    finally:
        torch.set_num_threads(num_threads)
    gain = math.exp(sum(map(math.log, gains)) / len(gains))
    _log.debug("PyTorch's own products are %.2f times as fast as oneDNN's", gain)
    return "pytorch" if gain >= CLEAR_GAIN else "onednn"


def _measured_products() -> Iterator[tuple[Tensor, Tensor]]:
    """The two factors A [rows, n] and B [n, columns] of each measured product."""
    for rows, inputs, outputs in STEP_SIZES:
        yield torch.ones(rows, inputs), torch.ones(outputs, inputs).t()
    for rows, inputs, outputs in UPDATE_SIZES:
        x, weight, dy = torch.ones(rows, inputs), torch.ones(outputs, inputs), torch.ones(rows, outputs)
        yield from ((x, weight.t()), (dy, weight), (dy.t(), x))  # y = x W', dx = dy W, dW = dy' x


def _gain(a: Tensor, b: Tensor) -> float:
    """How often `pytorch` multiplies `a` by `b` while `onednn` does once."""
    pytorch, onednn = fastest_seconds(
        lambda: torch.mm(a, b), lambda: torch.ops.mkldnn._linear_pointwise(a, b.t(), None, "none", [], "")
    )
    return onednn / pytorch


def fastest_seconds(*products: Callable[[], Tensor]) -> list[float]:
    """The processor time of this thread that the fastest of `ROUNDS` rounds took, for each product; they take turns.

    On a system that counts it in milliseconds, it is the time that passed.
    """
    counts_finely = time.get_clock_info("thread_time").resolution < FINE_SECONDS
    clock = time.thread_time if counts_finely else time.perf_counter
    fastest = [math.inf] * len(products)
    for _ in range(ROUNDS):
        for index, product in enumerate(products):
            began = clock()
            product()
            fastest[index] = min(fastest[index], clock() - began)
    return fastest

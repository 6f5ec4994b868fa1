"""Tensors as files, of which each process writes its share and any number of processes read, by torch.distributed.checkpoint.

1. `save_shares` is called by every process. Each writes one file of safetensors with its parts of tensors that are spread, and
   its share of those that every process has whole; nothing is gathered, and nothing is pickled.
2. `Shares` reads such a folder, one tensor at a time, from however many files it lies in. It needs no other process.
"""

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata


def save_shares(tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Write `tensors` to `folder`. Raises the error of one process on all, an `OSError` where a disk refused."""
    writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
    try:
        dcp.save({name: tensor.detach() for name, tensor in tensors.items()}, storage_writer=writer)
    except CheckpointException as error:
        raise next(iter(error.failures.values()))[0] from error


class Shares(Mapping[str, Tensor]):
    """The tensors in a folder that `save_shares` wrote, by name; each is read, whole, when it is asked for."""

    def __init__(self, folder: Path) -> None:
        self._reader = _Reader(str(folder))
        self._known = self._reader.read_metadata().state_dict_metadata

    def __getitem__(self, name: str) -> Tensor:
        held = self._known[name]
        assert isinstance(held, TensorStorageMetadata), "there is nothing but tensors"
        value = torch.empty(held.size, dtype=held.properties.dtype)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # so it was asked for
            dcp.load({name: value}, storage_reader=self._reader, no_dist=True)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


class _Reader(HuggingFaceStorageReader):  # type: ignore[misc]  # torch leaves it untyped
    """A reader that looks once which file holds what."""

    _found: Metadata | None = None

    def read_metadata(self) -> Metadata:
        if self._found is None:
            self._found = super().read_metadata()
        return self._found

"""The policy's weights on their way to a vLLM server, and the proof that they arrived.

1. `weights_digest` tells whether weights changed, by a sum over the bits of each, on the device that holds them.
2. LoRA is merged, and the weights are rounded to the dtype in which the server holds them, so that equal digests mean equal
   weights there.
3. `FolderTransfer` writes them as safetensors to a new folder and lets the server read it (`reload_weights`): reloading from the
   folder of before has given stale weights (vllm#32718, vllm#48312). The folder of before is removed once the new one is read.
   A tied head goes along in a file of its own: while it reloads, vLLM 0.32 takes the head for a weight of its own, and where it
   finds none it keeps the old one if that was packed, as on a CPU.
4. `NcclTransfer` sends them from GPU to GPU by vLLM's own weight transfer, without a file. It needs vLLM in this environment and
   a server with `--weight-transfer-config '{"backend": "nccl"}'`. It was written after the source of vLLM 0.32 and not yet run.
5. The cache of prefixes is dropped, since the old weights made it. Then the server's SHA-256 of a weight must have changed if and
   only if ours has, for every weight that both know under one name. Others, which the server joins or has packed, have no such
   sum: what they compute is compared instead (`proof.py`).
"""

import contextlib
import hashlib
import shutil
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from laconic.errors import ModelError, RunFailed
from laconic.models.loading import quiet
from laconic.models.policy import Policy
from laconic.parallel.launching import free_port
from laconic.samplers.vllm.server import ServerFacts, ServerGone, VllmServer

BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
NCCL, TWINS_FILE = "nccl", "model-twins.safetensors"
OF_NOTHING = hashlib.sha256().hexdigest()  # of a weight that vLLM on a CPU has packed
STALE = (
    "the server says that it took the new weights, but its checksum is the old one: start it again; if that does not help, its "
    "version of vLLM reloads weights wrongly"
)
STRANGE = "the server's checksum changed, though it was given the weights that it had: something else writes to them"


@torch.no_grad()
def weights_digest(weights: Iterable[Tensor]) -> str:
    """A text that changes with any weight: of each tensor the sum of its elements' bits, read as integers, modulo 2^64.

    An update changes every sum unless it happens to move no bits on balance, which in a float32 tensor has about one chance in
    2^32. Weights in another order within a tensor have the same digest, which no update brings about.
    """
    sums = [w.detach().reshape(-1).view(BITS[w.element_size()]).sum(dtype=torch.int64) for w in weights]
    numbers = torch.stack([value.cpu() for value in sums]).tolist() if sums else []
    return hashlib.blake2b(repr(numbers).encode(), digest_size=8).hexdigest()


def write_twins(folder: Path, state: Mapping[str, Tensor]) -> None:
    """Write the weights that share memory with one before them, such as a tied head, to a file of their own in `folder`, since
    `save_pretrained` leaves them out."""
    first: dict[int, str] = {}
    for name, tensor in state.items():
        first.setdefault(tensor.data_ptr(), name)
    twins = {name: tensor.clone() for name, tensor in state.items() if first[tensor.data_ptr()] != name}
    if twins:
        save_file(twins, folder / TWINS_FILE, metadata={"format": "pt"})


@contextlib.contextmanager
def written_whole(folder: Path) -> Iterator[None]:
    """The context in which weights are written to a new `folder`. Where the disk refuses, nothing is left, and `RunFailed` says
    why."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        yield
    except (OSError, SafetensorError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        reason = getattr(error, "strerror", None) or error
        raise RunFailed(f"{folder}: the weights for the server cannot be written ({reason})") from error


class Transfer(Protocol):
    """A way for weights to reach a server."""

    def send(self, model: PreTrainedModel, state: dict[str, Tensor], digest: str) -> None:
        """Give the server the weights `state` of the plain `model`."""
        ...

    def forget(self) -> None:
        """The server died, and what it had of the transfer with it."""
        ...

    def close(self) -> None:
        """Remove what the transfer left behind."""
        ...


class FolderTransfer:
    """Through folders inside `folder`, which trainer and server both see under the same path."""

    def __init__(self, server: VllmServer, folder: Path) -> None:
        self.server, self.folder = server, folder.absolute()
        self.num_sent = 0
        self.newest: Path | None = None

    def send(self, model: PreTrainedModel, state: dict[str, Tensor], digest: str) -> None:
        """Write, let the server read, and remove what it read before. Raises `RunFailed` where the disk is full."""
        self.num_sent += 1
        new = self.folder / f"{self.num_sent:06d}-{digest}"
        with written_whole(new):
            with quiet():
                model.save_pretrained(new, state_dict=dict(state))  # which takes the twins out
            write_twins(new, state)
        try:
            self.server.reload(str(new))
        except (ServerGone, ModelError) as error:
            shutil.rmtree(new, ignore_errors=True)
            raise type(error)(f"{error} (it was told to read {new}, which it must see too)") from None
        if self.newest is not None:
            shutil.rmtree(self.newest, ignore_errors=True)
        self.newest = new

    def forget(self) -> None:
        """Nothing: a server that is started again reads a folder as any other."""

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


class NcclTransfer:
    """From GPU to GPU, by vLLM's `NCCLTrainerWeightTransferEngine`; the trainer is rank 0, the server's workers follow."""

    def __init__(self, server: VllmServer, master_address: str, timeout_seconds: float) -> None:
        self.server, self.master_address, self.timeout_seconds = server, master_address, timeout_seconds
        self.engine: Any = None

    def send(self, model: PreTrainedModel, state: dict[str, Tensor], digest: str) -> None:
        """Broadcast the parameters. A merged model is a new one every time, and so is the source of its weights."""
        from vllm.distributed.weight_transfer.base import ModuleSource

        if self.engine is None:
            self.engine = self._joined(ModuleSource(model))
        self.engine.source = ModuleSource(model)
        self.engine.send_weights()

    def _joined(self, source: Any) -> Any:
        from vllm.distributed.weight_transfer.clients import HTTPVLLMWeightSyncClient
        from vllm.distributed.weight_transfer.factory import WeightTransferTrainerFactory
        from vllm.distributed.weight_transfer.nccl_engine import NCCLTrainerInitInfo

        workers = int(self.server.ask("GET", "/get_world_size")["world_size"])
        place = NCCLTrainerInitInfo(
            master_address=self.master_address, master_port=free_port(), world_size=1 + workers, rank=0
        )
        client = HTTPVLLMWeightSyncClient(self.server.url, timeout=self.timeout_seconds)
        return WeightTransferTrainerFactory.trainer_init(place, client=client, source=source)

    def forget(self) -> None:
        """Drop the group, whose other members are gone: to leave it in order would wait for them. The next transfer
        joins anew."""
        self.engine = None

    def close(self) -> None:
        """Leave the group."""
        engine, self.engine = self.engine, None
        if engine is not None:
            engine.shutdown()


def transfer_to(server: VllmServer, facts: ServerFacts, folder: Path, device: torch.device) -> Transfer:
    """By NCCL where the server was started for it, else through folders. Raises `ModelError` where the server waits for NCCL
    and the trainer cannot serve it."""
    if not facts.transfer:
        return FolderTransfer(server, folder)
    if facts.transfer != NCCL or device.type != "cuda" or find_spec("vllm") is None:
        raise ModelError(
            f"{server.url}: was started to receive weights by {facts.transfer!r}; the trainer has nccl, and only on CUDA with "
            "vllm installed beside it. Start the server without --weight-transfer-config: weights then go through folders"
        )
    return NcclTransfer(server, _address_towards(server.url), server.limits.seconds)


def _address_towards(url: str) -> str:
    """This machine's address as the server sees it: that of the interface from which the server is reached."""
    parts = urlsplit(url)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:  # nothing is sent
        probe.connect((parts.hostname or "127.0.0.1", parts.port or 80))
        return str(probe.getsockname()[0])


@dataclass
class Handover:
    """Keeps the weights of `server` equal to those of `policy`. `dtype` is that of the server's weights.

    `seconds` is how long hand-overs have taken since somebody last set it to 0, and `num_done` how many there were.
    """

    policy: Policy
    server: VllmServer
    transfer: Transfer
    dtype: torch.dtype
    live: str = ""
    version: str = ""
    digests: dict[str, str] = field(default_factory=dict)
    checksums: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    num_done: int = 0

    def forget(self) -> None:
        """The server has lost the weights."""
        self.live = self.version = ""
        self.transfer.forget()

    def update(self) -> bool:
        """Hand the weights over and prove it, where they are others than at the last hand-over; returns whether they were.

        Raises `ServerGone`, and `ModelError` where the proof fails.
        """
        began = time.monotonic()
        live = weights_digest(self.policy.lm.model.parameters())
        if is_due := live != self.live:
            self._hand_over()
            self.live = live
            self.num_done += 1
        self.seconds += time.monotonic() - began
        return is_due

    def _hand_over(self) -> None:
        model, state = self.policy.plain(self.dtype)
        digests = {name: weights_digest([weight]) for name, weight in state.items()}
        digest = hashlib.blake2b(repr(sorted(digests.items())).encode(), digest_size=8).hexdigest()
        self.transfer.send(model, state, digest)
        self.server.forget_prefixes()
        checksums = _by_weight(self.server.checksums())
        self._compare(digests, checksums)
        self.digests, self.checksums = digests, checksums
        self.version = f"laconic-{digest}"
        self.server.set_version(self.version)

    def _compare(self, digests: dict[str, str], checksums: dict[str, str]) -> None:
        """Raise `ModelError` where a weight changed here and not there, or there and not here; the first hand-over of a process
        has nothing to compare with."""
        for name in self.checksums.keys() & checksums.keys() & digests.keys():
            has_changed = digests[name] != self.digests[name]
            if has_changed is not (checksums[name] != self.checksums[name]):
                raise ModelError(f"{self.server.url}: {name}: {STALE if has_changed else STRANGE}")


def _by_weight(checksums: Mapping[str, str]) -> dict[str, str]:
    """The checksums by the names of weights, without those of nothing. Workers of a server that splits weights hold a part
    each, under the worker's name, a colon and the weight's.

    >>> _by_weight({"tp0:w": "a", "tp1:w": "b"})
    {'w': 'ab'}
    """
    joined: dict[str, str] = {}
    for key, value in sorted((key, value) for key, value in checksums.items() if value != OF_NOTHING):
        name = key.rpartition(":")[2]
        joined[name] = joined.get(name, "") + value
    return joined

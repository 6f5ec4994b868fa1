"""A team of several processes, over torch.distributed: gloo on CPUs, NCCL on GPUs.

1. `process_team` makes a process a member of the team that its environment names. Objects travel over gloo always, tensors on a
   GPU over NCCL.
2. Whoever has a result, an error or a signal tells all others: an `Outcome` of each process is gathered before any process goes
   on.

What is left out: how processes are started, watched and ended.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from laconic.errors import InputError, LaconicError, Terminated
from laconic.parallel.team import Dealt, Result, Team
from laconic.system.termination import held_back, let_through

PATIENCE = timedelta(hours=12)
"""How long a process waits for the others. Whoever started them ends those that wait for one that is gone, which takes seconds;
so this is longer than any step."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a process has come to: a value, the kind and text of an error of ours, or the text and exit code of the signal that
    ended its work. (An error itself may not survive being sent.)"""

    value: Any = None
    error: tuple[type[LaconicError], str] | None = None
    signal: tuple[str, int] | None = None

    def taken(self) -> Any:
        """The value; raises the error, or the signal."""
        if self.error is not None:
            kind, text = self.error
            raise kind.__new__(kind, text)
        if self.signal is not None:
            raise Terminated(*self.signal)
        return self.value


def come_to(work: Callable[[], Any]) -> Outcome:
    """What `work` comes to. Errors that are not ours end the process, as they always do."""
    try:
        return Outcome(work())
    except LaconicError as error:
        return Outcome(error=(type(error), str(error)))
    except Terminated as signal:
        return Outcome(signal=(str(signal), signal.exit_code))


class ProcessTeam(Team):
    """This process and the others of its group. `device` is where this one computes."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(dist.get_rank(), dist.get_world_size())
        self.device = device
        self._is_held_back = False

    def share_out(self, items: Sequence[Dealt], work: Callable[[Sequence[Dealt]], Sequence[Result]]) -> list[Result]:
        """As in `Team`. Where processes come to different errors, that of the lowest rank is raised everywhere."""

        def own() -> Sequence[Result]:
            with held_back() if self._is_held_back else let_through():
                return work(self.share(items))

        with held_back():
            shares = [outcome.taken() for outcome in self._gathered(come_to(own))]
        return [shares[place % self.size][place // self.size] for place in range(len(items))]

    def by_first(self, work: Callable[[], Result]) -> Result:
        """As in `Team`."""
        with held_back():
            held = [come_to(work) if self.is_first else None]
            dist.broadcast_object_list(held, src=0)
        assert held[0] is not None
        taken: Result = held[0].taken()
        return taken

    def sums(self, tensor: Tensor) -> Tensor:
        """As in `Team`; the sum is the same to the bit on every process, and `tensor` stays as it is."""
        total = tensor.detach().to(self.device, copy=True)
        dist.all_reduce(total)
        return total.to(tensor.device)

    def most(self, number: int) -> int:
        """As in `Team`."""
        held = torch.tensor(number, device=self.device)
        dist.all_reduce(held, op=dist.ReduceOp.MAX)
        return int(held)

    def agrees(self, flag: bool) -> bool:
        """As in `Team`."""
        return self.most(int(flag)) > 0

    def wait(self) -> None:
        """As in `Team`."""
        self.most(0)

    def holding_together(self) -> AbstractContextManager[None]:
        """As in `Team`."""
        return held_back()

    def holding_back(self) -> AbstractContextManager[None]:
        """As in `Team`."""
        return self._holding_back(True)

    def letting_through(self) -> AbstractContextManager[None]:
        """As in `Team`."""
        return self._holding_back(False)

    @contextmanager
    def _holding_back(self, is_held_back: bool) -> Iterator[None]:
        before, self._is_held_back = self._is_held_back, is_held_back
        try:
            yield
        finally:
            self._is_held_back = before

    def _gathered(self, outcome: Outcome) -> list[Outcome]:
        held: list[Any] = [None] * self.size
        dist.all_gather_object(held, outcome)
        return held


@contextmanager
def process_team(device: str) -> Iterator[Team]:
    """The team that the environment names, which this process leaves in the end. `device` is that of the recipe ("auto", "cpu",
    "cuda"); on GPUs each process of a machine takes the one of its number.

    Raises `InputError` where it names one GPU for all, or there is none for this process.
    """
    where = device_of(device, int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count())
    if where.type == "cuda":
        torch.cuda.set_device(where)
    dist.init_process_group("cpu:gloo,cuda:nccl" if where.type == "cuda" else "gloo", timeout=PATIENCE)
    yield ProcessTeam(where)
    dist.destroy_process_group()  # not after an error: it might wait for a process that is gone


def device_of(device: str, local_rank: int, num_gpus: int) -> torch.device:
    """Where process `local_rank` of a machine with so many GPUs computes. Raises `InputError` as `process_team` does.

    >>> device_of("auto", 1, num_gpus=2), device_of("auto", 1, num_gpus=0)
    (device(type='cuda', index=1), device(type='cpu'))
    """
    if device == "cpu" or (device == "auto" and num_gpus == 0):
        return torch.device("cpu")
    if ":" in device:
        raise InputError(f"policy.device: {device!r} is one GPU for all processes; with 'cuda' each takes its own")
    if local_rank >= num_gpus:
        raise InputError(
            f"process {local_rank + 1} of this machine finds {num_gpus} GPUs; start one for each GPU, or set policy.device=cpu"
        )
    return torch.device("cuda", local_rank)

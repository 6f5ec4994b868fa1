"""What the code knows of the processes it runs in: a team of one, unless it is told otherwise.

Every process of a team runs the same program with the same seeds and takes the same decisions. Only costly parts are shared out,
and what comes out of them is put together on every process. So counts, whitening, rewards that remember and end rules are those
of all problems, and the code for them does not know of other processes.

1. `share_out` deals whole items (problems, with all their responses) and returns all results in the items' order.
2. `sums` and `most` put numbers together; `agrees` turns a flag of any process into one of all.
3. `by_first` lets the first process alone do something, such as write a file, and tells all others what came of it.

Every process has to make the same calls in the same order. An error that is ours to report (`LaconicError`), or a signal that
asks the program to end (`Terminated`), is raised on every process wherever it occurred, so that all leave at the same point.

`Team` itself is one process: it does everything itself and needs nothing of torch. `processes.py` has the team of several.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, TypeVar

from laconic.system.termination import held_back, let_through

if TYPE_CHECKING:
    from torch import Tensor

Dealt = TypeVar("Dealt")
Result = TypeVar("Result")


class Team:
    """The processes that do one piece of work together; this one is `rank` of `size`, counted from 0."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    def share(self, items: Sequence[Dealt]) -> list[Dealt]:
        """The items that are dealt to this process: every `size`-th, from the `rank`-th on."""
        return list(items[self.rank :: self.size])

    def part(self, sizes: Sequence[int]) -> range:
        """The places of the items of these sizes that this process takes where all of them are known beforehand: a stretch, so
        that neighbours stay together, and as large as everyone's."""
        total, before, mine = sum(sizes), 0, []
        for place, size in enumerate(sizes):
            if (2 * before + size) * self.size // (2 * total) == self.rank:  # whose stretch the item's middle lies in
                mine.append(place)
            before += size
        return range(mine[0], mine[-1] + 1) if mine else range(0)

    def share_out(self, items: Sequence[Dealt], work: Callable[[Sequence[Dealt]], Sequence[Result]]) -> list[Result]:
        """The results of all `items`, in their order. `work` turns the items of one process into as many results, which must be
        picklable; it is called even where there are none. A signal breaks it off, except inside `holding_back`."""
        return list(work(items))

    def by_first(self, work: Callable[[], Result]) -> Result:
        """What `work` returns on the first process, the only one that does it; the result must be picklable. All wait for it."""
        return work()

    def sums(self, tensor: "Tensor") -> "Tensor":
        """The sum of the processes' tensors, which have one shape."""
        return tensor

    def most(self, number: int) -> int:
        """The largest of the processes' numbers."""
        return number

    def agrees(self, flag: bool) -> bool:
        """Whether the flag is set on any process."""
        return flag

    def wait(self) -> None:
        """Wait until every process is here."""

    def holding_together(self) -> AbstractContextManager[None]:
        """The context of all that is done together. In a team of several, only the work of `share_out` is broken off by signals:
        elsewhere the others would wait for one that has left."""
        return nullcontext()

    def holding_back(self) -> AbstractContextManager[None]:
        """The context of work that no signal breaks off, such as the steps of training, except inside `letting_through`."""
        return held_back()

    def letting_through(self) -> AbstractContextManager[None]:
        """A part of what is held back that a signal may break off."""
        return let_through()


ALONE = Team(rank=0, size=1)
"""One process, which everything is done by unless a caller says otherwise."""

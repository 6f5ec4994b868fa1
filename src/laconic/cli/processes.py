"""Commands that several processes run together: with --processes they are started here, and torchrun starts them too.

Each process runs the same command. `together` gives it its team, in which rank 0 alone writes and prints.
"""

import contextlib
import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer

from laconic import __version__
from laconic.errors import InputError
from laconic.parallel.place import RankPlace, check_alone, read_place
from laconic.parallel.team import ALONE, Team
from laconic.system.threads import available_cores, settle

NumProcesses = Annotated[
    int | None,
    typer.Option("--processes", help="Share out the work to so many processes on this machine.", min=1),
]
SHARING = ("demo", "train", "evaluate", "probe", "batch")
"""The commands whose work can be shared out."""
MOST_PER_CORE = 8
"""Processes on one core of a machine; each holds a model, and a machine with GPUs has more than one core for eight of them."""


def again() -> str:
    """How to go on with a command that resumes what it finds."""
    return "the same command goes on with it"


def start_processes(processes: int | None, how_to_go_on: Callable[[], str], model: str = "") -> RankPlace | None:
    """The place of this process; None where it is alone. Where --processes asks for others, they run this command, and this
    process ends with their exit code. Raises `InputError` where there is nothing to share out: `model` is an endpoint."""
    from laconic.samplers.endpoints import is_endpoint

    place = read_place()
    num_processes = place.size if place else processes or 1
    if place is not None and place.launcher is None and processes is not None:
        raise InputError(f"--processes {processes}: {place.size} processes were started already; leave it out")
    if num_processes > 1 and is_endpoint(model):
        raise InputError(
            f"{num_processes} processes: {model} draws the responses, so there is nothing to share out; take one"
        )
    if place is None and num_processes > 1:
        from laconic.parallel.launching import launch

        cores = available_cores()
        if num_processes > MOST_PER_CORE * cores:
            most = f"{MOST_PER_CORE * cores}, {MOST_PER_CORE} for each of {cores} cores"
            raise InputError(f"--processes {num_processes}: expected at most {most}")
        if num_processes > cores:
            words = f"{num_processes} processes on {cores} cores take turns, unless each has a GPU"
            print(f"laconic: warning: {words}", file=sys.stderr)
        sys.exit(launch(num_processes, how_to_go_on))
    return place


@contextlib.contextmanager
def together(
    place: RankPlace | None, how_to_go_on: Callable[[], str], said: Mapping[str, Any], device: str
) -> Iterator[Team]:
    """The team of this process. All must have been started with the same `said`, on the same versions."""
    if place is None:
        yield ALONE
        return
    settle()
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # what it warns of is said here, in one line
    from importlib.metadata import version

    from laconic.parallel.joining import join_team
    from laconic.parallel.membership import membership

    versions = {"laconic": __version__, "torch": version("torch"), "python": platform.python_version()}
    with membership(place, how_to_go_on, {**versions, **said}), join_team(device) as team:
        yield team


def refuse_processes(what: str, processes: int | None = None) -> None:
    """Raises `InputError` where several processes were started, or are asked for, for `what` cannot be shared out."""
    if processes is not None and processes > 1:
        raise InputError(f"{what}: runs in one process; leave out --processes")
    check_alone(what, "start it without torchrun, or unset WORLD_SIZE")


def check_shares_out(arguments: Sequence[str]) -> None:
    """Raises `InputError` for a command that several processes were started for, and that cannot be shared out."""
    command = next((argument for argument in arguments if not argument.startswith("-")), None)
    if command is not None and command not in SHARING:
        refuse_processes(command)

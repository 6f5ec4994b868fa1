"""The command line: `laconic demo`, `probe`, `select`, `train`, `track`, `sweep`, `evaluate`, `audit`, `compare`, `export` and
others.

Every command reads as: check the input, do the work, print where the result is (`evaluate.py`, `measure.py`,
`train.py`, `export.py`). Bad input is one line on standard error and exit code 2; a failure while running is one line and exit
code 1.
The module of a command is imported when the command is named, and nothing heavy before it is needed, so `laconic --help` answers
at once: its sentences stand here (`COMMANDS`), and a test holds them against the descriptions of the functions.
"""

import contextlib
import errno
import io
import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from laconic import __version__
from laconic.cli.processes import check_shares_out
from laconic.errors import InputError, LaconicError, LaconicWarning, Terminated
from laconic.parallel.place import speaks_for_machine
from laconic.system.termination import INTERRUPTED
from laconic.system.text import brief, in_two_lines, well_formed

BROKEN_PIPE = 141  # as of a program that SIGPIPE ends
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # no mistake in the input

COMMANDS = {
    "demo": ("train", "demo", "Train both phases on the embedded reasoner, then show the comparison and write a page."),
    "probe": (
        "measure",
        "probe",
        "What can the model solve? Writes one line per problem, with its grades and lengths, and resumes a killed probe.",
    ),
    "select": (
        "measure",
        "select",
        "Choose problems by how often they were solved, and store the reason why each was kept or dropped.",
    ),
    "train": ("train", "train", "Train all phases of a recipe in one run, which can be resumed."),
    "track": (
        "train",
        "track",
        "Show a run that is there in a tracker: send it the steps that it lacks, and the results.",
    ),
    "sweep": (
        "train",
        "sweep",
        "Train several recipes at several seeds, and write one table and one page; resumes a sweep that was killed.",
    ),
    "evaluate": (
        "evaluate",
        "evaluate",
        "How accurate is a model, and how long are its responses? Makes one evaluation per source, prompt and temperature, "
        "and resumes one that was killed.",
    ),
    "batch": (
        "batch",
        "batch",
        "Draw responses to prompts that have no gold answer. Nothing is graded; a killed batch goes on where it stopped.",
    ),
    "audit": (
        "measure",
        "audit",
        "Grade stored responses again with a second grader; list every disagreement and timeout.",
    ),
    "compare": (
        "measure",
        "compare",
        "Is the candidate really shorter, and as accurate? Shows paired differences with intervals, the frontier, and a verdict.",
    ),
    "report": (
        "measure",
        "report",
        "Write one self-contained HTML page: verdict, frontier, curves, lengths by grade, and responses before and after.",
    ),
    "doctor": (
        "train",
        "doctor",
        "Check what can be checked before the first GPU hour: prompts, gold answers, caps, rewards, leakage, memory.",
    ),
    "quantize": (
        "hand_over",
        "quantize",
        "Write a model in fewer bits, calibrated on responses that it writes itself. Evaluate and compare the two afterwards.",
    ),
    "publish": (
        "hand_over",
        "publish",
        "Write a run's model with its card and measured figures to a folder, and send it to the hub if asked to.",
    ),
    "export": ("export", "EXPORTS", "Hand a recipe, problems or an evaluation over to other people's systems."),
    "serve": (
        "serve",
        "serve_models",
        "Serve models behind an OpenAI-compatible gateway, which counts tokens, keeps thinking within a budget, keeps no texts "
        "without consent, and can send a share of users to another model.",
    ),
    "traffic": (
        "traffic harvest",
        "TRAFFIC HARVEST",
        "What serving leaves behind: what is stored and why, feedback and labels, pages, "
        "problems for training, and forgetting a user.",
    ),
    "list": ("train", "list_names", "List what there is to choose from, one line each."),
}
"""Each command: the module that holds it, the function (or, in capitals, the functions of a group by their names;
one for each module), and what it does."""


class _Commands(TyperGroup):
    """The commands of `COMMANDS`, each of which is imported when it is asked for."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.commands: dict[str, Any] = dict.fromkeys(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of this name, or None."""
        if cmd_name in COMMANDS and self.commands[cmd_name] is None:
            self.commands[cmd_name] = _load(cmd_name)
        return self.commands.get(cmd_name)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands, each with all of its description."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, says) for name, (_, _, says) in COMMANDS.items()])


class _Command(TyperCommand):
    """Refuses numbers which are none (`nan`, `inf`) and a path which is empty, which would mean the working directory, and warns
    of an option which was given twice: the last counts, as everywhere, but the first is seldom meant."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """What is left of the arguments, as typer says. Raises `InputError` for a number that is not finite."""
        written, _, given = self.make_parser(ctx).parse_args(list(args))
        for option, times in Counter(given).items():
            takes_one = isinstance(option, TyperOption) and not option.multiple and not option.is_flag
            if times > 1 and takes_one and not ctx.resilient_parsing:
                warnings.warn(f"{option.opts[0]}: given {times} times; the last counts", LaconicWarning, stacklevel=2)
        left = super().parse_args(ctx, args)
        for name, value in ctx.params.items():
            values = value if isinstance(value, list | tuple) else [value]
            if any(isinstance(each, float) and not isfinite(each) for each in values):
                raise InputError(f"--{name.replace('_', '-')}: expected a finite number")
            texts = written.get(name)
            if any(isinstance(each, Path) for each in values) and "" in (
                texts if isinstance(texts, list | tuple) else [texts]
            ):
                named = next(param.opts[0] for param in self.params if param.name == name)
                raise InputError(f"{named}: is empty; expected a path, and not a variable that is not set")
        return left


app = typer.Typer(
    help="Make reasoning language models think in fewer tokens without losing accuracy, and prove that they did.",
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: loading rich would take most of the time of `--help`
)


def functions_of(name: str) -> dict[str, Callable[..., None]]:
    """The function of a command; of a group, each function by the name that it has there."""
    modules, names, _ = COMMANDS[name]
    pairs = zip(modules.split(), names.split(), strict=True)
    held = [getattr(import_module(f"laconic.cli.{module}"), name) for module, name in pairs]
    return {own: called for part in held for own, called in part.items()} if names.isupper() else {name: held[0]}


def every_command() -> Iterator[tuple[str, Callable[..., None]]]:
    """Each command as it is called (`train`, `export verl`) and its function."""
    for name, (_, names, _) in COMMANDS.items():
        for own, called in functions_of(name).items():
            yield (f"{name} {own}" if names.isupper() else name), called


def _load(name: str) -> Any:
    _, names, says = COMMANDS[name]
    held = typer.Typer(help=says, add_completion=False, rich_markup_mode=None, no_args_is_help=names.isupper())
    for own, called in functions_of(name).items():
        held.command(own, cls=_Command, short_help=" ".join((called.__doc__ or "").split()))(called)
    return (typer.main.get_group if names.isupper() else typer.main.get_command)(held)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"laconic {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options that come before a command."""


def main() -> None:
    """Entry point. The exit code is 0 if the command is done, 1 if it failed while running, 2 if the input is wrong, and 128
    and the number of the signal if one ended it: 130 for Ctrl-C, 143 for SIGTERM."""
    _make_outputs_bear_any_text()
    warnings.showwarning = _show_warning
    try:
        _check_arguments(sys.argv[1:])
        check_shares_out(sys.argv[1:])
        code = app(prog_name="laconic", standalone_mode=len(sys.argv) < 2)  # without arguments the help is shown
        sys.stdout.flush()
    except InputError as error:
        _complain(error)
        sys.exit(2)
    except LaconicError as error:
        _complain(error)
        sys.exit(1)
    except BrokenPipeError:  # the program that read our output has ended, and needs no more of it
        _leave_standard_output()
        sys.exit(BROKEN_PIPE)
    except SystemExit as ended:
        if type(sys.stdout).__name__ != "PacifyFlushWrapper":  # which typer puts there when it meets a closed pipe
            raise
        _leave_standard_output()
        sys.exit(BROKEN_PIPE if ended.code == 1 else ended.code)
    except Terminated as error:
        _complain(error)
        sys.exit(error.exit_code)
    except OSError as error:
        _complain(f"{error.filename or unnamed_file()}: cannot be read or written ({error.strerror or error})")
        sys.exit(1 if error.errno in DISK_ERRORS else 2)
    except Exception as error:
        if not hasattr(error, "format_message"):  # typer's own errors about options and arguments have this attribute
            raise
        _complain(f"{error.format_message()} (laconic --help, laconic COMMAND --help)")
        sys.exit(2)
    if code == INTERRUPTED:  # typer turns KeyboardInterrupt into this number
        _complain("interrupted; run it again to go on (training: with --resume)")
    sys.exit(code or 0)


def unnamed_file() -> str:
    """What an error without a file's name is about: standard output, where that takes nothing, or some file."""
    try:
        sys.stdout.flush()
    except OSError:
        _leave_standard_output()
        return "standard output"
    return "a file"


def _leave_standard_output() -> None:
    """Send the rest of the output nowhere, so that the end of this process says nothing of it."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(error: object) -> None:
    """Say it in two lines at most; of several processes of one machine the first says it."""
    if speaks_for_machine():
        print(in_two_lines(f"laconic: {error}"), file=sys.stderr)


def _check_arguments(arguments: Sequence[str]) -> None:
    """Raise `InputError` for an argument that was not written in the encoding of the terminal: no file could hold it."""
    for number, argument in enumerate(arguments, start=1):
        if well_formed(argument) != argument:
            raise InputError(f"argument {number}, {brief(argument)}: is not text in UTF-8")


def _make_outputs_bear_any_text() -> None:
    """What the encoding of a terminal or a pipe cannot write is written as an escape, instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning of ours as one line, and any other as Python does."""
    is_ours = issubclass(category, LaconicWarning)
    text = f"laconic: {message}" if is_ours else warnings.formatwarning(message, category, filename, lineno, line)
    print(in_two_lines(text), file=file or sys.stderr)

"""The command line: `laconic demo`, `probe`, `select`, `train`, `track`, `sweep`, `evaluate`, `audit`, `compare`, `export` and
others.

Every command reads as: check the input, do the work, print where the result is (`evaluate.py`, `measure.py`,
`train.py`, `export.py`). Bad input is one line on standard error and exit code 2; a failure while running is one line and exit
code 1.
Nothing heavy is imported before a command needs it, so `laconic --help` answers at once.
"""

import contextlib
import errno
import inspect
import io
import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TextIO

import typer
from typer.core import TyperCommand, TyperOption

from laconic import __version__
from laconic.cli import batch, evaluate, export, hand_over, harvest, measure, serve, traffic, train
from laconic.cli.processes import check_shares_out
from laconic.errors import InputError, LaconicError, LaconicWarning, Terminated
from laconic.parallel.place import speaks_for_machine
from laconic.system.termination import INTERRUPTED
from laconic.system.text import brief, in_two_lines, well_formed

BROKEN_PIPE = 141  # as of a program that SIGPIPE ends
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # no mistake in the input

app = typer.Typer(
    help="Make reasoning language models think in fewer tokens without losing accuracy, and prove that they did.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: loading rich would take most of the time of `--help`
)

EXPORT = "Hand a recipe, problems or an evaluation over to other people's systems."
exports = typer.Typer(help=EXPORT, no_args_is_help=True, rich_markup_mode=None)
ABOUT_TRAFFIC = "What serving leaves behind: what is stored and why, and forgetting a user."
records = typer.Typer(help=ABOUT_TRAFFIC, no_args_is_help=True, rich_markup_mode=None)


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


class _Command(TyperCommand):
    """A command that warns of an option which was given twice: the last counts, as everywhere, but the first is seldom meant."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """What is left of the arguments, as typer says."""
        _, _, given = self.make_parser(ctx).parse_args(list(args))
        for option, times in Counter(given).items():
            takes_one = isinstance(option, TyperOption) and not option.multiple and not option.is_flag
            if times > 1 and takes_one and not ctx.resilient_parsing:
                warnings.warn(f"{option.opts[0]}: given {times} times; the last counts", LaconicWarning, stacklevel=2)
        return super().parse_args(ctx, args)


def _add(command: Callable[..., None], name: str | None = None, group: typer.Typer = app) -> None:
    """A command under its function's name or another; the list of commands shows all of its description."""
    group.command(name, cls=_Command, short_help=" ".join((inspect.getdoc(command) or "").split()))(command)


for function in (
    train.demo,
    measure.probe,
    measure.select,
    train.train,
    train.track,
    train.sweep,
    evaluate.evaluate,
    batch.batch,
    measure.audit,
    measure.compare,
    measure.report,
    train.doctor,
    hand_over.quantize,
    hand_over.publish,
):
    _add(function)
for name, command in export.EXPORTS.items():
    _add(command, name, exports)
app.add_typer(exports, name="export", short_help=EXPORT)
for name, command in {**traffic.TRAFFIC, **harvest.HARVEST}.items():
    _add(command, name, records)
app.add_typer(records, name="traffic", short_help=ABOUT_TRAFFIC)
_add(serve.serve_models, "serve")
_add(train.list_names, "list")


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

"""The exception tree. Everything a person can mend is an `InputError`; the command line turns it into one line and exit code 2.

    LaconicError
    ├── InputError            the user's input is wrong: exit code 2
    │   ├── RecipeError       a recipe's key or value (names the dotted field)
    │   ├── ProblemsError     a file or source of problems (names the line)
    │   ├── ModelError        a model folder, tokenizer or architecture
    │   ├── SelectionError    a selection that leaves nothing to train on
    │   ├── RunError          a run directory that cannot be created, resumed or read
    │   └── MissingExtraError an optional dependency that is not installed (names the extra)
    └── RunFailed             the work itself failed while running: exit code 1
        ├── Diverged          a number that the work stands on is NaN or infinite
        └── EngineLost        the server that draws responses does not come back

`Terminated` stands beside the tree, as KeyboardInterrupt does: the program was asked to end by a signal. A `LaconicWarning` is
said, and ends nothing.

A pure function that gets a wrong argument raises `ValueError`, which names the argument. An `assert` states what our own code
guarantees: where it fails, the mistake is ours.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class LaconicError(Exception):
    """Root of the tree; its text is one line that says what is wrong, where, and what was expected."""


class InputError(LaconicError):
    """The user's input is wrong; exit code 2."""


class RecipeError(InputError):
    """A recipe's key or value is wrong; the text names the dotted field."""


class ProblemsError(InputError):
    """A file or source of problems is wrong; the text names the file and line."""


class ModelError(InputError):
    """A model folder, its tokenizer or its architecture cannot be used."""


class SelectionError(InputError):
    """A selection left fewer problems than the phase needs."""


class RunError(InputError):
    """A run directory cannot be created, resumed or read."""


class MissingExtraError(InputError):
    """An optional dependency is not installed; the text has the command that installs it."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs the extra {extra}: {install_command(extra)}")


def install_command(extra: str) -> str:
    """The command that installs an extra, by the names of its packages: `laconic` on PyPI is another project."""
    from importlib.metadata import PackageNotFoundError, requires

    try:
        lines = [text.partition(";") for text in requires("laconic") or ()]
    except PackageNotFoundError:  # run from its sources
        lines = []
    names = [name.strip() for name, _, marker in lines if marker.split() == ["extra", "==", f'"{extra}"']]
    return f"pip install {' '.join(map(repr, names))}" if names else f"pip install '.[{extra}]' in Laconic's folder"


class RunFailed(LaconicError):  # noqa: N818  (the name tells a person what happened)
    """The work failed while running, through no fault of the input; exit code 1."""


class Diverged(RunFailed):
    """A number on which the work stands is no longer finite; the text says which."""


class EngineLost(RunFailed):
    """The server that draws a run's responses is gone, and did not come back in time."""


class Terminated(BaseException):
    """A signal asked the program to end; `exit_code` is what a shell shows of a process that the signal has ended: 128 and its
    number, so 143 for SIGTERM and 130 for Ctrl-C. What expects an `Exception` lets it pass."""

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


class LaconicWarning(UserWarning):
    """Something that a person may have meant, or cannot mend, and should know; the command line prints its one line."""


@contextmanager
def told_in_one_line(program: str) -> Iterator[None]:
    """Inside, an error of the tree ends a program beside the command line: one line on standard error, and its exit code."""
    try:
        yield
    except LaconicError as error:
        print(f"{program}: {error}", file=sys.stderr)
        raise SystemExit(2 if isinstance(error, InputError) else 1) from None

"""What is said of a process that ended with an error: words for a person, and the exit code.

It is what the command line says of one process, as one line. Two kinds are told apart from all others: memory that has run out,
and what a collective operation says where another process has gone.
"""

import errno

import torch
from torch.distributed import DistError

from laconic.errors import InputError, LaconicError, Terminated
from laconic.system.termination import INTERRUPTED

DISK_IS_AT_FAULT = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
MOST_CHARS = 160
INTERRUPTION = "left at once"
"""What is said where a person pressed Ctrl-C once more, which goes to every process."""
BREAKING = ("gloo", "nccl", "connection closed by peer", "connection reset by peer", "broken pipe")


def ending_of(error: BaseException) -> tuple[str, int]:
    """What is said of a process that ended with this error, and its exit code."""
    text, code = f"{type(error).__name__}: {beginning_of(error)}", 1
    if runs_out_of_memory(error):
        text = f"ran out of memory: {beginning_of(error)}"
    elif isinstance(error, LaconicError):
        text, code = str(error), 2 if isinstance(error, InputError) else 1
    elif isinstance(error, Terminated):
        text, code = str(error), error.exit_code
    elif isinstance(error, KeyboardInterrupt):
        text, code = INTERRUPTION, INTERRUPTED
    elif isinstance(error, SystemExit):
        text, code = f"exit code {error.code}", error.code if isinstance(error.code, int) else 1
    elif isinstance(error, OSError) and not breaks_off(error):
        text = f"{error.filename or 'a file'}: cannot be read or written ({error.strerror})"
        code = 1 if error.errno in DISK_IS_AT_FAULT else 2
    return text, code


def runs_out_of_memory(error: BaseException) -> bool:
    """Whether memory has run out, on a GPU or elsewhere; torch has no kind of error for the latter."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and "allocate memory" in str(error)
    )


def breaks_off(error: BaseException) -> bool:
    """Whether the error is what a collective operation says where another process has gone."""
    words = str(error).casefold() if isinstance(error, RuntimeError) else ""
    return isinstance(error, DistError | ConnectionError) or any(word in words for word in BREAKING)


def is_unforeseen(error: BaseException) -> bool:
    """Whether the error may be a mistake of ours, so that its traceback is of use."""
    foreseen = (LaconicError, Terminated, KeyboardInterrupt, SystemExit, OSError)
    return not (isinstance(error, foreseen) or breaks_off(error) or runs_out_of_memory(error))


def beginning_of(error: BaseException) -> str:
    """The beginning of an error's text, which in torch goes on with places in its own source."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:MOST_CHARS]

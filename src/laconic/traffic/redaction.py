r"""What is removed from a text before it is kept: addresses, numbers and keys that name a person or open a door.

1. Each pattern of `PATTERNS` is replaced by its name in brackets, in order.
2. A hook of the operator's own, `FILE.py:FUNCTION` from text to text, sees what is left. It runs in a child process
   (`system/foreign_code.py`).
3. Where the hook fails, takes too long or returns something else than a text, the text is not kept at all.
4. A text that takes too long, or that ends the hook's process, is the only one that is lost: the next text opens a new process.
   Where that happens again within `REOPEN_SECONDS`, texts until then are not kept, so that a hook that is broken costs little.

What is left out: names of people and places, which no pattern finds; a hook can.
"""

import re
import threading
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from io import StringIO
from math import inf
from pathlib import Path
from typing import Any

from laconic.config.defaults import HOOK_TIMEOUT_SECONDS
from laconic.errors import InputError, RunFailed
from laconic.system.confinement import Answer
from laconic.system.foreign_code import ForeignCode, ForeignCodeError

Redact = Callable[[str], str | None]
"""The text that may be kept; None where none may."""

MAX_HOOK_BYTES = 1 << 30
REOPEN_SECONDS = HOOK_TIMEOUT_SECONDS
"""A hook's process is opened anew at most once in so many seconds. A text that takes too long takes as many by itself."""
_SECRET_NAME = (
    r"(?<![a-z])(?:pass(?:word|wd|phrase|wort)|pwd|client[_-]?secret|secret[_-]?key|api[_-]?key|(?:access|auth|refresh)[_-]?token)"
    r"(?![a-z])[\"']?\s{0,3}"
)
_QUOTED = r"\"[^\"\n]++\"?|'[^'\n]++'?"
_NO_CALL = r"(?![\w.]{1,60}\()"
_LOCAL = r"(?<!\w)(?<!\d[.,/^-])"
"""Before a number of a place or a country's own: it is no part of a longer number, a decimal or a date."""
PATTERNS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(pattern, re.IGNORECASE))
    for name, pattern in (
        (
            "private key",
            r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?-----(?:(?!-----)[\s\S])*+"
            r"(?:-----END [A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?-----)?",
        ),
        ("url with secret", r"\b[a-z][a-z\d+.-]{1,30}://[^\s/@:]*+:[^\s/@]++@\S++"),
        ("email", r"[\w.+%-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}"),
        ("password", rf"{_SECRET_NAME}=(?!=)\s{{0,3}}(?:{_QUOTED}|{_NO_CALL}[^\s\"'&,;()]{{3,}}+)"),
        ("password", rf"{_SECRET_NAME}:\s{{0,3}}(?:{_QUOTED}|{_NO_CALL}(?=\S{{0,60}}\d)[^\s\"'&,;()]{{6,}}+)"),
        ("token", r"\bBearer[ \t]{1,8}(?=[\w.~+/=-]{0,100}\d|[\w.~+/=-]{20})[\w.~+/=-]{12,}+"),
        ("token", r"(?<![\w-])eyJ[\w-]{8,}+\.[\w-]{8,}+\.[\w-]*+(?:\.[\w-]++){0,2}"),
        ("key", r"\b(?:sk|pk|rk|hf|npm|glpat|gh[oprsu]|github_pat|xox[a-z]|xapp)[-_][\w-]{16,}+"),
        ("key", r"\b(?:AKIA|AIza)[\w-]{16,}+"),
        ("iban", r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b"),
        ("card", r"\b\d(?:[ -]?\d){12,18}\b|\b(?:\d{4}\.){3}\d{4}\b"),
        ("social security number", r"\b\d{3}-\d{2}-\d{4}\b"),
        ("ip address", r"\b(?:\d{1,3}\.){3}\d{1,3}\b"),
        (
            "ip address",  # of version 6: one that is given out begins with four digits of certain ranges, unlike a ratio or a::b
            r"(?<![\w.])(?=[\da-f:]{0,39}[a-f]|(?:[\da-f]{1,4}:{1,2}){2,7}[\da-f])"
            r"(?:[23][\da-f]{3}|f[cd][\da-f]{2}|fe[89ab][\da-f]|ff[\da-f]{2}|64:ff9b)"
            r"(?:(?::[\da-f]{1,4}){0,6}::(?:[\da-f]{1,4}(?::[\da-f]{1,4}){0,6})?|(?::[\da-f]{1,4}){7})(?:\.\d{1,3}){0,3}(?![\w:])",
        ),
        ("mac address", r"\b(?=[\d:-]{0,16}[a-f])(?:[\da-f]{2}[:-]){5}[\da-f]{2}\b"),
        (
            "phone",  # +49 170 1234567, +49 (0)170-1234567, +1.555.123.4567, +491701234567; at least 8 digits
            r"(?<![\w.])\+(?=(?:[ ()./-]{0,3}\d){8})[1-9]\d{0,2}"
            r"(?:(?:[ /-]?\(\d{1,5}\)[ /-]?|[ /-])\d{1,12}(?:[ /-]\d{2,8}){0,5}|(?:\.\d{2,8}){2,5}|\d{8,12})",
        ),
        (
            "phone",
            r"\((?=(?:[ ()/-]{0,3}\d){8})0[1-9]\d{0,3}\)[ /-]?[1-9]\d{1,11}(?:[ -]\d{2,8}){0,3}",
        ),  # (030) 1234567
        ("phone", r"\([2-9]\d{2}\) ?\d{3}[-. ]\d{4}(?!\d)"),  # (555) 123-4567
        (
            "phone",
            r"\b\d{3}[- ]\d{3}[- ]\d{4}\b|(?<![\w.])\d{3}\.\d{3}\.\d{4}(?!\w|\.\d)",
        ),  # 555-123-4567, 555.123.4567
        (
            "phone",  # 0170 1234567, 030/12345678, 020 7946 0958, 0049 170 1234567; at least 9 digits, not 0 and 1 alone
            rf"{_LOCAL}(?=(?:[ /-]{{0,3}}\d){{9}})(?=[\d /-]{{0,16}}[2-9])0{{1,2}}[1-9]\d{{1,3}}(?: ?[/-] ?| )"
            r"[1-9](?:\d{4,11}|\d{1,3}(?:[ -]\d{2,8}){1,3})(?![.,]?\d)",
        ),
        ("phone", rf"{_LOCAL}0[67](?![ .-]0\d[ .-]0)(?:[ .-]\d{{2}}){{4}}(?![ .,-]?\d)"),  # 06 12 34 56 78
        ("phone", rf"{_LOCAL}0(?:1[567]\d{{8,9}}|7\d{{9}}|[67]\d{{8}})(?![.,]?\d)"),  # mobile: 01701234567, 07911123456
    )
)
"""What is replaced, and by which word. So that no text makes a pattern slow, a repetition is bounded, or possessive (`++`) and
followed by nothing that can fail again and again."""


def redact(text: str) -> str:
    """The text without what `PATTERNS` find, and without NUL characters, which PostgreSQL cannot store.

    >>> redact("Write to ann@example.org or call +49 170 1234567.")
    'Write to [email] or call [phone].'
    """
    text = text.replace("\0", "")
    for name, pattern in PATTERNS:
        text = pattern.sub(f"[{name}]", text)
    return text


class RedactionHook:
    """`redact`, and after it a function of the operator's own, in a child process that `opens` makes. It is called from any
    thread. `say` gets one line when a text ends the child for the first time."""

    def __init__(self, name: str, opens: Callable[[], ForeignCode], say: Callable[[str], None]) -> None:
        self.name, self.opens, self.say = name, opens, say
        self._lock = threading.Lock()
        self._child: ForeignCode | None = opens()
        self._reopened_at = -inf
        self._has_said = False

    def __call__(self, text: str) -> str | None:
        """The text as it may be kept; None where the hook does not say."""
        text = redact(text)
        with self._lock:  # a text that waits for its turn is not lost where the one before it ends the child
            child = self._open_child()
            if child is None:
                return None
            try:
                answer = child.ask(text)
            except ForeignCodeError as error:
                if error.is_late or error.has_ended:
                    self._child = None
                    self._say_once(str(error))
                return None
        return answer["text"] if isinstance(answer.get("text"), str) else None

    def _open_child(self) -> ForeignCode | None:
        """The child, opened anew where it has ended; None where that is too soon, or fails."""
        now = time.monotonic()
        if self._child is None and now - self._reopened_at >= REOPEN_SECONDS:
            self._reopened_at = now
            with suppress(ForeignCodeError, RunFailed):
                self._child = self.opens()
        return self._child

    def _say_once(self, what: str) -> None:
        if not self._has_said:
            self._has_said = True
            self.say(
                f"--redact {self.name}: {what} on a text, which is not kept; it is started again, and this is said once"
            )


def with_hook(address: str, say: Callable[[str], None] = lambda line: None) -> Redact:
    """`redact`, and after it the function that `FILE.py:FUNCTION` names; `say` as `RedactionHook` has it.

    Raises `InputError` where there is no such file or function, or the file fails when it is run.
    """
    file, _, function = address.rpartition(":")
    path = Path(file)
    if not function.isidentifier() or not path.is_file():
        raise InputError(f"--redact {address}: expected FILE.py:FUNCTION, a file that is there and a function in it")

    def opens() -> ForeignCode:
        return ForeignCode(partial(_prepare_hook, path, function), HOOK_TIMEOUT_SECONDS, MAX_HOOK_BYTES, path)

    try:
        return RedactionHook(address, opens, say)
    except ForeignCodeError as error:
        raise InputError(f"--redact {address}: cannot be used: {error}") from None


def _prepare_hook(path: Path, function: str) -> tuple[Answer, None]:
    spec = spec_from_file_location("_laconic_redaction_hook", path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return partial(_answer_hook, getattr(module, function)), None


def _answer_hook(hook: Any, text: str) -> dict[str, Any]:
    """What the hook returns; what it prints is thrown away, since that may be the text, and would stand in a log."""
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        found = hook(text)
    return {"text": found if isinstance(found, str) else None}

r"""What is removed from a text before it is kept: addresses, numbers and keys that name a person or open a door.

1. Each pattern of `PATTERNS` is replaced by its name in brackets, in order.
2. A hook of the operator's own, `FILE.py:FUNCTION` from text to text, sees what is left. It runs in a child process
   (`system/foreign_code.py`).
3. Where the hook fails, takes too long or returns something else than a text, the text is not kept at all.

What is left out: names of people and places, which no pattern finds; a hook can.
"""

import re
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from io import StringIO
from pathlib import Path
from typing import Any

from laconic.config.defaults import HOOK_TIMEOUT_SECONDS
from laconic.errors import InputError
from laconic.system.confinement import Answer
from laconic.system.foreign_code import ForeignCode, ForeignCodeError

Redact = Callable[[str], str | None]
"""The text that may be kept; None where none may."""

MAX_HOOK_BYTES = 1 << 30
PATTERNS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(pattern, re.IGNORECASE))
    for name, pattern in (
        (
            "private key",
            r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[\s\S]{0,10000}?(?:-----END [A-Z ]{0,30}PRIVATE KEY-----|\Z)",
        ),
        ("email", r"[\w.+%-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}"),
        ("url with secret", r"https?://[^\s/@:]{1,200}:[^\s/@]{1,200}@\S{1,500}"),
        ("key", r"\b(?:sk|pk|rk|ghp|gho|glpat|xox[bpas]|hf|AKIA)[-_]?[A-Za-z0-9_-]{16,200}\b"),
        ("token", r"\beyJ[\w-]{8,2000}\.[\w-]{8,2000}\.[\w-]{0,2000}"),
        ("iban", r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b"),
        ("card", r"\b\d(?:[ -]?\d){12,18}\b"),
        ("social security number", r"\b\d{3}-\d{2}-\d{4}\b"),
        ("ip address", r"\b(?:\d{1,3}\.){3}\d{1,3}\b|\b(?:[0-9a-f]{1,4}:){4,7}[0-9a-f]{1,4}\b"),
        ("phone", r"(?<![\w.])\+\d{1,3}[ ()\d./-]{6,20}\d|\(\d{2,5}\) ?\d[\d /-]{4,14}\d|\b\d{3}[- ]\d{3}[- ]\d{4}\b"),
    )
)
"""What is replaced, and by which word. Every repetition is bounded, so that no text makes a pattern slow."""


def redact(text: str) -> str:
    """The text without what `PATTERNS` find, and without NUL characters, which PostgreSQL cannot store.

    >>> redact("Write to ann@example.org or call +49 170 1234567.")
    'Write to [email] or call [phone].'
    """
    text = text.replace("\0", "")
    for name, pattern in PATTERNS:
        text = pattern.sub(f"[{name}]", text)
    return text


def with_hook(address: str) -> Redact:
    """`redact`, and after it the function that `FILE.py:FUNCTION` names.

    Raises `InputError` where there is no such file or function, or the file fails when it is run.
    """
    file, _, function = address.rpartition(":")
    path = Path(file)
    if not function.isidentifier() or not path.is_file():
        raise InputError(f"--redact {address}: expected FILE.py:FUNCTION, a file that is there and a function in it")
    try:
        code = ForeignCode(partial(_prepare_hook, path, function), HOOK_TIMEOUT_SECONDS, MAX_HOOK_BYTES, path)
    except ForeignCodeError as error:
        raise InputError(f"--redact {address}: cannot be used: {error}") from None

    def redact_and_ask(text: str) -> str | None:
        try:
            answer = code.ask(redact(text))
        except ForeignCodeError:
            return None
        return answer["text"] if isinstance(answer.get("text"), str) else None

    return redact_and_ask


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

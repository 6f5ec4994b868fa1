"""Chat templates: programs in Jinja that come with a model, and turn the turns of a conversation into the text of a prompt.

1. A template is other people's code: it may raise, loop for hours, or write more than memory holds, at any text and not only at
   the first. So every conversation is rendered in a child process (`system/foreign_code.py`), within a time limit.
2. The child is forked for the first conversation of a tokenizer, and lives on. Tokenizers with the same template and special
   tokens share one; the children of the last few tokenizers are kept.
3. Whatever goes wrong is a `TemplateError` of one line, which names the model; so is a text that is longer than what was said in
   the conversation explains, since counting its tokens would take as long as writing it.
4. The date that a template writes is that of `day.py`.
5. Some templates add a system text of their own to a conversation that has none; `own_system_text` finds it.

What is left out: tokens. They are counted in this process.
"""

import os
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from laconic.config.defaults import TEMPLATE_TIMEOUT_SECONDS
from laconic.errors import ModelError
from laconic.prompts.day import clock_stopped_at, kept_day, reads_clock
from laconic.system.confinement import Answer
from laconic.system.foreign_code import ForeignCode, ForeignCodeError

MAX_GROWTH, MAX_TEMPLATE_CHARS = 4, 500_000
"""A template may write every turn so many times, and so many characters of its own."""
MAX_TEMPLATE_BYTES = 1 << 30
KEPT_CHILDREN = 4
GIVEN = "Be of good cheer."
"""A system's text that no template writes by itself."""

Turns = Sequence[Mapping[str, str]]
_Question = tuple[list[Mapping[str, str]], bool, int, str | None]
"""What a child is asked: the turns, whether the model's turn is opened, the most characters, and the day that is kept."""
_CHILDREN: dict[object, ForeignCode] = {}
"""By what rendering depends on, the least recently used first."""
_LOCK = threading.Lock()


class TemplateError(ModelError):
    """A chat template that does not render a conversation. `reason` says why, without the model's name."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name or 'tokenizer'}: the chat template renders no prompt: {reason}")
        self.reason = reason


def render_turns(
    tokenizer: Any,
    turns: Turns,
    *,
    add_generation_prompt: bool = True,
    timeout_seconds: float = TEMPLATE_TIMEOUT_SECONDS,
) -> str:
    """The text that the tokenizer's chat template makes of the turns; with `add_generation_prompt` the model's turn is opened.

    Raises `TemplateError` where it raises, takes longer than `timeout_seconds`, or writes too much.
    """
    name, said = str(getattr(tokenizer, "name_or_path", "")), sum(len(text) for turn in turns for text in turn.values())
    most = MAX_GROWTH * said + MAX_TEMPLATE_CHARS
    with _LOCK:
        try:
            day = kept_day() if reads_clock(tokenizer) else None
            reply = _asked(tokenizer, (list(turns), add_generation_prompt, most, day), timeout_seconds)
        except ForeignCodeError as error:
            raise TemplateError(name, str(error).removeprefix("TemplateError: ")) from None
    if reply["text"] is None:
        raise TemplateError(name, f"it writes {reply['num_chars']:,} characters for a conversation of {said:,}")
    return str(reply["text"])


def _asked(tokenizer: Any, question: _Question, seconds: float) -> Mapping[str, Any]:
    """What the child replies. One that has ended, perhaps killed where memory ran out, is replaced and asked once more."""
    key = (*_key(tokenizer), seconds)
    for is_last in (False, True):
        try:
            reply: Mapping[str, Any] = _child(key, tokenizer, seconds).ask(question)
            return reply
        except ForeignCodeError as error:
            _drop(key)
            if is_last or not error.has_ended:
                raise
    raise AssertionError("the second try returns or raises")


def own_system_text(tokenizer: Any) -> str | None:
    """The system's text that the chat template writes where a conversation has none; None where it writes none, or refuses one.

    It is what stands in the place of a text that was given: between the same beginning and the same end.
    """
    if not getattr(tokenizer, "chat_template", None):
        return None
    user = {"role": "user", "content": "What is 3 + 4?"}
    try:
        before, found, after = render_turns(tokenizer, [{"role": "system", "content": GIVEN}, user]).partition(GIVEN)
        plain = render_turns(tokenizer, [user])
    except TemplateError:
        return None
    is_alike = found and plain.startswith(before) and plain.endswith(after) and len(plain) > len(before) + len(after)
    return plain[len(before) : len(plain) - len(after)] if is_alike else None


def _key(tokenizer: Any) -> tuple[object, ...]:
    """What rendering depends on; and this process, since a fork of it must not talk to its children."""
    template = tokenizer.chat_template
    special = repr(getattr(tokenizer, "special_tokens_map", None))
    return os.getpid(), type(tokenizer), template if isinstance(template, str) else repr(template), special


def _child(key: object, tokenizer: Any, timeout_seconds: float) -> ForeignCode:
    child = _CHILDREN.pop(key, None)
    if child is None:
        child = ForeignCode(partial(_prepare, tokenizer), timeout_seconds, MAX_TEMPLATE_BYTES)
    _CHILDREN[key] = child
    if len(_CHILDREN) > KEPT_CHILDREN:
        _drop(next(iter(_CHILDREN)))
    return child


def _drop(key: object) -> None:
    child = _CHILDREN.pop(key, None)
    if child is not None:
        child.close()


# --- in the child ----------------------------------------------------------------------------------------------------


def _prepare(tokenizer: Any) -> tuple[Answer, None]:
    return partial(_render, tokenizer), None


def _render(tokenizer: Any, question: _Question) -> dict[str, Any]:
    turns, opens, most, day = question
    with clock_stopped_at(day):
        text = tokenizer.apply_chat_template(turns, add_generation_prompt=opens, tokenize=False)
    return {"text": text if len(text) <= most else None, "num_chars": len(text)}

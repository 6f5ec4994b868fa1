r"""Where a response's thinking ends: the marks around it, and the text after them, in which alone the answer is looked for.

1. `MARKS` are the pairs of marks with which models open and close their thinking.
2. `find_thought` reads a text from its beginning. Inside a thought only the mark that closes it counts; outside of one, a mark
   opens the next. The answer is what follows the last thought.
3. A text that ends inside a thought has no answer, whatever it says.

Many chat templates write the mark that opens the thinking themselves, at the end of the prompt. A reader then puts that mark
before the response (`prompts/thinking.py` finds it).
What is left out: thinking without marks. A text without any is read whole.
"""

import re
from dataclasses import dataclass

from laconic.types import END_THINK, THINK


@dataclass(frozen=True, slots=True)
class ThinkingMarks:
    """A pair of marks around thinking. `before_close` is what a model writes between its last thought and the closing mark."""

    opens: str
    closes: str
    before_close: str = ""


MARKS: tuple[ThinkingMarks, ...] = (
    ThinkingMarks(THINK, END_THINK),  # DeepSeek-R1, Qwen3, Phi-4-reasoning and most others
    ThinkingMarks("[THINK]", "[/THINK]"),  # Magistral
    # gpt-oss: messages in channels, of which the last is the answer
    ThinkingMarks("<|channel|>analysis<|message|>", "<|channel|>final<|message|>", "<|end|><|start|>assistant"),
    ThinkingMarks("<|channel|>commentary<|message|>", "<|channel|>final<|message|>", "<|end|><|start|>assistant"),
    ThinkingMarks("<seed:think>", "</seed:think>"),  # Seed-OSS
    ThinkingMarks("<|START_THINKING|>", "<|END_THINKING|>"),  # Command A Reasoning
    ThinkingMarks("<|begin_of_thought|>", "<|end_of_thought|>"),  # OpenThinker, Sky-T1
    ThinkingMarks("◁think▷", "◁/think▷"),  # Kimi-VL-Thinking
    ThinkingMarks("<thought>", "</thought>"),  # EXAONE Deep
    ThinkingMarks("<thinking>", "</thinking>"),
    ThinkingMarks("<reasoning>", "</reasoning>"),
)
"""Every pair that is known, the most frequent first. Marks are read without regard to case."""

_CLOSED_BY = {marks.opens.lower(): marks.closes.lower() for marks in MARKS}
ALL_MARKS = tuple(dict.fromkeys(mark for marks in MARKS for mark in (marks.opens, marks.closes)))
_MARK = re.compile("|".join(map(re.escape, ALL_MARKS)), re.IGNORECASE | re.ASCII)
_MARK_AT_END = re.compile(f"(?:{_MARK.pattern})$", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class Thought:
    """What a text holds of thinking. `end` is where its last closed thought ends (0: it has none) and `closes` the mark there, as
    it is written in the text. `is_open` is true where the text ends inside a thought."""

    end: int
    closes: str
    is_open: bool


def find_thought(text: str) -> Thought:
    """Where the thinking in `text` ends. A closing mark that nothing opened ends a thought that began with the text.

    >>> find_thought("<think>7?</think> 42")
    Thought(end=17, closes='</think>', is_open=False)
    >>> find_thought("7?</think> Wait. <think> 8")
    Thought(end=10, closes='</think>', is_open=True)
    """
    end, closes, awaited = 0, "", ""
    for match in _MARK.finditer(text):
        mark = match[0].lower()
        opened = _CLOSED_BY.get(mark)
        if opened is None and awaited in ("", mark):
            end, closes, awaited = match.end(), match[0], ""
        elif opened is not None and not awaited:
            awaited = opened
    return Thought(end, closes, bool(awaited))


def after_thought(text: str) -> str | None:
    r"""The part of `text` in which its answer is looked for; None where it ends inside a thought.

    >>> after_thought(r"<think>\boxed{7}? No.</think> \boxed{8}"), after_thought(r"<think>Try \boxed{7}. Wait,")
    (' \\boxed{8}', None)
    """
    thought = find_thought(text)
    return None if thought.is_open else text[thought.end :]


def mark_at_end(prompt: str) -> str:
    """The mark with which a prompt ends, white space aside: what follows goes on from there. Empty where it ends with none.

    >>> mark_at_end("What is 1 + 1?<|assistant|><think>\\n"), mark_at_end("What does <think> mean?")
    ('<think>', '')
    """
    match = _MARK_AT_END.search(prompt.rstrip())
    return match[0] if match else ""

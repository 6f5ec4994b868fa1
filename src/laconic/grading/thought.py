r"""Where a response's thinking ends: the marks around it, and the text after them, in which alone the answer is looked for.

1. `MARKS` are the pairs of marks with which models open and close their thinking.
2. `find_thought` reads a text from its beginning. Inside a thought only the mark that closes it counts; outside of one, a mark
   opens the next. The answer is what follows the last thought.
3. A text that ends inside a thought has no answer, whatever it says.
4. Outside of a thought, the first token with which tokenizers end a text or a turn ends the response: a model that writes on has
   begun another conversation. One that stands at the end of a box (`\boxed{7</s>}`) is passed over. A token that opens the
   model's own turn ends the response only where something was said before.

Many chat templates write the mark that opens the thinking themselves, at the end of the prompt. A reader then puts that mark
before the response (`prompts/thinking.py` finds it).
What is left out: thinking without marks. A text without any is read whole.
"""

import re
from dataclasses import dataclass

from laconic.types import END_THINK, THINK


@dataclass(frozen=True, slots=True)
class ThinkingMarks:
    """A pair of marks around thinking. `before_close` is what a model writes between its last thought and the closing mark.

    `is_unused` is true where the marks are spare tokens, which models that never think have in their vocabularies as well.
    """

    opens: str
    closes: str
    before_close: str = ""
    is_unused: bool = False


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
    ThinkingMarks("<|channel>thought", "<channel|>"),  # Gemma 4
    ThinkingMarks("<unused94>thought", "<unused95>", is_unused=True),  # MedGemma, with spare tokens of every Gemma
    ThinkingMarks("<thinking>", "</thinking>"),
    ThinkingMarks("<reasoning>", "</reasoning>"),
)
"""Every pair that is known, the most frequent first. Marks are read without regard to case, and to spaces inside tags."""

_CLOSED_BY = {marks.opens.lower(): marks.closes.lower() for marks in MARKS}
ALL_MARKS = tuple(dict.fromkeys(mark for marks in MARKS for mark in (marks.opens, marks.closes)))


def _spaced(mark: str) -> str:
    """The pattern of a mark; a tag such as `</think>` may have spaces inside its brackets."""
    tag = re.fullmatch(r"<(/?)([\w:]+)>", mark)
    return re.escape(mark) if tag is None else rf"<[ ]{{0,3}}{tag[1]}[ ]{{0,3}}{re.escape(tag[2])}[ ]{{0,3}}>"


_MARK = "|".join(map(_spaced, ALL_MARKS))
_MARK_AT_END = re.compile(f"(?:{_MARK})$", re.IGNORECASE | re.ASCII)
_BARS, _OTHERS, _OWN = (
    "[|\uff5c]",
    "user|human|system|tool|observation|environment",
    "assistant|model|chatbot|gpt",
)
_END = (  # <|im_end|>, </s>, <end_of_turn>, [EOS], <|eot_id|>, <|return|> and others, and where the turn of another begins
    rf"<{_BARS}(?:im_end|end(?:\u2581?_?of[\u2581_](?:sentence|text|turn)(?:_token)?|oftext|_of_message|_response)?"
    rf"|eo[a-z](?:_id|_token)?|return|{_OTHERS}){_BARS}>"
    r"|</s>|<turn\|>|<(?:eo[adst]|endoftext|end_of_(?:turn|text|sequence)|im_end)>|\[EOS\]"
    rf"|<{_BARS}(?:im_start|start|start_header_id|start_of_role|start_of_turn_token){_BARS}>\s{{0,9}}(?:<{_BARS})?(?:{_OTHERS})"
    rf"|<start_of_turn>\s{{0,9}}(?:{_OTHERS})"
)
_OWN_TURN = (
    rf"<{_BARS}(?:{_OWN}){_BARS}>|<start_of_turn>\s{{0,9}}(?:{_OWN})|\[INST\]"
    rf"|<{_BARS}(?:im_start|start|start_header_id|start_of_role|start_of_turn_token){_BARS}>\s{{0,9}}(?:<{_BARS})?(?:{_OWN})"
)
_FIRST = re.escape("".join(sorted({mark[0] for mark in (*ALL_MARKS, "<", "[")})))  # every event begins with one
_EVENT = re.compile(
    rf"(?=[{_FIRST}])(?:(?P<mark>{_MARK})|(?P<end>(?:{_END})(?!\s{{0,9}}\}}))|(?P<own>{_OWN_TURN}))",
    re.IGNORECASE | re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Thought:
    """What a text holds of thinking. `end` is where its last closed thought ends (0: it has none) and `closes` the mark there, as
    it is written in the text. `is_open` is true where the text ends inside a thought. `stop` is where a token ends the response;
    None where it goes to the end of the text."""

    end: int
    closes: str
    is_open: bool
    stop: int | None = None


def find_thought(text: str) -> Thought:
    """Where the thinking in `text` ends. A closing mark that nothing opened ends a thought that began with the text.

    >>> find_thought("<think>7?</think> 42<|im_end|>")
    Thought(end=17, closes='</think>', is_open=False, stop=20)
    >>> find_thought("7?</think> Wait. <think> 8")
    Thought(end=10, closes='</think>', is_open=True, stop=None)
    """
    end, closes, awaited = 0, "", ""
    for match in _EVENT.finditer(text):
        if match["mark"] is None:
            if not awaited and (match["end"] or text[end : match.start()].strip()):
                return Thought(end, closes, False, match.start())
            continue
        mark = "".join(match[0].lower().split(" "))
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
    return None if thought.is_open else text[thought.end : thought.stop]


def mark_at_end(prompt: str) -> str:
    """The mark with which a prompt ends, white space aside: what follows goes on from there. Empty where it ends with none.

    >>> mark_at_end("What is 1 + 1?<|assistant|><think>\\n"), mark_at_end("What does <think> mean?")
    ('<think>', '')
    """
    match = _MARK_AT_END.search(prompt.rstrip())
    return match[0] if match else ""

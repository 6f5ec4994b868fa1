r"""The final answer in the text of a response.

1. Only the text after the thinking is read; a response that ends inside its thinking has no answer (`thought.py`).
2. The last closed box is the answer. Boxes joined by "and", "or" or a comma are one list; an empty box is no answer.
3. Without a box, the answer is the rest of the sentence after the last answer marker ("answer is", `Answer:`, `####`), or what
   an `<answer>` encloses. A remark about the answer ("I hope the answer is clear") is none.
4. Without box and marker, the answer is the result that the last line states (the table `_STATEMENTS`): the line itself where
   it is nothing but an answer, its end where that is in brackets or bold, its last formula, or the number with which a
   conclusion ends or the only one in it. A result that the line denies, bounds or makes depend on something is none.

The tokens of tokenizers, which a model may write out, end a sentence and belong to no answer; nothing after the first that ends
a text or a turn is read.

What is left out: guessing. A number that merely comes last is no answer, nor is a box that was cut off.
"""

import re

from laconic.grading.normal_form import MAX_PARTS, clean
from laconic.grading.thought import after_thought
from laconic.types import THINK

MAX_TAIL_CHARS = 4000
MAX_STATEMENT_CHARS = 1000
MAX_SIGN_OFF_CHARS = 200
MAX_MARKERS = 16
_BOX_TOKENS = re.compile(  # every run of backslashes is one token, so that a long one is read once
    r"\\++(?:boxed|fbox)\s*+\{|\\++(?:boxed|fbox)(?:\s++|(?=\d))([A-Za-z0-9.+-]+)"
    r"|(?:\\\\)*+\\(?!boxed|fbox).|(?:\\\\)++|[{}]",
    re.DOTALL,
)
_CONNECTOR = re.compile(
    r"(?:[\s$,;]|\\[()\[\],; ]|\\q?quad|\\text\s*\{[^{}]{0,20}\b(?:and|or)\s*\}|\band\b|\bor\b"
    r"|(?<![\w\\])[A-Za-z](?:_\{?\w+\}?)?\s*=)*"
)
_JOINER = re.compile(r"[,;]|\band\b|\bor\b")
_MARKER = re.compile(
    r"<\s*(?:final[ _-]?)?answer(?:\s[^<>\n]{0,80})?>|\[\s*(?:final[ _-]?)?answer\s*\]"
    r"|####\s*:?|answers?\**\s*(?:is|are|[=:：])\**\s*[:：]?|答案\s*[是为:：]"
    r"|answer\s*(?=\\\[|\$\$|(?:\\\(|\$)(?!\s*\n))|final\s+answer\**\s*\n"
    r"|\bcorrect\s+(?:option|choice)\s+is"
    r"|\b(?:ответ|відповідь|antwort|respuesta|réponse|resposta|risposta)\**\s*[:：]",
    re.IGNORECASE,
)
_TAG_END = re.compile(
    r"<\s*/\s*(?:final[ _-]?)?ans(?:wer)?\s*>|\[\s*/\s*(?:final[ _-]?)?ans(?:wer)?\s*\]", re.IGNORECASE
)
_REMARK = re.compile(
    r"(?:clear|correct|right|confirmed|verified|reasonable|plausible|obvious|helpful|above|below|consistent|within|valid|unique"
    r"|an? (?:(?:positive|negative|non-?negative|whole|natural|real|rational) )?(?:integer|number)"
    r"|(?:as|given|shown|stated|boxed) (?:follows|above|below))\b[^\d$\\]*",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"\.(?=\s|\*|$)(?!\s*\d)|。|\n\s*\n|\n")
_BECAUSE = re.compile(
    r"(?<=[\s,;:(\[–—-])(?:because|since|as|which|where|so that|hence)\s.*|(?<=[\w)}$])\s*[,;(–—]\s*(?:and |but )?not\s.*",
    re.DOTALL,
)
_LEAD_IN = re.compile(r"[A-Za-z*].*?\b(?:is|are|equals)\b[:\s]*", re.DOTALL)

# What tokenizers put at the ends of texts and turns: <|im_end|>, <｜end▁of▁sentence｜>, </s>, <end_of_turn>, [EOS].
_TOKENS = re.compile(
    r"<[|｜][A-Za-z_][^|｜<>\n]{2,40}[|｜]>(?:user|assistant|system|model)?|</?s>|<extra_id_\d+>|<0x[0-9A-F]{2}>|<turn\|>|<\|turn>"
    r"|<(?:eos|bos|pad|unk|eo[adht]|endoftext|(?:start|end)_of_(?:turn|text|sequence)|im_(?:start|end))>"
    r"|\[/?(?:EOS|BOS|PAD|SEP|CLS|UNK|INST)\]",
    re.IGNORECASE,
)


def extract_boxed(text: str) -> str | None:
    r"""The content of the last closed `\boxed{...}` or `\fbox{...}`; None where no box is closed or the last one is empty.

    >>> extract_boxed(r"\boxed{41}, no: \boxed{\frac{1}{2}}, or \boxed{4")
    '\\frac{1}{2}'
    """
    boxes = _boxes(text)
    return boxes[-1][2].strip() or None if boxes else None


def _boxes(text: str) -> list[tuple[int, int, str]]:
    """The closed outermost boxes as (start, end, content), in order, the last of more than `MAX_PARTS`."""
    first = min((i for i in (text.find("\\boxed"), text.find("\\fbox")) if i >= 0), default=-1)
    if first < 0:
        return []
    stack: list[tuple[int, int]] = []
    spans: list[tuple[int, int, int, int]] = []
    for match in _BOX_TOKENS.finditer(text, first):
        token = match[0]
        if token == "}" and stack:
            start, opened = stack.pop()
            if start >= 0:
                while spans and spans[-1][0] > start:  # these lie inside the box that has just closed
                    spans.pop()
                spans.append((start, match.end(), opened, match.start()))
        elif token == "{":
            stack.append((-1, match.end()))
        elif match[1]:
            spans.append((match.start(), match.end(), *match.span(1)))
        elif token.endswith("{") and "box" in token:
            stack.append((match.start(), match.end()))
    return [(start, end, text[opened:closed]) for start, end, opened, closed in spans[-MAX_PARTS - 1 :]]


def extract_answer(text: str) -> str | None:
    """The final answer in a response: the last box after the thinking, else the text after the last answer marker.

    Without a marker it is the result that the last line states. Boxes joined by "and", "or" or a comma are one list. None where
    the text ends inside its thinking, the last box is empty, a box after the marker is not closed, or the last line states no
    result.
    """
    after = after_thought(text)
    if after is None:
        return None
    tail = _without_tokens(after)
    boxes = _boxes(tail)
    if boxes:
        return _joined(tail, boxes)
    return _marked(tail) if _MARKER.search(tail) else _stated(tail)


def _joined(text: str, boxes: list[tuple[int, int, str]]) -> str | None:
    items = [boxes[-1][2].strip()]
    for (_, end, content), (start, _, _) in zip(boxes[-2::-1], boxes[:0:-1], strict=True):
        between = text[end:start]
        if len(between) > 40 or not _JOINER.search(between) or not _CONNECTOR.fullmatch(between):
            break
        items.insert(0, content.strip())
    return None if not items[-1] else items[-1] if len(set(items)) == 1 else " , ".join(items)


def _without_tokens(text: str) -> str:
    """The text with the special tokens of tokenizers as line ends, for the model has written them after its answer."""
    return _TOKENS.sub("\n", text) if "<" in text or "[" in text else text


def _marked(text: str) -> str | None:
    """What follows the last marker that is no remark about the answer, else the last marker."""
    last = None
    for match in reversed([*_MARKER.finditer(text)][-MAX_MARKERS:]):
        answer = _after(text, match)
        if answer is None or not _REMARK.fullmatch(answer):
            return answer
        last = last or answer
    return last


def _after(text: str, marker: re.Match[str]) -> str | None:
    """The content of an `<answer>`, or the sentence after another marker, without lead-in and reasons.

    None where a brace or a box is not closed in it.
    """
    if text.find("\\boxed", marker.end()) >= 0:
        return None
    tail = _TAG_END.split(text[marker.end() : marker.end() + MAX_TAIL_CHARS], maxsplit=1)[0].strip(" \t:*").lstrip()
    if marker[0].startswith(("<", "[")):
        answer = tail
    else:
        end = _SENTENCE_END.search(_without_math(tail))
        answer = _after_lead_in(_without_reason(tail[: end.start()] if end else tail))
        sole = _SOLE_NUMBER.fullmatch(answer)
        answer = sole[1] if sole else answer
    return answer.strip(" \t\n*_") if clean(answer) and _is_balanced(answer) else None


def _without_reason(text: str) -> str:
    """The text up to the words that give a reason: the C of "C (because it fits)"."""
    reason = _BECAUSE.search(text)
    return text[: reason.start()].rstrip(" \t\n,;:([–—-") if reason else text


# --- statements ------------------------------------------------------------------------------------------------------

_NO_STATEMENT = re.compile(rf"boxed|fbox|framebox|{THINK}|(?i:<answer)|####")
_SIGN_OFF = re.compile(r"(?:\s*(?:(?:I |We )?hope\b|Let me know\b)[^.!?\d$\\]{0,100}[.!?]*)+\s*$", re.IGNORECASE)
_NUMBER = r"(?:[-+−]?[$€£]?\d[\d,]*(?:\.\d+)?(?:/\d+)?%?)"
_UNIT_AFTER = r"(?:\s?[€£$°%]|\s?[a-z]{1,3}[²³]?|\s(?:degrees|dollars|units))?"
_MATHS = r"\$\$.+?\$\$|\\\[.+?\\\]|\$[^$\n]+\$|\\\([^\n]+?\\\)"
_END = r"[.\s]*$"
_SOLE_NUMBER = re.compile(rf"[A-Z][a-z]+(?:\s+[A-Za-z]+){{2,}}\s+({_NUMBER}) [^\d$\\]*")  # Jane grew 3 roses

# In order: what a last line looks like; its first group is the answer.
_STATEMENTS: tuple[re.Pattern[str], ...] = tuple(
    re.compile(pattern, re.DOTALL)
    for pattern in (
        rf"^({_NUMBER}{_UNIT_AFTER}|[A-J]|\([A-J]\))(?:[.),:;]?\s+(?:[Bb]ecause|[Ss]ince)\s.*)?{_END}",  # 42 because it is
        r"^(\$[^$]+\$[^$]*\$.*)$",  # $f(x)=x^a$ for some $a>0$
        rf"^(?:(?!\\\[).)*(?<!\\)\[([^\[\],]{{1,200}})\]{_END}",  # The angle is [90].
        rf"\*\*([^*\n]{{1,200}})\*\*{_END}",  # 64 + 67 = **131**
        rf"^(?:[Oo]ption|[Cc]hoice)\s+\(?([A-J])\)?{_END}",
        r"\b(?:[Oo]ption|[Cc]hoice|[Aa]nswer)\s+\(?([A-J])\)?\s+is\s+(?:the\s+)?(?:correct|right|best)\b",
        rf"^.*({_MATHS})[^$\d\\]*$",  # Therefore $x > 5$ is the solution.
        rf"\b(?:is|are|equals|by)\s+({_NUMBER}{_UNIT_AFTER}){_END}",  # The perimeter is 7.
        rf"^(?:[Tt]herefore|[Ss]o|[Tt]hus|[Hh]ence|[Ff]inally)\b[^\d$]*?({_NUMBER})(?![\d(^*+/=])[^\d$=+*/]*$",  # So we get 42.
    )
)


def _stated(text: str) -> str | None:
    """The result that the last line states, or None."""
    if _NO_STATEMENT.search(text):
        return None
    text = text[-MAX_TAIL_CHARS:].strip()
    text = (text[:-MAX_SIGN_OFF_CHARS] + _SIGN_OFF.sub("", text[-MAX_SIGN_OFF_CHARS:])).strip()
    line = text if text.endswith(("$$", r"\]")) else text.rpartition("\n")[2].strip()
    last = _last_sentence(line)
    for pattern in _STATEMENTS:
        match = pattern.search(last)
        if match and clean(match[1]) and _is_balanced(match[1]):
            return None if _is_denied(_without_math(last), *match.span(1)) else match[1].strip()
    return None


_NOT = r"(?:\b(?:not|never|cannot|neither|nor|no(?!,))\b|n['’]t\b)"
_DENIED = re.compile(
    rf"{_NOT}(?!.*(?:[:=]|\b(?:is|are|was|were|so|thus|hence|therefore)\b)|\s+\w+\b.*\bequals\b)"
    rf"|{_NOT}\s+(?:\w+\s+)?(?:think|believe|say|follow|prove|proof|know)\b"
    r"|\b(?:is|are|was|were)\s+(?:false|impossible|not (?:true|possible|the case))\b"
    r"|\b(?:at (?:least|most)|(?:more|less|fewer|greater|larger|smaller|higher|lower) than|up to|exceeds?|below|above"
    r"|divisible by|multiple of|half of)\W*$"
    r"|^\W*(?:suppose|assume|let|consider|(?:now )?(?:we )?try)\b",
    re.DOTALL | re.IGNORECASE,
)
_DENIED_AFTER = re.compile(
    r"^[\Wx]*(?:is|was)\s+(?:not|wrong|incorrect|false|impossible|too|excluded|ruled out)\b"
    r"|^[\Wx]*(?:isn['’]t|fails\b)|\b(?:does|do)(?: not|n['’]t) (?:work|hold|fit)\b|\bnot (?:the|an) answer\b"
    r"|\b(?:if|unless|impossible)\b|\?\s*$",
    re.IGNORECASE,
)


def _is_denied(sentence: str, start: int, end: int) -> bool:
    """Whether a sentence denies or bounds the result between `start` and `end`: `x is not 12`, `12 is too large`, `at least 12`.

    In `the number of those that are not prime is 12` another verb follows, and a reason or `who` may deny something else.
    """
    after = re.split(r"\b(?:because|since|who|that|which)\b", sentence[end:], maxsplit=1, flags=re.IGNORECASE)[0]
    return bool(_DENIED.search(sentence[:start]) or _DENIED_AFTER.search(after))


def _last_sentence(line: str) -> str:
    """The last sentence of a line; a dot inside mathematics does not end a sentence."""
    hidden = _without_math(line)
    starts = [match.end() for match in re.finditer(r"(?<!^[A-J])\.\s+(?=[A-Z])", hidden)]
    starts += [match.start() for match in re.finditer(r"\b(?:Therefore|Thus|Hence),?\s", hidden)]
    return line[max(starts, default=0) :][-MAX_STATEMENT_CHARS:]


def _without_math(text: str) -> str:
    r"""`text` with its displayed and inline mathematics overwritten, so that no dot inside it ends a sentence."""
    return re.sub(r"\$\$?[^$]*\$\$?|\\\(.*?\\\)|\\\[.*?\\\]", lambda m: "x" * len(m[0]), text, flags=re.DOTALL)


def _after_lead_in(text: str) -> str:
    """The text after the last "is": the 34 of "the largest number is 34"."""
    while (match := _LEAD_IN.match(text)) and text[match.end() :].strip():
        text = text[match.end() :]
    return text


def _is_balanced(text: str) -> bool:
    return text.count("{") - text.count("\\{") == text.count("}") - text.count("\\}")

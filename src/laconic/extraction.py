r"""The final answer in the text of a response.

1. What follows the last `</think>` counts; a response that never closes its thinking is read whole.
2. The last closed box is the answer. Boxes joined by "and", "or" or a comma are one list; an empty box is no answer.
3. Without a box, what follows the last answer marker ("answer is", `Answer:`, `####`, `<answer>`) in its sentence.

What is left out: guessing. A number that merely stands at the end is no answer, and neither is a box that was cut off.
"""

import re

from laconic.answers import MAX_PARTS, clean

MAX_TAIL_CHARS = 4000
_END_THINK = "</think>"
_BOX_TOKENS = re.compile(
    r"\\+(?:boxed|fbox)\s*\{|\\+(?:boxed|fbox)\s+([A-Za-z0-9.+-]+)|\\(?!boxed|fbox).|[{}]", re.DOTALL
)
_CONNECTOR = re.compile(
    r"(?:[\s$,;]|\\[()\[\],; ]|\\q?quad|\\text\s*\{\s*(?:,?\s*and|,?\s*or)\s*\}|\band\b|\bor\b"
    r"|(?<![\w\\])[A-Za-z](?:_\{?\w+\}?)?\s*=)*"
)
_JOINER = re.compile(r"[,;]|\band\b|\bor\b")
_MARKER = re.compile(
    r"<answer>|####\s*:?|answers?\**\s*(?:is|are|=|:)\**\s*:?|answer\s*(?=\\[\[(]|\$)|final\s+answer\**\s*\n"
    r"|\bcorrect\s+(?:option|choice)\s+is",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"\.(?=\s|\*|$)(?!\s*\d)|\n\s*\n|\n")
_BECAUSE = re.compile(r"\s(?:because|since|as|which|where|so that|hence)\s.*", re.DOTALL)
_LEAD_IN = re.compile(r"[A-Za-z*].*?\b(?:is|are|equals)\b[:\s]*", re.DOTALL)


def extract_boxed(text: str) -> str | None:
    r"""The content of the last closed `\boxed{...}` or `\fbox{...}`; None where none is closed or that one is empty.

    >>> extract_boxed(r"\boxed{41}, no: \boxed{\frac{1}{2}}, or \boxed{4")
    '\\frac{1}{2}'
    """
    boxes = _boxes(text)
    return boxes[-1][2].strip() or None if boxes else None


def _boxes(text: str) -> list[tuple[int, int, str]]:
    """Every closed outermost box as (start, end, content), in order."""
    first = min((i for i in (text.find("\\boxed"), text.find("\\fbox")) if i >= 0), default=-1)
    if first < 0:
        return []
    stack: list[tuple[int, int]] = []
    boxes: list[tuple[int, int, str]] = []
    for match in _BOX_TOKENS.finditer(text, first):
        token = match[0]
        if token == "}" and stack:
            start, opened = stack.pop()
            if start >= 0:
                boxes = [*_before(boxes, start), (start, match.end(), text[opened : match.start()])]
        elif token[-1] == "{" and token != r"\{":
            stack.append((match.start() if len(token) > 1 else -1, match.end()))
        elif match[1]:
            boxes.append((match.start(), match.end(), match[1]))
    return boxes


def _before(boxes: list[tuple[int, int, str]], start: int) -> list[tuple[int, int, str]]:
    """The last few boxes that end before `start`: those after it lie inside the box that has just closed."""
    return [box for box in boxes[-MAX_PARTS:] if box[0] < start]


def extract_answer(text: str) -> str | None:
    """The final answer in a response: the last box after the thinking, else what follows the last answer marker.

    Boxes that only "and", "or" or a comma joins are one list. An empty last box, an unclosed box after the marker, and
    a response with neither box nor marker give None.
    """
    cut = text.rfind(_END_THINK)
    tail = text[cut + len(_END_THINK) :] if cut >= 0 else text
    boxes = _boxes(tail)
    return _joined(tail, boxes) if boxes else _marked(tail)


def _joined(text: str, boxes: list[tuple[int, int, str]]) -> str | None:
    items = [boxes[-1][2].strip()]
    for (_, end, content), (start, _, _) in zip(boxes[-2::-1], boxes[:0:-1], strict=True):
        between = text[end:start]
        if len(between) > 40 or not _JOINER.search(between) or not _CONNECTOR.fullmatch(between):
            break
        items.insert(0, content.strip())
    return None if not items[-1] else items[-1] if len(set(items)) == 1 else " , ".join(items)


def _marked(text: str) -> str | None:
    """The sentence after the last marker without lead-in and reasons; None where braces or a box stay open in it."""
    match = None
    for match in _MARKER.finditer(text):  # noqa: B007  (the last one)
        pass
    if match is None or "\\boxed" in text[match.end() :]:
        return None
    tail = text[match.end() :][:MAX_TAIL_CHARS].strip(" \t:*").lstrip()
    if match[0].lower() == "<answer>":
        answer = tail.split("</answer>")[0]
    else:
        end = _SENTENCE_END.search(_without_math(tail))
        answer = _after_lead_in(_BECAUSE.sub("", tail[: end.start()] if end else tail))
    return answer.strip(" \t\n*_") if clean(answer) and _is_balanced(answer) else None


def _without_math(text: str) -> str:
    r"""`text` with its displayed and inline mathematics overwritten, so that no dot inside it ends a sentence."""
    return re.sub(r"\$\$?[^$]*\$\$?|\\\(.*?\\\)|\\\[.*?\\\]", lambda m: "x" * len(m[0]), text, flags=re.DOTALL)


def _after_lead_in(text: str) -> str:
    """What follows the last "is": the 34 of "the largest number is 34"."""
    while (match := _LEAD_IN.match(text)) and text[match.end() :].strip():
        text = text[match.end() :]
    return text


def _is_balanced(text: str) -> bool:
    return text.count("{") - text.count("\\{") == text.count("}") - text.count("\\}")

"""How tokens are counted without a tokenizer, and questions that ask for a length which their trace keeps.

1. `count_text` counts words, digits, marks and line breaks, one each, and a space before a digit. So do vocabularies that keep
   digits apart (SmolLM2's, for one), except that they cut rare words in two: it is a rule, not a tokenizer.
2. A request is written after the trace is known: "about N" rounds the trace's count to fives, "at most N" rounds it up,
   "be brief" is asked only of terse traces, and "check your work" only of those that check something.
"""

import re
from random import Random

from laconic.traces.writing import looks_twice

_UNIT = re.compile(r"[A-Za-z]+|\d| (?=\d)|\n|[^\sA-Za-z\d]")
_ABOUT = ("Think for about {n} tokens.", "Use about {n} tokens.", "Think for {n} tokens.")
_AT_MOST = ("Answer in at most {n} tokens.", "Use less than {n} tokens.")
_BRIEF = ("Be brief.", "Be concise.", "Keep it short.", "Think as little as you can.")
_CHECK = "Check your work."
_LONG = ("Think it through carefully.", _CHECK, "Take your time.")
_REQUEST = re.compile(
    " (?:"
    + "|".join(re.escape(text).replace(r"\{n\}", r"\d+") for text in (*_ABOUT, *_AT_MOST, *_BRIEF, *_LONG))
    + ")$"
)


def without_request(question: str) -> str:
    """The question without the words about length with which it ends, if it ends with any.

    >>> without_request("What is 2 + 3? Think for 25 tokens."), without_request("What is 2 + 3?")
    ('What is 2 + 3?', 'What is 2 + 3?')
    """
    return _REQUEST.sub("", question)


def count_text(text: str) -> int:
    """Tokens of a text, by the rule.

    >>> count_text("So 7 + 15 = 22.")
    12
    """
    return len(_UNIT.findall(text))


def request(rng: Random, trace: str, verbosity: str) -> tuple[str, int | None]:
    """An instruction about length that the trace obeys, and the number of tokens in it (None where it names no number)."""
    if rng.random() < 0.4 and verbosity != "plain":
        return (rng.choice(_BRIEF) if verbosity == "terse" else _long(rng, trace)), None
    count = count_text(trace)
    if rng.random() < 0.3:
        wording, n = rng.choice(_AT_MOST), 5 * (count // 5 + 1)
    else:
        wording, n = rng.choice(_ABOUT), max(5, 5 * round(count / 5))
    return wording.format(n=n), n


def _long(rng: Random, trace: str) -> str:
    """A request for long thinking; another one in the place of "check your work" where the trace checks nothing."""
    asked = rng.choice(_LONG)
    if asked != _CHECK or looks_twice(trace):
        return asked
    return rng.choice([text for text in _LONG if text != _CHECK])

r"""Does a problem that is trained on occur among those that are reported on?

1. A problem's text is its question in lower case, without signs around formulas, spacing commands, marks of sentences, and the
   request for reasoning or a box at its end; signs that can be spelled in several ways have one spelling. Choices are kept
   apart, because a question is often turned into multiple choice by adding some.
2. `exact`: the texts are the same, however short, and so are the choices if both problems have some.
3. Otherwise the words (with every number replaced by one sign) are cut into overlapping runs of `NUM_WORDS`. A run that more than
   `COMMON` problems share is a phrase, such as "how many ways are there to", or the template of a generator, and is dropped. An
   index of the other runs finds pairs that share a run; their similarity is Jaccard's index of these runs.
4. `near`: the texts are similar, with the same numbers and the same answer. Only wording, typesetting or order was changed, so
   this is a leak.
5. `variant`: the texts are very similar, but the numbers or the answer differ, so the same text asks about something else.
   Variants tell how far a score is due to the form of the problems. They are not leaks, and only the nearest one of each test
   problem is listed.

What is left out: paraphrase and translation, which share no runs of words; a near copy of a text that occurs more than `COMMON`
times (an exact copy is found); and texts with fewer than `LEAST_RUNS` runs of their own, which are only compared exactly.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from string import ascii_uppercase

from laconic.grading.normal_form import clean
from laconic.grading.scalar_rules import choice_letter
from laconic.grading.unicode_maths import in_latex
from laconic.types import Problem

NUM_WORDS = 4
COMMON = 20
LEAST_RUNS = 5
NEAR_SIMILARITY = 0.4
SAME_SIMILARITY = 0.95
VARIANT_SIMILARITY = 0.7


class LeakKind(StrEnum):
    """How a training problem and a test problem are alike; `EXACT` and `NEAR` are leaks, `VARIANT` is not."""

    EXACT = "exact"
    NEAR = "near"
    VARIANT = "variant"


@dataclass(frozen=True, slots=True)
class Leak:
    """A pair of problems that are alike; `similarity` is 1 if exactly, otherwise Jaccard's index of the runs, from 0 to 1."""

    train_id: str
    test_id: str
    kind: LeakKind
    similarity: float


@dataclass(frozen=True, slots=True)
class _Text:
    """What is compared of a problem; `runs` are the runs of words that at most `COMMON` problems share."""

    id: str
    exact: str
    choices: frozenset[str]
    runs: frozenset[str]
    numbers: tuple[str, ...]
    answer: str

    def is_exactly(self, other: "_Text") -> bool:
        """The same question and, if both have choices, the same choices in any order."""
        return self.exact == other.exact and (self.choices == other.choices or not (self.choices and other.choices))


def find_leaks(
    train: Sequence[Problem],
    test: Sequence[Problem],
    *,
    near_similarity: float = NEAR_SIMILARITY,
    variant_similarity: float = VARIANT_SIMILARITY,
) -> list[Leak]:
    """All exact and near pairs, and each test problem's nearest variant if it has no leak; in order of `test`, then most alike.

    Raises `ValueError` for a similarity outside 0 to 1.

    >>> problems = [Problem("a", "What is 1 + 1?", "2"), Problem("b", "what is $1+1$", "2"), Problem("c", "What is 1 + 2?", "3")]
    >>> [(leak.train_id, leak.kind.value) for leak in find_leaks(problems[1:], problems[:1])]
    [('b', 'exact')]
    """
    for name, value in (("near_similarity", near_similarity), ("variant_similarity", variant_similarity)):
        if not 0 < value <= 1:
            raise ValueError(f"{name}: must be above 0 and at most 1, got {value}")
    train_texts, test_texts = _texts(train, test)
    by_exact, by_run = _index(train_texts)
    leaks: list[Leak] = []
    for text in test_texts:
        same = [train_texts[place] for place in by_exact.get(text.exact, ()) if text.is_exactly(train_texts[place])]
        exact = [Leak(other.id, text.id, LeakKind.EXACT, 1.0) for other in same]
        others = [
            Leak(other.id, text.id, kind, similarity)
            for other, similarity in _similar(text, train_texts, by_run)
            if not text.is_exactly(other)
            and (kind := _kind(text, other, similarity, near_similarity, variant_similarity))
        ]
        leaks += _listed(exact, others)
    return leaks


def leaked_ids(leaks: Iterable[Leak]) -> frozenset[str]:
    """Ids of the training problems that leak, exactly or nearly: those to drop. Variants are not among them."""
    return frozenset(leak.train_id for leak in leaks if leak.kind is not LeakKind.VARIANT)


def _kind(text: _Text, other: _Text, similarity: float, near: float, variant: float) -> LeakKind | None:
    """From `SAME_SIMILARITY` on the answers need not agree, because one gold answer can be spelled in many ways. If both problems
    have choices, they must agree, because one question can be asked about several lists of choices."""
    has_same_answer = text.answer == other.answer
    is_same = similarity >= SAME_SIMILARITY and not (text.choices and other.choices)
    if text.numbers == other.numbers and (is_same or (has_same_answer and similarity >= near)):
        return LeakKind.NEAR
    return LeakKind.VARIANT if similarity >= variant else None


def _listed(exact: list[Leak], others: list[Leak]) -> list[Leak]:
    ordered = sorted(others, key=lambda leak: -leak.similarity)
    leaks = exact + [leak for leak in ordered if leak.kind is LeakKind.NEAR]
    return leaks or ordered[:1]


def _index(texts: Sequence[_Text]) -> tuple[Mapping[str, list[int]], Mapping[str, list[int]]]:
    """For each exact text and each run, the indices in `texts` of the texts that have it."""
    by_exact: defaultdict[str, list[int]] = defaultdict(list)
    by_run: defaultdict[str, list[int]] = defaultdict(list)
    for place, text in enumerate(texts):
        by_exact[text.exact].append(place)
        if len(text.runs) >= LEAST_RUNS:
            for run in text.runs:
                by_run[run].append(place)
    return by_exact, by_run


def _similar(text: _Text, others: Sequence[_Text], by_run: Mapping[str, list[int]]) -> list[tuple[_Text, float]]:
    """Every other text that shares a run, with Jaccard's index: the runs that both have over the runs that either has."""
    if len(text.runs) < LEAST_RUNS:
        return []
    num_shared = Counter(place for run in text.runs for place in by_run.get(run, ()))
    return [
        (others[place], shared / (len(text.runs) + len(others[place].runs) - shared))
        for place, shared in num_shared.items()
    ]


# --- texts -----------------------------------------------------------------------------------------------------------

_THOUSANDS = re.compile(r"(?<=\d)(?:,|\{,\}|\\,|\\!)+(?=\d{3}(?!\d))")
_NOT_SEEN = re.compile(r"\\(?:left|right|text|mathrm|mbox|quad)(?![a-z])|\\[,!;: ()\[\]]|(?<=\\)[dt](?=frac)|\$")
_SPELLINGS = tuple(
    (re.compile(pattern), spelling)
    for pattern, spelling in (
        (r"\\leqs?(?:lant)?(?![a-z])|<=", r"\\le "),
        (r"\\geqs?(?:lant)?(?![a-z])|>=", r"\\ge "),
        (r"\\neq(?![a-z])", r"\\ne "),
        (r"\\(?:times|cdot)(?![a-z])", "*"),
        (r"\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![a-z]))|\\degrees?(?![a-z])|°", r"\\degree "),
        (r"[\u2010-\u2015]", "-"),
        (r"\\frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}"),
        (r"\\sqrt\s*(\d|(?<=\s)[a-z])", r"\\sqrt{\1}"),
        (r"([\^_])\s*(-\s*\d+(?:\.\d+)?|\d+\.\d+|\d{2,})", r"\1{\2}"),
        (r"([\^_])\s*\{\s*(\w)\s*\}", r"\1\2"),
    )
)
"""Signs that are spelled in several ways, once Unicode is spelled in LaTeX."""
_REQUEST = re.compile(
    r"(?<=[.?!$)\n])\s*(?:please\s+|let's\s+|let us\s+)(?:reason|think)\s+step[\s-]+by[\s-]+step[^?]{0,100}$"
    r"|(?<=[.?!$)\n])\s*(?:please\s+)?put\s+your\s+(?:final\s+)?answer\s+(?:with)?in\s+\\boxed[^?]{0,40}$"
)
"""What prompts add to a question, after its last sentence."""
_PRIME_COMMAND = re.compile(r"\^\s*(?:\{\s*\\prime\s*\}|\\prime(?![A-Za-z]))")
_PRIME = re.compile(r"(\\[A-Za-z]+|(?<![A-Za-z'`\"])(?:[A-Z]{1,3}|[a-z])|_\d|[)\]}])('+)")
"""A sign of derivation or of another point, as in f'(2), AB' and x_1'; not the apostrophe of a word or the end of a quotation."""
_MARKS = re.compile(r"[.,;:?\"'`~’“”]")
_WORD = re.compile(r"[㐀-鿿]|\\?[^\W\d_㐀-鿿]+|\d+(?:\.\d+)?|[+\-*/=<>^|′]")
_DECIMAL_POINT = re.compile(r"(?<=\d)\.(?=\d)")
_COLON_BETWEEN_DIGITS = re.compile(r"(?<=\d)\s*:\s*(?=\d)")  # 3:2, 1:05
_BETWEEN_NUMBERS = re.compile(r"(?<=\d)[\s,;]+(?=\d)")
_NUMBER = "#"


def _texts(train: Sequence[Problem], test: Sequence[Problem]) -> tuple[list[_Text], list[_Text]]:
    """The texts of both sets. How many problems share a run is counted over both together, so that both drop the same runs."""
    plain = [_plain(problem.question) for problem in (*train, *test)]
    words = [_WORD.findall(text) for text in plain]
    runs = [_runs(text_words) for text_words in words]
    holders = Counter(run for text_runs in runs for run in text_runs)
    texts = [
        _Text(
            id=problem.id,
            exact=_exact(text),
            choices=frozenset(_exact(_plain(choice)) for choice in problem.choices),
            runs=frozenset(run for run in all_runs if holders[run] <= COMMON),
            numbers=tuple(sorted(word for word in text_words if word[0].isdigit())),
            answer=_answer(problem),
        )
        for problem, text, text_words, all_runs in zip((*train, *test), plain, words, runs, strict=True)
    ]
    return texts[: len(train)], texts[len(train) :]


def _plain(text: str) -> str:
    primed = _PRIME.sub(lambda match: match[1] + "′" * len(match[2]), _PRIME_COMMAND.sub("'", in_latex(text)))
    plain = primed.lower()
    plain = _NOT_SEEN.sub(" ", _THOUSANDS.sub("", _REQUEST.sub("", plain)))
    for pattern, spelling in _SPELLINGS:
        plain = pattern.sub(spelling, plain)
    return plain


def _exact(plain: str) -> str:
    """The text with only those signs that could change its meaning: brackets, operators, primes, decimal points, colons and gaps
    between numbers."""
    separated = _BETWEEN_NUMBERS.sub("_", _COLON_BETWEEN_DIGITS.sub("∶", _DECIMAL_POINT.sub("·", plain)))
    return "".join(_MARKS.sub(" ", separated).split())


def _runs(words: Sequence[str]) -> set[str]:
    masked = [_NUMBER if word[0].isdigit() else word for word in words]
    return {" ".join(masked[i : i + NUM_WORDS]) for i in range(len(masked) - NUM_WORDS + 1)}


def _answer(problem: Problem) -> str:
    """The gold answer to compare. For multiple choice it is the text of the choice, because letters often agree by chance."""
    letter = choice_letter(clean(problem.answer), True) if problem.choices else None
    place = -1 if letter is None else ascii_uppercase.find(letter)
    answer = problem.choices[place] if 0 <= place < len(problem.choices) else problem.answer
    return _exact(_plain(answer))

"""Rules that find whether a text repeats itself or is garbled.

1. `count_repeated` counts the tokens that lie in an n-gram which occurred before.
2. `garbling` names the first rule that a text breaks: broken characters, words that mix scripts, mixed languages.

A script is the first word of a character's Unicode name (LATIN, CYRILLIC, ...). Han and kana count as one script. Symbols of
mathematics count as no script: Greek letters, LaTeX commands, and names of one small or up to four capital Latin letters, so that
"Δx" is a word of one script and a formula is of no language.

What is left out: any language model. Fluent nonsense in one script breaks no rule.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Hashable, Sequence
from functools import lru_cache

NEUTRAL_SCRIPTS = frozenset(
    {"GREEK", "MATHEMATICAL", "SCRIPT", "DOUBLE-STRUCK", "BLACK-LETTER", "PLANCK", "EULER", "ALEF", "MICRO", "ANGSTROM"}
    | {"KELVIN", "OHM", "MODIFIER", "SUPERSCRIPT", "SUBSCRIPT", "FULLWIDTH", "HALFWIDTH", "FEMININE", "MASCULINE"}
)
"""The first words in the names of letters that formulas use: they belong to no language."""

ONE_SCRIPT = dict.fromkeys(("CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "IDEOGRAPHIC"), "HAN")
"""Scripts that one language mixes, and the script that they all count as."""

_WORD = re.compile(r"[^\W\d_]+")
_FORMULA = re.compile(r"\\[A-Za-z]+|(?<![^\W\d_])(?:[a-z]|[A-Z]{1,4})(?![^\W\d_])")
_ALLOWED_CONTROLS = frozenset("\n\r\t")
_BROKEN_CATEGORIES = frozenset({"Cc", "Co", "Cs"})
_MIN_LETTERS = 50


def count_repeated(tokens: Sequence[Hashable], ngram: int) -> int:
    """How many of `tokens` lie inside an n-gram that occurred before; the first occurrence does not count.

    The rule of Yeo et al. 2025 (arXiv 2502.03373). Overlaps count once. Raises `ValueError` for `ngram` below 1.

    >>> count_repeated("abcabc", 3), count_repeated("aaaa", 2), count_repeated("abcd", 2), count_repeated("ab", 3)
    (3, 3, 0, 0)
    """
    if ngram < 1:
        raise ValueError(f"ngram: expected at least 1 token, got {ngram}")
    earlier: set[tuple[Hashable, ...]] = set()
    num_repeated, marked_until = 0, 0
    for start in range(len(tokens) - ngram + 1):
        gram = tuple(tokens[start : start + ngram])
        if gram in earlier:
            num_repeated += start + ngram - max(start, marked_until)
            marked_until = start + ngram
        earlier.add(gram)
    return num_repeated


def garbling(text: str, max_broken: int = 3, max_mixed: int = 2, foreign_frac: float = 0.1) -> str:
    """The first rule that `text` breaks, or "" where it breaks none.

    - "broken characters": more than `max_broken` replacement, control or private characters (a response that was cut off
      inside a character ends with up to three);
    - "mixed scripts": more than `max_mixed` words whose letters are of two scripts;
    - "mixed languages": more than `foreign_frac` of the letters (of 50 at least) are not of the commonest script.

    >>> garbling("Then 2x + Δy = 7."), garbling("the an\ufffd\ufffd\ufffd\ufffdswer"), garbling("пpивeт кaк делa, mon aмi")
    ('', 'broken characters', 'mixed scripts')
    """
    if num_broken(text) > max_broken:
        return "broken characters"
    if num_mixed_words(text) > max_mixed:
        return "mixed scripts"
    return "mixed languages" if foreign_share(text) > foreign_frac else ""


def num_broken(text: str) -> int:
    r"""Replacement characters, and control, private or surrogate ones other than line ends and tabs.

    >>> num_broken("a\ufffd\x00\tb")
    2
    """
    return sum(
        character == "\ufffd"
        or (unicodedata.category(character) in _BROKEN_CATEGORIES and character not in _ALLOWED_CONTROLS)
        for character in text
    )


def num_mixed_words(text: str) -> int:
    """The number of words whose letters are of more than one script. Han next to another script does not count as mixed, since it
    is written without spaces.

    >>> num_mixed_words("paрy 数x Δx word")
    1
    """
    return sum(len(set(_scripts(word)) - {"HAN"}) > 1 for word in _WORD.findall(_FORMULA.sub(" ", text)))


def foreign_share(text: str) -> float:
    """Share of letters that are not of the text's commonest script; 0 where there are fewer than 50 letters.

    >>> round(foreign_share("a" * 60 + "ж" * 20), 9), foreign_share("aж")
    (0.25, 0.0)
    """
    words = _WORD.findall(_FORMULA.sub(" ", text))
    counts = Counter(script for word in words for script in _scripts(word))
    total = counts.total()
    return 1.0 - max(counts.values()) / total if total >= _MIN_LETTERS else 0.0


def _scripts(word: str) -> list[str]:
    """The script of each letter of `word` that has one."""
    return [script for script in map(_script, word) if script]


@lru_cache(maxsize=65536)
def _script(letter: str) -> str:
    """The script of a letter, "" for letters of formulas."""
    name = unicodedata.name(letter, "").partition(" ")[0]
    return "" if name in NEUTRAL_SCRIPTS or not name else ONE_SCRIPT.get(name, name)

r"""Mathematics that is written in Unicode, spelled in LaTeX.

1. Characters that show nothing (direction marks, joiners) are dropped.
2. Characters that carry their place with them are put there: `x²` is `x^{2}`, `aₙ` is `a_{n}`, `3½` is `3\frac{1}{2}`. A
   compatibility form would make `x2`, `an` and `31/2` of them, which is something else.
3. Symbols are replaced (`latex_tables.SYMBOLS`), other compatibility forms normalised (`４` is 4), and the digits of every script
   read.
4. A radical sign reaches as far as it is plain: over a number, a letter, a bracket, or another radical. `√12` is `\sqrt{12}`.

What has no such spelling stays as it is: a Cyrillic A is not an A, and `√2x` may be one of two things. `has_unread` tells the
grader about it, because an algebra engine would drop it without a word.
"""

import re
import unicodedata
from itertools import groupby

from laconic.grading.latex_tables import INVISIBLE, RADICALS, SYMBOLS

MAX_RADICALS = 16

_SQUARED_UNIT = re.compile(r"(?<=\d)\s?([ckm]?m|ft|in|yd|mi)([²³])")
_SLASHED = re.compile("([⁰¹²³⁴-⁹]+)[⁄∕/]([₀-₉]+)")
_LINED = re.compile("(?:\\d\u0305)+")
_DOTTED = re.compile("(\\d)\u0307(?:(\\d*)(\\d)\u0307)?")
_BRACKET = r"\((?:[^()]|\([^()]*\))*\)|\{[^{}]*\}"
_PLAIN = (
    r"\\frac\{[^{}]*\}\{[^{}]*\}"
    r"|\\sqrt(?:\[\d\])?\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\}"
    r"|\\overline\{\d+\}|\\pi(?![A-Za-z])"
    r"|-?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|[A-Za-z](?![A-Za-z])"
)
_GOES_ON = r"\s?[\^_]|[A-HJ-Za-hj-z]|\\pi"  # √x² and √2x may be one of two things; √3i is always i times √3
_RADICAL = re.compile(rf"([√∛∜])\s?({_BRACKET}|(?>{_PLAIN})(?!{_GOES_ON}))")


def in_latex(text: str) -> str:
    r"""The text with Unicode mathematics spelled in LaTeX.

    >>> in_latex("3½"), in_latex("2√12"), in_latex("4×10⁻³")
    ('3\\frac{1}{2}', '2\\sqrt{12}', '4\\times 10^{-3}')
    """
    text = "".join(_unfolded(char) for char in INVISIBLE.sub("", text))
    text = _SQUARED_UNIT.sub(r" \\unit{\1}\2", text)
    text = _SLASHED.sub(lambda m: rf"\frac{{{_plain(m[1])}}}{{{_plain(m[2])}}}", text)
    text = _LINED.sub(lambda m: rf"\overline{{{m[0].replace(chr(0x305), '')}}}", text)
    text = _DOTTED.sub(lambda m: rf"\overline{{{m[1]}{m[2] or ''}{m[3] or ''}}}", text)
    text = "".join(_placed(kind, "".join(run)) for kind, run in groupby(text, key=_script))
    for _ in range(2):  # a compatibility form may decompose into a symbol of the table
        text = "".join(SYMBOLS.get(char, char) for char in text)
        text = _plain(text)
    text = "".join(str(unicodedata.decimal(c)) if not c.isascii() and c.isdecimal() else c for c in text)
    return _with_radicals(text)


def has_unread(text: str) -> bool:
    """Whether a cleaned answer holds a character that is neither ASCII nor a letter: nobody knows what it means.

    >>> has_unread("42☃"), has_unread("4 é")
    (True, False)
    """
    return not text.isascii() and any(not char.isascii() and not char.isalpha() for char in text)


def _unfolded(char: str) -> str:
    r"""One fraction or unit that is a single character: `½` as `\frac{1}{2}`, `㎡` as `m²`."""
    if char.isascii():
        return char
    kind, *codes = unicodedata.decomposition(char).split() or [""]
    parts = "".join(chr(int(code, 16)) for code in codes) if kind in ("<fraction>", "<square>") else char
    above, bar, below = parts.partition("⁄")
    if kind == "<fraction>" and below:
        return rf"\frac{{{above}}}{{{below}}}"
    return f"{above}/" if bar and kind == "<fraction>" else parts


def _script(char: str) -> str:
    """`^` for a superscript, `_` for a subscript, empty for everything on the line and for signs such as the degree."""
    if char.isascii() or char in SYMBOLS:
        return ""
    kind = unicodedata.decomposition(char).partition(" ")[0]
    return {"<super>": "^", "<sub>": "_"}.get(kind, "")


def _placed(place: str, run: str) -> str:
    return f"{place}{{{_plain(run)}}}" if place else run


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


def _with_radicals(text: str) -> str:
    """Radical signs with what stands below them, from the inside out."""
    for _ in range(MAX_RADICALS if any(sign in text for sign in RADICALS) else 0):
        before, text = text, _RADICAL.sub(_radical, text)
        if text == before:
            break
    return text


def _radical(match: re.Match[str]) -> str:
    radicand = match[2]
    for opening, closing in (("(", ")"), ("{", "}"), (r"\overline{", "}")):
        if radicand.startswith(opening):
            radicand = radicand[len(opening) : -len(closing)]
    return f"{RADICALS[match[1]]}{{{radicand.strip()}}}"

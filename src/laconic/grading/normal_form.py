r"""The text of an answer, put into one plain form and split into its parts.

1. `clean` rewrites LaTeX, Unicode (`unicode_maths.py`) and prose variants of the same answer into one spelling (the tables of
   `latex_tables.py`), and drops the thousands separators of a list where its other separators show which commas they are.
2. `compact` drops the spaces that carry no meaning. In this form two answers are compared as strings.
3. `parts` splits a list, tuple, set, interval or union, `matrix_rows` a matrix.
4. `is_dangerous` finds what must never reach an algebra engine: power towers, giant factorials, code, overlong text.

What is left out: numbers and units (`numbers.py`), extraction from a response (`extraction.py`), and algebra.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from laconic.grading.latex_tables import (
    FOR_ALL,
    MEASURES,
    PLAIN_TEXT,
    PROSE,
    REWRITES,
    TEXT,
    UNFINISHED,
    UNIT_PRODUCT,
    UNIT_RATIO,
    UNIT_SYMBOL,
    UNITS,
    WRAPPERS,
)
from laconic.grading.thousands import without_thousands
from laconic.grading.unicode_maths import in_latex

MAX_CHARS = 2500
MAX_DEPTH = 16
MAX_PARTS = 64
MAX_WRAPS = 128
MAX_POWER = 4000

_DOUBLED = re.compile(r"\\\\(?=[A-Za-z])")
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_WRAPPER = re.compile(rf"\\{WRAPPERS}\s*\{{(?=.*\\[A-Za-z])", re.DOTALL)
_JOINERS = re.compile(r"(?<![A-Za-z\\])(?:and|or)(?![a-z])")
_UNIT = re.compile(r"\\unit\{([^{}]*)\}")
_SHORT_SCRIPT = re.compile(r"([_^])\{(\w)\}(?!\w)")
_SPACES = re.compile(r"(\\[A-Za-z]+)\s+(?=[A-Za-z])|(?<=\d)\s+(?=\d)|\s+")


def clean(text: str) -> str:
    r"""One plain spelling of an answer; words keep their spaces, units are written as `\unit{...}`.

    >>> clean(r"$\dfrac12\text{ cm}$.")
    '\\frac{1}{2} \\unit{cm}'
    """
    if text.isascii() and ((text.isdigit() and len(text) <= MAX_CHARS) or (len(text) == 1 and text.isalpha())):
        return text
    if len(text) > MAX_CHARS and len(text := _shortened(text)) > MAX_CHARS:
        return text
    return _clean(text)


def _shortened(text: str) -> str:
    """An overlong answer without its outer brackets, its leading zeros, and decimals that no longer matter."""
    text = re.sub(r"\\(?:left|right)(?=[()])", "", text).strip(" {}()$\n")
    text = text.rstrip("0") if re.fullmatch(r"[+-]?\d*\.\d+", text) else text
    text = re.sub(r"^([+-]?\d{0,20}\.(?!0{100}|9{100})\d{100})\d+$", r"\1", text)
    return re.sub(r"^([+-]?)0+(?=\d)", r"\1", text)


@lru_cache(maxsize=4096)
def _clean(text: str) -> str:
    text = text if text.isascii() else in_latex(text)
    if "\\begin" not in text:
        text = _DOUBLED.sub(r"\\", text)
    else:
        text = _with_plain_rows(text)
    if "\\prime" in text or "^{'" in text:
        text = _PRIMES.sub(lambda m: "'" * (m[0].count("prime") + m[0].count("'")), text)
    if r"\var" in text:
        text = _VARIANT.sub(lambda m: m[0] if rf"\{m[1]}" in text else rf"\{m[1]}", text)
    text = _strip_ends(_DOTS.sub(UNFINISHED, text))
    for pattern, replacement in REWRITES:
        text = pattern.sub(replacement, text)
    if r"\unit" not in text:  # a formula of units keeps its own powers
        text = _BARE_EXPONENT.sub(r"^{-\1}", text)
    if "\\" in text and _UNIT_SIGNS.search(text):
        text = _MEASURED.sub(_with_unit, text)
    text = UNIT_RATIO.sub(r" \\text{\1/\2\3}", text)
    text = UNIT_PRODUCT.sub(lambda m: rf"\text{{{m[1]}{m[2] or ''}{m[3] if m[3] == '/' else '*'}{m[4]}}}", text)
    text = PLAIN_TEXT.sub(r" \1 ", PLAIN_TEXT.sub(r" \1 ", TEXT.sub(_marked_unit, text)))
    text = _strip_ends(re.sub(r"\s+", " ", text))
    for pattern, replacement in PROSE:
        text = pattern.sub(replacement, text)
    if "for" in text:
        text = FOR_ALL.sub("", text)
    return _strip_ends(without_thousands(_strip_ends(text)))


_DOTS = re.compile(r"(?<=\d)(?:\s*\\[lc]?dots(?![a-z])|\.{3,})")
_VARIANT = re.compile(r"\\var(phi|epsilon|theta|rho|sigma|kappa|pi)(?![A-Za-z])")
_BARE_EXPONENT = re.compile(r"\^-\s*(\d+(?:\.\d+)?|[A-Za-z])")
_PRIMES = re.compile(r"\s*\^\s*(?:\{\s*(?:(?:\\prime(?![A-Za-z])|')\s*)++\}|\\prime(?![A-Za-z]))|\\prime(?![A-Za-z])")
_ROW_END = re.compile(r"\\\\\*?\s*\[\s*-?[\d.]+\s*(?:pt|em|ex|mm|cm|in|px|bp|pc)\s*\]|\\cr(?![A-Za-z])")
_SMALL = re.compile(r"(\\begin|\\end)\s*\{[pbB]?smallmatrix\*?\}|(\\begin|\\end)\s*\{matrix\}")
_SQUARE_BRACKETS = re.compile(
    r"(?:\\left\s*)?\[\s*(\\begin\{pmatrix\}(?:(?!\\begin).)*\\end\{pmatrix\})\s*(?:\\right\s*)?\]", re.DOTALL
)


def _with_plain_rows(text: str) -> str:
    r"""A matrix whose rows end in `\\`, without spacing, in brackets of its own: `smallmatrix` is `pmatrix`."""
    text = _SMALL.sub(lambda m: (m[1] or m[2]) + "{pmatrix}", _ROW_END.sub(lambda _: r"\\ ", text))
    return _SQUARE_BRACKETS.sub(r"\1", text)


# A number, the unit after it, and where both end.
_NUMBER = (
    r"(?:\d[\d.,]*+(?:[eE][+-]?\d++|\^(?:\{-?\d++\}|\d))?(?:/\d++|\s?\\frac\{\d++\}\{\d++\})?|\.\d++|\\frac\{[\d.]++\}\{[\d.]++\})"
    r"(?:\s?(?:\\times|\\cdot|\*)\s?10\s?\^(?:\{\s?[+-]?\d++\s?\}|\d))?(?:\s?\\sqrt\{\d++\})?(?:\s?\\pi(?![A-Za-z]))?"
)
_GROUP = r"\{(?:[^{}]|\{[^{}]*\})*+\}"
_WRAPPED = rf"\\{WRAPPERS}\s?{_GROUP}"
_SUN = r"_(?:\{\s?\\(?:odot|oplus)\s?\}|\\(?:odot|oplus)(?![A-Za-z]))"
_UNIT_PIECE = (
    rf"{_WRAPPED}|\\frac\s?\{{(?:[^{{}}]|{_GROUP})*+\}}\s?\{{(?:[^{{}}]|{_GROUP})*+\}}|\\(?:mu|Omega|AA|cdot|times)(?![A-Za-z])"
    rf"|\\mathring\s?{_GROUP}|{_SUN}|\^\s?(?:\{{\s?[+-]?\d\s?\}}|[+-]?\d)|(?!and(?![a-z])|or(?![a-z]))[A-Za-z]++|[/*\s.]"
)
_MEASURED = re.compile(
    rf"(?P<before>(?:^|[=,;(\[<>]|\\(?:approx|sim|leq|geq)(?![a-z])|(?<![A-Za-z\\])(?:and|or))\s*[+-]?\s?{_NUMBER})(?P<unit>(?:{_UNIT_PIECE})++)"
    r"(?=$|[,;)\]=<>(]|\\[})]|\\(?:approx|leq|geq)(?![a-z])|and(?![a-z])|or(?![a-z]))"
)
_UNIT_SIGNS = re.compile(
    rf"\\(?:{WRAPPERS}|mu|Omega|AA|mathring|odot|oplus)(?![A-Za-z])|(?:^|(?<=[\d}} ]))\\frac ?\{{ ?[A-Za-z]+ ?\}}"
)


_UNIT_MARKS = re.compile(rf"{_WRAPPED}|\\(?:frac|mathring)\s?(?:{_GROUP}\s?)++|[MLR]{_SUN}|\\[A-Za-z]++")
_LETTERS_AS_UNIT = re.compile(r"(\s*)(?:\\mu\s*[A-Za-z]|([kMGm]?)\s?\\Omega)\s*")


def _with_unit(match: re.Match[str]) -> str:
    r"""A number with `\unit{...}` for the unit after it; as it was where that is not known, or is letters without any wrapper.

    Greek letters alone may be variables as well: `2\mu m` and `2k\Omega` are marked as `bare`, unlike `2\ \Omega`.
    """
    text = match["unit"]
    formula = unit_formula(text)
    if not formula or not _UNIT_SIGNS.search(text) or (r"\frac" in text and not _is_ratio_of_units(text)):
        return match[0]
    letters = _LETTERS_AS_UNIT.fullmatch(text)
    is_bare = letters is not None and (r"\mu" in text or bool(letters[2]) or not letters[1])
    if letters is None and re.search(r"(?<![A-Za-z])[A-Za-z](?![A-Za-z])", _UNIT_MARKS.sub(" ", text)):
        return match[0]  # 2GM_\odot
    if letters is None and re.search(r"\\(?:mu|Omega)", text) and not re.search(_WRAPPED, text):
        return match[0]
    return rf"{match['before']} \unit{{{'bare ' if is_bare else ''}{formula}}} "


def _is_ratio_of_units(text: str) -> bool:
    r"""Whether a fraction after a number is a unit: one with wrappers, or of two names that are known without, `\frac{m}{s}`."""
    bare = re.fullmatch(r"\s*\\frac\s?\{\s*([A-Za-z]+)\s*\}\s?\{\s*([A-Za-z]+)\s*\}\s*", text)
    return f"{bare[1]}/{bare[2]}" in UNITS if bare else re.search(_WRAPPED, text) is not None


_SPELLED_UNITS = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^bare ", ""),
        (r"\\mathring\s?\{(?:\s?\\(?:text|mathrm)\s?\{\s?A\s?\}|\s?A)\s?\}|\\AA(?![A-Za-z])|\\r A|Å", " angstrom"),
        (r"_(?:\{\s?\\odot\s?\}|\\odot(?![A-Za-z]))", "sun"),
        (r"_(?:\{\s?\\oplus\s?\}|\\oplus(?![A-Za-z]))", "earth"),
        (rf"(?:\\mu(?![A-Za-z])|[μµ])\s*(\\{WRAPPERS}\s?\{{)\s?", r"\1u"),
        (rf"\\{WRAPPERS}\s?\{{\s?(?:\\mu(?![A-Za-z])|[μµ])\s?\}}\s*(?:\\{WRAPPERS}\s?\{{\s?)?", "{u"),
        (r"(?:\\mu(?![A-Za-z])|[μµ])\s*", "u"),
        (rf"\\{WRAPPERS}\s?\{{\s?([kMGmu])\s?\}}\s?(?:\\Omega(?![A-Za-z])|Ω)", r"\1ohm"),
        (r"\\Omega(?![A-Za-z])|Ω", "ohm"),
        (r"\^\s?\{\s?([+-]?\d)\s?\}", r"^\1"),
        (rf"\\frac\s?\{{((?:[^{{}}]|{_GROUP})*+)\}}\s?\{{((?:[^{{}}]|{_GROUP})*+)\}}", r" (\1)/(\2)"),
        (rf"\\{WRAPPERS}\s?\{{|\{{", " "),
        (r"\}", ""),
        (r"\\(?:cdot|times)(?![A-Za-z])|[*~]|\.(?=$|\s|[A-Za-z])", " "),
    )
)
_UNIT_TOKENS = re.compile(
    r"(?P<name>[A-Za-z]+)(?:\s?\^(?P<power>[+-]?\d))?|(?P<mark>[/()])|(?P<space>\s+)|(?P<other>.)"
)


@lru_cache(maxsize=1024)
def unit_formula(text: str) -> str:
    r"""The factors of a unit with their powers, in the order of their names; empty where one of them is not known.

    >>> unit_formula(r"\mathrm{km\cdot s^{-1}}"), unit_formula("km/s"), unit_formula(r"\mu\text{m}"), unit_formula("apples")
    ('km s^-1', 'km s^-1', 'um', '')
    """
    for pattern, replacement in _SPELLED_UNITS:
        text = pattern.sub(replacement, text)
    powers: dict[str, int] = {}
    below, inside = False, False
    for match in _UNIT_TOKENS.finditer(text):
        if match["mark"] == "/" or match["name"] == "per":
            below, inside = True, False
        elif match["mark"]:
            inside = below and match["mark"] == "("
            below = below and inside
        elif match["name"]:
            symbol = _unit_symbol(match["name"])
            if not symbol:
                return ""
            powers[symbol] = powers.get(symbol, 0) + int(match["power"] or 1) * (-1 if below else 1)
            below = below and inside
        elif match["other"]:
            return ""
    formula = " ".join(name if power == 1 else f"{name}^{power}" for name, power in sorted(powers.items()) if power)
    return {"h^-1 mi": "mph"}.get(formula, formula)


def _unit_symbol(name: str) -> str:
    """The one name of a unit, empty where it is not known: symbols by their case, words in any case and number."""
    if name in UNITS or name in MEASURES:
        return UNITS.get(name) or MEASURES[name]
    if UNIT_SYMBOL.fullmatch(name):
        return name[:-1] + "l" if name.endswith("L") else name
    for word in (name.lower(), name.lower().removesuffix("s"), name.lower().removesuffix("es")):
        if len(word) > 1 and (word in UNITS or word in MEASURES):
            return UNITS.get(word) or MEASURES[word]
    return ""


def _marked_unit(match: re.Match[str]) -> str:
    """The replacement for text right after a number: a unit, except for words such as "and" and the constants e and i."""
    content = match[3].strip(" .,;:")
    bare = re.sub(r"\^(?:\{-?\d\}|\d)", "", content)
    if (
        content == "to"
        or content.startswith(("for all", "for every", "for any"))
        or _JOINERS.search(content)
        or re.search(r"\d", bare)
        or (match[2].startswith("math") and len(content) == 1)
    ):
        return f" {content} "
    power = re.search(r"\^(?:\{(\d)\}|(\d))$", content)
    base = content[: power.start()] if power else content
    return f" \\unit{{{base}}}{power[0] if power else ''}" if content else ""


_QUOTED = re.compile(r"""(?:["“„«]|``)([^"“”„«»`]+)(?:["”“»]|'')""")  # single marks may be primes


def _strip_ends(text: str) -> str:
    """The text without boxes, groups, quotation marks and markup around the whole, and without punctuation at its ends.

    Wrappers around words alone are left to `PLAIN_TEXT`.
    """
    for _ in range(MAX_WRAPS):
        before = text
        quoted = _QUOTED.fullmatch(text := text.strip())
        text = (quoted[1] if quoted else text).strip("`").lstrip("~=:").rstrip(".,;:~ ").strip()
        text = text.removesuffix("\\") if not text.endswith("\\\\") else text[:-2]
        if text.startswith("**") and text.endswith("**"):
            text = text[2:-2]
        if text.startswith("*") and text.endswith("*"):
            text = text[1:-1]
        if text.startswith("$") and text.endswith("$"):
            text = text.strip("$")
        box = _BOX.match(text)
        if box and (closing := closing_brace(text, box.end())) in (len(text) - 1, None):
            text = text[box.end() : closing]
        wrapper = _WRAPPER.match(text)
        if wrapper and closing_brace(text, wrapper.end()) == len(text) - 1:
            text = text[wrapper.end() : -1]
        if text.startswith(("{", "(")):
            text = _unwrapped(text)
        if text == before:
            break
    return text


def _unwrapped(text: str) -> str:
    """The text without the brackets around the whole, all layers at once; `(a, b)` keeps its own."""
    open_at: list[int] = []
    closed_at: dict[int, int] = {}
    for match in _TOKENS.finditer(text):
        if match[0] in _OPENERS:
            open_at.append(match.start())
        elif match[0] in _CLOSERS and open_at:
            closed_at[open_at.pop()] = match.start()
        if not open_at:
            break
    start, end, outer = 0, len(text), (0, len(text))
    while text[start : start + 1] in ("{", "(") and closed_at.get(start) == end - 1:
        outer, start, end = (start, end), start + 1, end - 1
        start, end = start + len(text[start:end]) - len(text[start:end].lstrip()), start + len(text[start:end].rstrip())
    if text[outer[0]] == "(" and len(_split(text[start:end], "[,;]")) > 1:
        start, end = outer
    return text[start:end]


def closing_brace(text: str, start: int) -> int | None:
    r"""The position where the group that opened just before `start` closes, or None. `\{` and `\}` do not count as braces."""
    depth = 1
    for match in _BRACES.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        if depth == 0:
            return match.start()
    return None


_BRACES = re.compile(r"\\.|[{}]", re.DOTALL)
_TOKENS = re.compile(r"\\begin|\\end|\\[{}\[\]]|\\.|[{}()\[\]]", re.DOTALL)
_OPENERS = frozenset({"{", "(", "[", r"\{", r"\begin"})
_CLOSERS = frozenset({"}", ")", "]", r"\}", r"\end"})


def _encloses(text: str) -> bool:
    """True where the first bracket of `text` closes at its last character."""
    depth = 0
    for match in _TOKENS.finditer(text):
        depth += (match[0] in _OPENERS) - (match[0] in _CLOSERS)
        if depth <= 0:
            return match.end() == len(text)
    return False


def compact(text: str) -> str:
    r"""A cleaned answer without the spaces that carry no meaning. Spaces between digits and after a command's name stay.

    >>> compact(r"2 \sin x + 1")
    '2\\sin x+1'
    """
    if " " in text:
        text = _SPACES.sub(lambda m: m[1] + " " if m[1] else (" " if _between_digits(text, m) else ""), text)
    return _SHORT_SCRIPT.sub(r"\1\2", _UNIT.sub(r"\1", text)) if "{" in text else text


def _between_digits(text: str, match: re.Match[str]) -> bool:
    return text[match.start() - 1 : match.start()].isdigit() and text[match.end() : match.end() + 1].isdigit()


# --- lists, tuples, sets, intervals, matrices ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Parts:
    """`items` between the brackets `left` and `right`; both are `""` for a bare list and `cup` for a union."""

    items: tuple[str, ...]
    left: str = ""
    right: str = ""


def parts(text: str) -> Parts:
    r"""The parts of a cleaned answer at its top level; one part where it is no list.

    >>> parts(r"(1,\frac{2}{3}]").items, parts("x=1 or x=-2").items, parts("1,234").items
    (('1', '\\frac{2}{3}'), ('x=1', 'x=-2'), ('1,234',))
    """
    if r"\cup" in text and len(pieces := _split(text, r"\\cup(?![a-z])")) > 1:
        return Parts(pieces, "cup", "cup")
    for left, right in (("(", ")]"), ("[", ")]"), (r"\{", "}")):
        if text.startswith(left) and text[-1:] in right and _encloses(text):
            width = len(left)
            return Parts(_items(text[width:-width]), left, text[-1])
    return Parts((text,) if is_grouped_number(text) else _items(text))


def _items(text: str) -> tuple[str, ...]:
    pieces = _split(text, ";")
    if len(pieces) > 1:
        return tuple(f"({piece})" if len(_split(piece, ",")) > 1 else piece for piece in pieces)
    return _both_signs(_split(text, f",|{_JOINERS.pattern}"))


def is_grouped_number(text: str) -> bool:
    """Whether a cleaned answer is one number with thousands separators, perhaps with a unit."""
    return bool(re.fullmatch(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?%?(?:\s*\\unit.*|\s+[A-Za-z ]+)?", text.strip()))


def split_top(text: str, separators: str) -> tuple[str, ...]:
    """Split at matches of the pattern `separators` that stand outside every bracket; the pieces are stripped."""
    depth, start, pieces = 0, 0, []
    for match in _splitter(separators).finditer(text):
        depth += (match[0] in _OPENERS) - (match[0] in _CLOSERS)
        if depth == 0 and match["separator"]:
            pieces.append(text[start : match.start()])
            start = match.end()
    return tuple(piece.strip() for piece in (*pieces, text[start:]))


@lru_cache(maxsize=16)
def _splitter(separators: str) -> re.Pattern[str]:
    return re.compile(rf"(?P<separator>{separators})|{_TOKENS.pattern}", re.DOTALL)


def _split(text: str, separators: str) -> tuple[str, ...]:
    return tuple(piece for piece in split_top(text, separators) if piece)


def _both_signs(items: tuple[str, ...]) -> tuple[str, ...]:
    r"""`a \pm b` stands for two parts."""
    out: list[str] = []
    for item in items:
        plus, minus = item.replace(r"\pm", "+").replace(r"\mp", "-"), item.replace(r"\pm", "-").replace(r"\mp", "+")
        out += [item] if plus == item else [re.sub(r"^\+\s*|(?<==)\s*\+", "", plus), minus]
    return tuple(out)


_MATRIX = re.compile(r"\\begin\{pmatrix\}(.*)\\end\{pmatrix\}")


def matrix_rows(text: str) -> tuple[tuple[str, ...], ...] | None:
    r"""The entries of a matrix, row by row; None where the cleaned answer is no matrix, has no rows, or another matrix inside.

    A list of rows in brackets counts as a matrix: `[[1,2],[3,4]]`.
    """
    match = _MATRIX.fullmatch(text.strip())
    if match is None:
        return _listed_rows(text.strip())
    if r"\begin" in match[1]:
        return None
    rows = [row for row in match[1].split(r"\\") if row.strip()]
    return tuple(tuple(entry.strip() for entry in row.split("&")) for row in rows) or None


def _listed_rows(text: str) -> tuple[tuple[str, ...], ...] | None:
    if not (text.startswith("[[") and text.endswith("]]")):
        return None
    rows = [parts(row) for row in _split(text[1:-1], ",")]
    return tuple(row.items for row in rows) if all(row.left == "[" and row.right == "]" for row in rows) else None


# --- what must not be computed ---------------------------------------------------------------------------------------

_FUNCTIONS = "sqrt|sinh|cosh|tanh|arcsin|arccos|arctan"
_CODE = re.compile(rf"__|\"|'\w+'|lambda\s*:|\(\)|(?<![A-Za-z\\])(?!(?:{_FUNCTIONS})\()[a-z_]{{4,}}\(|\]\[|==")
_HUGE = re.compile(
    r"!\s*[)}\]]*\s*!|\d{4,}\s*\)*\s*!"  # nested and giant factorials
    r"|[eE][+-]?\d{5,}|\^\{?-?\d{5,}|\^\s*\{\s*\d{2,}\s*\^\s*\{?\d{2,}"  # giant exponents
    r"|\\(?:binom|Gamma|zeta)\b[^A-Za-z]*\d{4,}|\d{1001,}"
)
_LEVEL = r"\^\s*(?:[{(][^{}()^]{0,40}|\d+|\w)\s*"
_TOWER = re.compile(_LEVEL + _LEVEL + r"\^")
_NESTED_POWER = re.compile(r"(\d+)\s*\^\s*[{(]?\s*(\d+)\s*\^\s*[{(]*\s*(\d+)")
_BARE_ZERO_DIVISOR = re.compile(r"/\s*0+(?:\.0*)?(?![\d.])|\\frac\{[^{}]*\}\{\s*0+(?:\.0*)?\s*\}")


def is_dangerous(text: str) -> bool:
    """True where a cleaned answer must not be handed to an algebra engine; it then equals another answer only as a string.

    >>> is_dangerous("9^{9^{9}}"), is_dangerous("((9!)!)!"), is_dangerous("2^{64}")
    (True, True, False)
    """
    if len(text) > MAX_CHARS or _depth(text) > MAX_DEPTH:
        return True
    tower = _NESTED_POWER.search(text)
    if tower and (len(tower[2]) + len(tower[3]) > 5 or int(tower[2]) ** min(int(tower[3]), 20) > MAX_POWER):
        return True
    return any(pattern.search(text) for pattern in (_HUGE, _TOWER, _CODE, _BARE_ZERO_DIVISOR))


def _depth(text: str) -> int:
    depth = deepest = 0
    for match in _TOKENS.finditer(text):
        depth += (match[0] in _OPENERS) - (match[0] in _CLOSERS)
        deepest = max(deepest, depth)
    return deepest

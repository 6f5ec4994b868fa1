r"""Inequalities of one variable, and the intervals they mean.

1. `interval_form` rewrites `0 \leq x < 1`, `x > 3`, `x < 1 or x > 2`, `x > 1 and x < 2`, `1 < x < 5, x \neq 3`, `x = 2 or x > 3`,
   `all x > 3`, `\{x : x > 3\}`, `]0, 1]` and `x \in [0, 1)` as an interval or a union of intervals and points, with the name of
   the variable where one stands.
2. It returns None for anything else: systems, relations between two variables, a lone `\neq`.
3. `ascending` turns `a > b > c` into `c < b < a`, whatever its terms are.

What is left out: algebra. The ends of an interval are taken as they are written.
"""

import re
from fractions import Fraction
from itertools import pairwise

from laconic.grading.normal_form import compact, is_grouped_number, split_top
from laconic.grading.numbers import exact_number

_RELATION = re.compile(r"\\leq(?![a-z])|\\geq(?![a-z])|<|>")
_NAME = r"\|?[A-Za-z](?:_\w)?\|?"
_SET_BUILDER = re.compile(rf"\\\{{\s*{_NAME}\s*(?:\\in\s*\\mathbb\{{R\}}\s*)?(?:\\mid|:|\|)\s*(.*?)\\\}}")
_MEMBER = re.compile(rf"({_NAME})\s*\\in(?=[\[(\]\s])\s*(.*)")
_BRACKETS = re.compile(r"([(\[\]])([^()\[\]]*)([)\[\]])")
_OR = r"(?<![A-Za-z\\])or(?![a-z])|\\lor(?![a-z])|\\vee(?![a-z])|\\cup(?![a-z])"
_AND = r"[,;]|(?<![A-Za-z\\])and(?![a-z])|\\land(?![a-z])|\\wedge(?![a-z])"
_POINT = re.compile(rf"(?:({_NAME})=([^=<>,]+)|\\\{{([^,{{}}]+)\\\}})")
_UNEQUAL = re.compile(rf"({_NAME})\\neq([^=<>,]+)")
_EVERY = re.compile(
    r"^(?:for )?(?:all|any|every) (?:real )?(?:numbers? |values? of )?(?=\|?[A-Za-z](?:_\w)?\|? ?(?:[<>]|\\(?:leq|geq)(?![a-z])))"
)
_LEAST, _GREATEST = r"-\infty", r"\infty"


def interval_form(text: str) -> tuple[str, str] | None:
    r"""(interval or union, variable) of a cleaned answer, with `""` where there is no variable; None where it is neither.

    >>> interval_form(r"0 \leq x < 1"), interval_form(r"x<1 or x>2"), interval_form("]0,1]"), interval_form("x<y")
    (('[0,1)', 'x'), ('(-\\infty,1)\\cup(2,\\infty)', 'x'), ('(0,1]', ''), None)
    """
    if text.startswith(r"\{") and (builder := _SET_BUILDER.fullmatch(text)):
        text = builder[1]
    member = _MEMBER.fullmatch(text)
    name, text = (member[1], member[2]) if member else ("", _EVERY.sub("", text) if text[:1] in "faeFAE" else text)
    alternatives = _alternatives(text)
    pieces = [_interval(compact(piece)) or _conjunction(piece) for piece in alternatives]
    if len(pieces) > 1 and any(pieces):  # 2 alone is no interval
        pieces = [piece or _point(compact(text)) for piece, text in zip(pieces, alternatives, strict=True)]
    intervals = [piece for piece in pieces if piece is not None]
    names = {variable for _, variable in intervals if variable} | ({name} if name else set())
    if not intervals or len(intervals) < len(pieces) or len(names) > 1:
        return None
    return r"\cup".join(interval for interval, _ in intervals), next(iter(names), "")


def ascending(text: str) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """The terms and the relations of a chain of inequalities that all point the same way, the least term first.

    >>> ascending("a > b > c"), ascending("a<b>c")
    ((('c', 'b', 'a'), ('<', '<')), None)
    """
    relations = _RELATION.findall(text)
    if not relations or len(set(relations) & {">", r"\geq"}) not in (0, len(set(relations))):
        return None
    terms = [term.strip() for term in _RELATION.split(text)]
    if relations[0] in _TURNED:
        terms, relations = terms[::-1], [_TURNED[relation] for relation in relations[::-1]]
    return (tuple(terms), tuple(relations)) if all(terms) else None


def _alternatives(text: str) -> tuple[str, ...]:
    """The pieces of a union. Without a separator the text is one piece, which may then have brackets that face outward."""
    return tuple(filter(None, split_top(text, _OR))) if re.search(_OR, text) else (text,)


def _point(text: str) -> tuple[str, str] | None:
    r"""`x=2` or `\{2\}`, as a part of a union."""
    match = _POINT.fullmatch(text)
    return (rf"\{{{match[2] or match[3]}\}}", match[1] or "") if match and not _has_name(match[2] or match[3]) else None


def _conjunction(text: str) -> tuple[str, str] | None:
    r"""The interval of `x > 1 and x < 2`, and the union of `1 < x < 5, x \neq 3`; None where a clause is anything else."""
    if _RELATION.search(text) is None:
        return None
    clauses = [compact(clause) for clause in split_top(text, _AND) if clause]
    holes = [match for clause in clauses if (match := _UNEQUAL.fullmatch(clause))]
    ranges = [one for clause in clauses if not _UNEQUAL.fullmatch(clause) and (one := _interval(clause))]
    names = {name for _, name in ranges} | {match[1] for match in holes}
    if len(clauses) < 2 or not ranges or len(ranges) + len(holes) < len(clauses) or len(names) > 1 or "" in names:
        return None
    left, low, high, right = "(", _LEAST, _GREATEST, ")"
    for interval, _ in ranges:
        own_left, (own_low, own_high), own_right = interval[0], interval[1:-1].split(",", 1), interval[-1]
        if _LEAST not in (own_low, low) or _GREATEST not in (own_high, high):
            return None
        left, low = (own_left, own_low) if own_low != _LEAST else (left, low)
        right, high = (own_right, own_high) if own_high != _GREATEST else (right, high)
    ends = _with_holes(low, high, [match[2] for match in holes])
    if ends is None:
        return None
    inner = r"\cup".join(f"({start},{end})" for start, end in ends)
    return left + inner[1:-1] + right, names.pop()


def _with_holes(low: str, high: str, holes: list[str]) -> list[tuple[str, str]] | None:
    """The ends of the intervals that are left of one without some inner points; None where the ends are no numbers in order."""
    least, greatest = exact_number(low), exact_number(high)
    numbers = [exact_number(hole) for hole in holes]
    if (
        None in numbers
        or (holes and (least is None) != (low == _LEAST))
        or (holes and (greatest is None) != (high == _GREATEST))
    ):
        return None
    if least is not None and greatest is not None and least >= greatest:
        return None
    inner: dict[Fraction, str] = {
        number: hole for number, hole in zip(numbers, holes, strict=True) if number is not None
    }
    if any(
        (least is not None and least >= number) or (greatest is not None and number >= greatest) for number in inner
    ):
        return None
    cuts = [low, *(inner[number] for number in sorted(inner)), high]
    return list(pairwise(cuts))


def _interval(text: str) -> tuple[str, str] | None:
    """One interval with its variable, or None."""
    brackets = _BRACKETS.fullmatch(text)
    if brackets:
        return _from_brackets(*brackets.groups())
    terms = [term.strip() for term in _RELATION.split(text)]
    relations = _RELATION.findall(text)
    if len(relations) not in (1, 2):
        return None
    if relations[0] in (">", r"\geq"):  # 3 > x is x < 3
        terms, relations = terms[::-1], [_TURNED.get(relation, "") for relation in relations[::-1]]
    return _between(terms, relations) if set(relations) <= {"<", r"\leq"} else None


_TURNED = {">": "<", r"\geq": r"\leq"}


def _from_brackets(left: str, inside: str, right: str) -> tuple[str, str] | None:
    """`]0,1[` is (0,1): a bracket that faces outward excludes its end."""
    if len(split_top(inside, ",")) != 2:
        return None
    return f"{'(' if left == ']' else left}{inside}{')' if right == '[' else right}", ""


def _between(terms: list[str], relations: list[str]) -> tuple[str, str] | None:
    """The interval of `a < x`, `x < b` or `a < x < b`; None where an end has a variable of its own."""
    if len(terms) == 2 and re.fullmatch(_NAME, terms[0]):
        terms, relations = [_LEAST, *terms], ["<", *relations]
    elif len(terms) == 2:
        terms, relations = [*terms, _GREATEST], [*relations, "<"]
    low, name, high = (term.replace(",", "") if is_grouped_number(term) else term for term in terms)
    if not re.fullmatch(_NAME, name) or _has_name(low) or _has_name(high) or not (low and high) or "|" in name:
        return None
    return f"{'[' if relations[0] != '<' else '('}{low},{high}{']' if relations[1] != '<' else ')'}", name


def _has_name(text: str) -> bool:
    """True where the text has a letter that is not part of a command and not e."""
    return re.search(r"[A-Za-df-z]", re.sub(r"\\[A-Za-z]+", "", text)) is not None

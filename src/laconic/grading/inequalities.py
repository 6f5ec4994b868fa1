r"""Inequalities of one variable, and the intervals they mean.

1. `interval_form` rewrites `0 \leq x < 1`, `x > 3`, `x < 1 or x > 2`, `\{x : x > 3\}`, `]0, 1]` and `x \in [0, 1)` as an
   interval or a union of intervals, with the name of the variable where one stands.
2. It returns None for anything else: systems, relations between two variables, `\neq`.

What is left out: algebra. The ends of an interval are taken as they are written.
"""

import re

from laconic.grading.normal_form import compact, is_grouped_number, split_top

_RELATION = re.compile(r"\\leq(?![a-z])|\\geq(?![a-z])|<|>")
_NAME = r"\|?[A-Za-z](?:_\w)?\|?"
_SET_BUILDER = re.compile(rf"\\\{{\s*{_NAME}\s*(?:\\in\s*\\mathbb\{{R\}}\s*)?(?:\\mid|:|\|)\s*(.*?)\\\}}")
_MEMBER = re.compile(rf"({_NAME})\s*\\in(?=[\[(\]\s])\s*(.*)")
_BRACKETS = re.compile(r"([(\[\]])([^()\[\]]*)([)\[\]])")
_OR = r"(?<![A-Za-z\\])or(?![a-z])|\\lor(?![a-z])|\\vee(?![a-z])|\\cup(?![a-z])"
_LEAST, _GREATEST = r"-\infty", r"\infty"


def interval_form(text: str) -> tuple[str, str] | None:
    r"""(interval or union, variable) of a cleaned answer, with `""` where there is no variable; None where it is neither.

    >>> interval_form(r"0 \leq x < 1"), interval_form(r"x<1 or x>2"), interval_form("]0,1]"), interval_form("x<y")
    (('[0,1)', 'x'), ('(-\\infty,1)\\cup(2,\\infty)', 'x'), ('(0,1]', ''), None)
    """
    if text.startswith(r"\{") and (builder := _SET_BUILDER.fullmatch(text)):
        text = builder[1]
    member = _MEMBER.fullmatch(text)
    name, text = (member[1], member[2]) if member else ("", text)
    pieces = [_interval(compact(piece)) for piece in _alternatives(text)]
    intervals = [piece for piece in pieces if piece is not None]
    names = {variable for _, variable in intervals if variable} | ({name} if name else set())
    if not intervals or len(intervals) < len(pieces) or len(names) > 1:
        return None
    return r"\cup".join(interval for interval, _ in intervals), next(iter(names), "")


def _alternatives(text: str) -> tuple[str, ...]:
    """The pieces of a union. Without a separator the text is one piece, which may then have brackets that face outward."""
    return tuple(filter(None, split_top(text, _OR))) if re.search(_OR, text) else (text,)


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

r"""Rules that compare answers made of parts: lists, tuples, intervals, unions, matrices, quantities with units, equations.

1. A rule takes the cleaned gold answer, the cleaned answer, and `equal`, which compares their parts by all the rules.
2. It returns what `scalar_rules.py` describes: a verdict, or None where the pair is none of its business.

What is left out: single things (`scalar_rules.py`), and algebra: a union that simplifies or an equation that rearranges is open.
"""

import re
from collections.abc import Iterable
from fractions import Fraction

from laconic.grading.inequalities import interval_form
from laconic.grading.normal_form import MAX_PARTS, Parts, clean, compact, matrix_rows, parts, split_top
from laconic.grading.numbers import exact_number, quantity
from laconic.grading.scalar_rules import OPEN, Equal, Verdict, units_disagree


def by_parts(gold: str, answer: str, equal: Equal) -> Verdict | None:
    """Tuples and intervals in order with their brackets, sets and bare lists in any order, unions in any order."""
    wanted, given = _single(parts(_unnamed(gold))), _single(parts(_unnamed(answer)))
    wanted, given = _values(wanted, given), _values(given, wanted)
    if len(wanted.items) < 2 and len(given.items) < 2 and wanted.left == given.left:
        return _inside(gold, answer, wanted, given, equal)
    if len(wanted.items) < 2 or len(given.items) < 2:
        return _unlike(gold, answer, wanted, given)
    if len(wanted.items) != len(given.items) or len(given.items) > MAX_PARTS:
        return None if "cup" in (wanted.left, given.left) else False
    if not _brackets_agree(wanted, given):
        return None if "cup" in (wanted.left, given.left) else False
    is_ordered = wanted.left in ("(", "[")
    verdict = _in_order(wanted, given, equal) if is_ordered else _in_any_order(wanted, given, equal)
    return None if verdict is False and wanted.left == "cup" else verdict


def _unnamed(text: str) -> str:
    """`(x,y)=(1,2)` without its names, where they stand in their order."""
    match = re.fullmatch(r"\(\s*([A-Za-z](?:\s*,\s*[A-Za-z])+)\s*\)\s*=\s*(\(.*\))", text)
    names = re.split(r"\s*,\s*", match[1]) if match else []
    return match[2] if match and names == sorted(set(names)) else text


def _values(found: Parts, other: Parts) -> Parts:
    """`x=1, y=2` as the tuple (1,2) where the other side is a tuple: values in the order of their names."""
    named = [re.fullmatch(r"([A-Za-z](?:_\{?\w\}?)?)\s*=\s*([^=<>]+)", item) for item in found.items]
    if found.left or other.left != "(" or len(named) < 2 or not all(named):
        return found
    values = {match[1]: match[2] for match in named if match}
    return Parts(tuple(values[name] for name in sorted(values)), "(", ")") if len(values) == len(named) else found


def _inside(gold: str, answer: str, wanted: Parts, given: Parts, equal: Equal) -> Verdict | None:
    """Two single parts in brackets of one kind are compared without them."""
    if not wanted.items or not given.items or (wanted.items[0], given.items[0]) == (gold, answer):
        return None
    return equal(wanted.items[0], given.items[0])


def _single(found: Parts) -> Parts:
    r"""`\{5\}` is 5; equal parts of a set or list count once."""
    items = found.items if found.left in ("(", "[") else tuple({_identity(item): item for item in found.items}.values())
    if found.left == r"\{" and len(items) == 1 and items[0] != r"\emptyset":
        return Parts(items)
    return Parts(items, found.left, found.right)


def _identity(item: str) -> Fraction | str:
    value = exact_number(item)
    return compact(item) if value is None else value


_REGION = re.compile(r"[<>]|\\(?:leq|geq|neq|cup|cap|mathbb|begin)(?![a-z])")


def _unlike(gold: str, answer: str, wanted: Parts, given: Parts) -> Verdict | None:
    """A list against what is no list: wrong, except where algebra may turn one into the other.

    An interval may solve an inequality, a union may simplify, a tuple be written as a vector.
    """
    if _is_region(gold, answer):
        return None
    if all(_relations(item) for item in (*wanted.items, *given.items)):
        return False if len(wanted.items) != len(given.items) else None  # one equation is not two
    if _relations(gold) or _relations(answer):
        return None
    is_many = max(len(wanted.items), len(given.items)) > 1
    return False if is_many or r"\{" in (wanted.left, given.left) else None


def _is_region(gold: str, answer: str) -> bool:
    return bool(_REGION.search(gold) or _REGION.search(answer))


def _brackets_agree(wanted: Parts, given: Parts) -> bool:
    """The same brackets; a bare list may stand for a gold tuple or set, and a set for a bare list."""
    if (wanted.left, wanted.right) == (given.left, given.right):
        return True
    sets = {("", ""), (r"\{", "}")}
    if (wanted.left, wanted.right) in sets:
        return (given.left, given.right) in sets
    return wanted.left == "(" and wanted.right == ")" and not given.left


def _in_order(wanted: Parts, given: Parts, equal: Equal) -> Verdict:
    return _all(equal(a, b) for a, b in zip(wanted.items, given.items, strict=True))


def _in_any_order(wanted: Parts, given: Parts, equal: Equal) -> Verdict:
    """Equality is transitive, so the first equal part may be taken."""
    left = list(given.items)
    return _all(_taken(item, left, equal) for item in wanted.items)


def _taken(item: str, left: list[str], equal: Equal) -> Verdict:
    """Whether one of `left` equals the item; that one is then gone from `left`."""
    is_open = False
    for i, other in enumerate(left):
        verdict = equal(item, other)
        if verdict is True:
            left.pop(i)
            return True
        is_open = is_open or verdict is OPEN
    return OPEN if is_open else False


def _all(verdicts: Iterable[Verdict]) -> Verdict:
    """False as soon as one is: nothing more is asked then."""
    is_open = False
    for verdict in verdicts:
        if verdict is False:
            return False
        is_open = is_open or verdict is OPEN
    return OPEN if is_open else True


def by_matrix(gold: str, answer: str, equal: Equal) -> Verdict | None:
    """Two matrices of one shape, entry by entry."""
    wanted, given = matrix_rows(gold), matrix_rows(answer)
    wanted, given = wanted or _vector_like(gold, given), given or _vector_like(answer, wanted)
    if wanted is None or given is None:
        return None
    if [len(row) for row in wanted] != [len(row) for row in given]:
        return False
    pairs = zip(sum(wanted, ()), sum(given, ()), strict=True)
    return _all(equal(a, b) for a, b in pairs)


def _vector_like(text: str, other: tuple[tuple[str, ...], ...] | None) -> tuple[tuple[str, ...], ...] | None:
    """A tuple in the shape of the column or row that it stands beside."""
    found = parts(text)
    if other is None or (found.left, found.right) != ("(", ")") or len(found.items) < 2:
        return None
    if all(len(row) == 1 for row in other):
        return tuple((item,) for item in found.items)
    return (found.items,) if len(other) == 1 else None


def by_interval(gold: str, answer: str, equal: Equal) -> Verdict | None:
    """An inequality and the interval that it means, where nothing but the spelling differs."""
    wanted, given = interval_form(gold), interval_form(answer)
    if wanted is None or given is None or (wanted[1] and given[1] and wanted[1] != given[1]):
        return None
    forms = clean(wanted[0]), clean(given[0])
    if forms == (compact(gold), compact(answer)):
        return None
    return equal(*forms) or None


def by_unit(gold: str, answer: str, equal: Equal) -> Verdict | None:
    """A unit counts only where both sides have one that measures something."""
    wanted, given = quantity(gold), quantity(answer)
    if not (wanted.has_unit or given.has_unit):
        return None
    if units_disagree(wanted.unit, given.unit):
        return False
    return equal(clean(wanted.body), clean(given.body))


_EQUALS = r"(?<![<>!=:\\])=(?!=)|\\(?:approx|in|equiv)(?![a-z])"
_SYMBOLS = r"\(?(?>(?>\\?[A-Za-z]++'*+(?:\s*_\s*(?:\{[^{}]*\}|\w))?(?:\([^()=]*\))?[\s,:*]*+)+)\)?"
_NAME_OR_SYMBOL = re.compile(_SYMBOLS)
_NAME = re.compile(
    _SYMBOLS + r"|\|[^|]+\||\\(?:angle|triangle)\s*\w+|\\(?:frac|lim|overline|vec|hat|bar|mathbb)(?![A-Za-z]).*"
)
_VARIABLE = re.compile(r"(?<!\\)(?<![A-Za-z\\])(?!e(?![A-Za-z])|i(?![A-Za-z]))[A-Za-z]")


def by_equation(gold: str, answer: str, equal: Equal) -> Verdict | None:
    """`x = 5` is 5 and `f(2) = 5` is 5, `x + 1 = 5` is not. Two equations of one name compare their right sides."""
    if exact_number(gold) is not None and (total := _SUM_OF_NAMES.fullmatch(answer)):
        return equal(gold, clean(total[1]))
    (name, wanted), (other, given) = _assignment(gold), _assignment(answer)
    if name is None and other is None:
        return _one_sided(gold, answer)
    if name and other and name != other and _is_symbol(name) and _is_symbol(other):
        return None if _has_variable(wanted) and _has_variable(given) else False  # 2y=x may be y=x/2
    if (name is None and _relations(gold)) or (other is None and _relations(answer)):
        return _one_sided(gold, answer)
    return equal(clean(wanted), clean(given))


_SUM_OF_NAMES = re.compile(r"(?:[A-Za-z]\s*\+\s*)+[A-Za-z]\s*=(?:.*=)?\s*([^=<>]+)")
"""m+n=25, where a number is asked for."""


def _assignment(text: str) -> tuple[str | None, str]:
    """(name, value) of `name = ... = value`, `value = name`, or a chain of numbers; (None, text) for anything else."""
    pieces = _pieces(text)
    if len(pieces) < 2 or re.search(r"[<>]|\\[lg]eq", text) or sum("=" in item for item in split_top(text, "[,;]")) > 1:
        return None, text
    kept = split_top(text.partition(r"\approx")[0], _EQUALS) if text.count("=") else pieces
    value = kept[-1].strip() or pieces[-1].strip()
    if r"\approx" in text and "=" not in text and not _NAME_OR_SYMBOL.fullmatch(pieces[0].strip()):
        return "", pieces[0].strip()
    if _NAME.fullmatch(pieces[0].strip()):
        return compact(pieces[0].strip()), value if len(kept) > 1 else pieces[1].strip()
    if _is_symbol(pieces[-1].strip()):
        return pieces[-1].strip(), pieces[0].strip()
    return ("", value) if not _has_variable(pieces[0]) and not _has_variable(value) else (None, text)


def _has_variable(text: str) -> bool:
    """True where a letter stands that is no command and neither e nor i."""
    return _VARIABLE.search(re.sub(r"\\[A-Za-z]+(?:\{[a-z]*matrix\})?", "", text)) is not None


def _pieces(text: str) -> tuple[str, ...]:
    return split_top(text, _EQUALS)


def _relations(text: str) -> bool:
    return len(_pieces(text)) > 1


def _is_symbol(text: str) -> bool:
    return re.fullmatch(r"\\?[A-Za-z]+(?:_(?:\{\w+\}|\w))?", text) is not None


def _one_sided(gold: str, answer: str) -> Verdict | None:
    """An equation that assigns nothing is not a value."""
    return False if _relations(gold) != _relations(answer) else None

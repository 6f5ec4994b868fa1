r"""Rules that compare answers made of parts: lists, tuples, intervals, unions, matrices, quantities with units, equations.

1. A rule takes the cleaned gold answer, the cleaned answer, and `equal`, which compares their parts by all the rules.
2. It returns, as described in `scalar_rules.py`, a verdict, or None where the rule does not apply to the pair.

What is left out: answers of one part (`scalar_rules.py`), and algebra. A union that could be simplified, or an equation that
could be rearranged, stays open.
"""

import re
from collections.abc import Iterable
from fractions import Fraction

from laconic.grading.inequalities import interval_form
from laconic.grading.normal_form import MAX_PARTS, Parts, clean, compact, matrix_rows, parts, split_top
from laconic.grading.numbers import exact_number, quantity
from laconic.grading.scalar_rules import OPEN, Equal, Verdict, units_disagree


def by_parts(gold: str, answer: str, equal: Equal) -> Verdict | None:
    """Tuples and intervals are compared in order, with their brackets; sets, bare lists and unions in any order."""
    gold_parts, answer_parts = _single(parts(_unnamed(gold))), _single(parts(_unnamed(answer)))
    gold_parts, answer_parts = _values(gold_parts, answer_parts), _values(answer_parts, gold_parts)
    if len(gold_parts.items) < 2 and len(answer_parts.items) < 2 and gold_parts.left == answer_parts.left:
        return _inside(gold, answer, gold_parts, answer_parts, equal)
    if len(gold_parts.items) < 2 or len(answer_parts.items) < 2:
        return _unlike(gold, answer, gold_parts, answer_parts)
    if len(gold_parts.items) != len(answer_parts.items) or len(answer_parts.items) > MAX_PARTS:
        return None if "cup" in (gold_parts.left, answer_parts.left) else False
    if not _brackets_agree(gold_parts, answer_parts):
        return None if "cup" in (gold_parts.left, answer_parts.left) else False
    is_ordered = gold_parts.left in ("(", "[")
    verdict = (
        _in_order(gold_parts, answer_parts, equal) if is_ordered else _in_any_order(gold_parts, answer_parts, equal)
    )
    return None if verdict is False and gold_parts.left == "cup" else verdict


def _unnamed(text: str) -> str:
    """`(x,y)=(1,2)` without its names, where these are in alphabetical order."""
    match = re.fullmatch(r"\(\s*([A-Za-z](?:\s*,\s*[A-Za-z])+)\s*\)\s*=\s*(\(.*\))", text)
    names = re.split(r"\s*,\s*", match[1]) if match else []
    return match[2] if match and names == sorted(set(names)) else text


def _values(own_parts: Parts, other: Parts) -> Parts:
    """`x=1, y=2` as the tuple (1,2) where the other side is a tuple: the values in the order of their names."""
    assignments = [re.fullmatch(r"([A-Za-z](?:_\{?\w\}?)?)\s*=\s*([^=<>]+)", item) for item in own_parts.items]
    if own_parts.left or other.left != "(" or len(assignments) < 2 or not all(assignments):
        return own_parts
    values = {match[1]: match[2] for match in assignments if match}
    return (
        Parts(tuple(values[name] for name in sorted(values)), "(", ")")
        if len(values) == len(assignments)
        else own_parts
    )


def _inside(gold: str, answer: str, gold_parts: Parts, answer_parts: Parts, equal: Equal) -> Verdict | None:
    """Two single parts in the same kind of brackets are compared without the brackets."""
    if not gold_parts.items or not answer_parts.items or (gold_parts.items[0], answer_parts.items[0]) == (gold, answer):
        return None
    return equal(gold_parts.items[0], answer_parts.items[0])


def _single(all_parts: Parts) -> Parts:
    r"""`\{5\}` as 5, and the equal parts of a set or list counted once."""
    items = (
        all_parts.items
        if all_parts.left in ("(", "[")
        else tuple({_identity(item): item for item in all_parts.items}.values())
    )
    if all_parts.left == r"\{" and len(items) == 1 and items[0] != r"\emptyset":
        return Parts(items)
    return Parts(items, all_parts.left, all_parts.right)


def _identity(item: str) -> Fraction | str:
    value = exact_number(item)
    return compact(item) if value is None else value


_REGION = re.compile(r"[<>]|\\(?:leq|geq|neq|cup|cap|mathbb|begin)(?![a-z])")


def _unlike(gold: str, answer: str, gold_parts: Parts, answer_parts: Parts) -> Verdict | None:
    """A list compared with an answer that is not a list: wrong, except where algebra may turn one into the other.

    An interval may be the solution of an inequality, a union may be simplified, and a tuple may be written as a vector.
    """
    if _is_region(gold, answer):
        return None
    if all(_relations(item) for item in (*gold_parts.items, *answer_parts.items)):
        return False if len(gold_parts.items) != len(answer_parts.items) else None  # one equation is not two
    if _relations(gold) or _relations(answer):
        return None
    is_many = max(len(gold_parts.items), len(answer_parts.items)) > 1
    return False if is_many or r"\{" in (gold_parts.left, answer_parts.left) else None


def _is_region(gold: str, answer: str) -> bool:
    return bool(_REGION.search(gold) or _REGION.search(answer))


def _brackets_agree(gold_parts: Parts, answer_parts: Parts) -> bool:
    """The same brackets; a bare list may stand for a gold tuple or set, and a set for a bare list."""
    if (gold_parts.left, gold_parts.right) == (answer_parts.left, answer_parts.right):
        return True
    sets = {("", ""), (r"\{", "}")}
    if (gold_parts.left, gold_parts.right) in sets:
        return (answer_parts.left, answer_parts.right) in sets
    return gold_parts.left == "(" and gold_parts.right == ")" and not answer_parts.left


def _in_order(gold_parts: Parts, answer_parts: Parts, equal: Equal) -> Verdict:
    return _all(equal(a, b) for a, b in zip(gold_parts.items, answer_parts.items, strict=True))


def _in_any_order(gold_parts: Parts, answer_parts: Parts, equal: Equal) -> Verdict:
    """Each gold part takes the first answer part that equals it; equality is transitive, so the first one will do."""
    left = list(answer_parts.items)
    return _all(_taken(item, left, equal) for item in gold_parts.items)


def _taken(item: str, left: list[str], equal: Equal) -> Verdict:
    """Whether one of `left` equals the item; if so, it is removed from `left`."""
    is_open = False
    for i, other in enumerate(left):
        verdict = equal(item, other)
        if verdict is True:
            left.pop(i)
            return True
        is_open = is_open or verdict is OPEN
    return OPEN if is_open else False


def _all(verdicts: Iterable[Verdict]) -> Verdict:
    """False where one verdict is False (the ones after it are not computed), else `OPEN` where one is open, else True."""
    is_open = False
    for verdict in verdicts:
        if verdict is False:
            return False
        is_open = is_open or verdict is OPEN
    return OPEN if is_open else True


def by_matrix(gold: str, answer: str, equal: Equal) -> Verdict | None:
    """Two matrices of one shape, entry by entry."""
    gold_rows, answer_rows = matrix_rows(gold), matrix_rows(answer)
    gold_rows, answer_rows = (
        gold_rows or _vector_like(gold, answer_rows),
        answer_rows or _vector_like(answer, gold_rows),
    )
    if gold_rows is None or answer_rows is None:
        return None
    if [len(row) for row in gold_rows] != [len(row) for row in answer_rows]:
        return False
    pairs = zip(sum(gold_rows, ()), sum(answer_rows, ()), strict=True)
    return _all(equal(a, b) for a, b in pairs)


def _vector_like(text: str, other: tuple[tuple[str, ...], ...] | None) -> tuple[tuple[str, ...], ...] | None:
    """A tuple as a matrix in the shape of `other`, a column or a row; None where `text` is not a tuple, or `other` is neither."""
    entries = parts(text)
    if other is None or (entries.left, entries.right) != ("(", ")") or len(entries.items) < 2:
        return None
    if all(len(row) == 1 for row in other):
        return tuple((item,) for item in entries.items)
    return (entries.items,) if len(other) == 1 else None


def by_interval(gold: str, answer: str, equal: Equal) -> Verdict | None:
    """An inequality equals the interval that it means, where they differ only in spelling."""
    gold_form, answer_form = interval_form(gold), interval_form(answer)
    if gold_form is None or answer_form is None or (gold_form[1] and answer_form[1] and gold_form[1] != answer_form[1]):
        return None
    forms = clean(gold_form[0]), clean(answer_form[0])
    if forms == (compact(gold), compact(answer)):
        return None
    return equal(*forms) or None


def by_unit(gold: str, answer: str, equal: Equal) -> Verdict | None:
    """The answers are compared without their units, which must agree where both have a unit of measurement."""
    gold_quantity, answer_quantity = quantity(gold), quantity(answer)
    if not (gold_quantity.has_unit or answer_quantity.has_unit):
        return None
    if units_disagree(gold_quantity.unit, answer_quantity.unit):
        return False
    return equal(clean(gold_quantity.body), clean(answer_quantity.body))


_EQUALS = r"(?<![<>!=:\\])=(?!=)|\\(?:approx|in|equiv)(?![a-z])"
_SYMBOLS = r"\(?(?>(?>\\?[A-Za-z]++'*+(?:\s*_\s*(?:\{[^{}]*\}|\w))?(?:\([^()=]*\))?[\s,:*]*+)+)\)?"
_NAME_OR_SYMBOL = re.compile(_SYMBOLS)
_NAME = re.compile(
    _SYMBOLS + r"|\|[^|]+\||\\(?:angle|triangle)\s*\w+|\\(?:frac|lim|overline|vec|hat|bar|mathbb)(?![A-Za-z]).*"
)
_VARIABLE = re.compile(r"(?<!\\)(?<![A-Za-z\\])(?!e(?![A-Za-z])|i(?![A-Za-z]))[A-Za-z]")


def by_equation(gold: str, answer: str, equal: Equal) -> Verdict | None:
    """`x = 5` and `f(2) = 5` equal 5, but `x + 1 = 5` does not. Two equations of the same name are compared by their values."""
    if exact_number(gold) is not None and (total := _SUM_OF_NAMES.fullmatch(answer)):
        return equal(gold, clean(total[1]))
    (name, gold_value), (other, answer_value) = _assignment(gold), _assignment(answer)
    if name is None and other is None:
        return _one_sided(gold, answer)
    if name and other and name != other and _is_symbol(name) and _is_symbol(other):
        return None if _has_variable(gold_value) and _has_variable(answer_value) else False  # 2y=x may be y=x/2
    if (name is None and _relations(gold)) or (other is None and _relations(answer)):
        return _one_sided(gold, answer)
    return equal(clean(gold_value), clean(answer_value))


_SUM_OF_NAMES = re.compile(r"(?:[A-Za-z]\s*\+\s*)+[A-Za-z]\s*=(?:.*=)?\s*([^=<>]+)")
"""`m+n=25`, an answer to a problem that asks for the number."""


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
    """True where the text has a letter that is not part of a command and neither e nor i."""
    return _VARIABLE.search(re.sub(r"\\[A-Za-z]+(?:\{[a-z]*matrix\})?", "", text)) is not None


def _pieces(text: str) -> tuple[str, ...]:
    return split_top(text, _EQUALS)


def _relations(text: str) -> bool:
    return len(_pieces(text)) > 1


def _is_symbol(text: str) -> bool:
    return re.fullmatch(r"\\?[A-Za-z]+(?:_(?:\{\w+\}|\w))?", text) is not None


def _one_sided(gold: str, answer: str) -> Verdict | None:
    """False where one answer is an equation without a value and the other is not an equation; else None."""
    return False if _relations(gold) != _relations(answer) else None

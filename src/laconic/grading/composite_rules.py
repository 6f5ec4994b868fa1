r"""Rules that compare answers made of parts: lists, tuples, intervals, unions, matrices, quantities with units, equations.

1. A rule takes the cleaned gold answer, the cleaned answer, and `equal`, which compares their parts by all the rules.
2. It returns, as described in `scalar_rules.py`, a verdict, or None where the rule does not apply to the pair.

What is left out: answers of one part (`scalar_rules.py`), and algebra. A union that could be simplified, or an equation that
could be rearranged, stays open.
"""

import re
from collections.abc import Iterable
from fractions import Fraction
from string import ascii_lowercase

from laconic.grading.inequalities import ascending, interval_form
from laconic.grading.latex_tables import UNITS
from laconic.grading.normal_form import MAX_PARTS, Parts, clean, compact, matrix_rows, parts, split_top
from laconic.grading.numbers import exact_number, quantity
from laconic.grading.scalar_rules import OPEN, Equal, Verdict, units_disagree


def by_parts(gold: str, answer: str, equal: Equal) -> Verdict | None:
    """Tuples and intervals are compared in order, with their brackets; sets, bare lists and unions in any order."""
    gold_parts, answer_parts = parts(_unnamed(gold, "=" in answer)), parts(_unnamed(answer, True))
    gold_parts = _in_gold_order(gold_parts, answer_parts)
    if not (gold_parts.left in ("(", "[") or _repeats(gold_parts)):
        gold_parts, answer_parts = _single(gold_parts), _single(answer_parts)
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


def _unnamed(text: str, is_sorted: bool) -> str:
    """`(y,x)=(1,2)` without its names: as (2,1) where the values shall be in the order of their names."""
    match = re.fullmatch(r"\(\s*([A-Za-z](?:\s*,\s*[A-Za-z])+)\s*\)\s*=\s*(\(.*\))", text)
    names = re.split(r"\s*,\s*", match[1]) if match else []
    if match is None or len(set(names)) < len(names):
        return text
    if not is_sorted or names == sorted(names):
        return match[2]
    values = parts(match[2])
    pairs = sorted(zip(names, values.items, strict=False))
    return f"({','.join(value for _, value in pairs)})" if values.left and len(values.items) == len(names) else text


def _values(own_parts: Parts, other: Parts) -> Parts:
    """`x=1, y=2` as the tuple (1,2) where the other side is a tuple: the values in the order of their names."""
    values = _assigned(own_parts, r"[A-Za-z](?:_\{?\w\}?)?") if other.left == "(" else {}
    return Parts(tuple(values[name] for name in sorted(values)), "(", ")") if values else own_parts


def _in_gold_order(gold_parts: Parts, answer_parts: Parts) -> Parts:
    """`m=3, n=4` as the tuple (3,4) where the answer is 3, 4 without names. The roots `x_1=3, x_2=4` have no order."""
    values = _assigned(gold_parts, rf"{_NAME.pattern}|[A-Za-z ]+?")
    is_bare = not answer_parts.left and len(answer_parts.items) > 1 and not any(map(_relations, answer_parts.items))
    has_order = len({name.partition("_")[0] for name in values}) == len(values) > 0
    return Parts(tuple(values.values()), "(", ")") if is_bare and has_order else gold_parts


def _assigned(own_parts: Parts, name: str) -> dict[str, str]:
    """The values by name of a list that gives each of several names one value; empty for anything else. A pattern says what a
    name is."""
    matches = [re.fullmatch(rf"({name})\s*=\s*([^=<>]+)", item) for item in own_parts.items]
    values = {match[1]: match[2] for match in matches if match}
    return values if not own_parts.left and len(values) == len(own_parts.items) > 1 else {}


def _inside(gold: str, answer: str, gold_parts: Parts, answer_parts: Parts, equal: Equal) -> Verdict | None:
    """Two single parts in the same kind of brackets are compared without the brackets."""
    if not gold_parts.items or not answer_parts.items or (gold_parts.items[0], answer_parts.items[0]) == (gold, answer):
        return None
    return equal(gold_parts.items[0], answer_parts.items[0])


def _repeats(gold_parts: Parts) -> bool:
    """Whether a gold answer is a bare list that has a part twice, as written: then every part counts."""
    spelled = [compact(item) for item in gold_parts.items]
    return not gold_parts.left and len(set(spelled)) < len(spelled)


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
    """Whether each gold part can be given an answer part of its own that equals it.

    Within a tolerance equality is not transitive, so a part that was given away may be exchanged for another.
    """
    verdicts: dict[tuple[int, int], Verdict] = {}
    owners: dict[int, int] = {}

    def compared(item: int, other: int) -> Verdict:
        if (item, other) not in verdicts:
            verdicts[item, other] = equal(gold_parts.items[item], answer_parts.items[other])
        return verdicts[item, other]

    def is_given_one(item: int, tried: set[int]) -> bool:
        for other in range(len(answer_parts.items)):
            if other not in owners and other not in tried and compared(item, other) is True:
                owners[other] = item
                return True
        for other, owner in list(owners.items()):
            if other not in tried and compared(item, other) is True:
                tried.add(other)
                if is_given_one(owner, tried):
                    owners[other] = item
                    return True
        return False

    def verdict(item: int) -> Verdict:
        if is_given_one(item, set()):
            return True
        free = (other for other in range(len(answer_parts.items)) if other not in owners)
        return OPEN if any(compared(item, other) is OPEN for other in free) else False

    return _all(verdict(item) for item in range(len(gold_parts.items)))


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
        gold_rows or _vector_like(gold, answer_rows, 2),
        answer_rows or _vector_like(answer, gold_rows, 1),
    )
    if gold_rows is None or answer_rows is None:
        return None
    if [len(row) for row in gold_rows] != [len(row) for row in answer_rows]:
        return False
    pairs = zip(sum(gold_rows, ()), sum(answer_rows, ()), strict=True)
    return _all(equal(a, b) for a, b in pairs)


def _vector_like(
    text: str, other: tuple[tuple[str, ...], ...] | None, least: int
) -> tuple[tuple[str, ...], ...] | None:
    r"""A tuple, or `3\hat{i}-\hat{j}` of at least `least` terms, as a matrix in the shape of `other`, a column or a row.

    None where `text` is neither, or `other` is neither.
    """
    if other is None or not (len(other) == 1 or all(len(row) == 1 for row in other)):
        return None
    entries = parts(text)
    is_tuple = (entries.left, entries.right) == ("(", ")") and len(entries.items) > 1
    items = entries.items if is_tuple else _along_axes(text, max(len(other), len(other[0])), least)
    if items is None:
        return None
    return tuple((item,) for item in items) if len(other) > 1 else (items,)


_AXIS = re.compile(
    r"(?:\\(?:hat|vec|mathbf|bm|boldsymbol|widehat|overrightarrow)\s*"
    r"(?:\{\s*([ijk])\s*\}|\{\s*\\([ij])math\s*\}|\\([ij])math(?![A-Za-z])|([ijk])(?![A-Za-z]))"
    r"|(?<![A-Za-z\\])([ijk]))\s*$"
)


def _along_axes(text: str, num_entries: int, least: int) -> tuple[str, ...] | None:
    """The factors of the unit vectors i, j and k, 0 where one is missing; None where a term has none, or two the same one."""
    axes = "ijk"[:num_entries]
    if num_entries not in (2, 3):
        return None
    terms = [term for term in split_top(re.sub(r"(?<=[^\s+(\[{,^=*/-])\s*([+-])", r"\n\1", text), r"\n") if term]
    found: dict[str, str] = {}
    for term in terms:
        axis = _AXIS.search(term)
        name = next(filter(None, axis.groups()), "") if axis else ""
        if axis is None or name not in axes or name in found:
            return None
        factor = re.sub(r"\s*(?:\\cdot|\\times|\*)\s*$", "", term[: axis.start()]).strip().removeprefix("+").strip()
        found[name] = {"": "1", "-": "-1"}.get(factor, factor)
    return tuple(clean(found.get(name, "0")) for name in axes) if len(found) >= least else None


def by_interval(gold: str, answer: str, equal: Equal) -> Verdict | None:
    """An inequality equals the interval that it means, where they differ only in spelling, and a chain equals it turned round."""
    gold_form = interval_form(gold)
    answer_form = interval_form(answer) if gold_form else None
    if gold_form is None or answer_form is None or (gold_form[1] and answer_form[1] and gold_form[1] != answer_form[1]):
        return _same_chain(gold, answer, equal)
    forms = clean(gold_form[0]), clean(answer_form[0])
    if forms == (clean(compact(gold)), clean(compact(answer))):
        return None
    return equal(*forms) or None


def _same_chain(gold: str, answer: str, equal: Equal) -> Verdict | None:
    chain = ascending(gold)
    other = ascending(answer) if chain else None
    if chain is None or other is None or chain[1] != other[1]:
        return None
    return _all(equal(clean(a), clean(b)) for a, b in zip(chain[0], other[0], strict=True)) or None


def by_phrase(gold: str, answer: str, equal: Equal) -> Verdict | None:
    """Numbers with words between them, such as `3 weeks 4 days`, `7 R 2` or `Row 3 Seat 5`, are compared in their order, word by
    word: an algebra engine would multiply the letters. Commas and "and" do not count where only one answer has them.
    """
    if not (_is_phrase(gold) or _is_phrase(answer)) or min(len(parts(gold).items), len(parts(answer).items)) > 1:
        return None
    terms, others = _phrase_terms(gold), _phrase_terms(answer)
    if len(terms) != len(others):
        return False
    return _all(
        equal(term, other) if is_number and is_other_number else not (is_number or is_other_number) and term == other
        for (is_number, term), (is_other_number, other) in zip(terms, others, strict=True)
    )


_NO_PHRASE = re.compile(r"[\\=<>^_+*({\[|]")
_PHRASE = re.compile(r"(?<![A-Za-z])(?:[A-Za-z]{2,}|[Rr])\s*\d|\d\s+[A-Za-z][A-Za-z\s]*\s\d")
_PHRASE_TERM = re.compile(
    r"(?P<number>\d+(?:,\d{3})*(?:\.\d+)?(?:/\d+)?|\.\d+)|,|(?<=[A-Za-z])\.|and(?![A-Za-z])|(?P<word>[A-Za-z]+|\S)"
)


def _is_phrase(text: str) -> bool:
    """Whether in a part a word of two letters or more, or the R of a remainder, stands before a number, or words between two
    numbers."""
    return any(_PHRASE.search(item) and not _NO_PHRASE.search(item) for item in parts(_plain_phrase(text)).items)


def _phrase_terms(text: str) -> list[tuple[bool, str]]:
    """The numbers and words of a phrase, each with whether it is a number; units by their one name, nouns without a plural s."""
    matches = [match for match in _PHRASE_TERM.finditer(_plain_phrase(text)) if match.lastgroup]
    return [
        (True, match["number"]) if match["number"] else (False, _word_name(match["word"].lower())) for match in matches
    ]


def _plain_phrase(text: str) -> str:
    return re.sub(r"\\unit\{([^{}]*)\}", r" \1 ", re.sub(r"\\frac\{(\d+)\}\{(\d+)\}", r" \1/\2", text))


def _word_name(word: str) -> str:
    return "remainder" if word == "r" else UNITS.get(word) or UNITS.get(word.removesuffix("s"), word.removesuffix("s"))


def by_unit(gold: str, answer: str, equal: Equal) -> Verdict | None:
    """The answers are compared without their units, which must agree where both have a unit of measurement."""
    gold_quantity, answer_quantity = quantity(gold), quantity(answer)
    if "bare " in gold_quantity.unit + answer_quantity.unit and not (
        gold_quantity.has_unit and answer_quantity.has_unit
    ):
        gold_letters, answer_letters = _with_letters(gold), _with_letters(answer)
        if gold_quantity.has_unit or _has_variable(gold):
            return equal(gold_letters, answer_letters)
    if not (gold_quantity.has_unit or answer_quantity.has_unit):
        return None
    if units_disagree(gold_quantity.unit, answer_quantity.unit):
        return False
    return equal(clean(gold_quantity.body), clean(answer_quantity.body))


def _with_letters(text: str) -> str:
    r"""`2 \unit{bare um}` as `2 {\mu}m`: the letters are no unit where the other answer is a formula."""
    text = re.sub(r"\\unit\{bare u([A-Za-z])\}", r"{\\mu}\1", text)
    return re.sub(r"\\unit\{bare ([kMGm]?)ohm\}", r"\1{\\Omega}", text)


# --- equations ---------------------------------------------------------------------------------------------------------

_EQUALS = r"(?<![<>!=:\\])=(?!=)|\\(?:approx|in|equiv)(?![a-z])"
_GREEK = (
    r"\\(?:alpha|beta|gamma|delta|(?:var)?epsilon|zeta|eta|(?:var)?theta|iota|kappa|lambda|mu|nu|xi|(?:var)?rho|sigma|tau"
    r"|upsilon|(?:var)?phi|chi|psi|omega|Gamma|Delta|Theta|Lambda|Xi|Sigma|Phi|Psi|Omega|ell|hbar)(?![A-Za-z])"
)
_INDEX = r"(?:_(?:\{[^{}]*\}|\\[A-Za-z]+ ?|\w))?+"
_WORD = r"(?i:sum|max|min|gcd|lcm|det|dim|rank|[a-z]{4,}+)(?![A-Za-z])"
_PRIMED = rf"(?:{_GREEK} ?|[A-Za-z](?![a-z]))'*+{_INDEX}'*+"
_LETTER = rf"(?:\\Delta ?)?(?:{_PRIMED})"
_LABEL = r"(?:[A-Z]'*+(?:_(?:\{\w+\}|\w))?+){2,8}"
_DECORATED = (
    r"\\(?:overline|vec|hat|bar|d?dot|tilde|wide(?:hat|tilde)|over(?:right|leftright)arrow|math(?:bb|cal|frak|scr))"
    rf"(?:\{{[\w']+\}}|[A-Za-z](?![A-Za-z])){_INDEX}"
)
_LENGTH = rf"\|(?:{_LABEL}|\\(?:vec|overline|overrightarrow)\{{\w+\}})\||\[{_LABEL}\]"
_ATOM = rf"[+-]?(?:\d[\d.]*(?:/\d+)?|\\frac\{{\d+\}}\{{\d+\}}|{_LETTER}|{_LABEL}|{_WORD})"
_ARGUMENTS = rf"[(\[]{_ATOM}(?:(?:[,;|]|\\(?:mid|cap|cup) ?){_ATOM})*+[)\]]"
_CALL = (
    rf"(?:(?:{_DECORATED}|{_LETTER}|{_LABEL}|{_WORD}|[A-Z][a-z]{{1,2}}(?![A-Za-z])|[fgh]\^\{{-1\}}){_ARGUMENTS}"
    r"|\\(?:a?rc)?(?:sin|cos|tan|cot|sec|csc|log|ln|lg|arg|det|dim|gcd|max|min|Re|Im)"
    rf"{_INDEX} ?(?:{_ATOM}|{_ARGUMENTS}|\\angle ?{_LABEL}))"
)
_QUANTITY = (
    rf"{_CALL}|{_DECORATED}|{_WORD}|{_LETTER}|{_LABEL}|{_LENGTH}|m?\\(?:angle|triangle) ?(?:{_LABEL}|{_LETTER}|\d)"
    rf"|\\frac\{{(?:{_LABEL}|{_LENGTH})\}}\{{(?:{_LABEL}|{_LENGTH})\}}|{_LABEL}[/:]{_LABEL}"
)
_NAME = re.compile(rf"{_QUANTITY}|\(?(?:{_LETTER})(?:[,:](?:{_LETTER}))++\)?|\\lim(?![A-Za-z]).*")
"""What an equation gives a value to, without spaces: it holds no operator. `x(x-1)`, `xy` and `|x-1|` are no names."""

_FACTORS = rf"(?>(?:{_CALL}|{_DECORATED}|\\?[A-Za-z]++'*+{_INDEX})(?:[ ,:*]|\\cdot)*+)++"
_DERIVED = r"\\frac\{(?:d|\\partial ?)(?:\^\w)?[^{}+-]*\}\{(?:d|\\partial ?)[^{}+-]*\}"
_STATED = re.compile(
    rf"{_NAME.pattern}|{_FACTORS}|\|{_FACTORS}\||{_DERIVED}|\\frac\{{(?:{_FACTORS}|{_LENGTH})\}}\{{(?:{_FACTORS}|{_LENGTH})\}}"
)
"""What an answer may say that a bare gold value is the value of: also a product or a quotient of names, and a derivative."""

_CALLED = re.compile(r"([^(]+)\(([^()]*)\)")
_SIDES = re.compile(r"\|([A-Z])([A-Z])\||\\overline\{([A-Z])([A-Z])\}|([A-Z])([A-Z])")
_ANGLE = re.compile(r"m?\\angle ?([A-Z])([A-Z])([A-Z])")
_VARIABLE = re.compile(r"(?<!\\)(?<![A-Za-z\\])(?!e(?![A-Za-z])|i(?![A-Za-z]))[A-Za-z]")
_GREEK_LETTER = re.compile(_GREEK)


def by_equation(gold: str, answer: str, equal: Equal) -> Verdict | None:
    """`x = 5` and `f(2) = 5` equal 5, but `x + 1 = 5` does not.

    Two equations that name the same are compared by their values, and two of which one names nothing are left to algebra.
    """
    if _ANGLE.fullmatch(compact(gold)) and _ANGLE.fullmatch(compact(answer)):
        return _name_the_same(compact(gold), compact(answer))
    if exact_number(gold) is not None and (total := _SUM_OF_NAMES.fullmatch(answer)):
        return equal(gold, clean(total[1]))
    is_bare = not _relations(gold)
    (name, gold_value), (other, answer_value) = _assignment(gold), _assignment(answer, _STATED if is_bare else _NAME)
    if name is None and other is None:
        return _one_sided(gold, answer)
    if (name is None and not is_bare) or (other is None and _relations(answer)):
        return _one_sided(gold, answer)
    if name and other and name != other:
        other, answer_value = _with_letter_of(name, other, answer_value)
    if name and other and not _name_the_same(name, other):
        has_variables = _has_variable(gold_value) and _has_variable(answer_value)  # 2y=x may be y=x/2
        return None if has_variables or r"\lim" in name else False
    return equal(clean(gold_value), clean(answer_value))


_SUM_OF_NAMES = re.compile(r"(?:[A-Za-z]\s*\+\s*)+[A-Za-z]\s*=(?:.*=)?\s*([^=<>]+)")
"""`m+n=25`, an answer to a problem that asks for the number."""


def _with_letter_of(name: str, other: str, value: str) -> tuple[str, str]:
    """`f(m)` and `m+1` as `f(n)` and `n+1` where the first name is `f(n)`; unchanged for other names, and for a value with n."""
    called, other_call = _CALLED.fullmatch(name), _CALLED.fullmatch(other)
    if called is None or other_call is None or called[1] != other_call[1]:
        return other, value
    letter, own_letter = called[2], other_call[2]
    are_letters = len(letter) == len(own_letter) == 1 and letter.islower() and own_letter.islower()
    if not are_letters or letter in re.sub(r"\\[A-Za-z]+", "", value):
        return other, value
    return name, re.sub(rf"(?<![A-Za-z\\]){own_letter}(?![A-Za-z])", letter, value)


def _name_the_same(name: str, other: str) -> bool:
    """Two spellings of one name, such as `|AB|` and `BA`; or a function of letters, and `y` or the function without them."""
    if _in_order_of_letters(name) == _in_order_of_letters(other):
        return True
    call, symbol = (name, other) if "(" in name else (other, name)
    called = _CALLED.fullmatch(call)
    if called is None or not re.fullmatch(r"[A-Za-z](?:,[A-Za-z])*", called[2]):
        return False
    return symbol == called[1] or (symbol in ("y", "z") and symbol not in called[2])


def _in_order_of_letters(name: str) -> str:
    r"""`|BA|` and `\overline{AB}` as AB, the angle CBA as the angle ABC."""
    if side := _SIDES.fullmatch(name):
        return "".join(sorted(letter for letter in side.groups() if letter))
    if angle := _ANGLE.fullmatch(name):
        return rf"\angle {min(angle[1], angle[3])}{angle[2]}{max(angle[1], angle[3])}"
    return name


def _assignment(text: str, pattern: re.Pattern[str] = _NAME) -> tuple[str | None, str]:
    """(name, value) of `name = ... = value`, `value = name`, or a chain of numbers; (None, text) for anything else.

    `pattern` says what a name is.
    """
    pieces = _pieces(text)
    if len(pieces) < 2 or re.search(r"[<>]|\\[lg]eq", text) or sum(map(_relations, parts(text).items)) > 1:
        return None, text
    kept = split_top(text.partition(r"\approx")[0], _EQUALS) if text.count("=") else pieces
    value = kept[-1].strip() or pieces[-1].strip()
    first, last = compact(pieces[0].strip()), compact(pieces[-1].strip())
    is_name = _is_name(first, pattern)
    if r"\approx" in text and "=" not in text and not is_name:
        return "", pieces[0].strip()
    if is_name:
        return first, value if len(kept) > 1 else pieces[1].strip()
    if _is_name(last, _NAME):
        return last, pieces[0].strip()
    return ("", value) if not _has_variable(pieces[0]) and not _has_variable(value) else (None, text)


def _is_name(text: str, pattern: re.Pattern[str]) -> bool:
    """Whether the pattern knows the name. Letters in the order of the alphabet (`wxyz`) are a product, and no word."""
    if pattern.fullmatch(text) is None:
        return False
    return pattern is not _NAME or not (len(text) > 1 and text.islower() and text in ascii_lowercase)


def _has_variable(text: str) -> bool:
    """True where the text has a Greek letter but pi, or a letter that is not part of a command and neither e nor i."""
    if _GREEK_LETTER.search(text):
        return True
    return _VARIABLE.search(re.sub(r"\\[A-Za-z]+(?:\{[a-z]*matrix\})?", "", text)) is not None


def _pieces(text: str) -> tuple[str, ...]:
    return split_top(text, _EQUALS)


def _relations(text: str) -> bool:
    return len(_pieces(text)) > 1


def _one_sided(gold: str, answer: str) -> Verdict | None:
    """False where one answer is an equation without a value and the other is not an equation; else None."""
    return False if _relations(gold) != _relations(answer) else None

"""Every option of every reward of the package has a range: inside it the reward can be paid, outside it one line says which."""

import re
import warnings
from pathlib import Path

import pytest

from laconic.rewards.paying import check_terms, try_terms
from laconic.rewards.ranges import Range
from laconic.rewards.table import REWARDS

CAP = 1024
OPTIONS = [(name, option) for name, row in REWARDS.items() for option in row.ranges]


def outside(of: Range) -> list[float]:
    values = [of.low - 1e-12 - abs(of.low), of.high * 2 + 1, -1e9, 1e10, float("nan"), True]
    return [*values, *([of.low + 0.5] if of.is_whole else []), *([CAP + 1] if of.within_cap else [])]


def try_one(name: str, **options: float) -> None:
    """As a recipe's check does, with every numpy warning an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try_terms([(name, 1.0, options)], Path(), group_size=6, max_tokens=CAP, budget_tokens=100, has_reference=True)


@pytest.mark.parametrize("name", REWARDS)
def test_every_option_that_is_a_number_has_a_range_and_its_default_lies_inside(name: str) -> None:
    row = REWARDS[name]
    assert set(row.ranges) == {option for option, value in row.defaults.items() if not isinstance(value, bool)}
    for option, given in row.ranges.items():
        if row.defaults[option] is not None:
            given.check(option, row.defaults[option])


@pytest.mark.parametrize(("name", "option"), OPTIONS)
def test_a_value_outside_is_refused_in_one_line_and_one_inside_is_paid(name: str, option: str) -> None:
    given = REWARDS[name].ranges[option]
    low, high = f"{given.low:g}", f"{CAP if given.within_cap else given.high:g}"
    for value in outside(given):
        with pytest.raises(ValueError, match=re.escape(f"reward {name!r}: option {option}: expected ")) as refused:
            try_one(name, **{option: value})
        assert value is True or f"{low} to {high}" in str(refused.value)
    for value in (given.low, min(given.high, CAP) if given.within_cap else given.high):
        below = {two: min(REWARDS[name].ranges[two].high, CAP) for one, two in REWARDS[name].in_order if one == option}
        above = {one: REWARDS[name].ranges[one].low for one, two in REWARDS[name].in_order if two == option}
        try_one(name, **(below | above | {option: value}))


def test_a_lower_bound_is_not_above_its_upper_one() -> None:
    with pytest.raises(ValueError, match=r"option min_weight: expected at most max_weight = 0\.5, got 0\.6"):
        check_terms([("acoer", 1.0, {"min_weight": 0.6})])

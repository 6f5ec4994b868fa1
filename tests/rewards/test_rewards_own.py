"""A person's own reward in a file of theirs: found, checked, and paid like any other."""

import re

import numpy as np
import pytest
from rewarded import group

from laconic.rewards.own import load_own
from laconic.rewards.paying import check_terms, pay
from laconic.rewards.table import REWARDS, own_rewards
from laconic.system.own_files import is_own

NAME = "my_rewards.py:short_and_right"
SOURCE = """
import numpy as np

def short_and_right(numbers, tokens=100.0):
    return np.where(numbers.is_correct & (numbers.lengths <= tokens), 1.0, 0.0)
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "my_rewards.py").write_text(SOURCE)
    return tmp_path


def test_an_own_reward_is_paid_like_any_other(folder):
    """Beside the package's, with options and weight; 100 tokens are short, 101 not."""
    numbers = group([100, 101, 50], "CCW")
    total, parts = pay(numbers, [("levels", 1.0, {}), (NAME, 2.0, {})], folder=folder)
    assert parts[NAME].tolist() == [2.0, 0.0, 0.0]
    assert total.tolist() == [3.0, 1.0, -0.5]
    assert pay(numbers, [(NAME, 1.0, {"tokens": 101})], folder=folder)[0].tolist() == [1.0, 1.0, 0.0]


def test_an_own_reward_loaded_once_joins_the_table(folder):
    """What a run does: the file may then change or vanish without changing the pay."""
    table = {**REWARDS, **own_rewards([NAME, "levels"], folder)}
    assert set(table) - set(REWARDS) == {NAME}
    (folder / "my_rewards.py").unlink()
    assert pay(group([100], "C"), [(NAME, 1.0, {})], table)[0].tolist() == [1.0]


@pytest.mark.parametrize(
    ("returned", "paid"), [("np.ones(2)", [1.0, 0.0]), ("[5, 5]", [5.0, 0.0]), ("np.array([True, True])", [1.0, 0.0])]
)
def test_an_own_reward_pays_nothing_for_the_ungradable(tmp_path, returned, paid):
    """Whatever it says of them."""
    (tmp_path / "mine.py").write_text(f"import numpy as np\ndef f(numbers):\n    return {returned}\n")
    assert pay(group([9, 9], "CU"), [("mine.py:f", 1.0, {})], folder=tmp_path)[0].tolist() == paid


@pytest.mark.parametrize(
    "returned", ["np.ones(3)", "np.array([1.0, np.nan])", "1.0", "None", "['a', 'b']", "[[1], [2, 3]]"]
)
def test_an_own_reward_must_return_k_finite_numbers(tmp_path, returned):
    """Anything else is refused by name."""
    (tmp_path / "mine.py").write_text(f"import numpy as np\ndef f(numbers):\n    return {returned}\n")
    with pytest.raises(ValueError, match=r"reward 'mine.py:f': expected 2 finite numbers"):
        pay(group([9, 9], "CW"), [("mine.py:f", 1.0, {})], folder=tmp_path)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("def other(numbers): pass", r"expected a function 'f'; it has: other"),
        ("f = 3", r"expected a function 'f'; it has: none"),
        ("def f(): pass", r"f takes no numbers: expected f\(numbers, option=default, ...\)"),
        ("def f(*, numbers): pass", r"f takes no numbers"),
        ("def f(numbers, tokens): pass", r"f has option 'tokens' without a default"),
        ("def f(numbers, *, tokens): pass", r"f has option 'tokens' without a default"),
        ("def f(numbers, **options): pass", r"f has \*\*options: expected options by name"),
        ("def f(numbers:", r"expected a file that runs, got SyntaxError"),
        ("raise RuntimeError('no\\nluck')", r"expected a file that runs, got RuntimeError: no luck"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_line(tmp_path, source, says):
    """The line names the file and what was expected."""
    (tmp_path / "mine.py").write_text(source + "\n")
    with pytest.raises(ValueError, match=says) as caught:
        load_own("mine.py:f", tmp_path)
    assert str(tmp_path / "mine.py") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("none.py:f", r"none.py: no such file; reward 'none.py:f' is looked up from the recipe's folder"),
        ("none.py:", r"expected FILE.py:FUNCTION"),
        ("none.py:f g", r"expected FILE.py:FUNCTION"),
    ],
)
def test_a_name_that_leads_nowhere_is_refused(tmp_path, name, says):
    """By loading, and by `check_terms` before a run begins."""
    with pytest.raises(ValueError, match=says):
        load_own(name, tmp_path)
    with pytest.raises(ValueError, match=says):
        check_terms([(name, 1.0, {})], folder=tmp_path)


def test_own_names_are_told_apart_from_the_tables():
    """A path and a function; none of the package's names looks like one."""
    assert is_own(NAME)
    assert not any(map(is_own, REWARDS))


def test_options_of_an_own_reward_are_checked(folder):
    """As for the package's: unknown ones are named, with what there is."""
    with pytest.raises(ValueError, match="has no option 'token'; it has: tokens"):
        check_terms([(NAME, 1.0, {"token": 1})], folder=folder)


def test_a_file_is_loaded_anew_each_time_and_may_lie_in_a_subfolder(tmp_path):
    """No stale copy from an earlier load; dataclasses with postponed annotations work in it."""
    (tmp_path / "sub").mkdir()
    path = tmp_path / "sub" / "mine.py"
    head = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass A:\n    x: int = 1\n"
    )
    for level in (1, 2):
        path.write_text(f"{head}def f(numbers):\n    return numbers.lengths * 0 + {level}\n")
        assert np.unique(load_own("sub/mine.py:f", tmp_path)(group([5, 6], "CW"))).tolist() == [level]


KINDS = {
    "async def f(x):\n    return x.lengths * 1.0": "f is an async function: expected one that returns the rewards",
    "async def f(x):\n    yield 1.0": "f is an async function",
    "def f(x):\n    yield 1.0": "f is a generator: expected a function that returns the rewards",
    "class F:\n    async def __call__(self, x): return 1.0\nf = F()": "f is an async function",
    "def f(x, a): return x.lengths * a": "has option 'a' without a default: expected one, such as a=1.0",
    "def f(x, a='b'): return x.lengths * 1.0": "has option 'a' with the default 'b': expected a number or a truth",
    "def f(x, a=None): return x.lengths * 1.0": "has option 'a' with the default None: expected a number",
}


@pytest.mark.parametrize("code", KINDS)
def test_a_function_of_another_kind_is_one_line(tmp_path, code, capsys):
    """Before it is called, and without a warning of Python's."""
    (tmp_path / "r.py").write_text(code + "\n")
    with pytest.raises(ValueError, match=re.escape(KINDS[code])):
        load_own("r.py:f", tmp_path)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("returned", ["np.ma.masked_equal([1.0, 2.0], 2.0)", "later()"])
def test_what_is_masked_or_comes_later_is_no_number(tmp_path, returned, capsys):
    code = f"import numpy as np\nasync def later(): return 1.0\ndef f(x): return {returned}\n"
    (tmp_path / "r.py").write_text(code)
    with pytest.raises(ValueError, match="expected 2 finite numbers"):
        load_own("r.py:f", tmp_path)(group([5, 6], "CW"))
    assert capsys.readouterr().err == ""


def test_what_a_reward_prints_is_printable_and_short(tmp_path, capsys):
    (tmp_path / "r.py").write_text("def f(x):\n    print('\\x1b[2J' + 'x' * 70000)\n    return x.lengths * 1.0\n")
    reward = load_own("r.py:f", tmp_path)
    for _ in range(2):
        reward(group([5, 6], "CW"))
    said = capsys.readouterr().err
    assert "\\x1b[2J" in said and "\x1b" not in said and len(said) < 3000

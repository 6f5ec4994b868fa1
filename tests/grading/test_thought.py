"""Where thinking ends: each pair of marks, opened by the response or before it, and a thought that never ends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laconic.grading.extraction import extract_answer
from laconic.grading.thought import ALL_MARKS, MARKS, after_thought, find_thought, mark_at_end


@pytest.mark.parametrize("marks", MARKS)
@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"{o}Try \boxed{{7}}. No.{c}\boxed{{8}}", "8"),
        (r"Try \boxed{{7}}. No.{c}\boxed{{8}}", "8"),  # opened before the text, or not at all
        (r"{o}Try \boxed{{7}}. Wait,", None),
        (r"{o}Try \boxed{{7}}.{c}", None),
        (r"{o}a{c}\boxed{{7}}{o}or \boxed{{8}}", None),  # it thinks again, and does not end
        (r"{o}a{o}b{c}\boxed{{8}}", "8"),  # opened twice is one thought
        (r"{o}a{c}\boxed{{7}}{o}no{c}\boxed{{8}}", "8"),
        (r"\boxed{{8}}", "8"),
    ],
)
def test_an_answer_is_looked_for_after_the_last_thought_and_an_open_one_has_none(marks, text, answer):
    for case in (str, str.upper, str.lower):
        written = text.format(o=case(marks.opens), c=case(marks.closes))
        assert extract_answer(written) == answer, written


def test_marks_of_another_kind_inside_a_thought_are_part_of_it():
    assert after_thought("<think>such as [THINK] or [/THINK] or <thought></think>8") == "8"
    assert after_thought("<think>such as [THINK] or [/THINK]") is None


@pytest.mark.parametrize("mark", ALL_MARKS)
def test_a_prompt_that_ends_with_a_mark_tells_it(mark):
    assert mark_at_end(f"What is 3 + 4?<|assistant|>{mark}\n\n") == mark
    assert mark_at_end(f"What does {mark} mean?") == ""


@given(st.lists(st.sampled_from([*ALL_MARKS, "a", r"\boxed{7}", " "]), max_size=12).map("".join))
def test_what_follows_a_thought_holds_no_end_of_one(text):
    """Closed again, a text that ended inside a thought has an empty rest; else the rest ends no thought and opens none."""
    thought, rest = find_thought(text), after_thought(text)
    assert (rest is None) is thought.is_open
    if rest is not None:
        assert text.endswith(rest) and find_thought(rest).end == 0

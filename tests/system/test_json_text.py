"""JSON as its standard has it: Python's own reader lets more through."""

import pytest

from laconic.system.json_text import parse_json


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("NaN", "NaN is no number; what does not exist is null"),
        ("[-Infinity]", "-Infinity is no number"),
        ('{"a": 1e400}', "1e400 is beyond the range of floating point"),
        ("-1e999", "-1e999 is beyond the range"),
        ('{"a": 1, "b": 2, "a": 1}', "the key 'a' stands twice in one object"),
        ('[{"a": {"b": 1, "b": 1}}]', "the key 'b' stands twice"),
        ("1" * 5000, "Exceeds the limit"),
        ("{", "Expecting property name"),
    ],
)
def test_what_is_no_json_is_refused(text: str, says: str) -> None:
    with pytest.raises(ValueError, match="^" + says.replace("(", r"\(").replace("+", r"\+")):
        parse_json(text)


def test_the_rest_is_read_as_ever() -> None:
    """Large and small numbers that floating point holds, nested objects with the same keys, null."""
    assert parse_json('{"a": {"a": [1, -2.5e-7, 1e308, null, true, "NaN"]}}') == {
        "a": {"a": [1, -2.5e-7, 1e308, None, True, "NaN"]}
    }

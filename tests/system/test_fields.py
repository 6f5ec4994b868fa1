"""A JSON object read key by key: what is missing, what is of another kind, and where it stands."""

from collections.abc import Callable
from math import isnan

import pytest

from laconic.errors import InputError, LaconicWarning
from laconic.system.fields import Fields, warn_of_unread

WHERE = "samples.jsonl, line 3"
RECORD = {
    "seed": -1,
    "nothing": None,
    "inner": {"list": [{"n": 1}, {"n": "1"}], "mixed": [0.5, None], "short": [1, "a"]},
}


def test_what_is_missing_or_null_is_unknown_where_the_reader_says_so() -> None:
    fields = Fields(RECORD, WHERE)
    for key in ("absent", "nothing"):
        assert fields.maybe(key, fields.text) is None
        assert isnan(fields.figure(key)) and fields.figures(key) == () == fields.texts(key)
        assert fields.claim(key) is False and fields.object(key).record == {}


def test_a_seed_may_be_negative_and_a_count_not() -> None:
    fields = Fields(RECORD, WHERE)
    assert fields.integer("seed") == -1
    with pytest.raises(InputError, match="seed is -1, expected a whole number from 0 up"):
        fields.whole("seed")


@pytest.mark.parametrize(
    ("read", "says"),
    [
        (lambda fields: fields.text("absent"), "absent is missing"),
        (lambda fields: fields.need(("seed", "absent")), "absent is missing"),
        (lambda fields: fields.text("nothing"), "nothing is None, expected text"),
        (lambda fields: fields.object("inner").numbers("mixed"), "inner.mixed.1 is None, expected a number"),
        (lambda fields: fields.object("inner").integers("short"), "inner.short.1 is 'a', expected a whole number"),
        (lambda fields: fields.object("inner").objects("mixed"), "inner.mixed.0 is 0.5, expected an object"),
        (
            lambda fields: [one.whole("n") for one in fields.object("inner").objects("list")],
            "inner.list.1.n is '1', expected a whole number from 0 up",
        ),
    ],
)
def test_a_complaint_names_origin_place_and_what_was_expected(read: Callable[[Fields], object], says: str) -> None:
    with pytest.raises(InputError) as error:
        read(Fields(RECORD, WHERE))
    assert str(error.value) == f"{WHERE}: {says}"


@pytest.mark.parametrize(
    ("record", "says"),
    [
        ({"acuracy": 1, "tokens": {"mean": 2.0}}, "'acuracy'"),
        ({"tokens": {"mean": 2.0, "ci96": [0, 1]}}, "'tokens.ci96'"),
        ({"points": [{"n": 1}, {"n": 2, "m": 0}], "tokens": {"x": 1}}, "'points.1.m' and 1 others"),
        ({"tokens": {"mean": 2.0, "later": None}, "points": [], "planning": {}}, None),
    ],
)
def test_what_nobody_reads_is_a_warning_that_names_it(
    record: dict[str, object], says: str | None, recwarn: pytest.WarningsRecorder
) -> None:
    """What is lost when a record is read and written again, however deep it stands; a key without a value says nothing."""
    warn_of_unread(record, {"tokens": {"mean": 2}, "points": [{"n": 1}, {"n": 2}]}, WHERE)
    said = [str(warning.message) for warning in recwarn if warning.category is LaconicWarning]
    assert said == ([] if says is None else [f"{WHERE}: nothing reads {says}; mistyped, or written by another version"])


def test_null_among_figures_is_nan() -> None:
    half, unknown = Fields(RECORD, WHERE).object("inner").figures("mixed")
    assert half == 0.5 and isnan(unknown)

"""What `text` and `screen` claim: what comes in can be written again or is one line, and what is shown changes nothing but what a
person reads."""

import io
import json

import pytest
from broken_text import ANSI, BROKEN_JSON, BROKEN_TOML
from rich.console import Group
from rich.progress import Progress, TextColumn
from rich.table import Table

from laconic.errors import InputError
from laconic.system.files import (
    append_jsonl,
    read_json,
    read_json_value,
    read_jsonl,
    to_jsonl,
    write_json_atomically,
    write_text_atomically,
)
from laconic.system.progress import Reporter
from laconic.system.screen import Screen
from laconic.system.text import (
    MOST_LINE,
    brief,
    check_values,
    in_two_lines,
    parse_json,
    parse_toml,
    printable,
)


@pytest.mark.parametrize("name", BROKEN_JSON)
def test_what_cannot_be_written_again_is_one_line(tmp_path, name):
    """By itself, as a file, and as a line of a file."""
    content, said = BROKEN_JSON[name]
    path = tmp_path / "a.json"
    path.write_bytes(content)
    for read in (lambda: parse_json(content, "here"), lambda: read_json_value(path), lambda: list(read_jsonl(path))):
        with pytest.raises(InputError) as caught:
            read()
        assert said in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "content",
    [b'{"a": "\\ud83d\\ude00"}', b'{"a": 1e40}', b'{"a": 1e-400}', b"[" * 100 + b"]" * 100, b"\xef\xbb\xbf{}"],
)
def test_what_can_be_written_is_read(content):
    """A pair that spells one character, large and small numbers, a hundred levels, a byte order mark."""
    assert json.loads(json.dumps(parse_json(content, "here"), ensure_ascii=False).encode()) is not None


def test_a_reply_is_read_as_far_as_it_can_be():
    """Nobody can mend it: what is no number is null, what is no UTF-8 is replaced."""
    assert parse_json(b"[1e400, -1e400, 1e300]", "reply", is_reply=True) == [None, None, 1e300]
    assert parse_json(b'{"a": NaN, "b": "\xff", "c": "\\ud800"}', "reply", is_reply=True) == {
        "a": None,
        "b": "\ufffd",
        "c": "\ud800",
    }


@pytest.mark.parametrize(("content", "said"), BROKEN_TOML.values(), ids=BROKEN_TOML)
def test_a_table_of_toml_is_one_line_too(content, said):
    with pytest.raises(InputError, match=said) as caught:
        parse_toml(content, "recipe.toml")
    assert str(caught.value).startswith("recipe.toml: ") and "\n" not in str(caught.value)


def test_every_text_can_be_written_and_means_the_same_when_it_is_read(tmp_path):
    """Half of a character becomes its escape, with which JSON spells it."""
    record = {"text": "4\ud800"}
    append_jsonl(tmp_path / "a.jsonl", record)
    write_text_atomically(tmp_path / "b.jsonl", to_jsonl([record]))
    write_json_atomically(tmp_path / "c.json", record)
    for name in ("a.jsonl", "b.jsonl", "c.json"):
        assert json.loads((tmp_path / name).read_bytes()) == record
    with pytest.raises(InputError, match="half of a character"):
        read_json(tmp_path / "c.json")


def test_texts_can_be_refused_what_no_path_can_hold():
    with pytest.raises(InputError, match=r"holds '\\x00' in 'a\\x00b'"):
        check_values({"model": ["a\0b"]}, "recipe", refused="\0")


# --- what is shown ---------------------------------------------------------------------------------------------------


def test_a_message_is_two_printable_lines_at_most_and_keeps_its_end():
    """The remedy stands at the end."""
    shown = in_two_lines(f"file: {ANSI}\n\n\n{'x' * 10**6}\nmore\nmend it so" + "\n" * 5)
    first, second = shown.splitlines()
    assert first == printable(f"file: {ANSI.strip()}") and shown == printable(shown)
    long = in_two_lines("x" * 5000 + " mend it so")
    assert MOST_LINE - 2 < len(long) <= MOST_LINE and long.endswith(" mend it so")
    assert len(second) <= MOST_LINE and second.endswith("x more mend it so")
    assert in_two_lines("\n \n") == ""


@pytest.mark.parametrize("value", ["x" * 10**6, list(range(10**5)), {"a": {"b": {"c": {}}}}, 10**4000, ANSI, None])
def test_any_value_is_shown_in_short(value):
    nested = []
    for _ in range(5000):
        nested = [nested]
    for each in (value, [value], nested):
        assert len(brief(each)) <= 80 and brief(each) == printable(brief(each)) and "\n" not in brief(each)


def shown_by(work) -> str:
    screen = Screen(file=io.StringIO(), width=60, force_terminal=True, color_system="truecolor")
    work(screen)
    return screen.file.getvalue()


def test_a_table_loses_no_text_however_narrow_the_screen_is(monkeypatch):
    """Words that are wider than their column go on in the next line; what is no terminal has 120 columns."""
    monkeypatch.delenv("COLUMNS", raising=False)
    path, number = "/a/path/" + "x" * 200, "123,456,789"

    def printed(**settings):
        screen, rows = Screen(file=io.StringIO(), **settings), Table("what", "where")
        rows.add_row(number, path)
        screen.print(Group(rows))
        return screen.file.getvalue()

    for settings in ({"width": 30}, {"width": 80}, {}):
        text = printed(**settings)
        cells = [line[1:-1].split("│") for line in text.splitlines() if line.startswith("│")]
        assert ["".join(cell.strip() for cell in column) for column in zip(*cells, strict=True)] == [number, path]
        assert "…" not in text and max(map(len, text.splitlines())) == settings.get("width", 120)


def test_a_screen_shows_text_from_outside_as_it_is():
    """In lines, in tables and in bars: no markup is read, no escape gets through; rich's own colours do."""
    text = f"[red]a[/red] [/nothing] [link=http://x]b[/link] {ANSI}"

    def table(screen):
        rows = Table(text, title=text, caption=text)
        rows.add_row(text, style="bold")
        screen.print(rows)

    def bar(screen):
        with Progress(TextColumn("{task.description}", markup=False), console=screen) as live:
            live.add_task(text)

    def named_bar(screen):
        with Reporter(screen).bar(text, 1) as advance:
            advance(1, 10)

    for work in (lambda screen: screen.print(text, style="bold"), table, bar, named_bar):
        shown = shown_by(work)
        assert "\x1b]0" not in shown and "\x07" not in shown and "\x9b" not in shown and "\u202e" not in shown
        assert "\x1b[31m" not in shown and "[red]" in shown, repr(shown)
    assert "\x1b[1m" in shown_by(lambda screen: screen.print("mine", style="bold"))

"""docs/commands.md: every command with its arguments, options and defaults, as its own help has them.

    python docs/hooks/commands_page.py      # writes the page; a test holds it against the commands

It is read off the signatures of the functions behind the commands. What is left out: what a command is for, which the guides say.
"""

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

from typer.models import ArgumentInfo

from laconic.cli.app import COMMANDS, every_command, functions_of

PAGE = Path(__file__).resolve().parents[1] / "commands.md"
HEAD = """# Commands

Every command with its arguments, options and defaults; `laconic COMMAND --help` prints the same. This page is made from the
commands, by `python docs/hooks/commands_page.py`.
"""
COLUMNS = ("| | takes | default | |", "|---|---|---|---|")


def commands_page() -> str:
    """The page as Markdown."""
    parts = [part for name, function in every_command() for part in _parts(name, function)]
    return HEAD + "".join(f"\n{part}\n" for part in parts)


def _parts(name: str, function: Callable[..., None]) -> Iterator[str]:
    """The heading of a command, what it does, and what it takes; before the first of a group, the heading of the group."""
    group, _, inner = name.partition(" ")
    if inner and inner == next(iter(functions_of(group))):
        yield f"## laconic {group}"
        yield COMMANDS[group][2]
    yield f"{'###' if inner else '##'} laconic {name}"
    yield " ".join((inspect.getdoc(function) or "").split())
    rows = [_row(parameter) for parameter in inspect.signature(function, eval_str=True).parameters.values()]
    if rows:
        yield "\n".join((*COLUMNS, *rows))


def _row(parameter: inspect.Parameter) -> str:
    """One argument or option as a row of the table."""
    kind, *facts = get_args(parameter.annotation)
    info = next(fact for fact in facts if hasattr(fact, "param_decls"))
    plain = next((one for one in get_args(kind) if one is not type(None)), kind)
    is_many = list in (kind, get_origin(kind), get_origin(plain))
    if isinstance(info, ArgumentInfo):
        shown = f"`{info.metavar or parameter.name.upper() + '...' * is_many}`"
    else:
        given = (info.default, *(info.param_decls or ()))  # typer takes the first name for the default
        names = [word for word in given if isinstance(word, str) and word.startswith("-")]
        shown = f"`{' '.join(names) or '--' + parameter.name.replace('_', '-')}`"
    inside = next(iter(get_args(plain)), plain) if is_many else plain
    takes = "" if inside is bool else _word(inside) + ", repeated" * (is_many and not isinstance(info, ArgumentInfo))
    cells = (shown, takes, _default(parameter.default, info), " ".join((info.help or "").split()))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _word(kind: Any) -> str:
    words = {str: "text", int: "whole number", float: "number", Path: "path"}
    return words.get(kind, getattr(kind, "__name__", str(kind)))


def _default(default: Any, info: Any) -> str:
    """The default in words: "required", nothing where there is none, or the value."""
    if default is inspect.Parameter.empty or default is ...:
        return "required"
    if isinstance(info.show_default, str):
        return info.show_default
    if default is None or default is False or default == "" or info.show_default is False:
        return ""
    return f"`{default}`"


if __name__ == "__main__":
    PAGE.write_text(commands_page(), encoding="utf-8")
    print(PAGE)

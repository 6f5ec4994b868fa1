"""Words of others in a card: of whoever wrote problems, prompts or names of slices. They stay in their line, and make no heading,
no tag and no end of a block of code."""

import re


def code(text: str) -> str:
    """A text as code within a line, whatever it holds (CommonMark 0.31, section 6.1).

    >>> code("data/mine.jsonl"), code("a `b`"), code("two\\nlines")
    ('`data/mine.jsonl`', '`` a `b` ``', '`two lines`')
    """
    line = " ".join(text.split())
    mark = "`" * (_longest_ticks(line) + 1)
    pad = " " if "`" in line else ""
    return f"{mark}{pad}{line}{pad}{mark}"


def plain(text: str) -> str:
    """A text within a line, without tags.

    >>> plain("a <b>\\n# c")
    'a &lt;b> # c'
    """
    return " ".join(text.split()).replace("<", "&lt;")


def python_block(text: str) -> str:
    """Lines of Python as a block of code."""
    fence = "`" * max(3, _longest_ticks(text) + 1)
    return f"{fence}python\n{text}\n{fence}"


def _longest_ticks(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)

"""The terminal, or the file in its place, as all commands print to it: text from outside changes nothing but what is read.

A `Screen` is rich's console with three differences. Square brackets are text and never markup: what is to be bold has a style.
Every piece of text that rich is about to print goes through `printable`, so that a server or a file cannot move the cursor,
recolour the screen or plant a link. And no text is lost: a word that is longer than its column goes on in the next line, and
what is no terminal has room for the widest of our tables.
"""

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table

from laconic.system.text import printable

PIPED_WIDTH = 120


class Screen(Console):
    """A console on standard output, or as rich's settings say, which shows text as it is."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"highlight": False, **settings, "markup": False})
        if self._width is None and not self.is_terminal:
            self.width = PIPED_WIDTH

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments that rich makes of `renderable`, their text printable; rich's own movements of the cursor stay."""
        for column in renderable.columns if isinstance(renderable, Table) else ():
            column.overflow = "fold"
        for segment in super().render(renderable, options):
            text = segment.text if segment.control else printable(segment.text)
            yield segment if text is segment.text else Segment(text, segment.style)

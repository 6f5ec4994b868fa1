"""The terminal, or the file in its place, as all commands print to it: text from outside changes nothing but what is read.

A `Screen` is rich's console with two differences. Square brackets are text and never markup: what is to be bold has a style. And
every piece of text that rich is about to print goes through `printable`, so that a server or a file cannot move the cursor,
recolour the screen or plant a link.
"""

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from laconic.system.text import printable


class Screen(Console):
    """A console on standard output, or as rich's settings say, which shows text as it is."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"highlight": False, **settings, "markup": False})

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments that rich makes of `renderable`, their text printable; rich's own movements of the cursor stay."""
        for segment in super().render(renderable, options):
            text = segment.text if segment.control else printable(segment.text)
            yield segment if text is segment.text else Segment(text, segment.style)

"""Draws axes, lines, points, bars and intervals as one SVG text.

1. A `Scale` maps numbers to places; `ticks` picks round numbers.
2. A `Drawing` collects elements; everything that is text is escaped here and nowhere else.
3. A `Panel` is a rectangle of a drawing with two scales and the marks of a chart.

Colours are the style sheet's (`var(--correct)`), so that one drawing serves light, dark and paper. Marks carry a
`<title>`, which browsers show on hover and screen readers read. What is left out: every chart we do not draw.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

Label = Callable[[float], str]
Coordinates = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Scale:
    """Numbers `low` to `high` lie at places `start` to `end`, which may run backwards.

    >>> Scale(0, 10, 100, 0)(2.5)
    75.0
    """

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The place of a number."""
        span = (self.high - self.low) or 1.0
        return self.start + (value - self.low) / span * (self.end - self.start)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers from `low` to `high`, about `count` of them.

    >>> ticks(0, 100, 5), ticks(0.62, 0.9, 4)
    ([0.0, 20.0, 40.0, 60.0, 80.0, 100.0], [0.7, 0.8, 0.9])
    """
    if not high > low:
        return [low]
    raw = (high - low) / count
    scale = 10.0 ** math.floor(math.log10(raw))
    step = next(s * scale for s in (1, 2, 2.5, 5, 10) if s * scale >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


class Drawing:
    """SVG elements in the order they are painted; `width` and `height` in pixels at full size."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.parts: list[str] = []

    def add(self, tag: str, title: str = "", text: str = "", /, **attributes: object) -> None:
        """One element. Underscores in names stand for hyphens; floats are cut to a tenth of a pixel."""
        attribute_text = " ".join(
            f'{name.rstrip("_").replace("_", "-")}="{_attribute(v)}"' for name, v in attributes.items()
        )
        inner = (f"<title>{escape(title)}</title>" if title else "") + escape(text)
        self.parts.append(f"<{tag} {attribute_text}>{inner}</{tag}>" if inner else f"<{tag} {attribute_text}/>")

    def text(self, x: float, y: float, text: str, kind: str = "tick", anchor: str = "start") -> None:
        """A line of text; `kind` is a class of the style sheet."""
        self.add("text", "", text, x=x, y=y, class_=kind, text_anchor=anchor)

    def line(self, a: Coordinates, b: Coordinates, colour: str, **style: object) -> None:
        """A straight line."""
        self.add("line", x1=a[0], y1=a[1], x2=b[0], y2=b[1], stroke=colour, **style)

    def svg(self, label: str, kind: str = "") -> str:
        """The SVG text of the drawing; `label` describes it for screen readers."""
        view = f"0 0 {self.width:g} {self.height:g}"
        return (
            f'<svg class="chart {kind}" viewBox="{view}" role="img" aria-label="{escape(label)}">'
            f"{''.join(self.parts)}</svg>"
        )


class Panel:
    """A rectangle with an x and a y scale."""

    def __init__(
        self, drawing: Drawing, box: tuple[float, float, float, float], x: Coordinates, y: Coordinates
    ) -> None:
        """`box` is left, top, right, bottom; `x` and `y` are the lowest and highest number of each axis."""
        self.drawing = drawing
        self.left, self.top, self.right, self.bottom = box
        self.x = Scale(x[0], x[1], self.left, self.right)
        self.y = Scale(y[0], y[1], self.bottom, self.top)

    def axes(
        self, show_x: Label | None, show_y: Label | None, x_title: str = "", y_title: str = "", num: int = 5
    ) -> None:
        """Hairlines across at round numbers, the numbers beside them, a line below."""
        d = self.drawing
        wide = self.right - self.left
        for value in ticks(self.y.low, self.y.high, num):
            y = self.y(value)
            d.line((self.left, y), (self.right, y), "var(--line)")
            if show_y:
                d.text(self.left - 8, y + 4, show_y(value), anchor="end")
        if show_x:
            for value in ticks(self.x.low, self.x.high, max(2, int(wide / 70))):
                d.text(self.x(value), self.bottom + 18, show_x(value), anchor="middle")
        d.line((self.left, self.bottom), (self.right, self.bottom), "var(--axis)")
        if x_title:
            d.text(self.right, self.bottom + 36, x_title, "axis", "end")
        if y_title:
            d.text(self.left, self.top - 12, y_title, "axis")

    def title(self, text: str) -> None:
        """Write the panel's title above its left edge."""
        self.drawing.text(self.left, self.top - 12, text, "panel")

    def polyline(self, points: Sequence[Coordinates], colour: str, **style: object) -> None:
        """A line through the points, in order."""
        path = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        if points:
            self.drawing.add("polyline", points=path, fill="none", stroke=colour, stroke_linejoin="round", **style)

    def area(self, xs: Sequence[float], lows: Sequence[float], highs: Sequence[float], colour: str) -> None:
        """The band between two lines."""
        there = [f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in zip(xs, highs, strict=True)]
        back = [f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in zip(xs, lows, strict=True)]
        self.drawing.add("polygon", points=" ".join(there + back[::-1]), fill=colour)

    def dot(
        self, at: Coordinates, colour: str, radius: float = 5, title: str = "", hollow: bool = False, opacity: float = 1
    ) -> None:
        """A point; a hollow one shows the background inside."""
        fill = {"fill": "var(--paper)", "stroke": colour, "stroke_width": 2} if hollow else {"fill": colour}
        extra = {} if opacity == 1 else {"fill_opacity": opacity}
        self.drawing.add("circle", title, cx=self.x(at[0]), cy=self.y(at[1]), r=radius, **fill, **extra)

    def bar(self, x0: float, x1: float, y0: float, y1: float, colour: str, title: str = "") -> None:
        """A rectangle between numbers of both axes."""
        left, right = self.x(x0), self.x(x1)
        top = self.y(y1)
        self.drawing.add(
            "rect", title, x=left + 0.5, y=top, width=max(right - left - 1, 0.5), height=self.y(y0) - top, fill=colour
        )

    def whisker_x(self, ends: Coordinates, y: float, colour: str, width: float = 1.5) -> None:
        """A horizontal interval."""
        self.drawing.line((self.x(ends[0]), self.y(y)), (self.x(ends[1]), self.y(y)), colour, stroke_width=width)

    def whisker_y(self, x: float, ends: Coordinates, colour: str, width: float = 1.5) -> None:
        """A vertical interval."""
        self.drawing.line((self.x(x), self.y(ends[0])), (self.x(x), self.y(ends[1])), colour, stroke_width=width)

    def rule_x(self, value: float, label: str = "") -> None:
        """A dashed line at a number of the x axis."""
        x = self.x(value)
        self.drawing.line((x, self.top), (x, self.bottom), "var(--quiet)", stroke_dasharray="4 3")
        if label:
            is_late = x > (self.left + self.right) / 2 and x + 7 * len(label) > self.right
            self.drawing.text(x + (-6 if is_late else 6), self.top + 10, label, "tick", "end" if is_late else "start")


def legend(drawing: Drawing, entries: Iterable[tuple[str, str]], left: float, top: float) -> float:
    """Coloured squares with names, wrapped to the drawing's width; returns the place below them."""
    x, y = left, top
    for name, colour in entries:
        width = 24 + 7.0 * len(name)
        if x > left and x + width > drawing.width:
            x, y = left, y + 20
        drawing.add("rect", x=x, y=y - 9, width=10, height=10, rx=2, fill=colour)
        drawing.text(x + 15, y, name)
        x += width + 8
    return y + 14


def _attribute(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.1f}".removesuffix(".0")
    return escape(str(value))

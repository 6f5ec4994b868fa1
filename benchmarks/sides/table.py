"""What was measured, as rows; rows as Markdown.

A row sets one figure of Laconic beside one figure of another side. Its ratio is Laconic's median over the other's; a bound says
what the ratio must be. A side that is missing or failed has no values and says why.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

COLUMNS = ("what", "unit", "side", "its figure", "other side", "its figure", "ratio", "target", "result", "notes")


@dataclass(frozen=True, slots=True)
class Figure:
    """One side's repeated measurements of one quantity. `trouble` says why there are none, or which variant of the side was left
    out; `mean_tokens` is the mean length
    of the responses behind them, where there were responses."""

    side: str
    values: tuple[float, ...] = ()
    mean_tokens: float | None = None
    trouble: str = ""

    @property
    def median(self) -> float:
        """Median of the repeats."""
        return statistics.median(self.values)


@dataclass(frozen=True, slots=True)
class Bound:
    """What a ratio must be: at least, or at most, `value`."""

    kind: str
    value: float

    def __str__(self) -> str:
        return f"{'≥' if self.kind == 'at least' else '≤'} {self.value:g}"

    def holds(self, ratio: float) -> bool:
        """True where the ratio is as asked."""
        return ratio >= self.value if self.kind == "at least" else ratio <= self.value


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison, or one figure of Laconic's alone."""

    what: str
    unit: str
    ours: Figure
    theirs: Figure | None = None
    bound: Bound | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Laconic's median over the other's; None where one of the two has no values."""
        if self.theirs is None or not self.ours.values or not self.theirs.values:
            return None
        return self.ours.median / self.theirs.median

    @property
    def result(self) -> str:
        """`pass` or `fail` where there is a target and a ratio, `not measured` where only the ratio is missing."""
        if self.bound is None:
            return ""
        if self.ratio is None:
            return "not measured"
        return "pass" if self.bound.holds(self.ratio) else "fail"

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json` reads back."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "Row":
        """Read what `to_json` wrote."""
        theirs, bound = row["theirs"], row["bound"]
        return cls(
            what=row["what"],
            unit=row["unit"],
            ours=_figure(row["ours"]),
            theirs=_figure(theirs) if theirs else None,
            bound=Bound(**bound) if bound else None,
            note=row["note"],
        )


def _figure(tree: Mapping[str, Any]) -> Figure:
    return Figure(**{**tree, "values": tuple(tree["values"])})


def at_least(value: float) -> Bound:
    """The bound `ratio >= value`."""
    return Bound("at least", value)


def at_most(value: float) -> Bound:
    """The bound `ratio <= value`."""
    return Bound("at most", value)


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    lines = [_line(COLUMNS), _line(["---"] * len(COLUMNS)), *(_line(_cells(row)) for row in rows)]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"


def _cells(row: Row) -> list[str]:
    theirs = row.theirs
    ratio = row.ratio
    return [
        row.what,
        row.unit,
        row.ours.side,
        shown(row.ours),
        theirs.side if theirs else "",
        shown(theirs) if theirs else "",
        "" if ratio is None else f"{ratio:.2f}",
        str(row.bound) if row.bound else "",
        row.result,
        "; ".join(filter(None, (row.note, _lengths(row), _left_out(row)))),
    ]


def shown(figure: Figure) -> str:
    """Median and range of the repeats, or why there are none.

    >>> shown(Figure("generate", (1200.0, 1000.0, 1100.0))), shown(Figure("vllm", trouble="not installed"))
    ('1,100 (1,000-1,200)', 'not installed')
    """
    if not figure.values:
        return figure.trouble
    median, low, high = (_number(x) for x in (figure.median, min(figure.values), max(figure.values)))
    return median if low == high else f"{median} ({low}-{high})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _lengths(row: Row) -> str:
    lengths = [f.mean_tokens for f in (row.ours, row.theirs) if f is not None and f.mean_tokens is not None]
    return f"mean tokens {' / '.join(f'{length:.0f}' for length in lengths)}" if lengths else ""


def _left_out(row: Row) -> str:
    """The variants that failed where another one of the side did not."""
    return "; ".join(f.trouble for f in (row.ours, row.theirs) if f is not None and f.values and f.trouble)

"""A comparison for the terminal: tables within 118 columns, and a line for each verdict and caveat.

1. The changes: each candidate, decoding and benchmark, before and after with the paired change below.
2. Tokens of correct minus wrong answers, within a problem and pooled beside it.
3. The frontier of each decoding, fewest tokens first, with dominated points marked.
4. The decided slices of each benchmark; those that are too small are named in a line each key.

Long names are wrapped and never cut, because two names may differ anywhere. A column that would be the same in every row is
moved into the title. What is left out: anything that a `Comparison` does not hold.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import isfinite

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from laconic.comparison.figures import FEW_PROBLEMS, SHOWN_LEVEL, ChangeFigures, LengthDifference, SliceFigures
from laconic.comparison.folders import Decoding
from laconic.comparison.records import CandidateComparison, Comparison, FrontierPoint
from laconic.comparison.sentences import percent_size, plural, seconds_line, slices_line
from laconic.comparison.slices import num_decided, worst_slice
from laconic.statistics.intervals import Interval

NAMES = ("who", "benchmark", "decoding")
"""The columns that name a row of a table; `decoding` and `benchmark` become columns only if they vary."""


def comparison_lines(comparison: Comparison) -> list[str]:
    """A line for each candidate's verdict, one for each caveat, and one for each evaluation that was left out.

    A caveat on the base under a decoding appears only once.
    """
    lines: list[str] = []
    for candidate in comparison.candidates:
        label = _label(candidate.decoding, comparison)
        caveats = [f"  caveat ({label}): {text}" for text in candidate.caveats]
        lines.append(f"{candidate.name}, {label}: {candidate.figures.verdict}")
        lines += [line for line in caveats if ": base: " not in line or line not in lines]
        for benchmark, entry in candidate.benchmarks.items():
            if entry.seconds is not None:
                lines.append(f"  {benchmark}: {seconds_line(entry.seconds)}")
        if candidate.slices:
            lines += [f"  {text}" for text in _slice_lines(candidate)]
        if candidate.left_out:
            lines.append(f"  left out: {', '.join(candidate.left_out)}, which only one of the two has")
    return [*lines, *(f"left out: {text}" for text in comparison.left_out)]


def print_comparison(comparison: Comparison) -> RenderableType:
    """Tables to print: the changes, the lengths of correct and wrong answers if they are known, the frontier, and slices."""
    tables = [_changes(comparison)]
    if rows := _length_rows(comparison):
        tables.append(_lengths(rows, comparison))
    if comparison.frontier:
        tables.append(_frontier(comparison))
    if any(part.is_decided for candidate in comparison.candidates for part in candidate.slices):
        tables.append(_slices(comparison))
    spaced = [part for table in tables for part in (table, "")]
    return Group(*spaced[:-1])


def _changes(comparison: Comparison) -> Table:
    """A row for each candidate, decoding and benchmark, and one for the macro-average if there are several benchmarks."""
    where = _varying(comparison)[1:]
    title = f"compared with {comparison.base.name}, 95% intervals over problems"
    table = _table(title, comparison, ("who",), said=where, caption=_changes_caption(comparison))
    if where:  # in one column, a line each: every row has two lines anyway
        table.add_column(", ".join(where), overflow="fold")
    for column in ("problems", "tokens", "accuracy", "shown", "AES"):
        table.add_column(column, justify="left" if column == "shown" else "right", no_wrap=True)
    for candidate in comparison.candidates:
        label = _label(candidate.decoding, comparison)
        changes = {benchmark: entry.figures for benchmark, entry in candidate.benchmarks.items()}
        if len(changes) > 1:
            changes[f"mean of {len(changes)}"] = candidate.figures
        for row, (benchmark, change) in enumerate(changes.items(), start=1):
            place = {"benchmark": benchmark, "decoding": label}
            cells = [Text("\n".join(place[name] for name in where))] if where else []
            name = Text(candidate.name if row == 1 else "")
            table.add_row(name, *cells, *_cells(change, comparison), end_section=row == len(changes))
    return table


def _changes_caption(comparison: Comparison) -> str:
    said = [f"as accurate: less than {plural(100 * comparison.margin, 'point')} below the base"]
    if comparison.tokens_margin > 0:
        said.append(f"not longer: less than {percent_size(comparison.tokens_margin)}% more tokens")
    constants = comparison.candidates[0].figures.aes.constants
    said.append("AES, signed: " + ", ".join(f"{name} {value:g}" for name, value in constants.items()))
    return "; ".join(said)


def _length_rows(comparison: Comparison) -> dict[tuple[str, str, str], LengthDifference]:
    """The length differences by (contender, benchmark, decoding), if some problem has both correct and wrong answers."""
    rows: dict[tuple[str, str, str], LengthDifference] = {}
    for candidate in comparison.candidates:
        label = _label(candidate.decoding, comparison)
        for benchmark, entry in candidate.benchmarks.items():
            for name, length in ((comparison.base.name, entry.lengths.base), (candidate.name, entry.lengths.candidate)):
                if isfinite(length.within.estimate):
                    rows.setdefault((name, benchmark, label), length)
    return rows


def _lengths(rows: Mapping[tuple[str, str, str], LengthDifference], comparison: Comparison) -> Table:
    columns = _varying(comparison)
    table = _table(
        "tokens of correct minus wrong answers",
        comparison,
        columns,
        caption="pooled, easy problems bring the correct answers and hard ones the wrong: go by 'within a problem'",
    )
    for column in ("within a problem", "problems with both", "pooled"):
        table.add_column(column, justify="right", no_wrap=True)
    for names, length in rows.items():
        cells = [_shown_interval(length.within, 1.0, "+.1f", ""), _shown_count(length.num_problems)]
        table.add_row(*_names(names, columns), *cells, _shown(length.pooled, "+.1f"))
    return table


def _frontier(comparison: Comparison) -> Table:
    """The points of each decoding, fewest tokens first, and for each dominated point the one that dominates it."""
    columns = _varying(comparison)
    table = _table(
        "the frontier",
        comparison,
        columns,
        caption="dominated: another is at least as accurate with at most as many tokens, by the estimates alone",
    )
    for column in ("tokens", "accuracy"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("dominated by", overflow="fold")
    for points in _by_decoding(comparison).values():
        for label, point in points:
            names = (point.name, _benchmarks_words(point.benchmarks), label)
            cells = _shown(point.means.tokens, ",.0f"), _shown(point.means.accuracy, ".1%")
            style = "dim" if point.is_dominated else None
            table.add_row(*_names(names, columns), *cells, _dominated_by(point), style=style)
        table.add_section()
    return table


def _by_decoding(comparison: Comparison) -> dict[str, list[tuple[str, FrontierPoint]]]:
    """Points with their decoding's label, fewest tokens first; those without tokens last."""
    found: dict[str, list[tuple[str, FrontierPoint]]] = {}
    for point in comparison.frontier:
        label = _label(point.decoding, comparison)
        found.setdefault(label, []).append((label, point))
    for points in found.values():
        points.sort(key=lambda p: p[1].means.tokens if isfinite(p[1].means.tokens) else float("inf"))
    return found


def _dominated_by(point: FrontierPoint) -> Text:
    if not (isfinite(point.means.accuracy) and isfinite(point.means.tokens)):
        return Text("n/a")
    if not point.dominated_by:
        return Text("none: on the frontier")
    first, *rest = point.dominated_by
    return Text(first + (f" and {len(rest)} more" if rest else ""))


def _benchmarks_words(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"mean of {len(names)}"


def _slices(comparison: Comparison) -> Table:
    """A row for each decided slice. What is shown is corrected for their number, so a row may say less than its interval."""
    columns = _varying(comparison)
    caption = f"shown: p below {SHOWN_LEVEL:g}, corrected for the number of slices of the model and decoding"
    table = _table("slices, 95% intervals over problems", comparison, columns, caption=caption)
    table.add_column("slice", overflow="fold")
    for column in ("problems", "tokens", "accuracy", "shown"):
        table.add_column(column, justify="left" if column == "shown" else "right", no_wrap=column != "shown")
    for candidate in comparison.candidates:
        label = _label(candidate.decoding, comparison)
        for benchmark, entry in candidate.benchmarks.items():
            for part in filter(lambda part: part.is_decided, entry.slices):
                names = _names((candidate.name, benchmark, label), columns)
                table.add_row(*names, Text(f"{part.key} {part.value}"), *_slice_cells(part))
    return table


def _slice_cells(part: SliceFigures) -> Sequence[str]:
    return [
        str(part.num_problems),
        _shown_interval(part.tokens_change, 100.0, "+.0f", "%"),
        _shown_interval(part.accuracy_change, 100.0, "+.1f", ""),
        part.shown_words or "-",
    ]


def _slice_lines(candidate: CandidateComparison) -> Iterator[str]:
    """The worst slice in a sentence, and for each key of a benchmark the slices that are too small."""
    yield slices_line(worst_slice(candidate.slices), num_decided(candidate.slices))
    for benchmark, entry in candidate.benchmarks.items():
        for key in dict.fromkeys(part.key for part in entry.slices):
            small = [part for part in entry.slices if part.key == key and not part.is_decided]
            if small:
                named = [f"{part.value} ({part.num_problems})" for part in small]
                yield (
                    f"not decided ({benchmark}): {plural(len(small), 'slice')} by {key} of fewer than {FEW_PROBLEMS} problems: "
                    f"{_listed(named)}"
                )


def _listed(names: Sequence[str], most: int = 6) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


# --- names and numbers in cells --------------------------------------------------------------------------------------


def _varying(comparison: Comparison) -> tuple[str, ...]:
    """The names among `NAMES` that become columns."""
    labels = {_label(candidate.decoding, comparison) for candidate in comparison.candidates}
    benchmarks = _benchmarks(comparison)
    varies = {"who": True, "benchmark": len(benchmarks) > 1, "decoding": len(labels) > 1}
    return tuple(name for name in NAMES if varies[name])


def _benchmarks(comparison: Comparison) -> list[str]:
    return list(dict.fromkeys(name for candidate in comparison.candidates for name in candidate.benchmarks))


def _table(
    title: str, comparison: Comparison, columns: Sequence[str], *, caption: str, said: Sequence[str] | None = None
) -> Table:
    """An empty table whose title holds what is the same in all its rows; the names in `said` need no title."""
    same = {
        "benchmark": _benchmarks(comparison)[0],
        "decoding": _label(comparison.candidates[0].decoding, comparison),
    }
    parts = [title, *(text for name, text in same.items() if name not in (columns if said is None else said))]
    table = Table(
        title=Text("; ".join(parts), "table.title"),
        caption=caption,
        box=box.SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
    )
    for column in columns:
        table.add_column("model" if column == "who" else column, overflow="fold")
    return table


def _names(names: Sequence[str], columns: Sequence[str]) -> list[Text]:
    return [Text(name) for column, name in zip(NAMES, names, strict=True) if column in columns]


def _label(decoding: Decoding | None, comparison: Comparison) -> str:
    """The decoding in words. The cap is named only if decodings differ in it; unknown options are left out like unused ones."""
    if decoding is None:
        return "decoding unknown"
    caps = {other.decoding.max_tokens for other in comparison.candidates if other.decoding}
    top_p, min_p = (1.0 if decoding.top_p is None else decoding.top_p), decoding.min_p or 0.0
    cap = decoding.max_tokens if len(caps) > 1 else None
    return replace(decoding, top_p=top_p, min_p=min_p, max_tokens=cap).words()


def _cells(change: ChangeFigures, comparison: Comparison) -> Sequence[str]:
    """Each quantity in two lines (before and after, then the change with its interval), and the claims that were shown."""
    base, candidate = change.means.base, change.means.candidate
    shorter = "shorter" if comparison.tokens_margin == 0 else "not longer"
    return [
        _shown_count(change.num_problems),
        f"{_shown(base.tokens, ',.0f')} → {_shown(candidate.tokens, ',.0f')}\n"
        f"{_shown_interval(change.tokens_change, 100.0, '+.0f', '%')}",
        f"{_shown(base.accuracy, '.1%')} → {_shown(candidate.accuracy, '.1%')}\n"
        f"{_shown_interval(change.accuracy_change, 100.0, '+.1f', '')}",
        f"{shorter if change.tokens_not_more else '-'}\n{'as accurate' if change.non_inferior else '-'}",
        _shown(change.aes.value, "+.2f"),
    ]


def _shown(value: float, form: str) -> str:
    return format(value, form) if isfinite(value) else "n/a"


def _shown_count(value: int | None) -> str:
    return "n/a" if value is None else str(value)


def _shown_interval(change: Interval, scale: float, form: str, unit: str) -> str:
    """
    >>> _shown_interval(Interval(-0.43, -0.45, -0.41), 100.0, "+.0f", "%")
    '-43% (-45 to -41)'
    >>> nothing = float("nan")
    >>> _shown_interval(Interval(0.0, nothing, nothing), 100.0, "+.0f", "%")
    '+0% (no interval)'
    >>> _shown_interval(Interval(nothing, nothing, nothing), 1.0, "+.1f", "")
    'n/a'
    """
    if not isfinite(change.estimate):
        return "n/a"
    estimate, low, high = (_shown(scale * value, form) for value in (change.estimate, change.low, change.high))
    return f"{estimate}{unit} ({f'{low} to {high}' if isfinite(change.low) else 'no interval'})"

"""A sweep's results as text: `table.md` for people, `results.json` for programs.

1. `markdown` has one table per reported source and temperature, from few tokens to many, after an explanation of its figures.
2. `to_json` has everything: every row's means over seeds, and every seed's figures with their intervals over problems.

If a sweep has variants of a recipe beside the recipe, a second table shows the effect of each change, paired by seed.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from math import isfinite

from laconic.statistics.intervals import or_null
from laconic.sweep.results import Results
from laconic.sweep.rows import Against, Field, Point, SeedMean, SweepRow, TrainingCost
from laconic.system.files import Json

KEYS = (
    "accuracy",
    "tokens",
    "base_accuracy",
    "base_tokens",
    "tokens_change",
    "accuracy_change",
    "distance",
    "num_rollouts",
    "num_probed",
    "num_tokens",
    "seconds",
)
MAX_NAMED = 3
HEAD = (
    "",
    "seeds",
    "rollouts",
    "accuracy",
    "tokens",
    "tokens, change",
    "accuracy, change",
    "tokens / shortest",
    "frontier",
)
MEANING = (
    "Means over seeds ± their standard error (sd / sqrt(n)); in brackets Student's 95% interval over seeds. Seeds differ in "
    "training, problems and samples, so this is the noise of all three together. Changes are against the same seed's own base. "
    "Every run counts by its last step as its recipe ends it. Dominated: another is, over the seeds both have, at least as "
    "accurate with at most as many tokens, and better in one of the two; by the means alone. Tokens / shortest: mean tokens / "
    "mean length of the shortest correct response there is. Rollouts are training rollouts a seed; after the plus sign those "
    "that selected problems."
)

AGAINST = (
    "What each change is worth: variants against their recipe, paired by seed; means ± their standard error, in brackets "
    "Student's 95% interval."
)

ROLLED_BACK = "Rolled back by the guard, since accuracy fell on watched problems; the table has the model of that step:"


def to_json(results: Results) -> Json:
    """The content of results.json; a statistic that does not exist is null."""
    return {
        "name": results.content["name"],
        "seeds": results.content["seeds"],
        "unfinished": {label: list(seeds) for label, seeds in results.unfinished.items()},
        "fields": [
            {
                "problems": field.source,
                "tag": field.tag,
                "rows": [_row_json(row) for row in field.rows],
                "against_recipe": [_against_json(found) for found in field.against_recipe],
            }
            for field in results.fields
        ],
    }


def _row_json(row: SweepRow) -> Json:
    return {
        "label": row.label,
        "kind": row.kind,
        "seeds": list(row.seeds),
        "dominated_by": list(row.dominated_by),
        "over_seeds": {key: row.over_seeds(key).to_json() for key in KEYS},
        "runs": [_point_json(point) for point in row.points],
    }


def _point_json(point: Point) -> Json:
    return {
        "seed": point.seed,
        "accuracy": or_null(point.accuracy),
        "tokens": or_null(point.tokens),
        "oracle_tokens": or_null(point.oracle_tokens),
        "num_problems": point.num_problems,
        "num_samples": point.num_samples,
        "max_tokens": point.max_tokens,
        "training": asdict(point.training) if point.training != TrainingCost() else None,
        **({key: interval.to_json() for key, interval in point.changes.items()} if point.changes else {}),
    }


def _against_json(found: Against) -> Json:
    return {
        "variant": found.variant.label,
        "recipe": found.recipe.label,
        "tokens_change": found.tokens_change.to_json(),
        "accuracy_change": found.accuracy_change.to_json(),
    }


def markdown(results: Results) -> str:
    """The content of table.md."""
    seeds = ", ".join(map(str, results.content["seeds"]))
    parts = [f"# {results.content['name']}: seeds {seeds}", MEANING]
    if results.unfinished:
        lacking = "; ".join(
            f"{label} ({', '.join(map(str, missing))})" for label, missing in results.unfinished.items()
        )
        parts.append(f"Not finished, with the seeds that lack: {lacking}.")
    if back := rolled_back(results):
        parts.append(f"{ROLLED_BACK} {'; '.join(back)}.")
    for field in results.fields:
        parts += [f"## {heading(field, results)}", field_scope(field), _table(HEAD, map(cells, field.rows))]
        if found := field.against_recipe:
            parts += [AGAINST, _table(("variant", "against", *HEAD[5:7]), map(against_cells, found))]
    return "\n\n".join(parts) + "\n"


def rolled_back(results: Results) -> list[str]:
    """The runs that the guard rolled back, each once, with the step to which each phase returned."""
    found = (
        f"{row.label}, seed {point.seed} ({', '.join(point.training.rolled_back)})"
        for field in results.fields
        for row in field.rows
        if row.kind == "trained"
        for point in row.points
        if point.training.rolled_back
    )
    return list(dict.fromkeys(found))


def heading(field: Field, results: Results) -> str:
    """The heading of a field: its temperature, and its problems if there are several sources."""
    many = len({other.source for other in results.fields}) > 1
    return decoding(field.tag) + (f", {field.source}" if many else "")


def decoding(tag: str) -> str:
    """The decoding that a tag stands for, in words.

    >>> decoding("greedy"), decoding("t0.6")
    ('Greedy', 'T=0.6')
    """
    return "Greedy" if tag == "greedy" else f"T={tag.removeprefix('t')}"


def field_scope(field: Field) -> str:
    """The problems, samples, caps and graders with which a field was measured, in one or two sentences."""
    points = [point for row in field.rows for point in row.points]
    samples = {p.num_samples for p in points}
    caps = {p.max_tokens for p in points}
    drawn = "1 sample" if samples == {1} else f"{_few(samples)} samples"
    words = f"{_few({p.num_problems for p in points})} problems a seed ({field.source}), {drawn} each"
    words += f", cap {_few(caps)} tokens" + (": caps differ between rows." if len(caps) > 1 else ".")
    return words + _graders(field)


def _graders(field: Field) -> str:
    """What is said where rows were graded differently."""
    asked = {row.grader for row in field.rows}
    stated = {point.grader for row in field.rows for point in row.points} - {None}
    if max(len(asked), len(stated)) < 2:
        return ""
    graders: dict[str, list[str]] = {}
    for row in field.rows:
        for grader in row.graders:
            graders.setdefault(grader, []).append(row.label)
    named = "; ".join(f"{grader}: {', '.join(labels)}" for grader, labels in graders.items())
    return f" Graders differ, and no row is ranked against one of another grader ({named})."


def _few(numbers: set[int]) -> str:
    return " or ".join(map(str, sorted(numbers)))


def _table(head: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [head, ("---",) * len(head), *(tuple(row) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def against_cells(found: Against) -> Iterator[str]:
    """A row of the table of variants."""
    yield _escaped(found.variant.label)
    yield _escaped(found.recipe.label)
    yield change(found.tokens_change, "%")
    yield change(found.accuracy_change, "")


def cells(row: SweepRow) -> Iterator[str]:
    """A row of the table, in the order of `HEAD`."""
    yield _escaped(row.label)
    yield f"{len(row.seeds)} of {len(row.wanted)}" if len(row.seeds) < len(row.wanted) else str(len(row.seeds))
    yield rollouts(row)
    yield _with_se(row.over_seeds("accuracy"), 100, ".1f", "%")
    yield _with_se(row.over_seeds("tokens"), 1, ".1f")
    yield change(row.over_seeds("tokens_change"), "%")
    yield change(row.over_seeds("accuracy_change"), "")
    yield _with_se(row.over_seeds("distance"), 1, ".2f")
    yield _escaped(place(row))


def _escaped(text: str) -> str:
    return text.replace("|", r"\|")


def rollouts(row: SweepRow) -> str:
    """Training rollouts per seed, and those that selected problems."""
    if row.kind in ("base", "prompt"):
        return "–"
    probed = row.over_seeds("num_probed").mean
    return f"{row.over_seeds('num_rollouts').mean:,.0f}" + (f" + {probed:,.0f}" if probed else "")


def place(row: SweepRow) -> str:
    """Whether the row is on the frontier, otherwise the first few rows that dominate it; results.json has all."""
    if row.dominated_by:
        more = len(row.dominated_by) - MAX_NAMED
        named = list(row.dominated_by[:MAX_NAMED]) + ([f"{more} more"] if more > 0 else [])
        return f"dominated by {'; '.join(named)}"
    if not row.is_graded:
        return "no response could be graded"
    return "on it" if row.is_result else "(a stage)"


def _with_se(found: SeedMean, unit: float, form: str, sign: str = "") -> str:
    if found.num_seeds == 0:
        return "–"
    error = f" ± {found.se * unit:{form}}" if found.num_seeds > 1 else ""
    return f"{found.mean * unit:{form}}{sign}{error}"


def change(found: SeedMean, sign: str) -> str:
    """A change in percent or points with its standard error and interval.

    >>> change(SeedMean(-0.44, 0.037, -0.60, -0.28, 3), "%")
    '-44.0% ± 3.7 [-60.0, -28.0]'
    """
    if found.num_seeds == 0:
        return "–"
    error = f" ± {100 * found.se:.1f}" if found.num_seeds > 1 else ""
    ends = f" [{100 * found.low:+.1f}, {100 * found.high:+.1f}]" if isfinite(found.low) else ""
    return f"{100 * found.mean:+.1f}{sign}{error}{ends}"

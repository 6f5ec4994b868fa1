"""A run as one self-contained HTML page, built from the run's files alone.

1. `page_data.py` reads what the run left; `page_words.py` says what came of it, as verdicts and a table.
2. `page_figures.py` draws how it came about; responses are picked to stand side by side, by a rule the page states.
3. The template is filled. What the model wrote is escaped; the page may load nothing from anywhere (its own policy
   forbids it) and works offline.

Whatever is missing leaves its part of the page out. No torch.
"""

from pathlib import Path
from typing import Any

from laconic import __version__
from laconic.errors import MissingExtraError
from laconic.files import write_text_atomically
from laconic.page_data import Run, mean_tokens, pick_pairs, read_run, shared, solve_rates
from laconic.page_words import flatten, headline, scope, table_rows, tiles, verdicts
from laconic.types import GRADES


def write_page(run_dir: Path, out: Path) -> Path:
    """Writes the page of the run in `run_dir` to `out` and returns `out`.

    Raises `RunError` where the folder holds nothing to show, `InputError` naming file and line where a file cannot be
    read, and `MissingExtraError` where plotly or jinja2 is not installed.
    """
    write_text_atomically(out, render(read_run(run_dir)))
    return out


def render(run: Run) -> str:
    """The page's text."""
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
        from markupsafe import Markup
        from plotly.offline import get_plotlyjs

        from laconic.page_figures import COLOURS
    except ImportError as error:
        raise MissingExtraError("the HTML page", "report") from error
    environment = Environment(
        loader=PackageLoader("laconic", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2").render(
        headline=headline(run),
        verdicts=verdicts(run),
        tiles=tiles(run),
        main_decoding=run.main[1].decoding if run.main else "",
        tables=[{"decoding": run.of_tag(tag)[0].decoding, "rows": table_rows(run, tag)} for tag in run.tags],
        scope=scope(run),
        phases=run.phases,
        figures=draw(run),
        pairs=pick_pairs(*run.main) if run.main else [],
        names=[run.label(evaluation.model) for evaluation in run.main or ()],
        settings=list(flatten(run.config)),
        seed=run.config.get("seed"),
        grades=[str(grade) for grade in GRADES],
        colours=COLOURS,
        plotlyjs=Markup(get_plotlyjs()),  # our own dependency's text; nothing else skips escaping
        version=__version__,
    )


def draw(run: Run) -> dict[str, Any]:
    """The figures that the files suffice for, by name."""
    from laconic import page_figures

    drawn: dict[str, Any] = {}
    if run.metrics:
        drawn["training"] = page_figures.training(run.metrics, run.phases)
    if run.main and run.main[0].samples and run.main[1].samples:
        before, after = run.main
        names = (run.label(before.model), run.label(after.model))
        drawn["lengths"] = page_figures.lengths(before.samples, after.samples, names)
        ids, *tokens = shared(mean_tokens(before.samples), mean_tokens(after.samples))
        _, *rates = shared(solve_rates(before.samples), solve_rates(after.samples))
        drawn["tokens"] = page_figures.tokens_by_problem(ids, *tokens)
        drawn["solve_rates"] = page_figures.solve_rates(*rates)
    return drawn

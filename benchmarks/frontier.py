"""docs/frontier.md, its pictures, and what recipes say of themselves: `python benchmarks/frontier.py`.

1. The sweeps `frontier.toml`, `confirm.toml` and `rewards.toml` of this folder write the tables, each into its folder under runs/
   (`laconic sweep benchmarks/frontier.toml --out runs/frontier`); what is said of them stands in `frontier_words.md`.
2. Each recipe's comment ends with its hardware and the figures to expect, from the first sweep: these lines are written anew.

Tables, recipes' figures and the paired comparison are never copied by hand; `tests/benchmarks/test_frontier.py` holds recipes
and docs/methods.md against the page.
"""

import argparse
import datetime
import json
import re
import shutil
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from laconic.sweep.page import write_results
from laconic.sweep.results import ResultsReader
from laconic.sweep.rows import over_seeds

HERE = Path(__file__).parent
DOCS, RECIPES = HERE.parent / "docs", HERE.parent / "src" / "laconic" / "recipes"
EXPECTED = re.compile(r"^# Hardware: (?:.*\n)(?:# .*\n)*", re.MULTILINE)
COLUMNS = 132
HEAD = ("laconic", "dler", "laser_d", "thinkprune")  # the recipes of confirm.toml


def main() -> None:
    """Write the page, the pictures and the recipes' figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="the folder that holds the sweeps'")
    runs = parser.parse_args().runs
    write_page(runs)
    for label, lines in expected(runs / "frontier").items():
        path = RECIPES / f"{label}.toml"
        text, found = EXPECTED.subn(lambda _, lines=lines: lines, path.read_text(encoding="utf-8"), count=1)
        if not found:
            raise SystemExit(f"{path}: expected a comment that begins with '# Hardware:'")
        path.write_text(text, encoding="utf-8")


def write_page(runs: Path) -> None:
    """docs/frontier.md, docs/frontier.svg and docs/rewards.svg."""
    environment = json.loads(next(iter(sorted(runs.glob("frontier/*/seed-*/environment.json")))).read_text())
    page = (HERE / "frontier_words.md").read_text(encoding="utf-8")
    page = page.replace("WHERE", f"{environment['device']}, two cores, one thread per run, {datetime.date.today()}")
    for sweep in ("frontier", "confirm", "rewards"):
        page = page.replace(f"TABLES OF {sweep}", tables(runs / sweep))
    page = page.replace("PAIRED", paired([runs / "frontier", runs / "confirm"]))
    (DOCS / "frontier.md").write_text(page, encoding="utf-8")
    for sweep in ("frontier", "rewards"):
        shutil.copyfile(runs / sweep / "frontier.svg", DOCS / f"{sweep}.svg")


def paired(sweeps: Sequence[Path]) -> str:
    """The accuracy of `laconic` minus that of the others of confirm.toml, in percentage points over the seeds of all `sweeps`."""
    sentences = []
    for tag, decoding in (("t1", "sampled"), ("greedy", "greedy")):
        found: dict[str, dict[int, float]] = {}
        for sweep in sweeps:
            results = json.loads((sweep / "results.json").read_text())
            rows = next(field["rows"] for field in results["fields"] if field["tag"] == tag)
            for row in (row for row in rows if row["label"] in HEAD):
                found.setdefault(row["label"], {}).update({run["seed"]: run["accuracy"] for run in row["runs"]})
        ours, *others = (found[label] for label in HEAD)
        gains = [over_seeds(100 * (ours[seed] - theirs[seed]) for seed in ours) for theirs in others]
        said = [
            f"{gain.mean:+.1f} ± {gain.se:.1f} against `{name}`" for name, gain in zip(HEAD[1:], gains, strict=True)
        ]
        sentences.append(f"{decoding} {', '.join(said)}")
    return "; ".join(sentences)


def tables(sweep: Path) -> str:
    """The sweep's table.md without its title, a heading lower."""
    write_results(sweep, ResultsReader(sweep).read())
    table = (sweep / "table.md").read_text(encoding="utf-8")
    return re.sub(r"^# .*\n", "", table, count=1).strip().replace("\n## ", "\n### ")


def expected(out: Path) -> dict[str, str]:
    """By the name of a recipe that was run as it stands: the lines that say what it takes and gives."""
    entries = json.loads((out / "sweep.json").read_text())["entries"]
    plain = {
        entry["label"]: entry["recipe"]
        for entry in entries
        if entry["prompt"] is None and entry["variant_of"] is None and (RECIPES / f"{entry['recipe']}.toml").exists()
    }
    results = json.loads((out / "results.json").read_text())
    fields = {field["tag"]: {row["label"]: row for row in field["rows"]} for field in results["fields"]}
    return {
        recipe: lines(fields["t1"][label], fields["greedy"][label])
        for label, recipe in plain.items()
        if label in fields["t1"]
    }


def lines(sampled: dict[str, Any], greedy: dict[str, Any]) -> str:
    """A comment: minutes of training, the fewest of the seeds since others shared the machine; then accuracy and tokens at both
    decodings with their standard errors, and the base's."""
    minutes = max(1, round(min(run["training"]["seconds"] for run in sampled["runs"]) / 60))
    seeds = [run["seed"] for run in sampled["runs"]]
    said = (
        f"Hardware: one CPU core, about {minutes} min. Expected, {sampled['runs'][0]['num_problems']} held-out problems, seeds "
        f"{', '.join(map(str, seeds[:-1]))} and {seeds[-1]}, ± standard error: T=1 {figures(sampled)}; greedy {figures(greedy)} "
        "(docs/frontier.md)."
    )
    return "".join(f"# {line}\n" for line in textwrap.wrap(said, COLUMNS - 2, break_on_hyphens=False))


def figures(row: dict[str, Any]) -> str:
    """`88.1% ± 0.3 at 28.8 ± 0.2 tokens, base 64.4% at 89.0`, in the digits of the page's tables."""
    over = row["over_seeds"]
    accuracy, tokens = over["accuracy"], over["tokens"]
    return (
        f"{100 * accuracy['mean']:.1f}% ± {100 * accuracy['se']:.1f} at {tokens['mean']:.1f} ± {tokens['se']:.1f} tokens, base "
        f"{100 * over['base_accuracy']['mean']:.1f}% at {over['base_tokens']['mean']:.1f}"
    )


if __name__ == "__main__":
    main()

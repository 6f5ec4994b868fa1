"""Two phases at three seeds. `python benchmarks/two_phase.py [RECIPE] [--out runs/seeds] [--seeds 0 3]`.

Without a recipe it is the demo's, and the result is the README's table. LOG.md says at which seeds a recipe was explored.

Each seed is a whole run (its problems, probes, rollouts and reported set are its own) of the recipe as it comes with the
package; what is finished is not run again. Base, phase 1 and phase 2 on the reported set, at each temperature, with the
paired change against the base and its 95% interval over problems, go to `benchmarks/<recipe>.md` with machine and date.
"""

import argparse
import datetime
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

SEEDS = (0, 22, 23)
HERE = Path(__file__).parent


def run_seed(recipe: Path, out: Path, seed: int) -> None:
    """Train and measure one seed, or finish it; one that was compared already stays as it is."""
    if all((out / f"comparison-{tag}.json").exists() for tag in ("t1", "greedy")):
        return
    command = [sys.executable, "-m", "laconic", "train", str(recipe), f"seed={seed}", "--out", str(out)]
    subprocess.run([*command, "--resume"] if (out / "config.json").exists() else command, check=True)


def rows_of(out: Path, seed: int) -> list[dict[str, Any]]:
    """One row per model and decoding of a finished run."""
    rows = []
    for file in sorted(out.glob("comparison-*.json")):
        tag = file.stem.removeprefix("comparison-")
        candidates = {Path(c["path"]).name: c for c in json.loads(file.read_text())["candidates"]}
        for folder in sorted((out / "eval").glob(f"*-{tag}")):
            summary = json.loads((folder / "summary.json").read_text())
            changes = candidates.get(folder.name, {})
            rows.append(
                {key: changes[key] for key in ("tokens_change", "accuracy_change") if key in changes}
                | summary
                | {"seed": seed, "tag": tag, "model": folder.name.removesuffix(f"-{tag}")}
            )
    return rows


def change(row: dict[str, Any], key: str, unit: float, form: str) -> str:
    """A paired change with its interval, or a dash for the base."""
    if key not in row:
        return "-"
    low, high = row[key]["ci95"]
    return f"{row[key]['estimate'] * unit:{form}} ({low * unit:{form}} to {high * unit:{form}})"


def table(rows: list[dict[str, Any]]) -> str:
    """The Markdown table, each decoding followed by the mean of the seeds."""
    lines = [
        "| decoding | model | seed | accuracy | tokens | tokens, change % | accuracy, change in points |",
        "|---" * 7 + "|",
    ]
    for tag in sorted({row["tag"] for row in rows}, reverse=True):
        for model in sorted({row["model"] for row in rows}):
            chosen = [row for row in rows if (row["tag"], row["model"]) == (tag, model)]
            for row in chosen:
                cells = f"{row['accuracy']['mean']:.1%} | {row['tokens']['mean']:.1f}"
                changes = f"{change(row, 'tokens_change', 100, '+.1f')} | {change(row, 'accuracy_change', 100, '+.1f')}"
                lines.append(f"| {tag} | {model} | {row['seed']} | {cells} | {changes} |")
            lines.append(f"| **{tag}** | **{model}** | mean | {_means(chosen)} |")
    return "\n".join(lines)


def _means(rows: list[dict[str, Any]]) -> str:
    accuracy = statistics.mean(row["accuracy"]["mean"] for row in rows)
    tokens = statistics.mean(row["tokens"]["mean"] for row in rows)
    changes = [
        f"{100 * statistics.mean(row[key]['estimate'] for row in rows):+.1f}" if key in rows[0] else "-"
        for key in ("tokens_change", "accuracy_change")
    ]
    return f"**{accuracy:.1%}** | **{tokens:.1f}** | **{changes[0]}** | **{changes[1]}**"


def main() -> None:
    """Run the seeds, write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", type=Path, nargs="?", default=HERE.parent / "recipes" / "demo.toml")
    parser.add_argument("--out", type=Path, default=Path("runs/seeds"))
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for seed in arguments.seeds:
        out = arguments.out / f"{arguments.recipe.stem}-{seed}"
        run_seed(arguments.recipe, out, seed)
        rows += rows_of(out, seed)
    environment = json.loads(
        (arguments.out / f"{arguments.recipe.stem}-{arguments.seeds[0]}" / "environment.json").read_text()
    )
    text = (
        f"# {arguments.recipe.stem}: base, phase 1, phase 2 at {len(arguments.seeds)} seeds\n\n"
        f"`python benchmarks/two_phase.py recipes/{arguments.recipe.name} --seeds {' '.join(map(str, arguments.seeds))}`, "
        f"{datetime.date.today()}, {environment['device']}, "
        f"{environment['threads']} threads, torch {environment['packages']['torch']}. "
        f"{rows[0]['num_problems']} reported problems per seed, {max(row['num_samples'] for row in rows)} samples each at T=1 "
        f"and one greedy response, cap {rows[0]['max_tokens']} tokens. Changes are paired against the "
        "base, with 95% intervals over problems.\n\n" + table(rows) + "\n"
    )
    (HERE / f"{arguments.recipe.stem}.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

"""Kills: a run that is killed anywhere and resumed ends with the bits of one that was not.

For every kind of run there is one that nobody kills. The others are killed as `kill -9` does, once or several times, at random
moments of its duration, and resumed (or begun again where the kill came before the run's folder was a run). Then the weights
of the result and every logged figure but the times must be the same.
"""

import hashlib
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

from tortures.case import Case
from tortures.outcome import Outcome, run, trouble
from tortures.runs import KINDS, recipe_of, save_model, write_recipe

MOST_KILLS = 3
TRIES = 8


def cases(place: Path, seed: int, count: int) -> Iterator[Case]:
    """`count` runs that are killed and resumed; the kinds take turns."""
    model = save_model(place / "model")
    names, whole = list(KINDS), {}
    for number in range(count):
        kind, rng = names[number % len(names)], random.Random(f"{seed} kills {number}")
        folder = place / f"kill-{number}"
        folder.mkdir()
        recipe = write_recipe(folder / "recipe.json", recipe_of(kind, model))
        if kind not in whole:
            whole[kind] = _uninterrupted(place / f"whole-{len(whole)}", recipe)
        first, expected = whole[kind]
        problem = trouble(first) or first.complaint or _killed(folder, recipe, first.seconds, expected, rng)
        yield Case(f"{kind}, seed {seed}, number {number}", problem)
        if not problem:
            shutil.rmtree(folder)


def _uninterrupted(folder: Path, recipe: Path) -> tuple[Outcome, dict[str, str]]:
    folder.mkdir()
    outcome = run(["train", str(recipe), "--out", "run"], folder)
    return outcome, ({} if outcome.code else result_of(folder / "run"))


def _killed(folder: Path, recipe: Path, seconds: float, expected: dict[str, str], rng: random.Random) -> str:
    """What was wrong with a run that was killed once or more."""
    command, out = ["train", str(recipe), "--out", "run"], folder / "run"
    for _ in range(rng.randint(1, MOST_KILLS)):
        run([*command, *_resume(out)], folder, kill_after=rng.uniform(0.02, 1.0) * seconds)
    for _ in range(TRIES):
        last = run([*command, *_resume(out)], folder)
        if problem := trouble(last):
            return problem
        if last.code == 0:
            found = result_of(out)
            different = [name for name in expected if found.get(name) != expected[name]]
            return f"another {different[0]}" if different else ""
    return f"cannot be resumed: {last.complaint}"


def _resume(out: Path) -> list[str]:
    return ["--resume"] if (out / "config.json").exists() else []


def result_of(out: Path) -> dict[str, str]:
    """Hashes of what a run made, by name: its weights, the figures of its steps without times, and how its phases ended."""
    steps = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    figures = [{key: value for key, value in step.items() if not key.startswith("time/")} for step in steps]
    phases = json.loads((out / "phases.json").read_text(encoding="utf-8"))
    weights = b"".join(file.read_bytes() for file in sorted((out / "model").glob("*.safetensors")))
    parts = {
        "set of weights": weights,
        "log": json.dumps(figures).encode(),
        "list of phases": json.dumps(phases).encode(),
    }
    return {name: hashlib.sha256(part).hexdigest() for name, part in parts.items()}

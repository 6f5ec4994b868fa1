"""Real reinforcement learning: a cold start, then both phases, and what the model is like before, between and after.

The recipes are those of the package, made small enough for the time of the section. Each is trained as `laconic train` trains
it; its evaluations on the report set are the rows.
"""

import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gpus.rows import Bench, Row

import laconic
from laconic.config.recipe import Recipe
from laconic.recipes.find import find_recipe


@dataclass(frozen=True, slots=True)
class Course:
    """The recipes in their order, what changes in each, and the steps of every phase of each. `model` is what the first begins
    from, the recipe's own where it is empty."""

    recipes: tuple[str, ...]
    steps: tuple[int, ...]
    model: str
    changes: tuple[str, ...]


REPORT = ("report.samples=1", "report.temperatures=[0.6]", "watch.samples=1", "checkpoints.every=1000")
REAL = Course(
    ("smollm2/cold_start", "smollm2/two_phase"),
    (80, 12),
    os.environ.get("LACONIC_GPU_MODEL", ""),
    REPORT,
)
TINY_PROBLEMS = tuple(
    f"problems.{name}=tiny:count?count={count}&split={name}"
    for name, count in {"train": 4, "watch": 2, "report": 2}.items()
)
TINY = Course(("sft", "two_phase"), (1, 1), "tiny", (*REPORT, *TINY_PROBLEMS, "report.max_tokens=8"))
SMALL = {"sampler.max_tokens": 64, "problems_per_step": 2, "group_size": 2, "select.count": 2, "select.samples": 4}
"""What else is smaller in a rehearsal, in every phase."""


def course_for(bench: Bench) -> Course:
    """SmolLM2's at full size, the embedded reasoner's in a rehearsal."""
    return REAL if bench.has_targets else TINY


def real(bench: Bench) -> Iterator[Row]:
    """One row for each evaluation of each recipe's models, as soon as the recipe is trained."""
    course = course_for(bench)
    model = course.model
    with tempfile.TemporaryDirectory() as place:
        for name, steps in zip(course.recipes, course.steps, strict=True):
            began = time.monotonic()
            recipe = prepared(course, name, steps, model)
            result = laconic.train(recipe, out=Path(place) / Path(name).name)
            seconds = time.monotonic() - began
            for label, found in result.evaluations.items():
                low, high = found.accuracy_ci95
                note = f"accuracy {found.accuracy:.1%} ({low:.1%} to {high:.1%}); the recipe took {seconds:.3g} s"
                yield Row(f"{name}, {label}: mean length", found.tokens, "tokens", note=note)
            model = str(result.model)


def prepared(course: Course, name: str, steps: int, model: str) -> Recipe:
    """The recipe with the changes of the course, beginning from `model`. Raises `RecipeError` where there is no such recipe."""
    plain = find_recipe(name)
    changes = [*course.changes, *([f"model={model}"] if model else [])]
    small = SMALL if course is TINY else {}
    for phase in plain.phases:
        changes.append(f"phases.{phase.name}.steps={steps}")
        changes += [f"phases.{phase.name}.{key}={value}" for key, value in small.items()]
    return find_recipe(name, changes)

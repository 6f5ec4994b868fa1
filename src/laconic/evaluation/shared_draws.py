"""Shared draws: what the start model answered, drawn by one run of a sweep and copied by the others that ask it the same.

1. `key_of` names everything that the responses depend on: model, problems, decoding, seed, prompt, grader, precision, threads.
2. `SharedDraws.lending` copies what stands under a key to where it would be drawn, and leaves a copy of what was drawn. A copy
   appears whole or not at all, so that runs may share at the same time: where two draw the same, the first copy counts for both.

Whoever takes reads the copy as its own files, with the same checks as after a kill. Times in it are those of the run that drew.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from laconic.config.recipe import Recipe
from laconic.evaluation.evaluate import EvaluationRequest, describe
from laconic.problems.made_from_traffic import note_made
from laconic.rollouts.solver import Solver
from laconic.system.files import naming_file, whole_folder, write_text_atomically

DrawKey = Mapping[str, Any]


def key_of(recipe: Recipe, solver: Solver, request: EvaluationRequest) -> DrawKey:
    """Everything that the solver's responses to the request depend on, on one machine."""
    from laconic.models.products.product_path import (
        product_path,
    )  # torch, which whoever only reads evaluations has no need of

    policy = recipe.policy.model_dump(mode="json", exclude={"gradient_checkpointing"})
    grader = recipe.grader.model_dump(mode="json")
    computed = {"threads": recipe.threads, "policy": policy, "products": product_path()}
    return describe(solver, request) | computed | {"samples": request.samples, "grading": grader}


@dataclass(frozen=True, slots=True)
class SharedDraws:
    """What is shared through a folder; nothing without one."""

    folder: Path | None = None

    @contextlib.contextmanager
    def lending(self, recipe: Recipe, solver: Solver, request: EvaluationRequest, out: Path) -> Iterator[None]:
        """Before the block, copy what another run drew for the request to `out`, a file or a folder, unless that is there.
        After the block, which makes `out` where it is missing, leave a copy."""
        if self.folder is None:
            yield
            return
        key = key_of(recipe, solver, request)
        digest = hashlib.sha256(json.dumps([out.name, key], sort_keys=True).encode(errors="surrogatepass")).hexdigest()
        entry = self.folder / digest[:16] / out.name
        if not solver.team.by_first(out.exists):
            solver.team.by_first(partial(_take, entry, out))
        yield
        solver.team.by_first(partial(_leave, entry, out, request))


NOTHING_SHARED = SharedDraws()


def _take(entry: Path, out: Path) -> None:
    if not entry.exists():
        return
    if entry.is_file():
        write_text_atomically(out, entry.read_text(encoding="utf-8"))
        return
    with whole_folder(out) as whole:
        shutil.copytree(entry, whole, dirs_exist_ok=True)


def _leave(entry: Path, out: Path, request: EvaluationRequest) -> None:
    place = entry.parent
    if place.exists():
        _take(entry, out)
        return
    unfinished = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        with naming_file(unfinished):
            unfinished.mkdir(parents=True, exist_ok=True)
            if out.is_file():
                shutil.copyfile(out, unfinished / entry.name)
            else:
                shutil.copytree(out, unfinished / entry.name, ignore=shutil.ignore_patterns(".*"))
        try:
            unfinished.rename(place)
        except OSError:
            if not place.exists():
                raise
            _take(entry, out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    note_made(place, request.problems)

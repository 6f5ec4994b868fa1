"""Shared draws: what the start model answered, drawn by one run of a sweep and copied by the others that ask it the same.

1. `key_of` names everything that the responses depend on: the model, what the problems state, decoding, seed, prompt, grader,
   precision, threads, versions and machine.
2. `SharedDraws.lending` copies what stands under a key to where it would be drawn, and leaves a copy of what was drawn. Where
   several runs ask the same at the same time, one draws and the others wait for it.
3. A copy appears whole or not at all, with the digests of its files, and is drawn again where it does not agree with them. A
   file that a run has already is never replaced.

Whoever takes reads the copy as its own files, with the same checks as after a kill. Times in it are those of the run that drew.
"""

import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from laconic.config.recipe import Recipe
from laconic.errors import InputError
from laconic.evaluation.evaluate import EvaluationRequest, describe
from laconic.problems.made_from_traffic import NOTE, note_made
from laconic.problems.sets import statements_digest
from laconic.rollouts.solver import Solver
from laconic.system.files import (
    naming_file,
    read_json,
    sync_files,
    whole_folder,
    write_json_atomically,
    write_text_atomically,
)
from laconic.system.locks import waiting_turn

DrawKey = Mapping[str, Any]
SUMS = "sums.json"


def key_of(recipe: Recipe, solver: Solver, request: EvaluationRequest) -> DrawKey:
    """Everything that the solver's responses to the request depend on, and all that is stored of its problems."""
    from laconic.models.environment import describe_arithmetic  # brings torch, which readers of evaluations do not need

    device = getattr(solver.lm, "device", None)  # a model behind an endpoint tells none
    return describe(solver, request) | {
        "samples": request.samples,
        "sources": [problem.source for problem in request.problems],
        "statements": statements_digest(request.problems),
        "decoding": request.decoding.model_dump(mode="json"),
        "policy": recipe.policy.model_dump(mode="json", exclude={"gradient_checkpointing"}),
        "grading": recipe.grader.model_dump(mode="json"),
        "processes": solver.team.size,
        "arithmetic": describe_arithmetic(device),
    }


@dataclass(frozen=True, slots=True)
class SharedDraws:
    """What is shared through a folder; nothing without one."""

    folder: Path | None = None

    @contextlib.contextmanager
    def lending(self, recipe: Recipe, solver: Solver, request: EvaluationRequest, out: Path) -> Iterator[None]:
        """Before the block, copy what another run drew for the request to `out`, a file or a folder, unless that is there.
        After the block, which makes `out` where it is missing, leave a copy where there is none.

        Raises `InputError` before the block where the folder cannot be written.
        """
        if self.folder is None:
            yield
            return
        key, team = json.dumps([out.name, key_of(recipe, solver, request)], sort_keys=True), solver.team
        place = self.folder / hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()[:16]
        with self._turn(place, waits=team.size == 1):
            if not team.by_first(out.exists):
                team.by_first(partial(_take, place, out))
            yield
            team.by_first(partial(_leave, place, out, request))

    @contextlib.contextmanager
    def _turn(self, place: Path, *, waits: bool) -> Iterator[None]:
        """Processes that draw together do not wait: the others of a team would not know for what."""
        with contextlib.ExitStack() as stack:
            try:
                if waits:
                    stack.enter_context(waiting_turn(place.with_name(f".{place.name}.lock")))
            except OSError as error:
                raise InputError(
                    f"{self.folder}: cannot be written ({error.strerror}), and draws are shared there; "
                    "expected a folder of yours, or none"
                ) from None
            yield


NOTHING_SHARED = SharedDraws()


def _take(place: Path, out: Path) -> None:
    entry = place / out.name
    if not _is_whole(place):
        shutil.rmtree(place, ignore_errors=True)
    elif entry.is_file():
        write_text_atomically(out, entry.read_text(encoding="utf-8"))
    else:
        with whole_folder(out) as whole:
            shutil.copytree(entry, whole, dirs_exist_ok=True)


def _leave(place: Path, out: Path, request: EvaluationRequest) -> None:
    if place.exists():
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
    try:
        with naming_file(unfinished):
            if out.is_file():
                shutil.copyfile(out, unfinished / out.name)
            else:
                shutil.copytree(out, unfinished / out.name, ignore=shutil.ignore_patterns(".*"))
        write_json_atomically(unfinished / SUMS, _sums(unfinished))
        sync_files(unfinished)
        note_made(
            place, request.problems
        )  # before it stands there, so that a kill leaves nothing that forgetting cannot name
        try:
            unfinished.rename(place)
        except OSError:
            if not place.exists():  # else another team was first
                raise
        note_made(place, request.problems)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _is_whole(place: Path) -> bool:
    """Whether every file is as it was left."""
    try:
        return _sums(place) == read_json(place / SUMS)
    except InputError:
        return False


def _sums(place: Path) -> dict[str, str]:
    own = (place / SUMS, place / NOTE)
    files = [file for file in sorted(place.rglob("*")) if file.is_file() and file not in own]
    return {str(file.relative_to(place)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}

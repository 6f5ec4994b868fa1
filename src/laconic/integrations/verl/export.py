"""The program `export verl`: a phase of a recipe as a folder that verl trains from.

1. The recipe is checked and the phase chosen. What verl cannot do is refused (`refusals.py`).
2. The problems are those on which training would train: for a phase that selects, a probe of its model says which.
3. Every prompt is rendered by us and by the chat template as verl calls it; a prompt that differs is refused.
4. The folder gets the problems, `phase.json`, verl's settings as `laconic.yaml`, the command as `run.sh`, and `README.md`, which
   says what verl does otherwise.
"""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from laconic.config.recipe import Recipe
from laconic.doctor.reading import Missing, ModelFiles, read_model
from laconic.errors import InputError, ModelError, RecipeError, SelectionError
from laconic.integrations.verl.channel import MOST_ROWS
from laconic.integrations.verl.exported_phase import TRAIN_FILE, WATCH_FILE, ExportedPhase
from laconic.integrations.verl.problem_rows import ProblemRow, conversation, training_rows, write_rows
from laconic.integrations.verl.refusals import check_exportable, done_otherwise
from laconic.integrations.verl.settings import ComputeDtype, VerlSettings, verl_settings
from laconic.models.gguf.model_file import is_gguf
from laconic.models.loading import computes_in_bfloat16, load_tokenizer, resolve_model
from laconic.models.stored_dtype import stored_dtype
from laconic.problems.made_from_traffic import note_made
from laconic.problems.sets import ProblemSets, load_problem_sets, question_key
from laconic.prompts.day import reads_clock
from laconic.prompts.endings import stop_ids
from laconic.prompts.instructions import render
from laconic.selection.pool import TrainingProblems, choose_from_probe, needs_probe, pool_of, problems_per_step
from laconic.selection.probe import read_probe
from laconic.statistics.solve_rate import ProblemStats
from laconic.system.files import check_new_folder, whole_folder, write_text_atomically
from laconic.training.check.phases import ResolvedPhase
from laconic.training.check.recipe import check_recipe

REFERENCE = "${"
"""What a reference to another setting begins with in verl's settings (OmegaConf)."""
COMMAND = """\
#!/bin/sh
# Trains phase {phase} of recipe {recipe} with verl. Run it where verl and laconic are installed, and add what the machine has,
# such as:  sh run.sh trainer.n_gpus_per_node=8 actor_rollout_ref.rollout.tensor_model_parallel_size=2
exec python -m verl.trainer.main_ppo --config-dir {quoted_folder} --config-name laconic "$@"
"""
README = """\
# Phase {phase} of recipe {recipe}, for verl

    sh run.sh

{steps} steps of {per_step} problems with {group_size} responses each. Rewards and grades are laconic's, in verl's processes:
install it where verl is, on every node.

| file | what it holds |
|---|---|
| `{train}` | the problems of every step, in order |
| `{watch}` | the watched problems, on which verl validates |
| `phase.json` | the recipe and the phase, which laconic reads in verl's processes |
| `laconic.yaml` | verl's settings, added to its own defaults |
| `run.sh` | the command |

What verl does otherwise than `laconic train`:

{differences}
"""


@dataclass(frozen=True, slots=True)
class VerlExport:
    """What was written: the folder, the number of rows of problems, and what verl does otherwise."""

    folder: Path
    num_rows: int
    differences: tuple[str, ...]


def export_verl(recipe: Recipe, out: Path, phase_name: str | None = None, probe: Path | None = None) -> VerlExport:
    """Write the phase `phase_name` of the recipe (the only one, where it has one) to the new folder `out`.

    Raises an `InputError` where the recipe is wrong, verl cannot train the phase as it is, or a prompt would differ.
    """
    check_new_folder(out, "--out")
    if REFERENCE in str(out.resolve()):
        what = f"verl's settings take {REFERENCE!r} for a reference to another"
        raise InputError(f"--out {out}: {what}; expected a name without it")
    phase = find_phase(check_recipe(recipe), phase_name)
    check_exportable(phase, recipe)
    model = _model_of(recipe)
    sets = load_problem_sets(recipe)
    training = _training_problems(recipe, phase, sets, probe)
    rows = _rows(recipe, phase, training)
    tokenizer = load_tokenizer(recipe.model, recipe.policy)
    watched = [ProblemRow(index, problem) for index, problem in enumerate(sets.watch)]
    turns, longest = _conversations(recipe, phase, tokenizer, [*rows, *watched])
    files = _files_of(recipe)
    exported = ExportedPhase(out.resolve(), recipe, phase.name, stop_ids(files.stated_ends, tokenizer))
    per_step = _problems_of_a_step(phase, len(training.problems))
    said = tuple(done_otherwise(phase, recipe, writes_date=reads_clock(tokenizer)))
    settings = verl_settings(exported, phase, model, longest, per_step, _dtype_on_gpu(recipe, model, files))
    with whole_folder(exported.folder) as folder:
        write_rows(folder / TRAIN_FILE, rows, turns[: len(rows)])
        write_rows(folder / WATCH_FILE, watched, turns[len(rows) :])
        ExportedPhase(folder, recipe, phase.name, exported.stop_ids).write()
        _write_texts(folder, exported, settings, phase, per_step, said)
    note_made(out, [*(row.problem for row in rows), *sets.watch])
    return VerlExport(out, len(rows), said)


def _problems_of_a_step(phase: ResolvedPhase, num_problems: int) -> int:
    """How many problems a step takes. Raises `RecipeError` where verl cannot cut it into the phase's minibatches."""
    per_step, minibatches = problems_per_step(phase.config, num_problems), phase.config.optimizer.minibatches
    if per_step % minibatches:
        raise RecipeError(
            f"phases.{phase.name}.optimizer.minibatches: verl cuts a step by problems; expected a divisor of the {per_step} "
            f"problems of a step"
        )
    return per_step


def find_phase(phases: Sequence[ResolvedPhase], name: str | None) -> ResolvedPhase:
    """The phase of that name; without a name, the only one. Raises `RecipeError`, which lists the names."""
    known = ", ".join(phase.name for phase in phases)
    if name is None and len(phases) > 1:
        raise RecipeError(
            f"the recipe has several phases, and one export holds one: --phase {known.replace(', ', ' | ')}"
        )
    found = [phase for phase in phases if name in (None, phase.name)]
    if not found:
        raise RecipeError(f"--phase {name}: no such phase; the recipe has {known}")
    return found[0]


def _model_of(recipe: Recipe) -> str:
    """The folder or hub name of the model, as another program finds it."""
    source = resolve_model(recipe.model)
    if is_gguf(source):
        raise RecipeError(
            f"model: {recipe.model} is a GGUF file, which verl does not train; expected a folder or a hub name"
        )
    return str(Path(source).resolve()) if Path(source).exists() else source


def _files_of(recipe: Recipe) -> ModelFiles:
    """What the files of the recipe's model state. Raises `ModelError` where its config cannot be read."""
    files = read_model(recipe)
    if isinstance(files, Missing):
        raise ModelError(files.why)
    return files


def _dtype_on_gpu(recipe: Recipe, model: str, files: ModelFiles) -> ComputeDtype:
    """In which dtype the recipe computes on a GPU, which is where verl runs: with "auto" it depends on the model's files."""
    on_gpu = recipe.policy.model_copy(update={"device": "cuda"})
    is_bfloat16 = stored_dtype(model, files.config) == torch.bfloat16
    return "bfloat16" if computes_in_bfloat16(on_gpu, is_bfloat16) else "float32"


def _training_problems(recipe: Recipe, phase: ResolvedPhase, sets: ProblemSets, probe: Path | None) -> TrainingProblems:
    """The problems on which training would train, and what the probe measured of them."""
    field = f"phases.{phase.name}.select"
    if not needs_probe(phase.config):
        if probe is not None:
            raise InputError(f"--probe {probe}: {field} chooses nothing, so no probe is read; leave it out")
        return TrainingProblems(tuple(pool_of(phase.config, sets.train)))
    if probe is None:
        raise RecipeError(
            f"{field}: chooses problems by what the model solves; give what measured it as --probe FILE (laconic probe, or the "
            f"probe.jsonl of a run's phase), or set {field}.how=everything"
        )
    pool, stats = list(pool_of(phase.config, sets.train)), _measured(probe)
    known = [stats[key] for problem in pool if (key := (problem.id, question_key(problem))) in stats]
    if len(known) < len(pool):
        raise InputError(f"--probe {probe}: measures {len(known)} of the {len(pool)} problems that {field} looks at")
    training = choose_from_probe(phase.config, pool, known, seed=recipe.seed, index=phase.index)
    if not training.problems:
        raise SelectionError(
            f"{field}: none of {len(known)} probed problems qualifies; the first: {training.choices[0].reason}"
        )
    return training


def _measured(probe: Path) -> dict[tuple[str, str], ProblemStats]:
    """What a probe measured, by id and question."""
    problems, stats = read_probe(probe)
    return {(p.id, question_key(p)): stat for p, stat in zip(problems, stats, strict=True)}


def _rows(recipe: Recipe, phase: ResolvedPhase, training: TrainingProblems) -> list[ProblemRow]:
    num_rows = phase.config.steps * problems_per_step(phase.config, len(training.problems))
    if num_rows > MOST_ROWS:
        raise RecipeError(f"phases.{phase.name}.steps: {num_rows} problems in all, expected at most {MOST_ROWS}")
    first_step = 1 + sum(before.steps for before in recipe.phases[: phase.index])
    return list(training_rows(phase, training.problems, training.stats, recipe.seed, first_step))


def _conversations(
    recipe: Recipe, phase: ResolvedPhase, tokenizer: Any, rows: Sequence[ProblemRow]
) -> tuple[list[list[dict[str, str]]], int]:
    """The turns of every row's prompt, and the tokens of the longest.

    Raises `ModelError` where verl would read another prompt than we render.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise ModelError(
            f"{recipe.model}: has no chat template, and verl renders prompts by it; add one to its tokenizer"
        )
    turns, longest, known = [], 0, {}
    for row in rows:
        said = conversation(row, phase.config, recipe.prompt.instruction, recipe.prompt.system)
        key = json.dumps(said)
        if key not in known:
            instruction = row.instruction(phase.config, recipe.prompt.instruction)
            ours = render(tokenizer, row.problem, instruction=instruction, system=recipe.prompt.system)
            theirs = tokenizer.apply_chat_template(said, add_generation_prompt=True, tokenize=True, return_dict=False)
            if list(theirs) != ours:
                raise ModelError(
                    f"{recipe.model}: verl would read another prompt of problem {row.problem.id} than laconic does"
                )
            known[key] = len(ours)
        turns.append(said)
        longest = max(longest, known[key])
    return turns, longest


def _write_texts(
    folder: Path,
    exported: ExportedPhase,
    settings: VerlSettings,
    phase: ResolvedPhase,
    per_step: int,
    said: Sequence[str],
) -> None:
    recipe, config = exported.recipe, phase.config
    defaults = {"defaults": ["ppo_trainer", "_self_"], "hydra": {"searchpath": ["pkg://verl.trainer.config"]}}
    write_text_atomically(folder / "laconic.yaml", json.dumps(defaults | settings, indent=2) + "\n")  # JSON is YAML
    place = {"phase": phase.name, "recipe": recipe.name}
    command = COMMAND.format(**place, quoted_folder=shlex.quote(str(exported.folder)))
    write_text_atomically(folder / "run.sh", command)
    words = README.format(
        **place,
        steps=config.steps,
        per_step=per_step,
        group_size=config.group_size,
        train=TRAIN_FILE,
        watch=WATCH_FILE,
        differences="\n".join(f"- {sentence}" for sentence in said),
    )
    write_text_atomically(folder / "README.md", words)

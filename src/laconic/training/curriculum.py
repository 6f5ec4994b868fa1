"""A phase's problems: which ones it trains on, in which order its steps take them, and which of their groups train.

1. `choose_for_phase` probes the model that enters the phase if the phase asks for that, and writes the choices and their reasons
   to files. The choice itself is made in `selection/pool.py`.
2. `Curriculum.draw` takes a step's problems: each problem once per epoch, in a new order every epoch or in the selection's order.
   Only a step in which an epoch ends may pass over a problem that it already has, and takes the next one in its place; the epoch
   then has that one twice and the other once less. It cannot happen where the problems of a step divide all problems.
3. `Curriculum.admit` says which groups train. If other groups are to replace those that do not, `Curriculum.draw_more` says which
   problems to draw next.

Every order is addressed by name, so there is nothing to save: a resumed phase draws the same problems as an uninterrupted one.
"""

from collections.abc import Sequence
from pathlib import Path

from laconic.config.phase import PhaseConfig
from laconic.config.recipe import Recipe
from laconic.errors import SelectionError
from laconic.evaluation.evaluate import EvaluationRequest
from laconic.evaluation.shared_draws import NOTHING_SHARED, SharedDraws
from laconic.rng import seed_of, stream
from laconic.rollouts.solver import Solver
from laconic.selection.pool import (
    TrainingProblems,
    choose_from_probe,
    lacking,
    needs_probe,
    pool_of,
    problems_per_step,
)
from laconic.selection.probe import probe, read_probe, write_probe
from laconic.statistics.solve_rate import ProblemStats
from laconic.system.files import to_jsonl, write_text_atomically
from laconic.system.progress import Reporter
from laconic.training.check.phases import ResolvedPhase
from laconic.types import Grade, Group, Problem

# --- which problems --------------------------------------------------------------------------------------------------


def choose_for_phase(
    phase: ResolvedPhase,
    trainable: Sequence[Problem],
    solver: Solver,
    folder: Path,
    reporter: Reporter,
    recipe: Recipe,
    draws: SharedDraws = NOTHING_SHARED,
) -> TrainingProblems:
    """The `trainable` problems that the phase trains on; a probe, which may be another run's, and its choices are stored in the
    phase's `folder`. Of an earlier probe it takes what was measured, not what the problems stated then.

    Raises `SelectionError` if no problem qualifies, or none of those that were probed is trainable any more.
    """
    config = phase.config
    pool = pool_of(config, trainable)
    if not needs_probe(config):
        return TrainingProblems(tuple(pool))
    file, team = folder / "probe.jsonl", solver.team
    place = seed_of(recipe.seed, "probe", phase.index)
    request = EvaluationRequest("probe", pool, config.select.samples, config.sampler, place)
    with draws.lending(recipe, solver, request, file):
        if not team.by_first(file.exists):
            _probe_to_file(phase, request, solver, file, reporter)
    probed = team.by_first(lambda: _still_there(file, trainable))
    training = choose_from_probe(config, *probed, seed=recipe.seed, index=phase.index)
    choices = to_jsonl(choice.to_json() for choice in training.choices)
    team.by_first(lambda: write_text_atomically(folder / "selection.jsonl", choices))
    if not training.problems:
        raise SelectionError(
            f"phases.{phase.name}.select: none of {len(training.choices)} probed problems qualifies; the first: "
            f"{training.choices[0].reason}; every reason is in {folder / 'selection.jsonl'}"
        )
    if len(training.problems) < config.problems_per_step:
        enough = f"a step takes {config.problems_per_step}: steps are smaller"
        reporter.say(f"warning: {phase.name}: {len(training.problems)} problems qualify, {enough}")
    elif lacking(config, len(training.problems)):
        reporter.say(f"{phase.name}: {len(training.problems)} problems qualify, {config.select.count} were asked for")
    return training


def _probe_to_file(
    phase: ResolvedPhase, request: EvaluationRequest, solver: Solver, file: Path, reporter: Reporter
) -> None:
    pool, samples = request.problems, request.samples
    with reporter.bar(f"{phase.name}: probe", len(pool) * samples) as progress:
        stats = probe(solver, pool, samples, request.decoding, seed=request.seed, on_progress=progress)
    solver.team.by_first(lambda: write_probe(file, pool, stats))


def _still_there(file: Path, trainable: Sequence[Problem]) -> tuple[list[Problem], list[ProblemStats]]:
    """The problems of a probe that are `trainable` now, as they are now, and what was measured of them."""
    by_id = {problem.id: problem for problem in trainable}
    stats = [found for found in read_probe(file)[1] if found.problem_id in by_id]
    if not stats:
        raise SelectionError(f"{file}: no problem of it is among the problems to train on; put these back as they were")
    return [by_id[found.problem_id] for found in stats], stats


# --- step by step ----------------------------------------------------------------------------------------------------


class Curriculum:
    """The problems of a phase, in the order in which its steps take them. `seed` is the recipe's."""

    def __init__(self, phase: ResolvedPhase, problems: Sequence[Problem], *, seed: int) -> None:
        self.phase, self.problems, self.seed = phase, tuple(problems), seed
        self.per_step = problems_per_step(phase.config, len(self.problems))
        self._order: tuple[int, list[Problem]] | None = None

    def draw(self, phase_step: int) -> list[Problem]:
        """The problems of the phase's step `phase_step`, from 1: the next ones of the epoch, each at most once per step."""
        position = (phase_step - 1) * self.per_step
        problems: list[Problem] = []
        while len(problems) < self.per_step:
            problem = self._in_epoch(position // len(self.problems))[position % len(self.problems)]
            if problem not in problems:
                problems.append(problem)
            position += 1
        return problems

    def _in_epoch(self, epoch: int) -> list[Problem]:
        """The problems in the order of that epoch; the newest order is stored, because many steps use it."""
        if self._order is None or self._order[0] != epoch:
            ordered = list(self.problems)
            if not self.phase.config.select.in_order:
                stream(self.seed, "problems", self.phase.index, epoch).shuffle(ordered)
            self._order = (epoch, ordered)
        return self._order[1]

    def admit(self, groups: Sequence[Group]) -> list[Group]:
        """Those of a step's groups that train, as many as the step has problems."""
        return admit(groups, self.phase.config)[: self.per_step]

    def draw_more(self, groups: Sequence[Group], step: int, draw: int) -> list[Problem]:
        """Problems to draw after `groups`, in draw number `draw` of the step; empty if the step is full.

        With `uniform_groups = "resample"` other problems are drawn until the step is full of groups that train, at most
        `max_draws` times (DAPO, arXiv 2503.14476, section 3.2). If this step has already drawn every problem, any may be drawn
        again.
        """
        config = self.phase.config.algorithm
        num_missing = self.per_step - len(self.admit(groups))
        if config.uniform_groups != "resample" or draw >= config.max_draws or num_missing <= 0:
            return []
        drawn_ids = {group.problem.id for group in groups}
        candidates = [problem for problem in self.problems if problem.id not in drawn_ids] or list(self.problems)
        place = stream(self.seed, "resample", self.phase.index, step, draw)
        return place.sample(candidates, min(num_missing, len(candidates)))


def admit(groups: Sequence[Group], phase: PhaseConfig) -> list[Group]:
    """The groups that train: those with a gradable rollout, and, unless uniform ones are kept, with more than one reward. Empty
    if all their gradable rollouts are truncated and truncated ones do not count in the loss."""
    drops_uniform = phase.algorithm.uniform_groups != "keep"
    gradable = [g for g in groups if any(grade is not Grade.UNGRADABLE for grade in g.grades)]
    admitted = [group for group in gradable if not (drops_uniform and group.is_uniform)]
    counts_in_loss = phase.algorithm.truncated != "mask" or any(
        not r.response.is_truncated and r.grade is not Grade.UNGRADABLE for g in admitted for r in g.rollouts
    )
    return admitted if counts_in_loss else []

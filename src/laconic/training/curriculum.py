"""A phase's problems: which it trains on, in which order its steps meet them, and which of their groups train.

1. `choose_for_phase` has the model that enters the phase probed where the phase asks for that, and writes down what was chosen
   and why. What is chosen is decided in `selection/pool.py`.
2. `Curriculum.draw` takes a step's problems: all of them once an epoch, in a new order every epoch or in the selection's.
3. `Curriculum.admit` says which groups train. Where others are to stand in for those that do not, `Curriculum.draw_more` says
   which problems to ask next.

Every order is addressed by name, so there is nothing to save: a resumed phase draws what it would have drawn.
"""

from collections.abc import Sequence
from pathlib import Path

from laconic.config.phase import PhaseConfig
from laconic.errors import SelectionError
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
from laconic.system.files import to_jsonl, write_text_atomically
from laconic.system.progress import Reporter
from laconic.training.check import ResolvedPhase
from laconic.types import Grade, Group, Problem

# --- which problems --------------------------------------------------------------------------------------------------


def choose_for_phase(
    phase: ResolvedPhase, trainable: Sequence[Problem], solver: Solver, folder: Path, reporter: Reporter, *, seed: int
) -> TrainingProblems:
    """What the phase trains on, of the `trainable` problems; a probe and its choices are kept in the phase's `folder`.

    Raises `SelectionError` where no problem qualifies.
    """
    config = phase.config
    pool = pool_of(config, trainable)
    if not needs_probe(config):
        return TrainingProblems(tuple(pool))
    file = folder / "probe.jsonl"
    if not file.exists():
        _probe_to_file(phase, pool, solver, file, reporter, seed=seed)
    chosen = choose_from_probe(config, *read_probe(file), seed=seed, index=phase.index)
    write_text_atomically(folder / "selection.jsonl", to_jsonl(choice.to_json() for choice in chosen.choices))
    if not chosen.problems:
        raise SelectionError(
            f"phases.{phase.name}.select: none of {len(chosen.choices)} probed problems qualifies; the first: "
            f"{chosen.choices[0].reason}; every reason is in {folder / 'selection.jsonl'}"
        )
    if lacking(config, len(chosen.problems)):
        reporter.say(f"{phase.name}: {len(chosen.problems)} problems qualify, {config.select.count} were asked for")
    return chosen


def _probe_to_file(
    phase: ResolvedPhase, pool: Sequence[Problem], solver: Solver, file: Path, reporter: Reporter, *, seed: int
) -> None:
    samples = phase.config.select.samples
    place = seed_of(seed, "probe", phase.index)
    with reporter.bar(f"{phase.name}: probe", len(pool) * samples) as progress:
        stats = probe(solver, pool, samples, phase.config.sampler, seed=place, on_progress=progress)
    write_probe(file, pool, stats)


# --- step by step ----------------------------------------------------------------------------------------------------


class Curriculum:
    """The problems of a phase as its steps meet them. `seed` is the recipe's."""

    def __init__(self, phase: ResolvedPhase, problems: Sequence[Problem], *, seed: int) -> None:
        self.phase, self.problems, self.seed = phase, tuple(problems), seed
        self.per_step = problems_per_step(phase.config, len(self.problems))
        self._order: tuple[int, list[Problem]] | None = None

    def draw(self, phase_step: int) -> list[Problem]:
        """The problems of the phase's step `phase_step`, from 1: the next of the epoch, each at most once a step."""
        position = (phase_step - 1) * self.per_step
        drawn: list[Problem] = []
        while len(drawn) < self.per_step:
            problem = self._in_epoch(position // len(self.problems))[position % len(self.problems)]
            if problem not in drawn:
                drawn.append(problem)
            position += 1
        return drawn

    def _in_epoch(self, epoch: int) -> list[Problem]:
        """The problems in the order of that epoch; the newest order is kept, since steps go through it in turn."""
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
        """Problems to ask after `groups`, in draw number `draw` of the step; none where the step is full.

        With `uniform_groups = "resample"` other problems are drawn until the step is full of groups that train, `max_draws` times
        at most (DAPO, arXiv 2503.14476, section 3.2). Where every problem was drawn in this step, any is drawn again.
        """
        config = self.phase.config.algorithm
        missing = self.per_step - len(self.admit(groups))
        if config.uniform_groups != "resample" or draw >= config.max_draws or missing <= 0:
            return []
        drawn = {group.problem.id for group in groups}
        others = [problem for problem in self.problems if problem.id not in drawn] or list(self.problems)
        place = stream(self.seed, "resample", self.phase.index, step, draw)
        return place.sample(others, min(missing, len(others)))


def admit(groups: Sequence[Group], phase: PhaseConfig) -> list[Group]:
    """The groups that train: those with a gradable rollout, and, unless uniform ones are kept, with more than one reward. None
    where all their rollouts are truncated and truncated ones do not count in the loss."""
    drops_uniform = phase.algorithm.uniform_groups != "keep"
    gradable = [g for g in groups if any(grade is not Grade.UNGRADABLE for grade in g.grades)]
    admitted = [group for group in gradable if not (drops_uniform and group.is_uniform)]
    counts_in_loss = phase.algorithm.truncated != "mask" or any(
        not r.response.is_truncated for g in admitted for r in g.rollouts
    )
    return admitted if counts_in_loss else []

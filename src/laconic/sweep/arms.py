"""Finished runs of a sweep as arms of an experiment: what a claim compares, seed by seed and problem by problem.

1. `read_arms` reads every finished run in a sweep's folder: the base and every phase's result at each temperature, one row per
   problem, and what was logged of its steps.
2. An `SweepArm` turns them into figures of one seed. Both sides of a change are measured on the same problems, and arms of one
   seed have the same reported problems, so that their differences are paired.

Lengths are in tokens. Figures in points and in percent are so named: a cut of 40 means 40% fewer tokens than the base.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from math import nan
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from laconic.comparison.folders import Evaluation, read_evaluation, read_samples
from laconic.comparison.records import read_comparison
from laconic.errors import InputError
from laconic.evaluation.folder_names import temperature_tag
from laconic.reporting.read import read_phases
from laconic.rollouts.rows import ResponseRow
from laconic.statistics.claims import PerProblem, mean_pass_at_k
from laconic.sweep.config import stored_sweep
from laconic.sweep.results import BASE, read_trainings
from laconic.sweep.rows import TrainingCost
from laconic.system.files import Json, read_numbered_jsonl
from laconic.types import Grade

SAMPLED, GREEDY = "t1", "greedy"


@dataclass(frozen=True)
class SweepArm:
    """One entry of a sweep at one seed. `base` and the `stages` (every phase's result, the run's last) are evaluations by the
    tag of their temperature; `steps` are the lines of metrics.jsonl."""

    label: str
    seed: int
    base: Mapping[str, Evaluation]
    stages: Mapping[str, tuple[Evaluation, ...]]
    steps: tuple[Json, ...]

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return next(iter(self.base.values())).path.parents[1]

    def before(self, tag: str = SAMPLED) -> PerProblem:
        """The base, one row per problem."""
        return self.base[tag].problems

    def after(self, tag: str = SAMPLED, stage: int = -1) -> PerProblem:
        """The run's result, or that of another of its phases, with the problems in the order of the base's."""
        return self.stages[tag][stage].problems.ordered(self.base[tag].problems.problem_ids)

    # --- held-out problems -------------------------------------------------------------------------------------------

    def tokens(self, tag: str = SAMPLED, stage: int = -1) -> float:
        """Mean tokens of a response."""
        return float(self.after(tag, stage).mean_tokens.mean())

    def accuracy(self, tag: str = SAMPLED, stage: int = -1) -> float:
        """Accuracy in percent."""
        return 100.0 * float(np.nanmean(self.after(tag, stage).accuracy))

    def cut(self, tag: str = SAMPLED, stage: int = -1) -> float:
        """Percent fewer tokens than the base; negative where responses became longer."""
        return 100.0 * (1.0 - self.tokens(tag, stage) / float(self.before(tag).mean_tokens.mean()))

    def gain(self, tag: str = SAMPLED, stage: int = -1) -> float:
        """Accuracy minus the base's, in points, over the problems that both could be graded on."""
        return 100.0 * float(np.nanmean(self.after(tag, stage).accuracy - self.before(tag).accuracy))

    def pass_at(self, k: int) -> float:
        """pass@k of sampled responses, in percent."""
        return 100.0 * mean_pass_at_k(self.after(), k)

    def within(self, budget: float) -> float:
        """The share of sampled responses, in percent, that are correct within `budget` tokens."""
        found = [row.grade is Grade.CORRECT and row.num_tokens <= budget for row in self._rows(-1)]
        return 100.0 * sum(found) / len(found)

    def area(self, most: float, tag: str = SAMPLED) -> float:
        """The share of responses that are correct within a budget, in percent, averaged over all budgets from 0 to `most`:
        AUC_OAA of arXiv 2508.13141, an integral in place of its sum. A correct response counts 1 - tokens / most, or 0 where it
        is longer.

        The paper counts the tokens of thinking up to 1000; here all of the response's count, as everywhere in this package.
        """
        found = [max(0.0, 1.0 - row.num_tokens / most) * (row.grade is Grade.CORRECT) for row in self._rows(-1, tag)]
        return 100.0 * sum(found) / len(found)

    def finished_cut(self) -> float:
        """The cut in the mean length of the responses that ended by themselves, sampled: longer responses that the cap cut off
        do not count in it."""
        return 100.0 * (1.0 - self._finished(-1) / self._finished(None))

    def cut_follows_ease(self) -> float:
        """Spearman's correlation, over problems, of the relative cut with the base's accuracy; `nan` where one of the two is
        constant."""
        cuts = 1.0 - self.after().mean_tokens / self.before().mean_tokens
        ease = self.before().accuracy
        known = np.isfinite(ease) & np.isfinite(cuts)
        if min(len(np.unique(cuts[known])), len(np.unique(ease[known]))) < 2:
            return nan
        return float(spearmanr(cuts[known], ease[known]).statistic)

    def _rows(self, stage: int | None, tag: str = SAMPLED) -> list[ResponseRow]:
        return list(read_samples((self.base[tag] if stage is None else self.stages[tag][stage]).path))

    def _finished(self, stage: int | None) -> float:
        lengths = [row.num_tokens for row in self._rows(stage) if row.grade is not Grade.TRUNCATED]
        return float(np.mean(lengths)) if lengths else nan

    # --- training ----------------------------------------------------------------------------------------------------

    def logged(self, key: str) -> list[float]:
        """A figure of every step that has it, in order."""
        return [float(step[key]) for step in self.steps if step.get(key) is not None]

    def at_end(self, key: str, portion: float = 0.25) -> float:
        """The mean of a figure over the last `portion` of its steps, one at least; `nan` without any."""
        values = self.logged(key)
        return float(np.mean(values[-max(1, round(portion * len(values))) :])) if values else nan

    def at_start(self, key: str, portion: float = 0.25) -> float:
        """The same over the first steps."""
        values = self.logged(key)
        return float(np.mean(values[: max(1, round(portion * len(values)))])) if values else nan

    @property
    def num_problems(self) -> tuple[int, ...]:
        """The problems that each phase trained on."""
        return tuple(phase["num_problems"] for phase in read_phases(self.folder))

    @property
    def cost(self) -> TrainingCost:
        """What all phases drew."""
        return read_trainings(self.folder)[-1]

    @cached_property
    def path_nats(self) -> tuple[float, ...]:
        """How far the policy has moved after each step: the sum of each step's KL to the policy before it, in nats per token.

        Raises an `InputError` if no step says how far it went, as in a run of an older version: then nothing moved as far as
        nothing.
        """
        moved = self.logged("update/moved_nats")
        if not sum(moved) > 0.0:
            raise InputError(f"{self.label}, seed {self.seed}: no step has update/moved_nats above 0")
        return tuple(accumulate(step.get("update/moved_nats") or 0.0 for step in self.steps))

    def reward_after(self, nats: float) -> float:
        """The mean reward of the rollouts of three steps around the one by which the policy had moved by `nats`."""
        step = sum(moved < nats for moved in self.path_nats)
        around = self.steps[max(0, step - 1) : step + 2]
        return float(np.mean([line["rollouts/reward_mean"] for line in around]))


def read_arms(out: Path) -> dict[int, dict[str, SweepArm]]:
    """The finished runs of the sweep in `out`: by seed, then by label. Raises an `InputError` that names a malformed file."""
    found: dict[int, dict[str, SweepArm]] = {}
    content = stored_sweep(out)
    for entry in content["entries"]:
        tags = [temperature_tag(temperature) for temperature in entry["config"]["report"]["temperatures"]]
        for seed in content["seeds"]:
            folder = out / entry["folder"] / f"seed-{seed}"
            if all((folder / f"comparison-{tag}.json").exists() for tag in tags):
                found.setdefault(seed, {})[entry["label"]] = read_arm(folder, entry["label"], seed, tags)
    return found


def read_arm(folder: Path, label: str, seed: int, tags: Sequence[str]) -> SweepArm:
    """One finished run."""
    metrics = folder / "metrics.jsonl"
    return SweepArm(
        label=label,
        seed=seed,
        base={tag: read_evaluation(folder / "eval" / f"{BASE}-{tag}") for tag in tags},
        stages={tag: tuple(read_evaluation(place) for place in _places(folder, tag)) for tag in tags},
        steps=tuple(line for _, line in read_numbered_jsonl(metrics)) if metrics.exists() else (),
    )


def _places(folder: Path, tag: str) -> list[Path]:
    """The evaluations of every phase's result, in order. The comparison names them; the sweep's folder may have been moved
    since."""
    candidates = read_comparison(folder / f"comparison-{tag}.json").candidates
    return [folder / "eval" / found.who.path.name for found in candidates if found.who.path is not None]

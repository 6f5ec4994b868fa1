"""Checkpoints of a run's phases: what one holds, which ones are kept, and how weights are restored from them.

1. A checkpoint holds the weights of every role that changes, and a `PhaseState`: the optimisers' moments, the watches so far,
   what reward terms remember, and the phases that were finished before. Every random number is addressed by name, so there is no
   generator to save, and a reference that never moves is made again from the weights that entered the phase.
2. The newest few are kept, and those that may be needed again: the results of phases and the best watched step.
3. A damaged checkpoint is set aside, and the run goes on from the sound one before it. A damaged phases.json is written again
   from the newest sound checkpoint.
4. A phase begins from the weights that the phase before it handed on: those after a step, or those of the loaded model.

What is left out: how a checkpoint is written and checked (`checkpoint_files.py`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from laconic.config.recipe import Recipe
from laconic.errors import InputError, RunError
from laconic.models.causal_lm import CausalLM
from laconic.models.policy import Policy, load_policy
from laconic.parallel.team import Team
from laconic.rewards.numbers import Memory
from laconic.system.checksums import file_digest
from laconic.system.files import write_json_atomically
from laconic.training.check.phases import ResolvedPhase
from laconic.training.checkpoint_files import Checkpoint, CheckpointFiles
from laconic.training.phase_end import PhaseRecord, Watch
from laconic.training.run_directory import RunDirectory

UPDATER, CACHE = "updater/", "cache/"
"""The prefixes of the names of the optimisers' tensors in a checkpoint, and of those of the reference's kept scores."""
PHASE_FILES = ("probe.jsonl", "offline.jsonl")
"""Files that a phase makes from the model that enters it, and reads again when it is resumed."""


@dataclass(frozen=True, slots=True)
class PhaseState:
    """The state of a phase after `step`, apart from its weights.

    `updater` and `cache` are the state of the optimisers and of the reference's kept scores, `files` the digests of the phase's
    files, each by name; `finished` are the phases before it.
    """

    index: int
    step: int
    watches: tuple[Watch, ...]
    memory: Memory
    updater: Mapping[str, Tensor]
    cache: Mapping[str, Tensor]
    files: Mapping[str, str]
    finished: tuple[PhaseRecord, ...]


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The checkpoints of a policy in a run's directory. `say` tells a person what was damaged; `given` is the model from which
    the run began, if it was passed in memory."""

    recipe: Recipe
    phases: Sequence[ResolvedPhase]
    directory: RunDirectory
    policy: Policy
    say: Callable[[str], None]
    given: CausalLM | None = None

    @property
    def files(self) -> CheckpointFiles:
        """The files of the checkpoints."""
        return self.directory.checkpoints

    def save(self, state: PhaseState, always: set[int]) -> None:
        """Save the policy with the phase's state; then delete all but the newest checkpoints and those of the steps in
        `always`."""
        bookkeeping = {
            "phase": state.index,
            "watches": [[watch.step, watch.accuracy, watch.mean_tokens] for watch in state.watches],
            "memory": state.memory.to_json(),
            "files": dict(state.files),
            "log": self.directory.log_digest(state.step),
            "finished": [record.to_json() for record in state.finished],
        }
        tensors = self.policy.trainable_state() | _under(UPDATER, state.updater) | _under(CACHE, state.cache)
        self.files.save(Checkpoint(state.step, bookkeeping, tensors), self.policy.save)
        self.files.prune(self.recipe.checkpoints.keep, always)

    def log_digest(self, step: int) -> str | None:
        """The digest of the metrics as they were when the checkpoint of `step` was taken, None if there is none."""

        def read() -> str | None:
            return self.files.bookkeeping(step).get("log") if step in self.files.steps() else None

        return self._team.by_first(read)

    @property
    def _team(self) -> Team:
        return self.directory.team

    # --- where to go on ----------------------------------------------------------------------------------------------

    def newest(self, index: int) -> Checkpoint | None:
        """The newest sound checkpoint, or None if there is none or it belongs to another phase than `index`."""
        step = self.newest_step(index)
        return None if step is None else self.files.load(step)

    def newest_step(self, index: int) -> int | None:
        """The step of `newest`."""

        def find() -> int | None:
            step = self._newest_sound()
            return step if step is not None and self.files.bookkeeping(step)["phase"] == index else None

        return self._team.by_first(find)

    def _newest_sound(self) -> int | None:
        """The step of the newest sound checkpoint; those after it are set aside."""
        for step in self.files.steps():
            if (damage := self.files.damage_of(step)) is None:
                return step
            self.say(f"{damage}; going on from the checkpoint before it")
            self.files.set_aside(step)
        return None

    def finished(self) -> list[PhaseRecord]:
        """The finished phases. Last ones whose results are damaged, but still needed, count as unfinished.

        Raises `RunError` if phases.json is damaged and there is no checkpoint.
        """
        return self._team.by_first(self._finished)

    def _finished(self) -> list[PhaseRecord]:
        newest = self._newest_sound()
        at_work = None if newest is None else self.files.bookkeeping(newest)["phase"]
        records = self._recorded(newest)
        while self._needs_result(records, at_work) and (damage := self.files.damage_of(records[-1].result_step)):
            lost = records.pop()
            self.say(f"{damage}; {lost.name} is trained again from the checkpoint before it")
            for step in self.files.steps():
                if step >= lost.result_step:
                    self.files.set_aside(step)
        return records

    def _needs_result(self, records: Sequence[PhaseRecord], at_work: int | None) -> bool:
        """Whether the next phase begins from the checkpoint of the last finished one, or has it as its reference; `at_work` is
        the phase of the newest."""
        following = len(records)
        if following == 0 or following == len(self.phases) or records[-1].result_step == 0:
            return False
        return at_work != following or self.phases[following].compares_with_entry

    def _recorded(self, newest: int | None) -> list[PhaseRecord]:
        """The phases in phases.json, if they are the first of the recipe's, and those that the `newest` checkpoint knows or go
        beyond them; else those of them that are, or the latter."""
        file = self.directory.path / "phases.json"
        held = [] if newest is None else self._phases_before(newest, self.files.bookkeeping(newest))
        try:
            written = [PhaseRecord.from_json(record, str(file)) for record in self.directory.phases()]
            sound = self._in_order(written)
            if sound == written and written[: len(held)] == held:
                return written
            reason = f"{file}: lacks phases, or holds others than the run's"
            if sound[: len(held)] == held:
                held = sound
        except InputError as error:
            if newest is None:
                raise RunError(
                    f"{error}; there is no checkpoint to write it from: train anew with another --out"
                ) from None
            reason = str(error)
        self.say(f"{reason}; it is written again with the {len(held)} that are known to be finished")
        with self.files.writing(file):
            write_json_atomically(file, [record.to_json() for record in held])
        return held

    def _in_order(self, written: Sequence[PhaseRecord]) -> list[PhaseRecord]:
        """The first of the records, up to one that is not the recipe's phase in its place, or begins before the last ended."""
        sound: list[PhaseRecord] = []
        for record, phase in zip(written, self.phases, strict=False):
            last_step = sound[-1].last_step if sound else 0
            if record.name != phase.config.name or not last_step < record.first_step <= record.last_step:
                break
            sound.append(record)
        return sound

    def _phases_before(self, step: int, bookkeeping: Mapping[str, Any]) -> list[PhaseRecord]:
        origin = str(self.files.place(step) / "trainer.json")
        return [PhaseRecord.from_json(record, origin) for record in bookkeeping.get("finished", [])]

    # --- restoring ---------------------------------------------------------------------------------------------------

    def restore(self, checkpoint: Checkpoint) -> PhaseState:
        """Restore the weights of every role; returns the state of the phase. Raises `RunError` if the weights do not fit."""
        self._load_weights(checkpoint, ("policy", "critic", "reference"))
        saved = checkpoint.state
        return PhaseState(
            index=saved["phase"],
            step=checkpoint.step,
            watches=tuple(Watch(int(step), accuracy, tokens) for step, accuracy, tokens in saved["watches"]),
            memory=Memory.from_json(saved["memory"]),
            updater=_Below(UPDATER, checkpoint.tensors),
            cache=_Below(CACHE, checkpoint.tensors),
            files=saved.get("files", {}),
            finished=tuple(self._phases_before(checkpoint.step, saved)),
        )

    def weights_after(self, step: int) -> Mapping[str, Tensor]:
        """The trainable weights by name, as they were after `step`; for step 0 the model is loaded again."""
        if step:
            return self.files.load(step).tensors
        return load_policy(self.recipe, self.given).trainable_state()

    def return_to(self, step: int) -> None:
        """Restore the policy's weights as they were after `step`."""
        self._load_weights(Checkpoint(step, {}, self.weights_after(step)), ("policy",))

    def _load_weights(self, checkpoint: Checkpoint, roles: tuple[str, ...]) -> None:
        for name, weight in self.policy.trainable_state().items():
            held = checkpoint.tensors.get(name)
            if name.partition("/")[0] in roles and (held is None or held.shape != weight.shape):
                has = "lacks it" if held is None else f"holds it as {tuple(held.shape)}"
                raise RunError(
                    f"{self.files.place(checkpoint.step)}: does not fit the run's model, whose weight {name} "
                    f"is {tuple(weight.shape)}; the checkpoint {has}"
                )
        self.policy.load_trainable_state(checkpoint.tensors, roles)


def lost_files(folder: Path, digests: Mapping[str, str]) -> list[Path]:
    """The files of a phase that are missing, or have other digests than these, which are by name."""
    now = phase_digests(folder)
    return [folder / name for name, digest in digests.items() if now.get(name) != digest]


def phase_digests(folder: Path) -> dict[str, str]:
    """The digests of those files of a phase on which its further steps depend, by name."""
    return {name: file_digest(folder / name) for name in PHASE_FILES if (folder / name).is_file()}


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in tensors.items()}


@dataclass(frozen=True, slots=True)
class _Below(Mapping[str, Tensor]):
    """Those of the tensors whose names begin with `prefix`, without it; each is looked up when it is asked for."""

    prefix: str
    tensors: Mapping[str, Tensor]

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[self.prefix + name]

    def __iter__(self) -> Iterator[str]:
        return (name.removeprefix(self.prefix) for name in self.tensors if name.startswith(self.prefix))

    def __len__(self) -> int:
        return sum(1 for _ in self)

"""Checkpoints of a run's phases: what one holds, which ones are kept, and how weights are restored from them.

1. A checkpoint holds the weights of every role, and a `PhaseState`: the optimisers' moments, the watches so far, and what reward
   terms remember. Every random number is addressed by name, so there is no generator to save.
2. The newest few are kept, and those that may be needed again: the results of phases and the best watched step.
3. A phase begins from the weights that the phase before it handed on: those after a step, or those of the loaded model.

What is left out: how a checkpoint is written either completely or not at all (`run_directory.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from laconic.config.recipe import Recipe
from laconic.models.causal_lm import CausalLM
from laconic.models.policy import Policy, load_policy
from laconic.rewards.numbers import Memory
from laconic.training.phase_end import Watch
from laconic.training.run_directory import Checkpoint, RunDirectory

UPDATER = "updater/"
"""The prefix of the names of the optimisers' tensors in a checkpoint."""


@dataclass(frozen=True, slots=True)
class PhaseState:
    """The state of a phase after `step`, apart from its weights. `updater` holds the optimisers' state by name."""

    index: int
    step: int
    watches: tuple[Watch, ...]
    memory: Memory
    updater: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The checkpoints of a policy in a run's directory. `given` is the model from which the run began, if it was passed in
    memory."""

    recipe: Recipe
    directory: RunDirectory
    policy: Policy
    given: CausalLM | None = None

    def save(self, state: PhaseState, always: set[int]) -> None:
        """Save the policy with the phase's state; then delete all but the newest checkpoints and those of the steps in
        `always`."""
        bookkeeping = {
            "phase": state.index,
            "watches": [[watch.step, watch.accuracy, watch.mean_tokens] for watch in state.watches],
            "memory": state.memory.to_json(),
        }
        tensors = self.policy.trainable_state() | {UPDATER + name: value for name, value in state.updater.items()}
        self.directory.save_checkpoint(Checkpoint(state.step, bookkeeping, tensors), self.policy.save)
        self.directory.prune_checkpoints(self.recipe.checkpoints.keep, always)

    def newest(self, index: int) -> Checkpoint | None:
        """The newest checkpoint, or None if there is none or it belongs to another phase than `index`."""
        step = self.directory.latest_checkpoint()
        checkpoint = None if step is None else self.directory.load_checkpoint(step)
        return checkpoint if checkpoint and checkpoint.state["phase"] == index else None

    def restore(self, checkpoint: Checkpoint) -> PhaseState:
        """Restore the weights of every role; returns the state of the phase."""
        self.policy.load_trainable_state(checkpoint.tensors)
        saved = checkpoint.state
        return PhaseState(
            index=saved["phase"],
            step=checkpoint.step,
            watches=tuple(Watch(int(step), accuracy, tokens) for step, accuracy, tokens in saved["watches"]),
            memory=Memory.from_json(saved["memory"]),
            updater={
                name.removeprefix(UPDATER): value
                for name, value in checkpoint.tensors.items()
                if name.startswith(UPDATER)
            },
        )

    def weights_after(self, step: int) -> Mapping[str, Tensor]:
        """The trainable weights by name, as they were after `step`; for step 0 the model is loaded again."""
        if step:
            return self.directory.load_checkpoint(step).tensors
        return load_policy(self.recipe, self.given).trainable_state()

    def return_to(self, step: int) -> None:
        """Restore the policy's weights as they were after `step`."""
        self.policy.load_trainable_state(self.weights_after(step), roles=("policy",))

"""Checkpoints of a run's phases: what one holds, which stay, and how weights come back from them.

1. A checkpoint holds the weights of every role, and a `PhaseState`: the optimisers' moments, the watches so far, and what reward
   terms remember. Every random number is addressed by name, so there is no generator to save.
2. The newest few stay, and those that somebody may go back to: phases' results and the best watched step.
3. A phase begins from the weights that the phase before it handed on: those of a step, or of the model as loaded.

What is left out: how a checkpoint is written whole or not at all (`run_directory.py`).
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
"""How the names of the optimisers' tensors begin in a checkpoint."""


@dataclass(frozen=True, slots=True)
class PhaseState:
    """Where a phase stands after `step`, beside its weights. `updater` holds the optimisers' state by name."""

    index: int
    step: int
    watches: tuple[Watch, ...]
    memory: Memory
    updater: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The checkpoints in a run's directory, of its policy. `given` is the model that the run began from, where it was handed
    over in memory."""

    recipe: Recipe
    directory: RunDirectory
    policy: Policy
    given: CausalLM | None = None

    def save(self, state: PhaseState, always: set[int]) -> None:
        """Save the policy as it is with the phase's state; then all but the newest, and those of the steps in `always`, go."""
        bookkeeping = {
            "phase": state.index,
            "watches": [[watch.step, watch.accuracy, watch.mean_tokens] for watch in state.watches],
            "memory": state.memory.to_json(),
        }
        tensors = self.policy.trainable_state() | {UPDATER + name: value for name, value in state.updater.items()}
        self.directory.save_checkpoint(Checkpoint(state.step, bookkeeping, tensors), self.policy.save)
        self.directory.prune_checkpoints(self.recipe.checkpoints.keep, always)

    def newest(self, index: int) -> Checkpoint | None:
        """The newest checkpoint, where it is one of phase `index`."""
        step = self.directory.latest_checkpoint()
        checkpoint = None if step is None else self.directory.load_checkpoint(step)
        return checkpoint if checkpoint and checkpoint.state["phase"] == index else None

    def restore(self, checkpoint: Checkpoint) -> PhaseState:
        """Put the weights of every role back; returns where the phase stood."""
        self.policy.load_trainable_state(checkpoint.tensors)
        kept = checkpoint.state
        return PhaseState(
            index=kept["phase"],
            step=checkpoint.step,
            watches=tuple(Watch(int(step), accuracy, tokens) for step, accuracy, tokens in kept["watches"]),
            memory=Memory.from_json(kept["memory"]),
            updater={
                name.removeprefix(UPDATER): value
                for name, value in checkpoint.tensors.items()
                if name.startswith(UPDATER)
            },
        )

    def weights_after(self, step: int) -> Mapping[str, Tensor]:
        """The weights that learn, by name, as they were after `step`; of step 0, the model as loaded, which is loaded again."""
        if step:
            return self.directory.load_checkpoint(step).tensors
        return load_policy(self.recipe, self.given).trainable_state()

    def return_to(self, step: int) -> None:
        """Put the policy's weights back as they were after `step`."""
        self.policy.load_trainable_state(self.weights_after(step), roles=("policy",))

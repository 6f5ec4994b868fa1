"""A reward of ours as the function that TRL calls.

1. The rows of a call become graded groups of all processes (`calls.py`), and every process pays all of them, so that terms over
   the group and over the step see what they see in our own trainer. It is the same function that pays (`rollouts/paying.py`).
2. This process returns the rewards of its own rows. An ungradable response earns None: TRL leaves it out of the baseline, and it
   trains nothing.
3. Terms that remember do so once per call while the model trains, and never in evaluation. Their memory stands in the trainer's
   state, which TRL saves with every checkpoint and reads when it resumes; the function itself holds none.
"""

import functools
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from laconic.config.rewards import RewardsConfig
from laconic.errors import InputError, LaconicWarning
from laconic.integrations.in_trl.calls import RewardCall, groups_of
from laconic.integrations.in_trl.doubts import Asked, warn_of_doubts
from laconic.integrations.in_trl.rows import TrlPrompt
from laconic.integrations.in_trl.settings import TrainerSettings, check_trainer, read_trainer, trainer_behind
from laconic.integrations.in_trl.token_log import log_rollouts, logs_tokens
from laconic.rewards.from_recipe import remembering_terms, reward_table, reward_terms
from laconic.rewards.numbers import Memory
from laconic.rewards.paying import check_terms
from laconic.rewards.table import Reward
from laconic.rollouts.paying import memory_after, pay_groups
from laconic.types import Grade, Group

STATE = "laconic/"
"""In the trainer's state, the name of a reward's memory begins with this."""


class RewardFunction:
    """What `rewards` pays, as a reward function of TRL. `name` is its name in the trainer's log, and the files of a user's own
    rewards are looked up from `folder`."""

    def __init__(self, name: str, rewards: RewardsConfig, folder: Path) -> None:
        self.__name__, self.rewards, self.folder = name, rewards, folder
        try:
            check_terms(reward_terms(rewards), self.table)
        except ValueError as error:
            raise InputError(str(error)) from None

    def __repr__(self) -> str:
        return f"laconic.integrations.trl.reward({self.__name__!r})"

    @property
    def table(self) -> Mapping[str, Reward]:
        """The reward terms by name, including the user's own."""
        return _table(self.rewards, self.folder)

    def __call__(
        self,
        prompts: Sequence[TrlPrompt],
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]] = (),
        **arguments: Any,
    ) -> list[float | None]:
        """The reward of every row, in order; None where the response could not be graded. Raises `InputError` for a data set or a
        trainer that cannot be served, and where a term cannot pay."""
        trainer = trainer_behind(arguments)
        self._check(trainer)
        settings = read_trainer(trainer)
        groups = groups_of(RewardCall(prompts, completion_ids, arguments), settings)
        paid = self._paid(groups, settings, trainer.state)
        if logs_tokens(trainer, self):
            log_rollouts(paid, arguments["log_metric"])
        earned = [None if r.grade is Grade.UNGRADABLE else r.reward for group in paid for r in group.rollouts]
        first = settings.rank * len(prompts)
        return earned[first : first + len(prompts)]

    def _check(self, trainer: Any) -> None:
        check_trainer(trainer)
        ours = [function for function in trainer.reward_funcs if isinstance(function, RewardFunction)]
        names = [function.__name__ for function in ours]
        if names.count(self.__name__) > 1 and remembering_terms(self.rewards):
            raise InputError(
                f"reward_funcs: two rewards are called {self.__name__!r} and would share what they remember; put the terms of "
                "both into one reward(terms=[...])"
            )
        warn_of_doubts(Asked(self.rewards, [function.rewards for function in ours], trainer))

    def _paid(self, groups: Sequence[Group], settings: TrainerSettings, state: Any) -> list[Group]:
        """The groups with their rewards. What terms remember is read from the trainer's state, and in training written to it."""
        cap, memory = settings.max_tokens, self._memory(state)
        try:
            check_terms(reward_terms(self.rewards), self.table, max_tokens=cap)
            paid = pay_groups(groups, self.rewards, {}, cap, memory, self.table)
        except ValueError as error:
            said = str(error).replace("sampler.max_tokens", "max_completion_length")
            raise InputError(f"reward {self.__name__}: {said}") from None
        if settings.is_training and remembering_terms(self.rewards):
            after = memory_after(memory, paid, self.rewards, cap)
            state.stateful_callbacks[STATE + self.__name__] = {"rewards": self._spelled(), "memory": after.to_json()}
        return paid

    def _memory(self, state: Any) -> Memory:
        kept = state.stateful_callbacks.get(STATE + self.__name__)
        if kept is None:
            return Memory()
        if kept["rewards"] != self._spelled():
            said = (
                f"reward {self.__name__}: goes on from what it remembered under other settings, before it was resumed"
            )
            warnings.warn(said, LaconicWarning, stacklevel=2)
        return Memory.from_json(kept["memory"])

    def _spelled(self) -> dict[str, Any]:
        return self.rewards.model_dump(mode="json")


@functools.lru_cache(maxsize=16)
def _cached_table(spelled: str, folder: Path) -> Mapping[str, Reward]:
    return reward_table(RewardsConfig.model_validate_json(spelled), folder)


def _table(rewards: RewardsConfig, folder: Path) -> Mapping[str, Reward]:
    """The table of a process: a user's own rewards run in child processes, which are started once and cannot be pickled."""
    return _cached_table(rewards.model_dump_json(), folder)

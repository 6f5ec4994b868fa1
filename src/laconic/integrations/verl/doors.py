"""What verl loads: a reward manager, an advantage estimator, and a callback that keeps what rewards remember.

verl finds them through its settings, which `laconic export verl` writes: `reward.reward_manager` names `LaconicRewards`,
`algorithm.adv_estimator` is "laconic", `trainer.checkpoint_callback_class` names `MemoryKeeper`, and `algorithm.laconic` is the
exported folder. verl's trainer loads this module with the reward manager, which registers the estimator there too.
"""

import asyncio
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from verl import DataProto
from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase
from verl.trainer.ppo.checkpoint_callback import CheckpointCallback
from verl.trainer.ppo.core_algos import register_adv_est
from verl.utils.checkpoint.checkpoint_manager import find_latest_ckpt_path

from laconic.errors import RunError
from laconic.integrations.verl.exported_phase import read_exported_phase
from laconic.integrations.verl.problem_rows import ProblemRow
from laconic.integrations.verl.scoring import ResponseScorer
from laconic.integrations.verl.step_advantages import StepPayer, open_step_payer, step_advantages
from laconic.rewards.from_recipe import remembering_terms
from laconic.rewards.numbers import Memory
from laconic.rollouts.graders import open_grader
from laconic.system.files import read_json, write_json_atomically

MEMORY_FILE = "laconic_memory.json"
"""What the rewards remember, in a checkpoint of verl."""


class LaconicRewards(RewardManagerBase):  # type: ignore[misc]  # verl is not there when types are checked
    """Grades responses by our grader, and pays them by the terms of the exported phase."""

    def __init__(self, config: Any, tokenizer: Any, compute_score: Any, **_: Any) -> None:
        super().__init__(config, tokenizer, compute_score)
        exported = read_exported_phase(Path(config.algorithm.laconic))
        self.scorer = ResponseScorer(exported, tokenizer, open_grader(exported.recipe.grader))

    async def run_single(self, data: DataProto) -> dict[str, Any]:
        """The score of one response, and what verl logs of it."""
        item = data[-1:][0]
        prompt, response = item.batch["prompts"], item.batch["responses"]
        attended, row = item.batch["attention_mask"], ProblemRow.from_extra_info(item.non_tensor_batch["extra_info"])
        prompt_ids = prompt[attended[: len(prompt)].bool()].tolist()
        response_ids = response[attended[len(prompt) :].bool()].tolist()
        found = asyncio.get_running_loop().run_in_executor(None, self.scorer.score, prompt_ids, response_ids, row)
        number, logged = await found
        return {"reward_score": number, "reward_extra_info": logged}


@cache
def payer_of(folder: str) -> StepPayer:
    """The payer of an exported folder, one for as long as this process lives."""
    return open_step_payer(read_exported_phase(Path(folder)))


@register_adv_est("laconic")  # type: ignore[untyped-decorator]  # nor its types
def laconic_advantages(
    token_level_rewards: Tensor, response_mask: Tensor, config: Any, index: Sequence[str], **_: Any
) -> tuple[Tensor, Tensor]:
    """The advantages [B, T] of a step, twice: no critic learns from them."""
    if config.get("use_kl_in_reward", False):
        raise RunError(
            "algorithm.use_kl_in_reward: a penalty would be added to what laconic reads of the scores; expected false"
        )
    with torch.no_grad():
        found = step_advantages(payer_of(config.laconic), token_level_rewards, response_mask, index)
    return found, found


class MemoryKeeper(CheckpointCallback):  # type: ignore[misc]  # as above
    """Writes what the rewards remember into every checkpoint, and reads it back where verl resumes from one."""

    def __init__(self, config: Any = None) -> None:
        super().__init__(config=config)
        self.payer = payer_of(config.algorithm.laconic)
        folder = _resumed_from(config.trainer)
        if folder is not None and remembering_terms(self.payer.exported.phase.rewards):
            self.payer.restore(_read_memory(folder / MEMORY_FILE))

    def on_save(self, trainer: Any, global_step: int, checkpoint_dir: str, **_: Any) -> None:
        """Write the memory beside the weights of the step."""
        write_json_atomically(Path(checkpoint_dir) / MEMORY_FILE, self.payer.memory.to_json())


def _read_memory(file: Path) -> Memory:
    try:
        return Memory.from_json(read_json(file))
    except ValueError as error:
        raise RunError(f"{file}: {error}") from error


def _resumed_from(trainer: Any) -> Path | None:
    """The checkpoint from which verl will resume, by its own rule; None where it begins anew."""
    if trainer.resume_mode == "disable":
        return None
    if trainer.resume_mode == "resume_path":
        return Path(trainer.resume_from_path)
    found = find_latest_ckpt_path(trainer.default_local_dir)
    return None if found is None else Path(found)

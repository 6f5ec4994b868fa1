"""TRL's `GRPOTrainer`, in its own environment.

    update   `compute_loss`, backward, gradient clipping and AdamW on the workload's batch
    step     one whole step of `trainer.train()`, from the end of the step before to its own end

Sampling is TRL's default, transformers' `generate`. `micro` is the per-device batch size; the rest of the 256 rows is gradient
accumulation. To alternate with another trainer, `train()` runs in a thread of its own, which waits at the end of each step.
"""

import threading
import time
from functools import cache
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from sides.pipe import Answer, Task, serve
from sides.workload import BETAS, CLIP, GROUP_SIZE, LEARNING_RATE, MAX_GRAD_NORM, Attempt, Workload, reward
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

FOREVER = 10**6
NO_TOKEN = -1


class SteppedTraining(TrainerCallback):
    """`train()` in a thread that goes one step further each time it is asked to."""

    def __init__(self) -> None:
        self.go, self.done = threading.Semaphore(0), threading.Semaphore(0)
        self.error: Exception | None = None
        self.num_tokens = 0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Wait for the first request."""
        self.go.acquire()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Say that the step is done, wait for the next request."""
        self.done.release()
        self.go.acquire()

    def count(self, completion_ids: list[list[int]]) -> None:
        """Remember how many tokens the step drew."""
        self.num_tokens = sum(map(len, completion_ids))

    def begin(self, trainer: GRPOTrainer) -> None:
        """Start the thread; it waits before its first step."""
        trainer.add_callback(self)
        threading.Thread(target=self._train, args=(trainer,), daemon=True).start()

    def _train(self, trainer: GRPOTrainer) -> None:
        try:
            trainer.train()
        except Exception as error:
            self.error = error
            self.done.release()

    def step(self) -> float:
        """Seconds of one step."""
        began = time.perf_counter()
        self.go.release()
        self.done.acquire()
        if self.error is not None:
            raise self.error
        return time.perf_counter() - began


class TrlSide:
    """Trainers by their settings, made when first asked for."""

    def __init__(self, settings: dict[str, Any]) -> None:
        torch.set_num_threads(settings["threads"])
        self.workload = Workload(Path(settings["workload"]))
        self.tokenizer = AutoTokenizer.from_pretrained(self.workload.checkpoint)
        self.training = cache(self._training)
        self.updating = cache(self._updating)

    def tasks(self) -> dict[str, Task]:
        """By the names the harness asks for."""
        return {"update": self.update, "step": self.step}

    def trainer(self, cap: int, is_fixed: bool, num_problems: int, micro: int, counter: SteppedTraining) -> GRPOTrainer:
        """A trainer with Laconic's settings in TRL's words."""
        prompts = self.workload.prompts()[:num_problems]
        rows = num_problems * GROUP_SIZE
        micro = min(micro, rows)
        tokenized = self.tokenizer(text=[prompt.text for prompt in prompts])["input_ids"]
        assert tokenized == [prompt.token_ids for prompt in prompts], "TRL would be fed other prompts"

        def pay(completions: list[str], completion_ids: list[list[int]], answer: list[str], **_: Any) -> list[float]:
            counter.count(completion_ids)
            return [reward(text, gold) for text, gold in zip(completions, answer, strict=True)]

        trainer = GRPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(self.workload.model(is_fixed=is_fixed), dtype=torch.float32),
            processing_class=self.tokenizer,
            reward_funcs=pay,
            train_dataset=Dataset.from_list([{"prompt": p.text, "answer": p.answer} for p in prompts]),
            args=GRPOConfig(
                output_dir=str(self.workload.folder / "trl"),
                per_device_train_batch_size=micro,
                gradient_accumulation_steps=rows // micro,
                num_generations=GROUP_SIZE,
                max_completion_length=cap,
                temperature=1.0,
                beta=0.0,
                num_iterations=1,
                epsilon=CLIP,
                loss_type="grpo",
                scale_rewards="group",
                optim="adamw_torch",
                learning_rate=LEARNING_RATE,
                lr_scheduler_type="constant",
                adam_beta1=BETAS[0],
                adam_beta2=BETAS[1],
                weight_decay=0.0,
                max_grad_norm=MAX_GRAD_NORM,
                max_steps=FOREVER,
                bf16=False,
                gradient_checkpointing=False,
                logging_strategy="no",
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                dataloader_pin_memory=False,
                use_cpu=True,
            ),
        )
        if is_fixed:
            forget_end_token(trainer)
        return trainer

    # --- updating ----------------------------------------------------------------------------------------------------

    def _updating(self, cap: int, micro: int) -> tuple[GRPOTrainer, torch.optim.AdamW, list[dict[str, Any]]]:
        attempts = self.workload.attempts()
        trainer = self.trainer(cap, False, len(attempts) // GROUP_SIZE, micro, SteppedTraining())
        trainer.model.train()
        adam = torch.optim.AdamW(trainer.model.parameters(), lr=LEARNING_RATE, betas=BETAS, weight_decay=0.0)
        micros = [self.inputs(attempts[start : start + micro]) for start in range(0, len(attempts), micro)]
        trainer.current_gradient_accumulation_steps = len(micros)
        return trainer, adam, micros

    def inputs(self, attempts: list[Attempt]) -> dict[str, Any]:
        """What TRL's `_generate_and_score_completions` would hand to the loss."""
        prompts = self.workload.prompts()
        prompt_ids, prompt_mask = padded([prompts[a.prompt].token_ids for a in attempts], on_the_left=True)
        completion_ids, completion_mask = padded([a.token_ids for a in attempts], on_the_left=False)
        old_logprobs, _ = padded([a.old_logprobs for a in attempts], on_the_left=False)
        return {
            "prompt_ids": prompt_ids,
            "prompt_mask": prompt_mask,
            "completion_ids": completion_ids,
            "completion_mask": completion_mask,
            "old_per_token_logps": old_logprobs,
            "advantages": torch.tensor([a.advantage for a in attempts]),
            "num_items_in_batch": completion_mask.sum(),
        }

    def update(self, cap: int, micro: int, seed: int) -> Answer:
        """One update on the workload's batch, from padded tensors to new weights. Every update has the same batch."""
        del seed
        trainer, adam, micros = self.updating(cap, micro)
        loss = 0.0
        began = time.perf_counter()
        for inputs in micros:
            part = trainer.compute_loss(trainer.model, inputs)
            part.backward()
            loss += part.item()
        norm = torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), MAX_GRAD_NORM)
        adam.step()
        adam.zero_grad(set_to_none=True)
        seconds = time.perf_counter() - began
        tokens = sum(int(inputs["completion_mask"].sum()) for inputs in micros)
        return {"tokens": tokens, "seconds": seconds, "loss": loss, "grad_norm": float(norm)}

    # --- whole steps -------------------------------------------------------------------------------------------------

    def _training(self, cap: int, is_fixed: bool, num_problems: int, micro: int) -> SteppedTraining:
        training = SteppedTraining()
        training.begin(self.trainer(cap, is_fixed, num_problems, micro, training))
        return training

    def step(self, cap: int, is_fixed: bool, num_problems: int, micro: int, seed: int) -> Answer:
        """One whole step. Steps follow one another, so `seed` is not needed."""
        del seed
        training = self.training(cap, is_fixed, num_problems, micro)
        seconds = training.step()
        return {"tokens": training.num_tokens, "seconds": seconds, "rows": num_problems * GROUP_SIZE}


def forget_end_token(trainer: GRPOTrainer) -> None:
    """The trainer's own notion of the end token goes the way of the checkpoint's."""
    trainer.eos_token_ids = [NO_TOKEN]
    trainer.generation_config.eos_token_id = None
    trainer.generation_kwargs["eos_token_id"] = None


def padded(rows: list[list[Any]], *, on_the_left: bool) -> tuple[Tensor, Tensor]:
    """Rows padded with 0 to one length, [B, T], and their mask [B, T]."""
    longest = max(map(len, rows))
    gaps = [[0] * (longest - len(row)) for row in rows]
    ones = [[1] * len(row) for row in rows]
    if on_the_left:
        values = [gap + row for gap, row in zip(gaps, rows, strict=True)]
        masks = [gap + one for gap, one in zip(gaps, ones, strict=True)]
    else:
        values = [row + gap for gap, row in zip(gaps, rows, strict=True)]
        masks = [one + gap for gap, one in zip(gaps, ones, strict=True)]
    return torch.tensor(values), torch.tensor(masks)


if __name__ == "__main__":
    serve(lambda settings: TrlSide(settings).tasks(), ("torch", "transformers", "trl"))

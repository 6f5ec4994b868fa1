"""Transformers' two ways to sample, in Laconic's own environment.

generate     `model.generate` on left-padded prompts; log-probabilities from the logits it kept
continuous   `model.generate_batch`, its paged continuous batching; log-probabilities returned by it
"""

import time
from functools import cache
from pathlib import Path
from typing import Any

import torch
from sides.pipe import Answer, Task, serve
from sides.workload import Prompt, Workload
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, ContinuousBatchingConfig, GenerationConfig
from transformers.utils import logging

PAGE_TOKENS = 32
PREFILL_TOKENS = 512  # its mask has a row for each token of a step and a column for each position of all rows


class TransformersSide:
    """The model in both forms, with and without an end token, loaded when first asked for."""

    def __init__(self, settings: dict[str, Any]) -> None:
        logging.set_verbosity_error()
        torch.set_num_threads(settings["threads"])
        self.workload = Workload(Path(settings["workload"]))
        self.pad_id: int = AutoTokenizer.from_pretrained(self.workload.checkpoint).pad_token_id
        self.model = cache(self._model)

    def tasks(self) -> dict[str, Task]:
        """By the names the harness asks for."""
        return {"sample": self.sample}

    def _model(self, is_fixed: bool) -> Any:
        folder = self.workload.model(is_fixed=is_fixed)
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def sample(self, how: str, batch: int, cap: int, is_fixed: bool, seed: int) -> Answer:
        """One response to each of the first `batch` prompts, log-probabilities included."""
        torch.manual_seed(seed)
        model, prompts = self.model(is_fixed), self.workload.prompts()[:batch]
        draw = {"generate": self.generate, "continuous": self.continuous}[how]
        began = time.perf_counter()
        tokens = draw(model, prompts, self.decoding(model, cap), seed)
        return {"tokens": tokens, "seconds": time.perf_counter() - began, "rows": batch}

    def decoding(self, model: Any, cap: int) -> GenerationConfig:
        """T = 1, the whole distribution, the checkpoint's own end token or none."""
        return GenerationConfig(
            do_sample=True,
            temperature=1.0,
            top_k=0,
            max_new_tokens=cap,
            eos_token_id=model.generation_config.eos_token_id,
            pad_token_id=self.pad_id,
        )

    @torch.inference_mode()
    def generate(self, model: Any, prompts: list[Prompt], decoding: GenerationConfig, _seed: int) -> int:
        """Tokens drawn by `generate`. At T = 1 its kept logits are those it drew from."""
        longest = max(len(prompt.token_ids) for prompt in prompts)
        padding = [longest - len(prompt.token_ids) for prompt in prompts]
        ids = torch.tensor([[self.pad_id] * n + p.token_ids for n, p in zip(padding, prompts, strict=True)])
        mask = torch.tensor([[0] * n + [1] * (longest - n) for n in padding])
        out = model.generate(
            ids,
            attention_mask=mask,
            generation_config=decoding,
            return_dict_in_generate=True,
            output_logits=True,
        )
        new = out.sequences[:, longest:]
        steps = zip(out.logits, new.T, strict=True)  # one by one: the logits of all steps twice take too much memory
        logprobs = [logits.log_softmax(-1).gather(-1, drawn[:, None]) for logits, drawn in steps]
        assert torch.cat(logprobs, dim=1).shape == new.shape
        return num_drawn(new, decoding.eos_token_id)

    def continuous(self, model: Any, prompts: list[Prompt], decoding: GenerationConfig, seed: int) -> int:
        """Tokens drawn by `generate_batch`, with pages enough for all rows at once."""
        cap = decoding.max_new_tokens
        pages = sum(-(-(len(prompt.token_ids) + cap) // PAGE_TOKENS) for prompt in prompts)
        batching = ContinuousBatchingConfig(
            return_logprobs=True,
            seed=seed,
            page_size=PAGE_TOKENS,
            num_blocks=pages,
            max_batch_tokens=max(PREFILL_TOKENS, len(prompts)),
        )
        out = model.generate_batch(
            [prompt.token_ids for prompt in prompts],
            generation_config=decoding,
            continuous_batching_config=batching,
            progress_bar=False,
        )
        if failed := [row.error for row in out.values() if row.error is not None]:
            raise RuntimeError(f"generate_batch: {failed[0]}")
        if len(out) != len(prompts):
            raise RuntimeError(f"generate_batch: {len(out)} of {len(prompts)} responses came back")
        assert all(len(row.logprobs) == len(row.generated_tokens) for row in out.values())
        return sum(len(row.generated_tokens) for row in out.values())


def num_drawn(new: Tensor, end_id: int | None) -> int:
    """Tokens up to and including each row's first end token, of `new` [B, T]."""
    if end_id is None:
        return new.numel()
    is_end = new == end_id
    ended_before = is_end.int().cumsum(1) - is_end.int()
    return int((ended_before == 0).sum())


if __name__ == "__main__":
    serve(lambda settings: TransformersSide(settings).tasks(), ("torch", "transformers"))

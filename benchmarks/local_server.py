"""What the local server gives at 1, 8 and 64 requests in flight, beside the local sampler with as many rows at once.

`python benchmarks/local_server.py` starts the server of the embedded reasoner and asks it for responses to fresh problems, of
which the sampler draws as many, from the same prompts with the same decoding. Prints a table in Markdown.
"""

import asyncio
import tempfile
import time
from pathlib import Path

import httpx2

from laconic.config.policy import PolicyConfig
from laconic.config.solver import SamplerConfig
from laconic.models.loading import load_model
from laconic.problems.load import load_problems
from laconic.prompts.instructions import messages, render
from laconic.samplers.local import LocalSampler
from laconic.samplers.protocol import Request
from laconic.serving.engines import choose_engine, engine_started
from laconic.types import Problem

IN_FLIGHT = (1, 8, 64)
NUM_REQUESTS = {1: 16, 8: 64, 64: 256}
CAP = 512


async def ask(url: str, problems: list[Problem], in_flight: int) -> tuple[float, int, list[float]]:
    """Seconds, tokens, and the seconds of each request."""
    waiting, latencies, num_tokens = iter(enumerate(problems)), [], 0

    async def work(client: httpx2.AsyncClient) -> None:
        nonlocal num_tokens
        for number, problem in waiting:
            body = {"messages": messages(problem), "seed": number, "max_tokens": CAP}
            began = time.perf_counter()
            reply = await client.post(url + "/chat/completions", json=body)
            latencies.append(time.perf_counter() - began)
            num_tokens += reply.json()["usage"]["completion_tokens"]

    async with httpx2.AsyncClient(timeout=120) as client:
        began = time.perf_counter()
        await asyncio.gather(*(work(client) for _ in range(in_flight)))
        return time.perf_counter() - began, num_tokens, latencies


def draw(sampler: LocalSampler, problems: list[Problem], rows: int) -> tuple[float, int]:
    """Seconds and tokens of the sampler."""
    tokenizer = sampler.lm.tokenizer
    requests = [Request(problem.id, tuple(render(tokenizer, problem)), 1) for problem in problems]
    began = time.perf_counter()
    drawn = sampler.sample(requests, SamplerConfig(max_tokens=CAP, batch_size=rows), seed=0)
    return time.perf_counter() - began, sum(row[0].num_tokens for row in drawn)


def main() -> None:
    """Measure and print."""
    sampler = LocalSampler(load_model("tiny", PolicyConfig()))
    problems = list(load_problems("tiny:mix?count=512&split=report"))
    draw(sampler, problems[:8], 8)
    print("| in flight | requests/s | tokens/s | median seconds | sampler requests/s | sampler tokens/s |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        with engine_started("tiny", choose_engine("tiny", "local"), Path(folder) / "log") as engine:
            ready = time.perf_counter() - began
            asyncio.run(ask(engine.url, problems[:8], 8))
            for in_flight in IN_FLIGHT:
                chosen = problems[: NUM_REQUESTS[in_flight]]
                seconds, tokens, latencies = asyncio.run(ask(engine.url, chosen, in_flight))
                own_seconds, own_tokens = draw(sampler, chosen, in_flight)
                median = sorted(latencies)[len(latencies) // 2]
                print(
                    f"| {in_flight} | {len(chosen) / seconds:.1f} | {tokens / seconds:,.0f} | {median:.2f} | "
                    f"{len(chosen) / own_seconds:.1f} | {own_tokens / own_seconds:,.0f} |"
                )
    print(f"\nThe server answered {ready:.1f} seconds after its start.")


if __name__ == "__main__":
    main()

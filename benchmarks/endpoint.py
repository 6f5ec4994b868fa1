"""The http sampler beside the local one: `python benchmarks/endpoint.py ADDRESS`, the bundled reasoner behind the address.

1. The same problems are sampled by both, greedy and at T=1: greedy texts and lengths must be the same, accuracy and mean tokens
   at T=1 within sampling error (paired over problems).
2. Throughput of the endpoint as the sampler drives it, at several numbers of requests in flight, with the processor time that
   the sampler itself takes for a request.

A server, for example vLLM of `benchmarks/peers.sh` on the second core:

    taskset -c 1 benchmarks/.peers/vllm/bin/python -m vllm.entrypoints.openai.api_server --model src/laconic/tiny/checkpoint \\
        --served-model-name tiny --dtype float32 --max-model-len 512 --max-num-seqs 64 --enforce-eager --port 8771

The file is not called http.py: beside other scripts it would stand for the standard library's module.
"""

import argparse
import time
from collections.abc import Sequence

import numpy as np

from laconic.config.policy import PolicyConfig
from laconic.config.solver import SamplerConfig
from laconic.grading.grader import Grader
from laconic.models.loading import load_model
from laconic.problems.load import load_problems
from laconic.prompts.instructions import messages, render
from laconic.samplers.http import HttpSampler
from laconic.samplers.local import LocalSampler
from laconic.samplers.protocol import Request, Sampler
from laconic.statistics.intervals import mean_interval
from laconic.types import Grade, Problem, Response

DECODING = SamplerConfig(temperature=1.0, max_tokens=320, batch_size=32)
THROUGHPUT_SAMPLES = 8
Rows = list[list[Response]]


def agreement(problems: Sequence[Problem], far: HttpSampler, num_samples: int, seed: int) -> None:
    """Accuracy and mean tokens of both samplers and their paired difference, at T=1 and greedy."""
    lm = load_model("tiny", PolicyConfig())
    ids = [tuple(render(lm.tokenizer, problem)) for problem in problems]
    for temperature, count in ((1.0, num_samples), (0.0, 1)):
        decoding = DECODING.model_copy(update={"temperature": temperature})
        near_asked = [Request(p.id, prompt, count) for p, prompt in zip(problems, ids, strict=True)]
        rows = [
            draw(far, chat(problems, count), decoding, seed),
            draw(LocalSampler(lm), near_asked, decoding, seed),
        ]
        pairs = [pair for both in zip(*rows, strict=True) for pair in zip(*both, strict=True)]
        same = sum(a.text == b.text and a.num_tokens == b.num_tokens for a, b in pairs)
        print(
            f"T={temperature:g}, {len(problems)} problems x {count}: {same} of {len(pairs)} the same in text and length"
        )
        for what, values in (("accuracy", [solved(problems, r) for r in rows]), ("tokens", [lengths(r) for r in rows])):
            show(what, *values)


def chat(problems: Sequence[Problem], count: int) -> list[Request]:
    return [Request(p.id, (), count, messages=tuple(messages(p))) for p in problems]


def draw(sampler: Sampler, requests: Sequence[Request], decoding: SamplerConfig, seed: int) -> Rows:
    return sampler.sample(requests, decoding, seed=seed)


def solved(problems: Sequence[Problem], rows: Rows) -> np.ndarray:
    """Share of correct responses, one number per problem."""
    with Grader() as grader:
        flat = [(r.text, p, r.is_truncated) for p, row in zip(problems, rows, strict=True) for r in row]
        found = grader.grade_many(flat)
    return np.array([graded.grade is Grade.CORRECT for graded in found], float).reshape(len(problems), -1).mean(1)


def lengths(rows: Rows) -> np.ndarray:
    """Mean tokens, one number per problem."""
    return np.array([np.mean([response.num_tokens for response in row]) for row in rows])


def show(what: str, far: np.ndarray, near: np.ndarray) -> None:
    """Both means and the difference with its 95% interval."""
    change = mean_interval(far - near, seed=0)
    interval = f"{change.low:+.3f} to {change.high:+.3f}" if np.any(far != near) else "the same on every problem"
    means = f"endpoint {far.mean():.3f}, local {near.mean():.3f}"
    print(f"  {what}: {means}, difference {change.estimate:+.3f} ({interval})")


def throughput(problems: Sequence[Problem], far: HttpSampler, in_flight: int, seed: int) -> None:
    """Tokens and requests per second, and the sampler's own processor time."""
    decoding = DECODING.model_copy(update={"batch_size": in_flight})
    began, worked = time.perf_counter(), time.process_time()
    rows = draw(far, chat(problems, THROUGHPUT_SAMPLES), decoding, seed)
    seconds, work = time.perf_counter() - began, time.process_time() - worked
    count, tokens = len(problems) * THROUGHPUT_SAMPLES, sum(r.num_tokens for row in rows for r in row)
    print(
        f"{in_flight} in flight: {tokens / seconds:,.0f} tokens/s, {count / seconds:.0f} requests/s, "
        f"{1000 * work / count:.2f} ms of processor time per request"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address")
    parser.add_argument("--problems", type=int, default=64)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--in-flight", type=int, nargs="*", default=[16, 64])
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    far = HttpSampler.connect(asked.address)
    problems = load_problems(f"tiny:mix?count={asked.problems}&split=report")
    agreement(problems, far, asked.samples, asked.seed)
    for in_flight in asked.in_flight:
        throughput(problems, far, in_flight, asked.seed)


if __name__ == "__main__":
    main()

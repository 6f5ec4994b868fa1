"""Evaluates a model behind an OpenAI-compatible endpoint (vLLM, SGLang, llama.cpp, a provider) with two prompts, one of which
asks it to be brief.

    vllm serve Qwen/Qwen3-0.6B &
    python examples/endpoint.py http://127.0.0.1:8000/v1#Qwen/Qwen3-0.6B gsm8k?count=50

Responses are graded on this machine; their lengths are the server's counts. A key is read from LACONIC_API_KEY or OPENAI_API_KEY.
What the package cannot do, for example because no server answers, is one line on standard error; the exit code is then 2.
"""

import argparse
import sys

import laconic
from laconic.errors import LaconicError

parser = argparse.ArgumentParser(description="Evaluate an endpoint with and without a request to be brief.")
parser.add_argument("endpoint", help="http://HOST:PORT/v1#MODEL")
parser.add_argument("problems", nargs="?", default="gsm8k?count=50")
parser.add_argument("--samples", type=int, default=4, help="samples per problem")
parser.add_argument("--max-tokens", type=int, default=4096, help="cap on a response")


def measure(options: argparse.Namespace) -> None:
    """Evaluate the endpoint with both prompts, and print the evaluations and their comparison."""
    problems = laconic.load_problems(options.problems)
    results = {}
    for prompt in ("boxed", "be_concise"):
        solver = laconic.open_solver(options.endpoint, prompt=prompt)
        with solver.grader:
            results[prompt] = laconic.evaluate(
                solver, problems, samples=options.samples, max_tokens=options.max_tokens, batch_size=16
            )
        print(f"{prompt}: {results[prompt]}")
    print(laconic.compare(results["boxed"], results["be_concise"]))


if __name__ == "__main__":
    try:
        measure(parser.parse_args())
    except LaconicError as error:
        print(f"endpoint.py: {error}", file=sys.stderr)
        sys.exit(2)

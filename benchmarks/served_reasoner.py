"""`laconic serve tiny` under load, and beside the local sampler: `python benchmarks/served_reasoner.py`.

1. The gateway starts its own engine for the embedded reasoner. Every problem is asked `--samples` times at temperature 1 through
   the http sampler, `--in-flight` requests at once, each with a seed of its own.
2. The local sampler draws as many responses to the same problems.
3. The store must hold every request once, with the tokens that were counted here: none lost, none doubled.
4. Accuracy and mean tokens of both, and their differences, paired by problem, with 95% intervals. After each of the `--parts`
   what is known so far is printed, so that a run that is ended early has said something.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from endpoint import Rows, chat, draw, lengths, show, solved
from gateway import running, wait_for

from laconic.config.policy import PolicyConfig
from laconic.config.solver import SamplerConfig
from laconic.models.loading import load_model
from laconic.parallel.launching import free_port
from laconic.problems.load import load_problems
from laconic.prompts.instructions import render
from laconic.samplers.http import HttpSampler
from laconic.samplers.local import LocalSampler
from laconic.samplers.protocol import Request
from laconic.traffic.store import open_store
from laconic.traffic.tables import REQUESTS
from laconic.types import Problem

CAP = 320


def check_store(folder: str, drawn: Sequence[Rows], seconds: float) -> None:
    """Every request stands in the store once: as many as were sent, with as many tokens, and all of them answered."""
    store = open_store(f"sqlite:///{folder}/traffic/traffic.db", must_exist=True)
    stored = store.rows(REQUESTS)
    store.close()
    counted = sorted(response.num_tokens for rows in drawn for row in rows for response in row)
    kept = sorted(row["completion_tokens"] or -1 for row in stored)
    failed, ids = sum(row["status"] != 200 for row in stored), len({row["id"] for row in stored})
    print(
        f"{len(counted)} responses in {seconds:.0f} s, {len(counted) / seconds:.1f}/s, {sum(counted) / seconds:,.0f} tokens/s"
    )
    print(f"  in the store {len(stored)} requests with {ids} ids, {failed} failed; the same lengths: {counted == kept}")
    assert counted == kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=2500)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--parts", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    problems = list(load_problems(f"tiny:mix?count={options.problems}&split=report"))
    near = LocalSampler(load_model("tiny", PolicyConfig()))
    decoding = SamplerConfig(temperature=1.0, max_tokens=CAP, batch_size=options.in_flight)
    port, folder = free_port(), tempfile.mkdtemp()
    served, figures, seconds = [], Figures(), 0.0
    with running(sys.executable, "-m", "laconic", "serve", "tiny", "--port", str(port), cwd=folder):
        wait_for(f"http://127.0.0.1:{port}/v1/models")
        far = HttpSampler.connect(f"http://127.0.0.1:{port}/v1#tiny")
        for part in np.array_split(np.arange(len(problems)), options.parts):
            asked = [problems[place] for place in part]
            began = time.perf_counter()
            served.append(draw(far, chat(asked, options.samples), decoding, options.seed))
            seconds += time.perf_counter() - began
            check_store(folder, served, seconds)
            figures.add(asked, served[-1], draw(near, prompts(near, asked, options.samples), decoding, options.seed))
    print(f"requests that the http sampler sent again: {sum(far.retries.values())}")


@dataclass
class Figures:
    """Accuracy and mean tokens of each problem, as served and as drawn here."""

    solved: tuple[list[np.ndarray], list[np.ndarray]] = field(default_factory=lambda: ([], []))
    lengths: tuple[list[np.ndarray], list[np.ndarray]] = field(default_factory=lambda: ([], []))

    def add(self, problems: Sequence[Problem], *both: Rows) -> None:
        """Take up a part, and print what is known."""
        for rows, right, tokens in zip(both, self.solved, self.lengths, strict=True):
            right.append(solved(problems, rows))
            tokens.append(lengths(rows))
        show("accuracy", *map(np.concatenate, self.solved))
        show("tokens", *map(np.concatenate, self.lengths))
        sys.stdout.flush()


def prompts(near: LocalSampler, problems: Sequence[Problem], count: int) -> list[Request]:
    """The same problems for the local sampler."""
    return [Request(problem.id, tuple(render(near.lm.tokenizer, problem)), count) for problem in problems]


if __name__ == "__main__":
    main()

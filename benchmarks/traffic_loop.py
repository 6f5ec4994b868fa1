"""The loop closed once: served, judged, harvested, trained, tried on a share of the users, promoted. The users are simulated.

    python benchmarks/traffic_loop.py --out runs/traffic_loop > benchmarks/traffic_loop.md

1. A month of traffic: the bundled reasoner behind `laconic serve`; simulated users (`simulated_users.py`) ask it over HTTP and
   send feedback to /v1/feedback.
2. `laconic traffic problems` makes problems of what they consented to, under several rules, whose gold answers are held against
   the true ones; so do `laconic traffic pairs` and `next`.
3. `laconic train` with `recipes/from_traffic.toml` on the problems of the rule `--confirmed`.
4. A second month: the result is a candidate for a share of the users. After every batch of users the rules judge
   (`monitoring/candidates.py`), and the decision is written down.
5. A third month, with the decision in force. `laconic traffic report` writes the page.

Everything runs by the package's own commands in processes of their own, one thread each.
"""

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

import httpx2
from simulated_users import Population, SimulatedUser, draw_users, questions_of, reaction

from laconic.grading.extraction import extract_answer
from laconic.grading.rules import same_answer
from laconic.parallel.launching import free_port
from laconic.problems.load import load_problems
from laconic.system.processor import processor_name
from laconic.tiny.tasks import FAMILIES
from laconic.traffic.decisions import Decision, read_decisions
from laconic.traffic.store import open_store
from laconic.types import Problem

REPORTED = "tiny:mix?count=240&split=report"
MOST_TOKENS, IN_FLIGHT = 320, 32
START_SECONDS = 120.0
RULES = {
    "corrections of one user, or agreement": [],
    "corrections of two users, or agreement": ["--min-agreeing", "2"],
    "corrections that the votes confirm, or agreement": ["--confirmed"],
}
CHOSEN = "corrections that the votes confirm, or agreement"


# --- processes -------------------------------------------------------------------------------------------------------


@contextmanager
def running(folder: Path, name: str, health: str, *command: str) -> Iterator[None]:
    """A process of this Python that answers at `health`, until the context ends."""
    with (folder / f"{name}.log").open("ab") as log:
        process = subprocess.Popen([sys.executable, "-m", *command], cwd=folder, stdout=log, stderr=log)
    try:
        _wait(health, process, name)
        yield
    finally:
        process.terminate()
        process.wait(timeout=60)


def _wait(health: str, process: "subprocess.Popen[bytes]", name: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(health, timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"{name} does not answer at {health}")


SERVE = """
port = {port}
[upstreams.base]
url = "http://127.0.0.1:{base}/v1"
model = "tiny"
[routes.tiny]
upstreams = ["base"]
version = "base"
texts = "consent"
tags = {tags}
"""
CANDIDATE = """
[routes.tiny.candidate]
upstreams = ["shorter"]
version = "shorter"
share = {share}
rules = {{ promote_after = 200 }}
[upstreams.shorter]
url = "http://127.0.0.1:{shorter}/v1"
model = "tiny"
"""


@contextmanager
def serving(folder: Path, candidate: Path | None = None, share: float = 0.5) -> Iterator[str]:
    """The gateway before the bundled reasoner and perhaps a candidate; its address."""
    base, shorter, port = (free_port() for _ in range(3))
    with ExitStack() as stack:
        for model, number in (("tiny", base), (candidate, shorter)):
            if model is not None:
                server = ("laconic.serving.local_server", str(model), "--port", str(number), "--name", "tiny")
                stack.enter_context(running(folder, f"engine-{number}", f"http://127.0.0.1:{number}/health", *server))
        toml = SERVE + (CANDIDATE if candidate else "")
        (folder / "serve.toml").write_text(
            toml.format(port=port, base=base, shorter=shorter, share=share, tags=json.dumps(list(FAMILIES)))
        )
        gateway = ("laconic", "serve", "--config", "serve.toml")
        stack.enter_context(running(folder, "gateway", f"http://127.0.0.1:{port}/healthz", *gateway))
        yield f"http://127.0.0.1:{port}/v1"


def laconic(folder: Path, *arguments: str) -> str:
    """What a command prints. Its progress goes to standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "laconic", *arguments], cwd=folder, stdout=subprocess.PIPE, check=True, text=True
    )
    return done.stdout.strip()


# --- users -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answered:
    """One request of a simulated user: tokens of the response, and whether it was right."""

    user: str
    num_tokens: int
    is_right: bool


def month(
    url: str, users: Sequence[SimulatedUser], problems: list[Problem], count: int, seed: int, name: str
) -> list[Answered]:
    """Every user asks `count` questions and says what comes to mind; `IN_FLIGHT` requests at once."""

    async def ask_all() -> list[Answered]:
        limit = asyncio.Semaphore(IN_FLIGHT)
        async with httpx2.AsyncClient(base_url=url, timeout=300.0) as client:
            asked = [(user, problem) for user in users for problem in questions_of(user, problems, count, seed, name)]
            return await asyncio.gather(*(_ask(client, limit, *pair, seed, name) for pair in asked))

    return asyncio.run(ask_all())


async def _ask(
    client: httpx2.AsyncClient, limit: asyncio.Semaphore, user: SimulatedUser, problem: Problem, seed: int, name: str
) -> Answered:
    headers = {"x-laconic-tag": problem.meta["family"]} | ({"x-laconic-consent": "text"} if user.consents else {})
    turns = [{"role": "user", "content": problem.question}]
    body = {"model": "tiny", "messages": turns, "user": user.name, "max_tokens": MOST_TOKENS, "temperature": 1.0}
    async with limit:
        reply = (await client.post("chat/completions", json=body, headers=headers)).raise_for_status().json()
        answer, num_tokens = _answer(reply), reply["usage"]["completion_tokens"]
        said = reaction(user, problem, answer, num_tokens, seed, name)
        if said is not None:
            words = {"rating": said.rating, "length": said.length, "correction": said.correction}
            feedback = {"id": reply["id"], "user": user.name} | {key: word for key, word in words.items() if word}
            (await client.post("feedback", json=feedback, headers=headers)).raise_for_status()
    return Answered(user.name, num_tokens, answer is not None and same_answer(problem.answer, answer) is True)


def _answer(reply: Mapping[str, Any]) -> str | None:
    choice = reply["choices"][0]
    return extract_answer(choice["message"]["content"] or "") if choice["finish_reason"] == "stop" else None


# --- the page --------------------------------------------------------------------------------------------------------


def golds(folder: Path, truth: Mapping[str, str], name: str, options: Sequence[str]) -> str:
    """A row: what a rule harvests, and how many of its gold answers are right."""
    file = "problems.jsonl" if name == CHOSEN else "other.jsonl"
    said = laconic(folder, "traffic", "problems", "--out", file, "--apart-from", REPORTED, *options)
    rows = [json.loads(line) for line in (folder / file).read_text().splitlines()]
    wrong = sum(same_answer(truth[row["problem"]], row["answer"]) is not True for row in rows)
    return f"| {name} | {len(rows)} | {wrong} | {said.partition('(')[2].partition(')')[0]} |"


def summed_up(answered: Sequence[Answered]) -> str:
    """Requests, tokens per request, and the share of right responses."""
    return (
        f"{len(answered)} requests, {fmean(a.num_tokens for a in answered):.1f} tokens per request, "
        f"{fmean(a.is_right for a in answered):.1%} right"
    )


def main() -> None:
    """Close the loop and print the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--users", type=int, default=300)
    parser.add_argument("--asks", type=int, default=6)
    parser.add_argument("--questions", type=int, default=400)
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--batch", type=int, default=50, help="Users between two looks of the rules.")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    folder = options.out.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    problems = load_problems(f"tiny:mix?count={options.questions}&split=train", seed=options.seed)
    users, shares = draw_users(options.users, Population(), options.seed), Population()
    _say_head(options, shares)

    began = time.monotonic()
    with serving(folder) as url:
        first = month(url, users, problems, options.asks, options.seed, "base")
    print(f"## 1. The base is served ({time.monotonic() - began:.0f} s)\n\n{summed_up(first)}.\n")

    print(
        "## 2. Problems out of traffic\n\n| gold answers | problems | wrong gold answers | from |\n|---|---:|---:|---|"
    )
    truth = {problem.question: problem.answer for problem in problems}
    for name, rule in RULES.items():
        print(golds(folder, truth, name, rule))
    print(f"\n`laconic traffic pairs`: {laconic(folder, 'traffic', 'pairs')}\n")
    print(
        f"`laconic traffic next`: {laconic(folder, 'traffic', 'next', '--count', '5').splitlines()[0]} comes first.\n"
    )

    began = time.monotonic()
    laconic(folder, "train", "from_traffic", "--out", "run")
    compared = json.loads((folder / "run" / "comparison-t1.json").read_text())
    print(f"## 3. Training ({time.monotonic() - began:.0f} s)\n\nOn {REPORTED}:\n")
    for candidate in compared["candidates"]:
        print(f"- {candidate['name']}: {candidate['verdict']}")

    began = time.monotonic()
    second = _canary(folder, options, users, problems)
    print(f"\n{summed_up(second)} ({time.monotonic() - began:.0f} s).\n")

    with serving(folder, folder / "run" / "model", options.share) as url:
        third = month(url, users, problems, options.asks, options.seed, "after")
    print(f"## 5. After the decision\n\n{summed_up(third)}.\n")
    print(f"Before: {summed_up(first)}.\n")
    print("`laconic traffic report`:\n\n```text")
    print(laconic(folder, "traffic", "report").replace(f"{folder}/", ""))
    print("```")


def _say_head(options: argparse.Namespace, shares: Population) -> None:
    print("# The loop, closed once, with simulated users\n")
    print(
        f"`python benchmarks/traffic_loop.py --out runs/traffic_loop --users {options.users} --asks {options.asks} "
        f"--questions {options.questions} --share {options.share} --seed {options.seed}`, {datetime.now(UTC):%Y-%m-%d}, "
        f"{processor_name()}, one thread per process.\n"
    )
    print(
        f"The users are simulated (`benchmarks/simulated_users.py`): {shares.consents:.0%} consent, {shares.gives_feedback:.0%} "
        f"of responses get feedback, {shares.corrects:.0%} of users correct wrong responses, and {shares.is_careless:.0%} are "
        "careless, whose corrections are all wrong. Figures say that the loop closes, not what a real service would gain.\n"
    )


def _canary(
    folder: Path, options: argparse.Namespace, users: Sequence[SimulatedUser], problems: list[Problem]
) -> list[Answered]:
    """A month with the candidate, in batches of users, until the rules decide."""
    print(f"\n## 4. A candidate for {options.share:.0%} of the users\n")
    answered: list[Answered] = []
    with serving(folder, folder / "run" / "model", options.share) as url:
        for start in range(0, len(users), options.batch):
            some = users[start : start + options.batch]
            answered += month(url, some, problems, options.asks, options.seed, "candidate")
            said = laconic(folder, "traffic", "candidate", "tiny", "--config", "serve.toml", "--decide")
            if _decision(folder):
                break
    print(
        f"`laconic traffic candidate tiny --config serve.toml --decide` after {len(answered)} requests:\n\n```text\n{said}\n```"
    )
    return answered


def _decision(folder: Path) -> Decision | None:
    store = open_store(f"sqlite:///{folder}/traffic/traffic.db")
    try:
        return next(iter(read_decisions(store)), None)
    finally:
        store.close()


if __name__ == "__main__":
    main()

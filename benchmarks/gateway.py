"""What the gateway costs: `python benchmarks/gateway.py`, against an upstream with known delays, with and without the gateway.

1. An upstream that answers after about `--seconds` runs in a process of its own (`gateways/upstream.py`), the gateway in another,
   and this process asks: `--in-flight` requests at once. A reply says how long the upstream waited; what a request took
   beyond that is what client, gateway and processor added.
2. Both sides are asked in turn, `--rounds` times after a warm-up, with the same number of requests, first whole replies and then
   streams, so that whatever else the machine does meets both.
3. Afterwards every id that came back must stand in the store, once, and nothing else.
4. `--count` sends whole replies through the gateway alone, and looks into the store.
5. `--kill`: the gateway is killed (SIGKILL) in the middle. The store must open, and hold every request that was answered.

The client, the upstream and the gateway share the cores: where none is free, latency grows by what the gateway computes.
"""

import argparse
import asyncio
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import httpx2

from laconic.parallel.launching import free_port
from laconic.traffic.store import open_store
from laconic.traffic.tables import REQUESTS

UPSTREAM = Path(__file__).parent / "gateways" / "upstream.py"
BODY = {"model": "m", "messages": [{"role": "user", "content": "What is two and two? " * 20}], "max_tokens": 512}
START_SECONDS = 60.0


@dataclass
class Side:
    """One of the two that are asked: its address, and what was measured, after a warm-up whose ids are `ids_before`."""

    name: str
    url: str
    chunks: int
    added: list[float] = field(default_factory=list)
    added_before_first: list[float] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    ids_before: list[str] = field(default_factory=list)
    wall: float = 0.0
    failed: int = 0

    @property
    def per_second(self) -> float:
        """Requests per second over all rounds."""
        return len(self.ids) / self.wall

    async def ask(self, number: int, in_flight: int, *, is_streamed: bool, spread: float) -> None:
        """So many requests, `in_flight` at once; the first ones begin within `spread` seconds, evenly."""
        numbers, began = iter(range(number)), time.perf_counter()
        await asyncio.gather(
            *(self._work(numbers, is_streamed, turn * spread / in_flight) for turn in range(in_flight))
        )
        self.wall += time.perf_counter() - began

    async def _work(self, numbers: Iterator[int], is_streamed: bool, delay: float) -> None:
        """One client with a connection of its own."""
        await asyncio.sleep(delay)
        async with aiohttp.ClientSession() as session:
            for _ in numbers:
                try:
                    await self._one(session, is_streamed)
                except (aiohttp.ClientError, OSError):
                    self.failed += 1

    async def _one(self, session: aiohttp.ClientSession, is_streamed: bool) -> None:
        body, began = BODY | {"stream": is_streamed}, time.perf_counter()
        limits = aiohttp.ClientTimeout(total=None, connect=60.0, sock_read=120.0)
        reply = await session.post(f"{self.url}/v1/chat/completions", json=body, timeout=limits)
        first, content = None, b""
        async for piece in reply.content.iter_any():
            first = first or time.perf_counter() - began
            content += piece
        took = time.perf_counter() - began
        is_whole = content.endswith(b"data: [DONE]\n\n" if is_streamed else b"}") and reply.status == 200
        if not is_whole:
            self.failed += 1
            return
        delay = int(re.search(rb'"created": ?(\d+)', content)[1]) / 1e6
        self.added.append(took - delay)
        self.added_before_first.append((first or 0.0) - (delay / self.chunks if is_streamed else delay))
        self.ids.append(reply.headers.get("x-laconic-request-id", ""))


# --- processes -------------------------------------------------------------------------------------------------------


@contextmanager
def running(*command: str, cwd: str | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A child process that is ended with the context."""
    child = subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield child
    finally:
        child.terminate()
        child.wait(30)


def upstream(port: int, seconds: float, chunks: int) -> tuple[str, ...]:
    return sys.executable, str(UPSTREAM), str(port), str(seconds), str(chunks)


def gateway(port: int, behind: int) -> tuple[str, ...]:
    address = f"m=http://127.0.0.1:{behind}/v1#scripted"
    return sys.executable, "-m", "laconic", "serve", "--upstream", address, "--port", str(port)


def wait_for(url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            httpx2.get(url)
            return
        except httpx2.TransportError:
            time.sleep(0.1)
    raise SystemExit(f"{url}: does not answer")


def cpu_seconds(pid: int) -> float:
    """Processor time of a process so far (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# --- the two measurements --------------------------------------------------------------------------------------------


async def alternate(sides: list[Side], options: argparse.Namespace, is_streamed: bool) -> None:
    """Both sides in turn, after a warm-up that does not count."""
    share, spread = options.requests // options.rounds, options.seconds
    for side in sides:
        warming = Side(side.name, side.url, side.chunks, ids=side.ids_before)
        await warming.ask(options.in_flight, options.in_flight, is_streamed=is_streamed, spread=spread)
    for _ in range(options.rounds):
        for side in sides:
            await side.ask(share, options.in_flight, is_streamed=is_streamed, spread=spread)


def show(sides: list[Side], what: str, cpu: float) -> None:
    bare, ours = sides
    print(
        f"{what}: {len(bare.ids)} requests of each side, failed: {bare.failed} bare, {ours.failed} through the gateway"
    )
    for name, key in (("to the end", "added"), ("to the first piece", "added_before_first")):
        a, b = ([1000 * _quantile(getattr(side, key), q) for q in (0.5, 0.95)] for side in sides)
        print(f"  {name}, beyond the upstream's delay: bare {a[0]:.1f} ms (p95 {a[1]:.1f}), ", end="")
        print(f"gateway {b[0]:.1f} ms (p95 {b[1]:.1f}); added {b[0] - a[0]:+.1f} ms (p95 {b[1] - a[1]:+.1f})")
    lost = 1 - ours.per_second / bare.per_second
    print(f"  throughput: {bare.per_second:.0f}/s bare, {ours.per_second:.0f}/s through the gateway, {lost:.1%} lost")
    print(f"  processor time of the gateway: {1000 * cpu / len(ours.ids):.2f} ms per request")


def _quantile(values: list[float], q: float) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[round(100 * q) - 1]


def check_store(folder: str, answered: list[str], what: str) -> list[str]:
    """Every id that was answered stands in the store once; the ids that are there beyond them."""
    store = open_store(f"sqlite:///{folder}/traffic/traffic.db", must_exist=True)
    stored = [row["id"] for row in store.rows(REQUESTS)]
    store.close()
    missing, further = set(answered) - set(stored), set(stored) - set(answered)
    print(
        f"{what}: {len(answered)} answered, {len(stored)} in the store, {len(missing)} missing, {len(further)} further"
    )
    assert len(set(stored)) == len(stored) and len(set(answered)) == len(answered)
    return sorted(missing)


def measure(options: argparse.Namespace) -> None:
    """Latency and throughput of both sides; none lost and none doubled in the store."""
    behind, front, folder = free_port(), free_port(), tempfile.mkdtemp()
    answered: list[str] = []
    with (
        running(*upstream(behind, options.seconds, options.chunks)),
        running(*gateway(front, behind), cwd=folder) as child,
    ):
        for port, path in ((behind, "count"), (front, "models")):
            wait_for(f"http://127.0.0.1:{port}/v1/{path}")
        for is_streamed in (False, True):
            addresses = {"bare": behind, "gateway": front}
            sides = [Side(name, f"http://127.0.0.1:{port}", options.chunks) for name, port in addresses.items()]
            before = cpu_seconds(child.pid)
            asyncio.run(alternate(sides, options, is_streamed))
            show(sides, "streams" if is_streamed else "whole replies", cpu_seconds(child.pid) - before)
            answered += sides[1].ids_before + sides[1].ids
    assert not check_store(folder, answered, "none lost, none doubled")


def count_all(options: argparse.Namespace) -> None:
    """Many requests through the gateway; none lost and none doubled in the store."""
    behind, front, folder = free_port(), free_port(), tempfile.mkdtemp()
    side = Side("gateway", f"http://127.0.0.1:{front}", options.chunks)
    with running(*upstream(behind, options.seconds, options.chunks)), running(*gateway(front, behind), cwd=folder):
        for port, path in ((behind, "count"), (front, "models")):
            wait_for(f"http://127.0.0.1:{port}/v1/{path}")
        asyncio.run(alternate([side], options, is_streamed=False))
        reached = httpx2.get(f"http://127.0.0.1:{behind}/v1/count").json()["answered"]
    print(f"{options.requests} requests, {side.failed} failed, {reached} reached the upstream, {side.per_second:.0f}/s")
    side.ids += side.ids_before
    assert side.failed == 0 and reached == len(side.ids)
    assert not check_store(folder, side.ids, "none lost, none doubled")


def kill_in_the_middle(options: argparse.Namespace) -> None:
    """What a gateway that is killed has lost."""
    behind, front, folder = free_port(), free_port(), tempfile.mkdtemp()
    side = Side("gateway", f"http://127.0.0.1:{front}", options.chunks)

    async def ask(child: subprocess.Popen[bytes]) -> None:
        work = side.ask(options.requests, options.in_flight, is_streamed=False, spread=options.seconds)
        asking = asyncio.ensure_future(work)
        while len(side.ids) < options.requests // 4:
            await asyncio.sleep(0.01)
        child.send_signal(signal.SIGKILL)
        await asking

    with (
        running(*upstream(behind, options.seconds, options.chunks)),
        running(*gateway(front, behind), cwd=folder) as child,
    ):
        for port, path in ((behind, "count"), (front, "models")):
            wait_for(f"http://127.0.0.1:{port}/v1/{path}")
        asyncio.run(ask(child))
        reached = httpx2.get(f"http://127.0.0.1:{behind}/v1/count").json()["answered"]
    print(f"killed: {reached} requests had reached the upstream, {options.in_flight} were in flight at most")
    assert not check_store(folder, side.ids, "after SIGKILL")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--chunks", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", action="store_true", help="only look whether every request is stored once")
    parser.add_argument("--kill", action="store_true", help="only kill the gateway in the middle")
    options = parser.parse_args()
    (kill_in_the_middle if options.kill else count_all if options.count else measure)(options)


if __name__ == "__main__":
    main()

"""A vLLM server that is killed in the middle of a step: `python benchmarks/vllm_kills.py`, after `benchmarks/peers.sh vllm`.

Each case is a short run of the demo's two phases on the bundled reasoner, drawn by a real server:

- `whole`, `again`: nobody kills anything, twice, since vLLM need not draw the same twice
- `server`: the run's own server is killed with all its processes while it draws
- `engine`: only the process of its engine is killed
- `url`: a server with an address is killed while it draws, and started again by hand
- `lost`: it is not started again; once the run has ended, the server is, and the run is resumed
- `trainer`: the trainer is killed; its server must end with it; the run is resumed
- `ranks`: two processes train, and their server is killed while it draws

Every run must log each step once and end. The table goes to `benchmarks/vllm_kills.md`: how the run ended, how often a call was
drawn again, and how many of the responses are those of the run that nobody touched. What is finished is not run again.
"""

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from laconic.config.policy import PolicyConfig
from laconic.models.loading import load_model
from laconic.models.policy import Policy
from laconic.parallel.launching import free_port
from laconic.samplers.vllm.starting import OwnServer, executable_of, serve_command
from laconic.system.processor import processor_name

HERE = Path(__file__).parent
VLLM = HERE / ".peers" / "vllm" / "bin" / "python"
CASES = ("whole", "again", "server", "engine", "url", "lost", "trainer", "ranks")
PHASES = {"accuracy": 2, "brevity": 2}
SHORT = [
    "seed=0",
    "threads=1",
    "watch.every=2",
    "problems.watch=tiny:mix?count=8&split=watch",
    "problems.report=tiny:mix?count=8&split=report",
    *[f"phases.{name}.{key}" for name, steps in PHASES.items() for key in (f"steps={steps}", "problems_per_step=16")],
]
PATIENCE_SECONDS, AWAY_SECONDS, LOST_SECONDS = 300.0, 5.0, 10.0


@dataclass(frozen=True)
class Ended:
    """How a case ended: exit codes of its commands, what they said in the end where they failed, seconds from the kill to the
    next step that was logged (or to the end of what had to end), calls drawn again, and the share of responses that are those
    of `whole`."""

    codes: list[int]
    said: str
    seconds: float | None
    redrawn: int
    num_steps: int
    same_frac: float


class Run:
    """A run of the demo in the folder `out`, by the command line."""

    def __init__(self, out: Path, server: str, seconds: float = PATIENCE_SECONDS, processes: int = 1) -> None:
        words = [*SHORT]
        for name in PHASES:
            sampler = f"phases.{name}.sampler"
            words += [f"{sampler}.engine=vllm", f"{sampler}.server={server}", f"{sampler}.server_seconds={seconds:g}"]
        self.out = out
        self.command = ["train", "recipes/demo.toml", *words, "--out", str(out)]
        self.many = ["--processes", str(processes)] if processes > 1 else []
        self.process: subprocess.Popen[str] | None = None

    def begin(self, arguments: Sequence[str] | None = None) -> None:
        """Start it, or what `arguments` say in its place."""
        given = list(arguments or [*self.command, *self.many])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "laconic", *given], cwd=HERE.parent, stderr=subprocess.PIPE, text=True
        )

    def end(self) -> tuple[int, str]:
        """Its exit code, and the last two lines of what it said."""
        assert self.process is not None
        _, said = self.process.communicate(timeout=2 * PATIENCE_SECONDS)
        return self.process.returncode, "\n".join(said.strip().splitlines()[-2:])

    @property
    def num_steps(self) -> int:
        """How many steps were logged."""
        file = self.out / "metrics.jsonl"
        return len(file.read_text().splitlines()) if file.exists() else 0

    def await_draw(self, url: Callable[[], str]) -> None:
        """Wait until the server at `url` draws responses of the second step."""
        await_that(lambda: self.num_steps >= 1 and num_running(url()) > 0)

    def await_step(self) -> float:
        """The seconds until another step is logged."""
        began, before = time.monotonic(), self.num_steps
        await_that(lambda: self.num_steps > before)
        return time.monotonic() - began

    def texts(self) -> list[str]:
        """All responses, in order."""
        files = sorted((self.out / "rollouts").iterdir())
        return [json.loads(line)["text"] for file in files for line in file.read_text().splitlines()]

    def ended(self, ends: Sequence[tuple[int, str]], seconds: float | None, whole: Sequence[str]) -> Ended:
        """What became of it."""
        lines = [json.loads(line) for line in (self.out / "metrics.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines] == list(range(1, sum(PHASES.values()) + 1)), "every step is logged once"
        texts = self.texts()
        same = sum(a == b for a, b in zip(texts, whole or texts, strict=True)) / len(texts)
        said = "; ".join(said for code, said in ends if code)
        redrawn = sum(line["sampler/redrawn"] for line in lines)
        return Ended([code for code, _ in ends], said, seconds, redrawn, len(lines), same)


# --- processes -------------------------------------------------------------------------------------------------------


def await_that(is_so: Callable[[], bool]) -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)


def num_running(url: str) -> float:
    """How many requests the server at `url` works on; 0 where there is none."""
    try:
        with urllib.request.urlopen(f"{url}/metrics", timeout=5) as reply:
            lines = reply.read().decode().splitlines()
    except (OSError, ValueError, urllib.error.URLError):
        return 0.0
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("vllm:num_requests_running"))


def below(pid: int) -> dict[int, str]:
    """The processes that `pid` has started, directly or not, with their command lines."""
    parents, words = {}, {}
    for place in Path("/proc").iterdir():
        if place.name.isdecimal():
            try:
                parents[int(place.name)] = int((place / "stat").read_text().rpartition(")")[2].split()[1])
                words[int(place.name)] = (
                    (place / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                )
            except OSError:
                continue  # it has ended meanwhile
    found: dict[int, str] = {}
    while more := {
        p: words[p] for p, parent in parents.items() if p not in found and (parent == pid or parent in found)
    }:
        found |= more
    return found


def own_server(run: Run) -> tuple[int, str]:
    """The process of the server that the run has started, 0 if there is none yet, and its address."""
    assert run.process is not None
    for pid, command in below(run.process.pid).items():
        words = command.split()
        if "--port" in words and "--logprobs-mode" in words:
            return pid, f"http://127.0.0.1:{words[words.index('--port') + 1]}"
    return 0, ""


# --- cases -----------------------------------------------------------------------------------------------------------


class Campaign:
    """The cases, in the folder `place`, with the Python at `vllm`."""

    def __init__(self, place: Path, vllm: Path) -> None:
        self.place, self.own = place, f"{vllm} --enforce-eager"

    def run(self, case: str) -> None:
        """Run a case, unless its result is there."""
        file = self.place / f"{case}.json"
        if file.exists():
            return
        whole = [] if case == "whole" else Run(self.place / "whole", "").texts()
        ended = getattr(self, f"_{case}")(whole)
        file.write_text(json.dumps(asdict(ended), indent=2) + "\n")

    def _whole(self, whole: Sequence[str], case: str = "whole") -> Ended:
        run = Run(self.place / case, self.own)
        run.begin()
        return run.ended([run.end()], None, whole)

    def _again(self, whole: Sequence[str]) -> Ended:
        return self._whole(whole, "again")

    def _server(self, whole: Sequence[str], case: str = "server", processes: int = 1) -> Ended:
        run = Run(self.place / case, self.own, processes=processes)
        run.begin()
        run.await_draw(lambda: own_server(run)[1])
        os.killpg(own_server(run)[0], signal.SIGKILL)
        return self._finished(run, whole)

    def _ranks(self, whole: Sequence[str]) -> Ended:
        return self._server(whole, "ranks", processes=2)

    def _engine(self, whole: Sequence[str]) -> Ended:
        run = Run(self.place / "engine", self.own)
        run.begin()
        run.await_draw(lambda: own_server(run)[1])
        engines = [pid for pid, command in below(own_server(run)[0]).items() if "EngineCore" in command]
        os.kill(engines[0], signal.SIGKILL)
        return self._finished(run, whole)

    def _url(self, whole: Sequence[str]) -> Ended:
        server, url = self._served()
        run = Run(self.place / "url", url)
        run.begin()
        run.await_draw(lambda: url)
        kill_whole(server)
        time.sleep(AWAY_SECONDS)
        server.begin()
        ended = self._finished(run, whole)
        server.end()
        return ended

    def _lost(self, whole: Sequence[str]) -> Ended:
        server, url = self._served()
        run = Run(self.place / "lost", url, LOST_SECONDS)
        run.begin()
        run.await_draw(lambda: url)
        kill_whole(server)
        began = time.monotonic()
        first = run.end()
        seconds = time.monotonic() - began
        server.begin()
        await_that(lambda: is_up(url))
        run.begin(shlex.split(first[1].partition("Go on with:")[2])[1:])
        ended = run.ended([first, run.end()], seconds, whole)
        server.end()
        return ended

    def _trainer(self, whole: Sequence[str]) -> Ended:
        run = Run(self.place / "trainer", self.own)
        run.begin()
        run.await_draw(lambda: own_server(run)[1])
        assert run.process is not None
        started = below(own_server(run)[0]).keys() | {own_server(run)[0]}
        run.process.kill()
        began = time.monotonic()
        first = (run.end()[0], "")
        await_that(lambda: not any(is_alive(pid) for pid in started))
        seconds = time.monotonic() - began
        run.begin([*run.command, "--resume"])
        return run.ended([first, run.end()], seconds, whole)

    def _finished(self, run: Run, whole: Sequence[str]) -> Ended:
        """What becomes of a run whose server was just killed."""
        seconds = run.await_step()
        return run.ended([run.end()], seconds, whole)

    def _served(self) -> tuple[OwnServer, str]:
        """A server with an address, as a person would start it."""
        model, port = self.place / "model", free_port()
        config = PolicyConfig(device="cpu")
        lm = load_model("tiny", config)
        Policy(lm, config, seed=0).save(model)
        context = lm.context_length or 1024
        command = serve_command(
            executable_of(self.own), model, port, context=context, rows=256, dtype="float32", is_on_cpu=True
        )
        server, url = OwnServer(command, self.place / "vllm.log", is_on_cpu=True), f"http://127.0.0.1:{port}"
        server.begin()
        await_that(lambda: is_up(url))
        return server, url


def kill_whole(server: OwnServer) -> None:
    """Kill a server with all its processes."""
    assert server.process is not None
    os.killpg(server.process.pid, signal.SIGKILL)
    server.process.wait()


def is_up(url: str) -> bool:
    """Whether a server answers."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as reply:
            return bool(reply.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def is_alive(pid: int) -> bool:
    """Whether the process is there, and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def table(place: Path, cases: Sequence[str]) -> str:
    """One row per case."""
    rows = [
        "| case | exit codes | seconds after the kill | calls drawn again | steps | responses as in `whole` |",
        "|---" * 6 + "|",
    ]
    said = []
    for case in cases:
        ended = Ended(**json.loads((place / f"{case}.json").read_text()))
        seconds = "" if ended.seconds is None else f"{ended.seconds:.1f}"
        codes = ", ".join(map(str, ended.codes))
        rows.append(f"| {case} | {codes} | {seconds} | {ended.redrawn} | {ended.num_steps} | {ended.same_frac:.1%} |")
        if ended.said:
            said.append(f"What `{case}` said:\n\n```text\n{ended.said.replace(str(place), 'runs')}\n```")
    return "\n\n".join(["\n".join(rows), *said])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=CASES)
    parser.add_argument("--out", type=Path, default=Path("runs/vllm_kills"))
    parser.add_argument("--vllm", type=Path, default=VLLM)
    asked = parser.parse_args()
    place = asked.out.absolute()
    place.mkdir(parents=True, exist_ok=True)
    campaign = Campaign(place, asked.vllm.absolute())
    for case in asked.cases:
        campaign.run(case)
    done = [case for case in CASES if (place / f"{case}.json").exists()]
    machine = f"{processor_name()}, {len(os.sched_getaffinity(0))} cores, {time.strftime('%Y-%m-%d')}"
    text = f"# A vLLM server that is killed\n\n`python benchmarks/vllm_kills.py`; {machine}.\n\n{table(place, done)}\n"
    (HERE / "vllm_kills.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()

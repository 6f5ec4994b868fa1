"""The harness's machinery: who competes, on what, and how they take turns.

1. `SIDES` names every side with its variants: a process, and what each request to it says besides.
2. `Bench` has the workload made, starts each process once and lends it to every comparison.
3. `compete` warms every side up, keeps its fastest variant, then asks the sides in turn, `repeats` times; a side whose warm-up
   took longer than a minute is asked once.

A side that cannot start, answers with an error or draws too few tokens leaves the comparison, and its figure says why.
"""

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sides.pipe import BENCHMARKS, CHECKOUT, Answer, SideFailed, Worker
from sides.table import Figure

PEERS = BENCHMARKS / ".peers"
OWN = Path(sys.executable)
TRL = PEERS / "trl" / "bin" / "python"
VLLM = PEERS / "vllm" / "bin" / "python"
SLOW_SECONDS = 60.0
MATRIX_SIZE = 2048  # rows of the matrices by whose product a reader can place the other figures
REST_SECONDS = 0.3  # longer than any thread pool spins after its last work
GROUP_SIZE = 8


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line may change. `problems` is how many a step draws; `cap` and `fixed` are response lengths,
    and so is `warm_up`: the largest of responses that are sampled to warm a side up, 0 for those that are then measured.

    `model` is "tiny" or a folder. The bundled reasoner has targets of its own, and it alone meets continuous batching. `since` is
    the commit that the section `change` measures this checkout against.
    """

    model: str = "tiny"
    repeats: int = 5
    threads: int = 2
    batches: tuple[int, ...] = (8, 64, 256)
    problems: int = 32
    cap: int = 320
    long_cap: int = 1024
    fixed: int = 128
    warm_up: int = 0
    graded: int = 20_000
    since: str = ""

    @property
    def is_tiny(self) -> bool:
        """Whether the model is the bundled reasoner."""
        return self.model == "tiny"

    @property
    def linear_problems(self) -> tuple[int, ...]:
        """Five step sizes over a 16-fold range, the largest twice `problems` (fewer where that is below 16)."""
        return tuple(sorted({max(1, self.problems * 2 >> halvings) for halvings in range(5)}))


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to run a side: a process (`module`, `python`, `settings`, `checkout`) and what every request to it says besides."""

    name: str
    module: str
    python: Path = OWN
    settings: tuple[tuple[str, Any], ...] = ()
    arguments: tuple[tuple[str, Any], ...] = ()
    checkout: Path = CHECKOUT

    @property
    def process(self) -> tuple[Any, ...]:
        """Variants that agree in this share one process."""
        return self.module, self.python, self.settings, self.checkout


def _laconic(name: str, **arguments: Any) -> tuple[Variant]:
    return (Variant(name, "sides.laconic_side", arguments=tuple(arguments.items())),)


def _transformers(name: str, how: str) -> tuple[Variant]:
    return (Variant(name, "sides.transformers_side", arguments=(("how", how),)),)


SIDES: dict[str, tuple[Variant, ...]] = {
    "laconic": _laconic("laconic"),
    "laconic grpo": _laconic("laconic grpo", algorithm="grpo"),
    "laconic ppo": _laconic("laconic ppo", algorithm="ppo"),
    "generate": _transformers("transformers generate", "generate"),
    "continuous": _transformers("transformers continuous batching", "continuous"),
    "vllm": (
        Variant("vllm eager", "sides.vllm_side", VLLM, settings=(("is_compiled", False),)),
        Variant("vllm compiled", "sides.vllm_side", VLLM, settings=(("is_compiled", True),)),
    ),
    "trl": (
        Variant("trl, micro-batch 256", "sides.trl_side", TRL, arguments=(("micro", 256),)),
        Variant("trl, micro-batch 64", "sides.trl_side", TRL, arguments=(("micro", 64),)),
    ),
    "trl, larger model": (
        Variant("trl, micro-batch 16", "sides.trl_side", TRL, arguments=(("micro", 16),)),
        Variant("trl, micro-batch 4", "sides.trl_side", TRL, arguments=(("micro", 4),)),
    ),
}


def environment(variant: Variant, threads: int) -> dict[str, str]:
    """The same number of threads for every side; for vLLM, the OpenMP of its manual."""
    shared = {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "PYTHONWARNINGS": "ignore",
    }
    if variant.python != VLLM:
        return shared
    openmp = VLLM.parents[1] / "lib" / "libiomp5.so"
    own = {"KMP_BLOCKTIME": "5", "KMP_TPAUSE": "0"}  # as vLLM sets them for its worker processes
    return shared | own | ({"LD_PRELOAD": str(openmp)} if openmp.exists() else {})


@dataclass(slots=True)
class Contender:
    """A side in one comparison: its variants (after `settle` only the one that was kept), its answers, and what went wrong.

    `first` is the very first answer of the variant that was kept. `warm_up` is that of the options.
    """

    side: str
    variants: list[tuple[Variant, Worker]]
    trouble: str = ""
    first: Answer = field(default_factory=dict)
    answers: list[Answer] = field(default_factory=list)
    warm_up: int = 0

    def drop(self, variant: Variant, failure: SideFailed) -> None:
        """Remember why a variant left."""
        self.trouble = "; ".join(filter(None, (self.trouble, f"{variant.name}: {failure}")))

    def settle(self, request: dict[str, Any]) -> None:
        """Warm every variant up and keep the fastest; a variant that fails is dropped."""
        timed = []
        if self.warm_up and request["task"] == "sample":
            request = request | {"cap": min(request["cap"], self.warm_up)}
        for variant, worker in self.variants:
            try:
                first = last = ask(variant, worker, request | {"seed": 0})
                if len(self.variants) > 1:
                    last = ask(variant, worker, request | {"seed": 1})
                timed.append((tokens_per_second(last), variant, worker, first))
            except SideFailed as failure:
                self.drop(variant, failure)
        self.variants = []
        if timed:
            _, variant, worker, self.first = max(timed, key=lambda entry: entry[0])
            self.variants = [(variant, worker)]

    def measure(self, request: dict[str, Any]) -> None:
        """One answer of the variant that was kept. A slow side answers once."""
        if self.answers and self.first["seconds"] > SLOW_SECONDS:
            return
        for variant, worker in self.variants:
            try:
                self.answers.append(ask(variant, worker, request))
            except SideFailed as failure:
                self.drop(variant, failure)
                self.variants, self.answers = [], []

    def figure(self, quantity: Callable[[Answer], float]) -> Figure:
        """`quantity` of every answer."""
        if not self.variants:
            return Figure(self.side, trouble=self.trouble)
        rows = sum(answer.get("rows", 0) for answer in self.answers)
        return Figure(
            side=self.variants[0][0].name,
            values=tuple(quantity(answer) for answer in self.answers),
            trouble=self.trouble,
            mean_tokens=sum(answer["tokens"] for answer in self.answers) / rows if rows else None,
        )


def ask(variant: Variant, worker: Worker, request: dict[str, Any]) -> Answer:
    """One answer, after a rest. Raises `SideFailed` for an error, or fewer tokens than a fixed length asks for."""
    time.sleep(REST_SECONDS)
    answer = worker.ask(**request, **dict(variant.arguments))
    if "error" in answer:
        raise SideFailed(answer["error"])
    if request.get("is_fixed") and answer["tokens"] != (expected := answer["rows"] * request["cap"]):
        raise SideFailed(f"drew {answer['tokens']:,} tokens where {expected:,} were asked for")
    return answer


def tokens_per_second(answer: Answer) -> float:
    """The speed of one answer."""
    return float(answer["tokens"] / answer["seconds"])


def step_seconds(answer: Answer) -> float:
    """How long one answer took."""
    return float(answer["seconds"])


def peak_mib(answer: Answer) -> float:
    """The process's peak of memory when it answered."""
    return float(answer["peak_mib"])


class Bench:
    """The options, the workload, every process that is running, the versions of those that were used since `versions` was
    cleared, and the processor's `matrix_rates`, once they were measured."""

    def __init__(self, options: Options, folder: Path) -> None:
        self.options, self.folder = options, folder
        self.workers: dict[tuple[Any, ...], Worker] = {}
        self.versions: dict[str, dict[str, str]] = {}
        self.rates: dict[str, float] = {}

    def prepare(self) -> None:
        """Have the workload made, by a process that then ends. Raises `SideFailed`."""
        options = self.options
        with self.fresh("laconic") as contender:
            if contender.trouble:
                raise SideFailed(contender.trouble)
            ask(
                *contender.variants[0],
                {
                    "task": "prepare",
                    "model": options.model,
                    "num_prompts": max(*options.batches, options.problems, *options.linear_problems),
                    "num_problems": options.problems,
                    "cap": options.cap,
                },
            )

    def matrix_rates(self) -> dict[str, float]:
        """GFLOP/s of a float32 matrix product on this processor, by the number of threads: one, and as many as every side has."""
        with self.fresh("laconic") as contender:
            answers = [
                ask(
                    *contender.variants[0],
                    {"task": "multiply", "threads": n, "size": 256 if self.options.is_tiny else MATRIX_SIZE},
                )
                for n in sorted({1, self.options.threads})
            ]
        return {str(answer["threads"]): answer["gflops"] for answer in answers}

    def start(self, variant: Variant) -> Worker:
        """A new process. Raises `SideFailed` where it is not installed or cannot load."""
        options = self.options
        if not variant.python.exists():
            peer = variant.python.parents[1].name
            raise SideFailed(f"not installed: `benchmarks/peers.sh {peer}` installs it")
        settings = {
            "workload": str(self.folder / "workload"),
            "threads": options.threads,
            "max_rows": max(*options.batches, options.problems * GROUP_SIZE),
            "max_tokens": max(options.cap, options.fixed),
            "cache_gib": 1 if options.is_tiny else 4,
            **dict(variant.settings),
        }
        log = self.folder / f"{len(list(self.folder.glob('*.log')))}.log"
        own = environment(variant, options.threads)
        return Worker(variant.python, variant.module, settings, own, log, variant.checkout)

    def contender(self, side: str, variants: Sequence[Variant] | None = None) -> Contender:
        """The side with a running process for each variant that can run."""
        contender = Contender(side, [], warm_up=self.options.warm_up)
        for variant in variants or SIDES[side]:
            try:
                if variant.process not in self.workers:
                    self.workers[variant.process] = self.start(variant)
                worker = self.workers[variant.process]
                self.versions[variant.module.removeprefix("sides.").removesuffix("_side")] = worker.versions
                contender.variants.append((variant, worker))
            except SideFailed as failure:
                contender.drop(variant, failure)
        return contender

    @contextmanager
    def fresh(self, side: str, variants: Sequence[Variant] | None = None) -> Iterator[Contender]:
        """The side in processes of its own, which end with the block."""
        running, self.workers = self.workers, {}
        try:
            yield self.contender(side, variants)
        finally:
            self.close()
            self.workers = running

    def compete(self, sides: Sequence[str], **request: Any) -> dict[str, Contender]:
        """Ask `sides` the same thing in turn, as often as the options say."""
        contenders = {side: self.contender(side) for side in sides}
        self.take_turns(list(contenders.values()), request)
        return contenders

    def take_turns(self, contenders: Sequence[Contender], request: dict[str, Any]) -> None:
        """Warm the contenders up, then ask them the same thing in turn, as often as the options say."""
        for contender in contenders:
            contender.settle(request)
        for repeat in range(self.options.repeats):
            for contender in contenders:
                contender.measure(request | {"seed": repeat + 2})

    def close(self) -> None:
        """End every process."""
        for worker in self.workers.values():
            worker.close()
        self.workers.clear()


def slope_and_r2(xs: Sequence[float], ys: Sequence[float]) -> tuple[float, float]:
    """Least squares of log y over log x: the exponent of a power law, and the share of variance it explains.

    >>> [round(value, 6) for value in slope_and_r2([1, 2, 4], [3, 6, 12])]
    [1.0, 1.0]
    """
    u, v = [math.log(x) for x in xs], [math.log(y) for y in ys]
    mean_u, mean_v = sum(u) / len(u), sum(v) / len(v)
    squares_u = sum((a - mean_u) ** 2 for a in u)
    squares_v = sum((b - mean_v) ** 2 for b in v)
    products = sum((a - mean_u) * (b - mean_v) for a, b in zip(u, v, strict=True))
    return products / squares_u, products**2 / (squares_u * squares_v)

"""Problems from files, generators and benchmarks, behind one function.

1. `load_problems` looks the kind of a source up in `KINDS`, a visible table, and calls its loader.
2. A file's problems come in file order, a generator's in the order of its stream, a benchmark's in an order of its own that is
   the same for everyone; `count` takes the first of them.
3. Whatever is wrong with a source is one `ProblemsError` that names the file and line, or the argument.
4. `write_problems` writes JSON lines that `load_problems` reads back as they were.

A source is `PATH.jsonl`, `PATH.parquet`, `hf:NAME[:CONFIG]:SPLIT`, `gym:TASK?arg=value`, `tiny:FAMILY?arg=value` or a benchmark's
name, `gsm8k` or `gsm8k?count=50`. What is left out: shuffling (a selection chooses, see `selection/rules.py`), and downloads
other than those of `hf:` and the benchmarks.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from laconic.config.defaults import SEED
from laconic.errors import ProblemsError
from laconic.problems.benchmarks import BENCHMARKS, Benchmark, benchmark_of, load_benchmark, local_file, near_names
from laconic.problems.files import load_jsonl, load_parquet
from laconic.problems.generated import load_gym, load_tiny
from laconic.problems.hub import load_hub
from laconic.problems.records import to_record
from laconic.system.files import write_text_atomically
from laconic.types import Problem

__all__ = ["BENCHMARKS", "KINDS", "Benchmark", "benchmark_of", "is_on_hub", "load_problems", "write_problems"]

Loader = Callable[[str, int, int | None], list[Problem]]
"""(source, seed, count) to problems."""

KINDS: tuple[tuple[str, Callable[[str], bool], Loader], ...] = (
    ("gym:TASK?arg=value", lambda source: source.startswith("gym:"), load_gym),
    ("tiny:FAMILY?arg=value", lambda source: source.startswith("tiny:"), load_tiny),
    ("hf:NAME[:CONFIG]:SPLIT", lambda source: source.startswith("hf:"), load_hub),
    ("PATH.jsonl", lambda source: source.endswith(".jsonl"), load_jsonl),
    ("PATH.parquet", lambda source: source.endswith(".parquet"), load_parquet),
    ("BENCHMARK[?count=N]", lambda source: benchmark_of(source) is not None, load_benchmark),
)


def load_problems(source: str, *, seed: int = SEED, count: int | None = None) -> list[Problem]:
    """The problems of `source`, in a fixed order; the first `count` of them where given (generators: 100 without).

    `seed` only matters to generators. Raises `ProblemsError` for whatever is wrong with the source, and
    `MissingExtraError` where it needs a package that is not installed.
    """
    if count is not None and count < 1:
        raise ProblemsError(f"{source}: count must be at least 1, got {count}")
    for _, is_kind, load in KINDS:
        if is_kind(source):
            return [replace(problem, source=problem.source or source) for problem in load(source, seed, count)]
    found = near_names(source)
    benchmarks = f"near it: {', '.join(found)}" if found else f"BENCHMARK is one of {', '.join(BENCHMARKS)}"
    raise ProblemsError(
        f"{source}: no such source; expected one of {', '.join(name for name, _, _ in KINDS)}; {benchmarks}"
    )


def is_on_hub(source: str) -> bool:
    """Whether a source is fetched from the hub: a dataset that is no local folder, a benchmark without a local file.

    Raises `ProblemsError` where the folder of local files is none.
    """
    if source.startswith("hf:"):
        return not Path(source.split(":")[1]).exists()
    benchmark = benchmark_of(source)
    return benchmark is not None and local_file(benchmark) is None


def write_problems(path: Path, problems: Iterable[Problem]) -> None:
    """Write one JSON line a problem, the whole file or nothing. `source` is not written: the file is the new source.

    Raises `OSError` where the disk refuses.
    """
    lines = (json.dumps(to_record(problem), ensure_ascii=False, allow_nan=False) + "\n" for problem in problems)
    write_text_atomically(path, "".join(lines))

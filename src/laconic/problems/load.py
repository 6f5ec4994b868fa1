"""Problems from files, generators and benchmarks, behind one function.

1. `load_problems` reads the address (`address.py`), looks up its kind in `KINDS`, a visible table, and calls that kind's loader.
2. A file's problems come in file order, a generator's in the order of its stream, a benchmark's in an order of its own that is
   the same for everyone; `count` takes the first of them.
3. Any fault of a source raises one `ProblemsError` that names the file and line, or the argument.
4. `write_problems` writes JSON lines that `load_problems` reads back unchanged.

Every kind of source takes arguments after a question mark, `data/problems.jsonl?count=8`; `count` means the same for all.
What is left out: shuffling (a selection chooses, see `selection/rules.py`), and downloads other than those of `hf:` and the
benchmarks.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from laconic.config.defaults import SEED
from laconic.config.node import MOST_PROBLEMS
from laconic.errors import ProblemsError
from laconic.problems.address import Address, name_of, read_address
from laconic.problems.benchmarks import (
    BENCHMARKS,
    Benchmark,
    benchmark_of,
    load_benchmark,
    load_file,
    local_file,
    near_names,
)
from laconic.problems.files import load_parquet
from laconic.problems.forgotten import refuse_forgotten
from laconic.problems.generated import load_gym, load_seeker, load_tiny, load_words
from laconic.problems.hub import load_hub
from laconic.problems.records import to_record
from laconic.rng import LARGEST_SEED
from laconic.seeker.searches import SEARCHES
from laconic.system.files import write_text_atomically
from laconic.system.text import brief
from laconic.tiny.tasks import FAMILIES
from laconic.traces.families import WORD_GROUPS
from laconic.types import Problem

__all__ = ["BENCHMARKS", "KINDS", "Benchmark", "Kind", "benchmark_of", "is_on_hub", "load_problems", "write_problems"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of source: the form of its address, what it holds, which names belong to it, and its loader.

    The loader takes an address and a seed and returns problems.
    """

    form: str
    summary: str
    has_name: Callable[[str], bool]
    load: Callable[[Address, int], list[Problem]]


KINDS: tuple[Kind, ...] = (
    Kind(
        "gym:TASK[?arg=value]",
        "a reasoning-gym task: count, seed, split and its own arguments (extra: gym)",
        lambda name: name.startswith("gym:"),
        load_gym,
    ),
    Kind(
        "tiny:FAMILY[?arg=value]",
        f"the embedded reasoner's problems: count, seed, split, levels, solutions; families {', '.join(FAMILIES)}, mix",
        lambda name: name.startswith("tiny:"),
        load_tiny,
    ),
    Kind(
        "seeker:FAMILY[?arg=value]",
        f"the seeker's problems of search: count, seed, split, levels, solutions; families {', '.join(SEARCHES)}, mix",
        lambda name: name.startswith("seeker:"),
        load_seeker,
    ),
    Kind(
        "words:FAMILY[?arg=value]",
        f"problems in plain English: count, seed, split, levels, solutions, lengths; families {', '.join(WORD_GROUPS)}, "
        + ", ".join(WORD_GROUPS["all"]),
        lambda name: name.startswith("words:"),
        load_words,
    ),
    Kind(
        "hf:NAME[:CONFIG]:SPLIT[?arg=value]",
        "a Hugging Face dataset: count, solutions=thought (extra: data)",
        lambda name: name.startswith("hf:"),
        load_hub,
    ),
    Kind(
        "PATH.jsonl[?arg=value]",
        "a file with lines of id, problem, answer, perhaps solution: count, solutions=thought",
        lambda name: name.endswith(".jsonl"),
        load_file,
    ),
    Kind(
        "PATH.parquet[?arg=value]",
        "a file with columns problem, answer: count, solutions=thought (extra: data)",
        lambda name: name.endswith(".parquet"),
        load_parquet,
    ),
    Kind(
        "BENCHMARK[?arg=value]",
        "a public benchmark by name: count, solutions=thought; laconic list benchmarks",
        lambda name: name in BENCHMARKS,
        load_benchmark,
    ),
)


def load_problems(source: str | Path, *, seed: int = SEED, count: int | None = None) -> list[Problem]:
    """The problems of `source`, in a fixed order; only the first `count` if a count is given. Without one, generators make 100.

    `seed` only matters to generators. Raises `ProblemsError` for any fault of the source and for problems made from requests that
    were forgotten, and `MissingExtraError` if it needs a package that is not installed.
    """
    if not isinstance(source, str | Path):
        raise ProblemsError(f"source: expected an address of problems, got {brief(source)}")
    source = str(source)
    for argument, value, least, most in (
        ("count", 1 if count is None else count, 1, MOST_PROBLEMS),
        ("seed", seed, 0, LARGEST_SEED),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ProblemsError(
                f"{source}: {argument} must be a whole number from {least} to {most}, got {brief(value)}"
            )
    name = name_of(source)
    for kind in KINDS:
        if kind.has_name(name):
            problems = kind.load(read_address(source, count), seed)
            refuse_forgotten(problems, name)
            return [replace(problem, source=problem.source or name) for problem in problems]
    near = near_names(name)
    benchmarks = f"near it: {', '.join(near)}" if near else f"BENCHMARK is one of {', '.join(BENCHMARKS)}"
    raise ProblemsError(f"{source}: no such source; expected one of {', '.join(k.form for k in KINDS)}; {benchmarks}")


def is_on_hub(source: str) -> bool:
    """Whether a source is fetched from the hub: a dataset that is not a local folder, or a benchmark without a local file.

    Raises `ProblemsError` if `LACONIC_DATA` names something that is not a folder.
    """
    name = name_of(source)
    if name.startswith("hf:"):
        return not Path(name.split(":")[1]).exists()
    benchmark = BENCHMARKS.get(name)
    return benchmark is not None and local_file(benchmark) is None


def write_problems(path: Path, problems: Iterable[Problem]) -> None:
    """Write one JSON line per problem, the whole file or nothing. `source` is not written: the file is the new source.

    Raises `OSError` if the file cannot be written.
    """
    lines = (json.dumps(to_record(problem), ensure_ascii=False, allow_nan=False) + "\n" for problem in problems)
    write_text_atomically(path, "".join(lines))

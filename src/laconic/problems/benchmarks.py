r"""Public benchmarks by name: `gsm8k`, or `gsm8k?count=50`.

1. `BENCHMARKS` is a visible table. A row says where the problems are published, how their columns are read (`columns.py`), and
   how the benchmark is usually run: its instruction, cap and samples per problem.
2. A file of the same name comes first, so that a benchmark runs offline: `NAME.jsonl` or `NAME_test.jsonl` in the folder that
   the environment variable `LACONIC_DATA` names, then in `data/` of the working directory. Otherwise the hub is asked.
3. Problems come in an order fixed by a hash of their text, which is the same for everyone and under every seed. So the first 50
   are always the same, and they are a fair sample even if the file is sorted by subject.
4. `Problem.meta` keeps the other columns of the row, such as a worked `solution`.

The usual cap is 32,768 tokens, with which R1-type models are evaluated (for example by arXiv 2504.05185). For grade-school
problems it is 8,192, the cap with which O1-Pruner sampled; QwQ-32B needs 777 tokens there (arXiv 2501.12570). A model with a
shorter context needs a lower cap. The usual number of samples is the smallest power of four that makes at least 1,000 responses,
so that sampling adds at most 1.6 points of standard error. It gives AIME the customary 64 and MATH-500 the 4 of arXiv 2504.05185.

What is left out: training splits (`hf:` and files read those), few-shot prompts of the original papers, and pinned revisions.
"""

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from laconic.config.defaults import INSTRUCTION
from laconic.errors import ProblemsError
from laconic.problems import columns as read
from laconic.problems.address import Address, name_of, read_address
from laconic.problems.files import load_jsonl
from laconic.problems.thoughts import think_solutions
from laconic.rng import seed_of
from laconic.types import Problem

DATA_VARIABLE = "LACONIC_DATA"
DATA_FOLDER = Path("data")
CAP_REASONING = 32_768
CAP_GRADE_SCHOOL = 8_192


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One benchmark. `prompt` is a name of `prompts.INSTRUCTIONS`; problems with choices are told to box a letter.

    `max_tokens` and `samples` are how it is usually run by reasoning models; `files` are further names a local file may have.
    """

    name: str
    title: str
    num_problems: int
    citation: str
    licence: str
    hub: read.Hub
    samples: int
    max_tokens: int = CAP_REASONING
    prompt: str = INSTRUCTION
    files: tuple[str, ...] = ()

    @property
    def is_multiple_choice(self) -> bool:
        """True where the gold answer is a letter."""
        return self.hub.choices is not None

    @property
    def file_names(self) -> tuple[str, ...]:
        """Names of local files that are read instead of the hub, in the order in which they are tried."""
        return tuple(f"{stem}.jsonl" for stem in (self.name, f"{self.name}_test", *self.files))


CONTEST = "the contest's organisers; evaluate on it, do not republish it"

BENCHMARKS: Mapping[str, Benchmark] = {
    row.name: row
    for row in (
        Benchmark(
            "math500",
            "MATH-500: 500 problems of the MATH test set",
            500,
            "Lightman et al. 2023, arXiv 2305.20050; Hendrycks et al. 2021, arXiv 2103.03874",
            "MIT",
            read.Hub(
                "HuggingFaceH4/MATH-500",
                "test",
                question=read.column("problem"),
                answer=read.column("answer"),
                solution=read.column("solution"),
                meta={"subject": "subject", "level": "level", "orig_id": "unique_id"},
            ),
            samples=4,
        ),
        Benchmark(
            "aime24",
            "AIME 2024, I and II",
            30,
            "Mathematical Association of America, AIME I and II 2024",
            CONTEST,
            read.Hub(
                "HuggingFaceH4/aime_2024",
                "train",
                question=read.column("problem"),
                answer=read.number("answer"),
                solution=read.column("solution"),
                meta={"orig_id": "id", "url": "url"},
            ),
            samples=64,
        ),
        Benchmark(
            "aime25",
            "AIME 2025, I and II",
            30,
            "Mathematical Association of America, AIME I and II 2025",
            CONTEST,
            read.Hub("math-ai/aime25", "test", read.column("problem"), read.number("answer"), meta={"orig_id": "id"}),
            samples=64,
        ),
        Benchmark(
            "amc23",
            "AMC 12 2023, A and B, problems with a whole-number answer",
            40,
            "Mathematical Association of America, AMC 12 A and B 2023",
            CONTEST,
            read.Hub(
                "math-ai/amc23",
                "test",
                read.column("question"),
                read.number("answer"),
                meta={"orig_id": "id", "url": "url"},
            ),
            samples=64,
        ),
        Benchmark(
            "mmlu_stem",
            "MMLU, its 18 subjects of science and mathematics",
            3018,
            "Hendrycks et al. 2021, arXiv 2009.03300",
            "MIT",
            read.Hub(
                "cais/mmlu",
                "test",
                config="all",
                question=read.column("question"),
                answer=read.letter,
                choices=read.column("choices"),
                meta={"subject": "subject"},
                subjects=read.STEM_SUBJECTS,
            ),
            samples=1,
        ),
        Benchmark(
            "gsm8k",
            "GSM8K: grade-school word problems, test set",
            1319,
            "Cobbe et al. 2021, arXiv 2110.14168",
            "MIT",
            read.Hub(
                "openai/gsm8k",
                "test",
                config="main",
                question=read.column("question"),
                answer=read.after_hashes,
                solution=read.before_hashes,
            ),
            samples=1,
            max_tokens=CAP_GRADE_SCHOOL,
        ),
        Benchmark(
            "svamp",
            "SVAMP: one-step word problems, all 1,000",
            1000,
            "Patel et al. 2021, arXiv 2103.07191",
            "MIT",
            read.Hub(
                "ChilleD/SVAMP",
                "train+test",
                question=read.body_and_question,
                answer=read.number("Answer"),
                meta={"subject": "Type", "orig_id": "ID"},
            ),
            samples=1,
            max_tokens=CAP_GRADE_SCHOOL,
        ),
        Benchmark(
            "minerva",
            "Minerva's problems from OpenCourseWare lectures",
            272,
            "Lewkowycz et al. 2022, arXiv 2206.14858",
            "MIT OpenCourseWare, CC BY-NC-SA 4.0",
            read.Hub("math-ai/minervamath", "test", question=read.column("question"), answer=read.column("answer")),
            samples=4,
            files=("minerva_math",),
        ),
        Benchmark(
            "olympiadbench",
            "OlympiadBench: open-ended, text only, mathematics, English",
            674,
            "He et al. 2024, arXiv 2402.14008",
            "MIT; the problems are their organisers'",
            read.Hub(
                "Hothan/OlympiadBench",
                "train",
                config="OE_TO_maths_en_COMP",
                question=read.context_and_question,
                answer=read.joined_answers,
                solution=lambda row: "\n".join(row["solution"]),
                meta={
                    "orig_id": "id",
                    "subject": "subfield",
                    "answer_type": "answer_type",
                    "multiple": "is_multiple_answer",
                    "unit": "unit",
                    "tolerance": "error",
                },
            ),
            samples=4,
        ),
        Benchmark(
            "aqua",
            "AQuA-RAT: algebra with five choices, test set",
            254,
            "Ling et al. 2017, arXiv 1705.04146",
            "Apache-2.0",
            read.Hub(
                "deepmind/aqua_rat",
                "test",
                config="raw",
                question=read.column("question"),
                answer=read.column("correct"),
                choices=read.without_letters,
                solution=read.column("rationale"),
            ),
            samples=4,
        ),
    )
}


# --- loading ---------------------------------------------------------------------------------------------------------


def benchmark_of(source: str) -> Benchmark | None:
    """The benchmark that a source names, with or without arguments; `None` if the source names no benchmark.

    >>> benchmark_of("gsm8k?count=50").max_tokens, benchmark_of("gsm8k.jsonl")
    (8192, None)
    """
    return BENCHMARKS.get(name_of(source))


def near_names(name: str) -> list[str]:
    """Benchmarks that a mistyped name may have meant, the likeliest first."""
    return difflib.get_close_matches(name.lower().replace("-", ""), BENCHMARKS, n=3)


def load_file(address: Address, seed: int) -> list[Problem]:
    """The problems of a file of JSON lines. That of a benchmark may have a choice twice, for it is as it was published."""
    published = {name for benchmark in BENCHMARKS.values() for name in benchmark.file_names}
    return load_jsonl(address, seed, may_repeat_choices=Path(address.name).name in published)


def local_file(benchmark: Benchmark) -> Path | None:
    """The local file to read instead of the hub, if there is one. Raises `ProblemsError` if `LACONIC_DATA` is not a folder."""
    folder_name = os.environ.get(DATA_VARIABLE)
    if folder_name and not Path(folder_name).is_dir():
        raise ProblemsError(f"{benchmark.name}: {DATA_VARIABLE} must name a folder, found {folder_name}")
    folders = [Path(folder_name), DATA_FOLDER] if folder_name else [DATA_FOLDER]
    paths = (folder / name for folder in folders for name in benchmark.file_names)
    return next((path for path in paths if path.is_file()), None)


def load_benchmark(address: Address, _seed: int) -> list[Problem]:
    """The problems of a benchmark in their fixed order; only the first `count` if the address states a count.

    Raises `ProblemsError` for an argument other than count and solutions, a count larger than the benchmark, a file or dataset
    that cannot be read, and an invalid row; `MissingExtraError` if the hub is needed and `datasets` is not installed.
    """
    address.refuse_unknown("solutions")
    benchmark = BENCHMARKS[address.name]
    path = local_file(benchmark)
    problems = _from_hub(benchmark) if path is None else load_jsonl(read_address(str(path)), 0, may_repeat_choices=True)
    if address.count is not None and address.count > len(problems):
        raise ProblemsError(f"{address.source}: {address.count} problems asked for, but it holds {len(problems)}")
    ordered = sorted(problems, key=lambda problem: seed_of(0, "benchmark", _text(problem)))
    named = [replace(problem, source=benchmark.name) for problem in ordered[: address.count]]
    return think_solutions(address, named)


def _text(problem: Problem) -> str:
    return " ".join("\n".join((problem.question, *problem.choices)).split())


def _from_hub(benchmark: Benchmark) -> list[Problem]:
    files = " or ".join(benchmark.file_names)
    needed_for = f"{benchmark.name} (no {files} in ${DATA_VARIABLE} or {DATA_FOLDER}/, so from the hub)"
    return read.hub_problems(benchmark.hub, read.hub_rows(benchmark.hub, needed_for), benchmark.name)

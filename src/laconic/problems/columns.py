r"""From the columns of a published dataset to problems. The table of benchmarks declares each dataset with these functions.

1. A `Hub` says where a dataset is on the Hugging Face hub, and which functions read question, gold answer, choices and worked
   solution from one of its rows.
2. The functions are small, and each undoes one habit of publishing: an answer after `####`, a choice given by its number,
   `033` for 33.
3. `hub_rows` fetches the rows (`hub.py`). `hub_problems` turns them into checked problems, named by benchmark and number.

What is left out: pinned revisions, and skipping broken rows: a broken row is an error that names it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from string import ascii_uppercase
from typing import Any

from laconic.errors import ProblemsError
from laconic.problems.hub import fetch_rows
from laconic.problems.records import check_problems, to_problem
from laconic.problems.thoughts import parted
from laconic.types import Problem

Row = Mapping[str, Any]

STEM_SUBJECTS = frozenset(
    {
        "abstract_algebra",
        "astronomy",
        "college_biology",
        "college_chemistry",
        "college_computer_science",
        "college_mathematics",
        "college_physics",
        "computer_security",
        "conceptual_physics",
        "electrical_engineering",
        "elementary_mathematics",
        "high_school_biology",
        "high_school_chemistry",
        "high_school_computer_science",
        "high_school_mathematics",
        "high_school_physics",
        "high_school_statistics",
        "machine_learning",
    }
)
"""MMLU's subjects of science and mathematics: 3,018 test problems, as Qwen2.5-Math's evaluation counts them."""


def column(name: str) -> Callable[[Row], Any]:
    """The function that reads the value of the column `name` unchanged."""
    return lambda row: row[name]


def number(name: str) -> Callable[[Row], str]:
    """The function that reads a number without leading zeros or an empty fraction.

    AIME's answers are published as `033`, AMC's as `27.0`.

    >>> number("answer")({"answer": "033"}), number("answer")({"answer": 27.0}), number("answer")({"answer": "0.5"})
    ('33', '27', '0.5')
    """

    def read(row: Row) -> str:
        value = float(row[name])
        return str(int(value)) if value.is_integer() else str(value)

    return read


def after_hashes(row: Row) -> str:
    """GSM8K's answer, which follows `####` at the end of the worked solution, without thousands separators."""
    return parted(str(row["answer"]))[1]


def before_hashes(row: Row) -> str:
    """GSM8K's worked solution, without the calculator's notes."""
    return parted(str(row["answer"]))[0]


def letter(row: Row) -> str:
    """The letter of a choice given by its number, counted from 0."""
    return ascii_uppercase[row["answer"]]


def without_letters(row: Row) -> list[str]:
    """AQuA's options, published as `A)21`."""
    return [str(option).partition(")")[2].strip() for option in row["options"]]


def joined_answers(row: Row) -> str:
    """OlympiadBench's gold answer: a list whose items are separated by commas, without `$`."""
    return ",".join(str(answer) for answer in row["final_answer"]).replace("$", "").strip()


def context_and_question(row: Row) -> str:
    """OlympiadBench's question after its context, the text that several questions share, which has a column of its own."""
    return "\n".join(piece for piece in (row.get("context"), row["question"]) if piece)


def body_and_question(row: Row) -> str:
    """SVAMP's story, which may lack its full stop, and the question asked about it."""
    return f"{str(row['Body']).rstrip(' .')}. {row['Question']}"


@dataclass(frozen=True, slots=True)
class Hub:
    """A dataset on the Hugging Face hub and how its rows are read; `meta` maps keys of `Problem.meta` to columns.

    `subjects` are the values of the column `subject` that belong to the benchmark; None means that all rows do.
    """

    name: str
    split: str
    question: Callable[[Row], str]
    answer: Callable[[Row], str]
    config: str | None = None
    choices: Callable[[Row], list[str]] | None = None
    solution: Callable[[Row], str] | None = None
    meta: Mapping[str, str] = field(default_factory=dict)
    subjects: frozenset[str] | None = None


def hub_rows(hub: Hub, needed_for: str) -> list[Row]:
    """The rows of the benchmark, in the dataset's order.

    Raises `MissingExtraError` if `datasets` is not installed and `ProblemsError` if the dataset cannot be loaded. Both messages
    begin with `needed_for`.
    """
    rows = fetch_rows(hub.name, hub.config, hub.split, needed_for)
    return rows if hub.subjects is None else [row for row in rows if row.get("subject") in hub.subjects]


def hub_problems(hub: Hub, rows: Sequence[Row], benchmark: str) -> list[Problem]:
    """One problem per row, named `benchmark-0000` and so on. Raises `ProblemsError` naming a row that is not as declared."""
    wheres = [f"{benchmark}, row {place} of {hub.name}" for place in range(1, len(rows) + 1)]
    width = len(str(len(rows) - 1))
    problems = [
        _problem(hub, row, f"{benchmark}-{index:0{width}}", where)
        for index, (row, where) in enumerate(zip(rows, wheres, strict=True))
    ]
    return check_problems(problems, wheres, benchmark, None)


def _problem(hub: Hub, row: Row, identity: str, where: str) -> Problem:
    try:
        record = {"id": identity, "problem": hub.question(row), "answer": hub.answer(row)}
        choices = {} if hub.choices is None else {"choices": hub.choices(row)}
        solution = {} if hub.solution is None else {"solution": hub.solution(row)}
    except (KeyError, ValueError, TypeError, IndexError) as error:
        reason = f"no column {error}" if isinstance(error, KeyError) else str(error)
        raise ProblemsError(f"{where}: not as declared ({reason})") from error
    meta = {key: row[name] for key, name in hub.meta.items() if row.get(name) not in (None, "")}
    return to_problem(record | choices | solution | meta, where, may_repeat_choices=True)

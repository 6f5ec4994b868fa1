"""Problems from a Hugging Face dataset `hf:NAME[:CONFIG]:SPLIT`: columns problem (or question), answer, perhaps id.

1. `fetch_rows` first checks quickly whether the hub has the dataset (`system/hub.py`). Then the library loads it from the hub, or
   from its cache if the hub does not answer.
2. `load_hub` turns the rows into checked problems.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from laconic.errors import MissingExtraError, ProblemsError
from laconic.problems.address import Address
from laconic.problems.records import check_problems, to_problem
from laconic.problems.thoughts import think_solutions
from laconic.system.hub import Presence, ask_hub, cache_only
from laconic.types import Problem

UNMADE = "DatasetGenerationError"  # of datasets, which is imported only to load
MOST_REASON_CHARS = 300  # characters of what the library says


def fetch_rows(name: str, config: str | None, split: str, needed_for: str) -> list[Mapping[str, Any]]:
    """The rows of one split, in the dataset's order; `name` may be a local folder.

    Raises `MissingExtraError` if `datasets` is not installed and `ProblemsError` if the dataset cannot be loaded. Both messages
    begin with `needed_for`.
    """
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError(needed_for, "data") from error
    presence: Presence = "there" if Path(name).exists() else ask_hub(name, "dataset")
    if presence == "absent":
        raise ProblemsError(f"{needed_for}: the hub shows no dataset {name}; is it spelled right?")
    try:
        with cache_only(presence == "out of reach"):
            return list(datasets.load_dataset(name, config, split=split))
    except Exception as error:  # the library raises many kinds of error: for network, name, config, split, file format
        raise ProblemsError(f"{needed_for}: {name} cannot be loaded ({_reason(error, presence)})") from error


def _reason(error: Exception, presence: Presence) -> str:
    if presence == "out of reach" and isinstance(error, OSError):
        return "the hub does not answer from here, and its cache does not hold it"
    if any(kind.__name__ == UNMADE for kind in type(error).__mro__):  # whose first line does not say why
        said = error.__cause__ or "\n".join(str(error).strip().splitlines()[1:]) or error
        return _in_one_line(str(said)) or type(said).__name__
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")


def _in_one_line(text: str) -> str:
    """The text without line breaks and, if it is long, without its middle."""
    line = " ".join(text.split()).rstrip(".")
    if len(line) <= MOST_REASON_CHARS:
        return line
    return f"{line[: MOST_REASON_CHARS // 2]} ... {line[-MOST_REASON_CHARS // 2 :]}"


def load_hub(address: Address, _seed: int) -> list[Problem]:
    """The problems of one split, in its order; a row without an id is named by its number, counted from 1.

    Raises `ProblemsError` if the address has another form, the dataset cannot be loaded, or a row is not a problem.
    """
    address.refuse_unknown("solutions")
    source = address.name
    name, config, split = _names(source)
    rows = fetch_rows(name, config, split, needed_for=source)
    wheres = [f"{source}, row {number}" for number in range(1, len(rows) + 1)]
    problems = [
        to_problem(row, where, default_id=str(i)) for i, (row, where) in enumerate(zip(rows, wheres, strict=True), 1)
    ]
    return think_solutions(address, check_problems(problems, wheres, source, address.count))


def _names(source: str) -> tuple[str, str | None, str]:
    """Name, config and split; a name may be a local folder."""
    pieces = source.removeprefix("hf:").split(":")
    if len(pieces) not in (2, 3) or not all(pieces):
        raise ProblemsError(f"{source}: expected hf:NAME:SPLIT or hf:NAME:CONFIG:SPLIT")
    return pieces[0], pieces[1] if len(pieces) == 3 else None, pieces[-1]

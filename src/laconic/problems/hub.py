"""Problems from a Hugging Face dataset `hf:NAME[:CONFIG]:SPLIT`: columns problem (or question), answer, perhaps id."""

from laconic.errors import MissingExtraError, ProblemsError
from laconic.problems.records import checked, to_problem
from laconic.types import Problem


def load_hub(source: str, _seed: int, count: int | None) -> list[Problem]:
    """The problems of one split, in its order; a row without an id is named by its number, counted from 1.

    Raises `ProblemsError` where the source is spelled otherwise, the dataset cannot be had, or a row is no problem.
    """
    name, config, split = _names(source)
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError(source, "data") from error
    try:
        rows = list(datasets.load_dataset(name, config, split=split))
    except Exception as error:  # the library raises of every kind: network, name, config, split, file format
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ProblemsError(f"{source}: cannot be loaded ({reason[0]})") from error
    wheres = [f"{source}, row {number}" for number in range(1, len(rows) + 1)]
    problems = [
        to_problem(row, where, default_id=str(i)) for i, (row, where) in enumerate(zip(rows, wheres, strict=True), 1)
    ]
    return checked(problems, wheres, source, count)


def _names(source: str) -> tuple[str, str | None, str]:
    """Name, config and split; a name may be a local folder."""
    pieces = source.removeprefix("hf:").split(":")
    if len(pieces) not in (2, 3) or not all(pieces):
        raise ProblemsError(f"{source}: expected hf:NAME:SPLIT or hf:NAME:CONFIG:SPLIT")
    return pieces[0], pieces[1] if len(pieces) == 3 else None, pieces[-1]

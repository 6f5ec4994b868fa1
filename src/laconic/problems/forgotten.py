"""Problems made from what users asked, and the requests that were forgotten since: nothing is trained or measured on those.

1. A record that was made from stored traffic says of which request (`traffic_request`, or a list where it was made of several),
   and where the list of forgotten requests lies (`tombstones`). `laconic.traffic` writes both, and they stay in a problem's
   `meta` through `probe` and `select`.
2. The list is a text file of ids, one per line, after `HEADING`.
3. `refuse_forgotten` reads the list of each problem and raises one line where a problem's request is on it. A list that cannot be
   read is refused as well: whether the request was forgotten is not known then.

Whoever reads problems calls it, so that it holds at the start of a run and whenever one is resumed.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from laconic.errors import InputError, ProblemsError
from laconic.system.files import read_bytes
from laconic.types import Problem

REQUEST_KEY, LIST_KEY = "traffic_request", "tombstones"
HEADING = "# requests that were forgotten: nothing made from them may be kept"


def requests_of(row: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """The ids of the requests from which a row was made; none where it has no key `REQUEST_KEY`.

    Raises `ProblemsError` beginning with `where` for a value that names none.

    >>> requests_of({"traffic_request": "r1"}, ""), requests_of({"traffic_request": ["r1", "r2"]}, ""), requests_of({}, "")
    (('r1',), ('r1', 'r2'), ())
    """
    if REQUEST_KEY not in row:
        return ()
    stated = row[REQUEST_KEY]
    ids = (stated,) if isinstance(stated, str) else tuple(stated) if isinstance(stated, list | tuple) else ()
    if not ids or not all(isinstance(name, str) and name for name in ids):
        raise ProblemsError(f"{where}: {REQUEST_KEY!r} must be the id of a request, or a list of ids")
    return ids


def marked_parts(row: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """Where a row says of what it was made: in itself or its `meta`, as in the file of a probe. A table spells the keys of a row
    that lacks them as missing values, which say nothing."""
    parts = (part for part in (row, row.get("meta")) if isinstance(part, Mapping) and REQUEST_KEY in part)
    return tuple(part for part in parts if (part[REQUEST_KEY], part.get(LIST_KEY)) != (None, None))


def is_from_traffic(problem: Problem) -> bool:
    """Whether a problem was made from stored traffic."""
    return bool(marked_parts(problem.meta))


def read_forgotten(path: Path) -> frozenset[str]:
    """The ids on a list of forgotten requests. Raises `ProblemsError` where it cannot be read, is none, or was cut off."""
    try:
        text = read_bytes(path).decode("utf-8")
    except (InputError, ValueError) as error:
        reason = "not UTF-8" if isinstance(error, ValueError) else str(error).removeprefix(f"{path}: ")
        raise ProblemsError(f"{path}: the list of forgotten requests cannot be read ({reason})") from None
    lines = [line.strip() for line in text.splitlines()]
    if lines[:1] != [HEADING]:
        raise ProblemsError(f"{path}: is no list of forgotten requests")
    if not text.endswith("\n"):
        raise ProblemsError(f"{path}: the list of forgotten requests is cut off")
    return frozenset(filter(None, lines[1:]))


def list_text(ids: Iterable[str]) -> str:
    """What a list of forgotten requests holds."""
    return "\n".join([HEADING, *sorted(ids)]) + "\n"


def requests_by_list(problems: Iterable[Problem], source: str) -> dict[str, frozenset[str]]:
    """The requests of which problems were made, by the list that says which of them were forgotten, "" where none is named."""
    found: dict[str, set[str]] = {}
    for problem in problems:
        for part in marked_parts(problem.meta):
            listed = part.get(LIST_KEY)
            ids = found.setdefault(listed if isinstance(listed, str) else "", set())
            ids.update(requests_of(part, f"{source}, problem {problem.id}"))
    return {listed: frozenset(ids) for listed, ids in found.items()}


def num_forgotten(by_list: Mapping[str, frozenset[str]], source: str) -> int:
    """How many of the requests of `source` are on their lists. Raises `ProblemsError` where a list cannot be read."""
    return len({name for listed, ids in by_list.items() for name in ids & _list_at(listed, source)})


def refuse_forgotten(problems: Sequence[Problem], source: str) -> None:
    """Raise `ProblemsError` where a problem of `source` was made from a request that was forgotten, or this is not known."""
    gone = num_forgotten(requests_by_list(problems, source), source)
    if gone:
        raise ProblemsError(
            f"{source}: {gone} of its requests were forgotten, and nothing may be made of them; "
            f"laconic traffic clean {source} removes them"
        )


def _list_at(place: str, source: str) -> frozenset[str]:
    remedy = f"name where it lies now with  laconic traffic clean {source} --list FILE"
    if not place:
        raise ProblemsError(f"{source}: made from stored traffic, but names no list of forgotten requests; {remedy}")
    try:
        return read_forgotten(Path(place))
    except ProblemsError as error:
        raise ProblemsError(f"{source}: {error}; {remedy}") from None

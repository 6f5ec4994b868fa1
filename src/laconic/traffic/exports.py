"""Files with texts of users, which forgetting must reach: the one door through which stored texts leave the store.

1. `write_export` writes JSON lines into a file of its owner alone. Each row says of which requests it was made
   (`traffic_request`); a row of a request whose texts are not in the store, since its user did not consent or was forgotten, is
   left out. The file, and whose words are in it, are registered before it is written; whose words it held before stay registered
   until it is.
2. Each row names the list of forgotten requests (`tombstones`), which whoever trains on it reads (`problems/forgotten.py`).
3. `clean_exports` removes the rows of forgotten requests from every registered file that is still there, and says which are not.
   `copies.py` does the same for a copy, such as the selection of an export.

A user may be forgotten while an export is being written: the rows are looked at once more when the file is there, so that either
the export or the forgetting finds them.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, select

from laconic.errors import InputError
from laconic.problems.forgotten import LIST_KEY, REQUEST_KEY, requests_of
from laconic.problems.made_from_traffic import ledger_damage, made_of
from laconic.system.files import remove_partials, to_jsonl, write_text_atomically
from laconic.traffic.copies import drop_rows
from laconic.traffic.store import TrafficStore
from laconic.traffic.tables import EXPORT_FILES, EXPORTED, REQUESTS, TEXTS

IDS_AT_ONCE = 500


def write_export(store: TrafficStore, path: Path, rows: Iterable[Mapping[str, Any]], now: float | None = None) -> int:
    """Write rows made of stored texts to a file, in place of what it held; how many were written.

    Every row has the key `traffic_request`: the id of the request whose words are in it, or a list of ids. Rows of requests whose
    texts are not in the store (any more) are left out. Raises `ValueError` for a row without the key.
    """
    place = path.resolve()
    given = [dict(row) | {LIST_KEY: str(store.forgotten_list)} for row in rows]
    if any(REQUEST_KEY not in row for row in given):
        raise ValueError(f"rows: each needs the key {REQUEST_KEY}")
    ids = [requests_of(row, str(path)) for row in given]
    with store.engine.begin() as connection:
        store.add(connection, EXPORT_FILES, [{"path": str(place), "at": 0.0, "num_rows": 0}])  # takes SQLite's lock
        store.write_list(connection)
        known = _kept_texts(connection, {name for names in ids for name in names})
        kept = [row for row, names in zip(given, ids, strict=True) if known.keys() >= set(names)]
        figures = {"at": time.time() if now is None else now, "num_rows": len(kept)}
        connection.execute(EXPORT_FILES.update().where(EXPORT_FILES.c.path == str(place)).values(figures))
        _register(store, connection, place, kept, known)
    write_text_atomically(place, to_jsonl(kept), mode=0o600)
    _unregister_others(store, place, {name for row in kept for name in requests_of(row, str(path))})
    gone = store.tombstones() & known.keys()
    return len(kept) - (_clean_registered(store, place, gone) if gone else 0)


def _kept_texts(connection: Connection, ids: set[str]) -> dict[str, Mapping[str, Any]]:
    """User and time of each of the requests whose texts are in the store."""
    columns = (REQUESTS.c.id, REQUESTS.c.user, REQUESTS.c.at)
    query = select(*columns).join(TEXTS, TEXTS.c.request_id == REQUESTS.c.id)
    found = (connection.execute(query.where(REQUESTS.c.id.in_(some))).mappings() for some in _chunks(sorted(ids)))
    return {row["id"]: {"user": row["user"], "at": row["at"]} for rows in found for row in rows}


def _register(
    store: TrafficStore,
    connection: Connection,
    place: Path,
    rows: Sequence[Mapping[str, Any]],
    known: Mapping[str, Any],
) -> None:
    """Say in the store whose words the file is about to hold, beside those that it holds."""
    ids = {name for row in rows for name in requests_of(row, str(place))}
    lines = [{"path": str(place), "request_id": name, **known[name]} for name in sorted(ids)]
    store.add(connection, EXPORTED, lines)


def _unregister_others(store: TrafficStore, place: Path, ids: set[str]) -> None:
    """Take off the register whose words the file held before."""
    is_here = EXPORTED.c.path == str(place)
    with store.engine.begin() as connection:
        others = sorted(set(connection.execute(select(EXPORTED.c.request_id).where(is_here)).scalars()) - ids)
        for some in _chunks(others):
            connection.execute(delete(EXPORTED).where(is_here, EXPORTED.c.request_id.in_(some)))


def _chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[start : start + IDS_AT_ONCE] for start in range(0, len(ids), IDS_AT_ONCE))


# --- forgetting ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Forgetting:
    """What was deleted of a user: requests in the store, rows of exports; the exports that still hold some, since they are not
    where they were written; what else was made of forgotten requests, of which nothing is deleted here; and why more may have
    been made of them than is known, "" where all is known."""

    num_requests: int
    num_rows: int
    unreached: tuple[Path, ...]
    made: tuple[Path, ...]
    damage: str


def forget_everywhere(store: TrafficStore, user: str, now: float | None = None) -> Forgetting:
    """Delete everything of a user (a pseudonym), in the store and in every export that is still there.

    Raises `RunFailed` where SQLite's log still holds the deleted pages; the exports are clean then.
    """
    try:
        num_requests = store.forget(user, now)
    finally:
        num_rows, unreached = clean_exports(store)
    try:
        made, damage = made_of(store.forgotten_list, store.tombstones()), ledger_damage(store.forgotten_list)
    except InputError as error:  # what was deleted is said all the same
        made, damage = [], str(error)
    return Forgetting(num_requests, num_rows, tuple(unreached), tuple(made), damage)


def clean_exports(store: TrafficStore) -> tuple[int, list[Path]]:
    """Remove the rows of forgotten requests from every export; how many there were, and the exports that hold some and are not
    to be found, not to be read, or not as they were written."""
    gone, num_removed, unreached = store.tombstones(), 0, []
    query = select(EXPORTED.c.path, EXPORTED.c.request_id).order_by(EXPORTED.c.path)
    with store.engine.connect() as connection:
        places = dict.fromkeys(Path(path) for path, name in connection.execute(query) if name in gone)
    for place in places:
        try:
            num_removed += _clean_registered(store, place, gone)
        except (InputError, OSError):
            unreached.append(place)
    return num_removed, unreached


def _clean_registered(store: TrafficStore, place: Path, gone: frozenset[str]) -> int:
    """Clean one export, and take what is no longer in it off the register."""
    for one in {place, place.resolve()}:
        remove_partials(one)
    with store.engine.connect() as connection:
        written = select(EXPORTED.c.request_id).where(EXPORTED.c.path == str(place))
        known = frozenset(connection.execute(written).scalars())
    num_removed = drop_rows(place, gone, known)
    with store.engine.begin() as connection:
        for some in _chunks(sorted(gone)):
            connection.execute(delete(EXPORTED).where(EXPORTED.c.path == str(place), EXPORTED.c.request_id.in_(some)))
        if num_removed:
            left = EXPORT_FILES.c.num_rows - num_removed
            connection.execute(EXPORT_FILES.update().where(EXPORT_FILES.c.path == str(place)).values(num_rows=left))
    return num_removed

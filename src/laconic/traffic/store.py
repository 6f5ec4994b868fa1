"""The database of traffic: writing, feedback, forgetting, retention. SQLite by default, PostgreSQL by its URL.

1. `open_store` opens or makes the database and runs the migrations that it lacks. SQLite keeps a log beside the file, so that a
   killed gateway leaves a file that opens; what is deleted is overwritten with zeros.
2. `write` puts a batch into the tables in one transaction. A record that is there already is left as it is, so a batch may be
   written twice. A record from before its user was forgotten is not written.
3. `forget` deletes everything of a user, leaves tombstones in the database and in a list beside it, and empties SQLite's log, in
   which the deleted pages stood. `exports.py` reaches the files that were written, too.
4. `prune` deletes texts and figures whose time is over. That a response was corrected is a figure and stays.

Errors of the database never show the values of a statement, for these may be texts.
"""

import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.resources import files
from math import inf
from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import (
    Connection,
    Engine,
    Insert,
    Table,
    bindparam,
    create_engine,
    delete,
    event,
    exists,
    func,
    or_,
    select,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError, SQLAlchemyError

from laconic.config.defaults import TRAFFIC_FOLDER
from laconic.errors import InputError, RunFailed
from laconic.problems.forgotten import list_text
from laconic.system.files import read_bytes, write_text_atomically
from laconic.traffic.consent import KeptText
from laconic.traffic.records import FeedbackRecord, TrafficRecord
from laconic.traffic.tables import EXPORTED, FEEDBACK, FORGOTTEN, LABELS, REQUESTS, TEXTS, TOMBSTONES

INSERTS: Mapping[str, Callable[[Table], sqlite.Insert | postgresql.Insert]] = {
    "sqlite": sqlite.insert,
    "postgresql": postgresql.insert,
}
BUSY_SECONDS = 5.0
SECONDS_OF_A_DAY = 86_400.0
FORGOTTEN_LIST = "forgotten.txt"
LOCK_NUMBER = 7_346_020  # any number, for a lock of PostgreSQL's
StoreError = SQLAlchemyError
"""What a database that is away, full or refuses a statement raises."""
_FORMS = "expected sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME"
PRAGMAS = ("journal_mode=WAL", "synchronous=NORMAL", "secure_delete=ON", "foreign_keys=ON")


class StoreGoneError(SQLAlchemyError):
    """The file of the database is no longer the one that was opened."""


_FORGOTTEN_AMONG = select(FORGOTTEN).where(FORGOTTEN.c.user.in_(bindparam("users", expanding=True)))


@dataclass(frozen=True, slots=True)
class StoredRequest:
    """What is written of one request: its figures, and its texts where they may be kept, redacted."""

    record: TrafficRecord
    text: KeptText | None = None


class TrafficStore:
    """An open database, and the list of forgotten requests beside it. Its methods may be called from any thread."""

    def __init__(self, engine: Engine, forgotten_list: Path) -> None:
        self.engine, self.forgotten_list = engine, forgotten_list
        self._insert = INSERTS[engine.dialect.name]
        self._additions: dict[Table, Insert] = {}  # each made once, which takes longer than adding a row

    # --- writing -----------------------------------------------------------------------------------------------------

    def write(self, batch: Sequence[StoredRequest]) -> None:
        """Write a batch, whole or not at all. Raises `SQLAlchemyError` where the database does not take it."""
        with self.engine.begin() as connection:
            self.wait_for_others(connection)
            kept = self._not_forgotten(connection, batch)
            texts = [item.text for item in kept if item.text is not None]
            columns = [column.name for column in TEXTS.columns]
            self.add(connection, REQUESTS, [asdict(item.record) for item in kept])
            self.add(connection, TEXTS, [{name: getattr(text, name) for name in columns} for text in texts])
            if len(self._not_forgotten(connection, kept)) < len(kept):  # a user was forgotten in this moment
                self._drop_forgotten(connection, [item.record.id for item in kept])

    def _not_forgotten(self, connection: Connection, batch: Sequence[StoredRequest]) -> list[StoredRequest]:
        """The records that are newer than the forgetting of their users. The others are not even written and deleted again, since
        PostgreSQL lets deleted rows stand on the disk."""
        users = list({kept.record.user for kept in batch})
        ends = {row.user: row.at for row in connection.execute(_FORGOTTEN_AMONG, {"users": users})}
        return [kept for kept in batch if kept.record.at > ends.get(kept.record.user, -inf)]

    def wait_for_others(self, connection: Connection, *, alone: bool = False) -> None:
        """Let PostgreSQL forget (`alone`) and write one after the other, so that neither misses what the other does. SQLite has
        one writer at a time."""
        if self.engine.dialect.name == "postgresql":
            kind = "" if alone else "_shared"
            connection.execute(text(f"SELECT pg_advisory_xact_lock{kind}({LOCK_NUMBER})"))

    def add(self, connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows to a table; one that is there already is left as it is."""
        if rows:
            if table not in self._additions:
                self._additions[table] = self._insert(table).on_conflict_do_nothing()
            connection.execute(self._additions[table], list(rows))

    def put(self, connection: Connection, table: Table, row: Mapping[str, Any]) -> None:
        """Add a row to a table, in place of the one that has the same key."""
        keys = [column.name for column in table.primary_key]
        changed = {name: value for name, value in row.items() if name not in keys}
        insert = self._insert(table).values(dict(row))
        connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=changed))

    def _drop_forgotten(self, connection: Connection, ids: Sequence[str] | None = None) -> None:
        """Delete the records (all, or those of `ids`) that are older than the forgetting of their users; their texts and feedback
        go with them."""
        is_before = (
            exists().where(FORGOTTEN.c.user == REQUESTS.c.user, FORGOTTEN.c.at >= REQUESTS.c.at).correlate(REQUESTS)
        )
        found = select(REQUESTS.c.id).where(is_before)
        _delete_requests(connection, found if ids is None else found.where(REQUESTS.c.id.in_(ids)))

    def add_feedback(self, feedback: FeedbackRecord) -> bool:
        """Store a feedback in place of an earlier one for the same response; False where its user got no such response."""
        with (
            contextlib.suppress(IntegrityError),
            self.engine.begin() as connection,
        ):  # forgotten between the two statements
            if _route_of(connection, feedback.request_id, feedback.user) is not None:
                self.put(connection, FEEDBACK, feedback.to_row())
                return True
        return False

    def route_of(self, request_id: str, user: str) -> str | None:
        """The route on which a user got a response; None where this user got none of this id."""
        with self.engine.connect() as connection:
            return _route_of(connection, request_id, user)

    # --- forgetting --------------------------------------------------------------------------------------------------

    def forget(self, user: str, now: float | None = None) -> int:
        """Delete everything that is stored of a user (a pseudonym); the number of requests that were deleted.

        Records that come late are not written where they are older than `now`, or than the user's newest record: a clock that
        was set back since does not spare it. Raises `RunFailed` where SQLite's log still holds the deleted pages, since another
        program reads the database.
        """
        at = time.time() if now is None else now
        with self.engine.begin() as connection:
            self.wait_for_others(connection, alone=True)
            newest = connection.execute(select(func.max(REQUESTS.c.at)).where(REQUESTS.c.user == user)).scalar()
            self.put(connection, FORGOTTEN, {"user": user, "at": max(at, newest or at)})
            own = select(REQUESTS.c.id).where(REQUESTS.c.user == user)
            ids = set(connection.execute(own).scalars())
            exported = select(EXPORTED.c.request_id).where(EXPORTED.c.user == user)
            gone = sorted(ids.union(connection.execute(exported).scalars()))
            self.add(connection, TOMBSTONES, [{"request_id": name, "at": at} for name in gone])
            _delete_requests(connection, own)
            self.write_list(connection)
        self._erase(is_forgetting=True)
        return len(ids)

    def write_list(self, connection: Connection) -> None:
        """Write the list of forgotten requests beside the database, whole or not at all, where it is not what it should be."""
        words = list_text(connection.execute(select(TOMBSTONES.c.request_id)).scalars())
        try:
            is_written = read_bytes(self.forgotten_list) == words.encode()
        except InputError:
            is_written = False
        if not is_written:
            write_text_atomically(self.forgotten_list, words)

    def prune(self, text_days: float, figure_days: float, now: float | None = None) -> tuple[int, int]:
        """Delete texts and figures that are older than so many days; how many of each. Tombstones stay."""
        at = time.time() if now is None else now
        with self.engine.begin() as connection:
            oldest = at - text_days * SECONDS_OF_A_DAY
            num_texts = connection.execute(delete(TEXTS).where(TEXTS.c.at < oldest)).rowcount
            spoken = FEEDBACK.update().where(FEEDBACK.c.at < oldest, FEEDBACK.c.correction + FEEDBACK.c.comment != "")
            num_spoken = connection.execute(spoken.values(correction="", comment="")).rowcount
            old = select(REQUESTS.c.id).where(REQUESTS.c.at < at - figure_days * SECONDS_OF_A_DAY)
            num_figures = _delete_requests(connection, old)
            self._drop_forgotten(connection)
            self.write_list(connection)
        if num_texts or num_spoken or num_figures:
            with contextlib.suppress(RunFailed):  # a reader is at work; the next time empties the log
                self._erase()
        return num_texts, num_figures

    def _erase(self, *, is_forgetting: bool = False) -> None:
        """Remove what was deleted from the disk as well. PostgreSQL lets deleted rows stand until a table is written anew, for
        which every other program waits, so that is done for a user who is forgotten alone."""
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            if self.engine.dialect.name == "postgresql":
                for table in (REQUESTS, TEXTS, FEEDBACK, LABELS):
                    connection.execute(text(f"VACUUM {'FULL ' if is_forgetting else ''}{table.name}"))
                return
            is_busy = connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)")).one()[0]
        if is_busy:
            raise RunFailed(
                "the records are deleted, but the log beside the database still holds them, since another program reads it; "
                "run the command again"
            )

    # --- reading -----------------------------------------------------------------------------------------------------

    def tombstones(self) -> frozenset[str]:
        """The ids of all requests that were forgotten."""
        with self.engine.connect() as connection:
            return frozenset(connection.execute(select(TOMBSTONES.c.request_id)).scalars())

    def has_requests(self) -> bool:
        """Whether anything was ever stored, or forgotten."""
        with self.engine.connect() as connection:
            tables = (REQUESTS, FORGOTTEN)
            return any(connection.execute(select(func.count()).select_from(table)).scalar() for table in tables)

    def rows(self, table: Table) -> list[dict[str, Any]]:
        """Every row of a table, in the order of its first column."""
        with self.engine.connect() as connection:
            found = connection.execute(select(table).order_by(*list(table.primary_key)))
            return [dict(row) for row in found.mappings()]

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def _route_of(connection: Connection, request_id: str, user: str) -> str | None:
    own = select(REQUESTS.c.route).where(REQUESTS.c.id == request_id, REQUESTS.c.user == user)
    return connection.execute(own).scalar()


def _delete_requests(connection: Connection, ids: Any) -> int:
    """Delete requests with their texts, feedback and labels; `ids` is a query of their ids."""
    connection.execute(delete(LABELS).where(or_(LABELS.c.first.in_(ids), LABELS.c.second.in_(ids))))
    connection.execute(delete(TEXTS).where(TEXTS.c.request_id.in_(ids)))
    connection.execute(delete(FEEDBACK).where(FEEDBACK.c.request_id.in_(ids)))
    return connection.execute(delete(REQUESTS).where(REQUESTS.c.id.in_(ids))).rowcount


# --- opening ---------------------------------------------------------------------------------------------------------


def open_store(address: str, *, must_exist: bool = False) -> TrafficStore:
    """The database at an address: `sqlite:///FILE` or `postgresql+psycopg://USER@HOST/NAME`.

    Raises `InputError` where it is neither, cannot be opened, or (with `must_exist`) is not there.
    """
    try:
        url = make_url(address)
        if url.get_backend_name() not in INSERTS:
            raise ArgumentError("another kind of database")
        if url.get_backend_name() == "sqlite":
            _prepare_file(url, must_exist)
        engine = create_engine(url, hide_parameters=True, pool_pre_ping=url.get_backend_name() == "postgresql")
    except ValueError:  # its text may hold a part of a password
        raise InputError(f"--store: {_FORMS}") from None
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise InputError(f"--store: {_FORMS}, with its driver installed ({error})") from None
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _set_pragmas)
        event.listen(engine, "begin", _is_there(Path(url.database or "").resolve()))
    try:
        with ExitStack() as undo:
            undo.callback(engine.dispose)
            migrate(engine)
            undo.pop_all()
    except SQLAlchemyError as error:
        raise InputError(f"--store {url.render_as_string()}: cannot be opened ({said_by_database(error)})") from None
    folder = Path(url.database or "").parent if url.get_backend_name() == "sqlite" else Path(TRAFFIC_FOLDER)
    return TrafficStore(engine, folder.resolve() / FORGOTTEN_LIST)


def _prepare_file(url: URL, must_exist: bool) -> None:
    """Make the file, for its owner alone."""
    if not url.database or url.database.startswith((":", "file:")) or url.query:
        raise InputError("--store: expected a file after sqlite:///, without options")
    path = Path(url.database)
    if must_exist and not path.is_file():
        raise InputError(f"{path}: there is no store of traffic; laconic serve makes one")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise InputError(f"--store: {path} cannot be written ({error.strerror}); expected a file") from None


def _is_there(path: Path) -> Callable[[Connection], None]:
    """What looks, before each transaction, whether the file is the one that was opened: SQLite goes on writing into a file that
    was deleted, and nobody would find what it wrote."""
    opened = path.stat()

    def look(connection: Connection) -> None:
        try:
            is_same = os.path.samestat(path.stat(), opened)
        except OSError:
            is_same = False
        if not is_same:
            raise StoreGoneError(f"{path} was removed or replaced")

    return look


def _set_pragmas(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={int(BUSY_SECONDS * 1000)}")
    for pragma in PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def migrate(engine: Engine) -> None:
    """Run the steps of `migrations/` that the database lacks, in order, in one transaction.

    Raises `InputError` where the database is of a version that is not known here, such as a newer one.
    """
    config = Config()
    config.set_main_option("script_location", str(files("laconic.traffic") / "migrations"))
    config.set_main_option("version_locations", str(files("laconic.traffic") / "migrations"))
    config.set_main_option("path_separator", "os")
    scripts = ScriptDirectory.from_config(config)
    head = scripts.get_current_head()
    with engine.begin() as connection:
        context = MigrationContext.configure(connection)
        if context.get_current_revision() == head:
            return
        _lock_for_steps(connection)
        current = context.get_current_revision()  # another program may have run them in this moment
        if current is not None and current not in {script.revision for script in scripts.walk_revisions()}:
            raise InputError(
                f"the store of traffic is of version {current}, which this laconic does not know; use a newer laconic"
            )
        with Operations.context(context):
            for script in reversed(list(scripts.iterate_revisions("head", current or "base"))):
                script.module.upgrade()
                context.stamp(scripts, script.revision)


def _lock_for_steps(connection: Connection) -> None:
    """Let one program at a time run steps, each of them whole or not at all. Python's driver begins no transaction of SQLite's
    before a table is made."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK_NUMBER})"))


def said_by_database(error: SQLAlchemyError) -> str:
    """What the database says of an error, in one line without its statement."""
    original = error.orig if isinstance(error, DBAPIError) else error
    return next(iter(str(original).splitlines()), type(error).__name__)

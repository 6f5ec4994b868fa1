"""A PostgreSQL server for tests: in a new folder, on a socket of its own, without the network.

`find_postgres` says why there can be none, or nothing; `Server` starts one and ends it. PostgreSQL refuses to run as root, so
root starts it as the user `postgres` or `nobody`.
"""

import os
import pwd
import shutil
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp

SECONDS = 60.0
OTHERS = ("postgres", "nobody")


def _program(name: str) -> str | None:
    """Where a program of PostgreSQL lies: on the path, or where Debian puts it."""
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)
    return next(map(str, places), None) or shutil.which(name)


def _user() -> str | None:
    """The user as which root starts the server."""
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in OTHERS if name in known), None)


def find_postgres() -> str | None:
    """Why no server can be started; None where one can."""
    if find_spec("psycopg") is None:
        return "needs the extra postgres"
    if _program("initdb") is None or _program("postgres") is None:
        return "needs PostgreSQL's server (initdb, postgres)"
    if os.geteuid() == 0 and (shutil.which("setpriv") is None or _user() is None):
        return "PostgreSQL refuses to run as root, and there is no setpriv or no other user"
    return None


class Server:
    """A running server; `address` names a database in it that is made on the way."""

    def __init__(self) -> None:
        self.folder = Path(mkdtemp(prefix="laconic-pg-"))
        self.data = self.folder / "data"
        self.before: list[str] = []
        if os.geteuid() == 0:
            entry = pwd.getpwnam(_user() or "")
            os.chown(self.folder, entry.pw_uid, entry.pw_gid)
            ids = [f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups"]
            self.before = ["setpriv", *ids]
        settings = ["-U", "tester", "-A", "trust", "--no-sync", "--no-instructions", "-E", "UTF8", "--locale=C"]
        self._run([_program("initdb") or "", "-D", str(self.data), *settings])
        options = ["-F", "-h", "", "-k", str(self.folder), "-c", "shared_buffers=16MB", "-c", "autovacuum=off"]
        self.process = subprocess.Popen(
            [*self.before, _program("postgres") or "", "-D", str(self.data), *options],
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._wait()

    def _run(self, command: list[str]) -> None:
        subprocess.run([*self.before, *command], check=True, capture_output=True, timeout=SECONDS, cwd=self.folder)

    def _wait(self) -> None:
        import psycopg

        end = time.monotonic() + SECONDS
        while True:
            try:
                psycopg.connect(host=str(self.folder), user="tester", dbname="postgres").close()
                return
            except psycopg.OperationalError:
                if time.monotonic() > end or self.process.poll() is not None:
                    raise
                time.sleep(0.05)

    def do(self, statement: str, database: str = "postgres") -> object:
        """The first value that a statement gives, or nothing."""
        import psycopg

        with psycopg.connect(host=str(self.folder), user="tester", dbname=database, autocommit=True) as connection:
            cursor = connection.execute(statement)  # type: ignore[arg-type]
            return cursor.fetchone()[0] if cursor.description else None  # type: ignore[index]

    def address(self, database: str) -> str:
        """The address of a new database."""
        self.do(f"CREATE DATABASE {database}")
        return f"postgresql+psycopg://tester@/{database}?host={self.folder}"

    def on_disk(self, database: str) -> bytes:
        """The bytes of all tables of a database, everything written."""
        self.do("CHECKPOINT")
        number = self.do(f"SELECT oid FROM pg_database WHERE datname = '{database}'")
        return b"".join(path.read_bytes() for path in (self.data / "base" / str(number)).iterdir() if path.is_file())

    def close(self) -> None:
        """End the server, and remove its folder."""
        self.process.terminate()
        self.process.wait(SECONDS)
        shutil.rmtree(self.folder, ignore_errors=True)

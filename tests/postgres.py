"""A PostgreSQL server of the tests' own, and the databases that the account store is tested with."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.machine import free_port, patience
from tts_pipeline.account.database import Database
from tts_pipeline.account.location import find_store

USER = "speaker"
PASSWORD = "hunter2-of-postgres"
_FAST = (
    "fsync=off\nfull_page_writes=off\nmax_connections=300\nshared_buffers=32MB\nwal_level=minimal\nmax_wal_senders=0\n"
)


class PostgresServer:
    """A server in a folder of its own.

    Args:
        programs: The folder with ``initdb`` and ``pg_ctl``.
        folder: An empty folder, with a short path: a socket is made in it.
    """

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self._folder = folder
        self._user = _unprivileged_user()
        self.port = free_port()
        if self._user is not None:
            shutil.chown(folder, self._user)
        password_file = folder / "password"
        password_file.write_text(PASSWORD)
        password_file.chmod(0o644)  # of a folder that only its owner may open
        self._run("initdb", f"--username={USER}", f"--pwfile={password_file}", "--auth=scram-sha-256", "--no-sync",
                  "--encoding=UTF8", "--no-locale")  # fmt: skip
        settings = folder / "data" / "postgresql.auto.conf"
        settings.write_text(
            f"{_FAST}port={self.port}\nlisten_addresses='127.0.0.1'\nunix_socket_directories='{folder}'\n"
        )

    def url(self, database: str = "postgres", *, password: str = PASSWORD) -> str:
        """Return the URL of a database."""
        return f"postgresql://{USER}:{password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        log = self._folder / "log"
        self._run("pg_ctl", "start", "--wait", f"--timeout={patience(60):.0f}", f"--log={log}")

    def stop(self) -> None:
        """Stop the server at once: its connections break."""
        self._run("pg_ctl", "stop", "--wait", "--mode=immediate")

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop the server for the length of a ``with``."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def query(self, sql: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Execute a statement with a connection of its own; return its rows."""
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def database(self) -> Iterator[str]:
        """Make an empty database for the length of a ``with``; give its URL."""
        name = f"of_a_test_{uuid.uuid4().hex[:12]}"
        self.query(f"CREATE DATABASE {name}")
        yield self.url(name)
        self.query(f"DROP DATABASE {name} WITH (FORCE)")

    def _run(self, program: str, *arguments: str) -> None:
        command: list[str | Path] = [self._programs / program, f"--pgdata={self._folder / 'data'}", *arguments]
        user: dict[str, Any] = {}
        if self._user is not None:
            user = {"user": self._user, "group": pwd.getpwnam(self._user).pw_gid, "extra_groups": []}
        subprocess.run(
            command,
            check=True,
            cwd=self._folder,
            env={"PATH": os.environ["PATH"], "TZ": "UTC"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # the server keeps it open: a pipe would never end
            **user,
        )


def _unprivileged_user() -> str | None:
    """Return whom the server runs as, as it refuses to run as root; None is oneself."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _programs() -> Path | None:
    """Return the folder with the programs of the newest PostgreSQL that is installed; None without one."""
    on_path = shutil.which("initdb")
    folders = [Path(on_path).resolve().parent] if on_path else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    return next((folder for folder in folders if (folder / "initdb").exists() and (folder / "pg_ctl").exists()), None)


@contextmanager
def running_server() -> Iterator[PostgresServer]:
    """Run a server for the length of a ``with``; skip the test where PostgreSQL is not installed."""
    programs = _programs()
    if programs is None:
        pytest.skip("needs PostgreSQL: apt install postgresql")
    pytest.importorskip("psycopg", reason="needs psycopg: pip install 'tts-pipeline[postgres]'")
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    try:
        server = PostgresServer(programs, folder)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class AccountDatabase:
    """An empty database of one test: each call connects to it anew.

    Args:
        place: The account store's setting: a path, or a URL.
    """

    place: str
    _opened: list[Database] = field(default_factory=list)

    def __call__(self) -> Database:
        """Return a connection, which the test's end closes."""
        location = find_store(self.place)
        assert location is not None
        database = location.open()
        self._opened.append(database)
        return database

    def close(self) -> None:
        """Close all connections."""
        for database in self._opened:
            database.close()

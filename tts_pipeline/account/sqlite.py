"""The account store in an SQLite file, which the processes of one machine share."""

from __future__ import annotations

import fcntl
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from weakref import WeakSet

from tts_pipeline.account.database import Database, Row, StoreAwayError, StoreLostError, Transaction, Value
from tts_pipeline.account.store_clock import MachineClock
from tts_pipeline.storage.mounts import network_file_system
from tts_pipeline.storage.safe_folder import make_folder

_BUSY_S = 5.0
"""The longest wait for other processes: each of their transactions takes them less than a millisecond."""

_RETRY_S = (0.0002, 0.002)
"""The wait before the next try is drawn from this range: SQLite's own waits grow to 100 ms and are not fair."""

_BUSY_CODES = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})

_MARK_SUFFIX = "-made"
"""A file with this ending stays when the store is deleted: a new one then waits for the workers of the old one."""

_DAMAGED_HINT = "if it is an account store, delete it: it is made anew"
_PLACE_HINT = "give a file in a folder where you may write"
_HINTS = {
    sqlite3.SQLITE_CORRUPT: _DAMAGED_HINT,
    sqlite3.SQLITE_NOTADB: _DAMAGED_HINT,
    sqlite3.SQLITE_CANTOPEN: _PLACE_HINT,
    sqlite3.SQLITE_READONLY: _PLACE_HINT,
    sqlite3.SQLITE_FULL: "make room on its disk",
}


class SqliteDatabase(Database):
    """One connection to a file in WAL mode; made on first use, readable by its owner alone.

    A process that has the file open does not notice that it was deleted: it would go on alone. So each transaction
    looks whether its file is still the one at the path.

    ``lock`` is held in a transaction, and by a fork, which closes the connection: see ``_close_all``.
    """

    def __init__(self, path: Path) -> None:
        self.lock = threading.RLock()
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._file_id: tuple[int, int] | None = None
        self._is_durable = False
        self._clock = MachineClock()
        with _databases_lock:
            _databases.add(self)

    @contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[Transaction]:  # noqa: D102 (as in the base)
        with self.lock, self._errors():
            connection = self._open()
            self._set_durable(connection, durable=durable)
            _retry(lambda: connection.execute("BEGIN IMMEDIATE"))
            try:
                yield _SqliteTransaction(connection, self._clock)
                connection.execute("COMMIT")
            except BaseException:
                self._clock = MachineClock()  # its offset may be among what is undone
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise

    def is_made(self) -> bool:  # noqa: D102 (as in the base)
        with self._errors():
            is_there = self._path.exists()
        return is_there and super().is_made()

    def has_tables(self, transaction: Transaction) -> bool:  # noqa: D102 (as in the base)
        return bool(transaction.execute("SELECT 1 FROM sqlite_schema WHERE name = 'tts_meta'"))

    def lock_schema(self, transaction: Transaction) -> None:
        """Nothing to do: every transaction excludes all others."""

    def replaces_another(self) -> bool:  # noqa: D102 (as in the base)
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
        try:
            os.close(os.open(f"{self._path}{_MARK_SUFFIX}", flags, 0o600))
        except FileExistsError:
            return True
        return False

    def close(self) -> None:  # noqa: D102 (as in the base)
        with self.lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None and self._file_id == _file_id(self._path):
            return self._connection
        self.close()
        _make_file(self._path)
        file_id, last_id = _file_id(self._path), self._file_id
        uri = f"{self._path.as_uri()}?mode=rw"  # a file that is gone already is not made with any rights
        connection = sqlite3.connect(uri, uri=True, timeout=0, isolation_level=None, check_same_thread=False)
        self._connection = connection  # before anything can fail: an error and a fork close it
        _retry(lambda: connection.execute("PRAGMA journal_mode=WAL"))
        self._file_id, self._is_durable = file_id, True
        has_tables = connection.execute("SELECT 1 FROM sqlite_schema").fetchone()
        if last_id is not None and (file_id != last_id or not has_tables):  # a new file may get the old one's number
            self._clock = MachineClock()
            raise StoreLostError(f"the account store {self._path} was deleted or replaced", hint="it is made anew")
        return connection

    def _set_durable(self, connection: sqlite3.Connection, *, durable: bool) -> None:
        if durable != self._is_durable:
            connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._is_durable = durable

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, UnicodeError) as error:
            self.close()
            if isinstance(error, OSError):
                reason, code = f"{error.strerror}: {error.filename}", sqlite3.SQLITE_CANTOPEN
            else:
                reason, code = str(error), getattr(error, "sqlite_errorcode", 0) & 0xFF
            raise StoreAwayError(
                f"the account store {self._path} cannot be used: {reason}", hint=_HINTS.get(code)
            ) from error


class _SqliteTransaction:
    def __init__(self, connection: sqlite3.Connection, clock: MachineClock) -> None:
        self._connection = connection
        self._clock = clock

    def execute(self, sql: str, values: Sequence[Value] = ()) -> list[Row]:
        return self._connection.execute(sql.removesuffix(" FOR UPDATE"), values).fetchall()

    def now_us(self) -> int:
        return self._clock.now_us(self)

    def wall_us(self) -> int:
        return time.time_ns() // 1_000


def _retry(action: Callable[[], object]) -> None:
    """Try again while another process writes; SQLite gives up at once, because its own waits are long and not fair."""
    end_s = time.monotonic() + _BUSY_S
    while True:
        try:
            action()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _BUSY_CODES or time.monotonic() >= end_s:
                raise
            time.sleep(random.uniform(*_RETRY_S))
        else:
            return


def _make_file(path: Path) -> None:
    """Make a missing database, without the log of one that was deleted: its users may still write to that log.

    The processes of a machine share memory beside it, so those of a second machine would damage it
    (sqlite.org/wal.html).
    """
    if network := network_file_system(path):
        raise StoreAwayError(
            f"the account store {path} cannot be used: it is on a network file system ({network})",
            hint="give a file on a local disk, or the URL of a PostgreSQL database",
        )
    make_folder(path.parent)
    folder_fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder_fd, fcntl.LOCK_EX)  # until it is closed
        if not path.exists():
            for suffix in ("-wal", "-shm"):
                Path(f"{path}{suffix}").unlink(missing_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    finally:
        os.close(folder_fd)


def _file_id(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


_databases: WeakSet[SqliteDatabase] = WeakSet()
_databases_lock = threading.RLock()
_held_by_fork = ExitStack()


def _close_all() -> None:
    """Close all connections, and let nobody open one until the process has forked.

    SQLite keeps a table of the locks that the process has on a file. A child inherits the table, but not the locks: it
    would write without any, beside the other processes. A thread's transaction ends first; one of the thread that forks
    is undone.
    """
    _held_by_fork.enter_context(_databases_lock)
    for database in list(_databases):
        _held_by_fork.enter_context(database.lock)
        database.close()


def _release_all() -> None:
    _held_by_fork.pop_all().close()  # another thread that forks may fill the stack as soon as the last lock is free


os.register_at_fork(before=_close_all, after_in_parent=_release_all, after_in_child=_release_all)

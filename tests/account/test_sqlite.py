"""An account store in a file: who may read it, and what happens when the file is not what it was."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.machine import patience, small_disk
from tts_pipeline.account import sqlite
from tts_pipeline.account.database import StoreAwayError, StoreLostError
from tts_pipeline.account.schema import migrate
from tts_pipeline.account.sqlite import SqliteDatabase


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the store is to be."""
    return tmp_path / "state" / "account" / "account.db"


def _now_us(database: SqliteDatabase) -> int:
    with database.transaction() as transaction:
        return transaction.now_us()


def test_only_its_owner_may_read_it(path: Path) -> None:
    """Also the files beside it, whatever the process's mask; readers do not wait for writers (WAL)."""
    database, mask = SqliteDatabase(path), os.umask(0)
    try:
        migrate(database)
    finally:
        os.umask(mask)
    files = sorted(path.parent.iterdir())
    assert [file.name for file in files] == ["account.db", "account.db-made", "account.db-shm", "account.db-wal"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    database.close()


def test_a_deleted_file_is_noticed(path: Path) -> None:
    """The next transaction tells; the one after it is in a new file, which all users share."""
    databases = [SqliteDatabase(path), SqliteDatabase(path)]
    for database in databases:
        migrate(database)
    path.unlink()  # its log stays: a new file must not read it
    ids = []
    for database in databases:
        with pytest.raises(StoreLostError, match=r"account\.db was deleted or replaced"):
            migrate(database)
        ids.append(migrate(database))
        _now_us(database)
    assert ids[0] == ids[1]
    times_us = [_now_us(databases[number % 2]) for number in range(10)]
    assert times_us == sorted(times_us)
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_new_file_has_no_log_of_the_deleted_one(path: Path) -> None:
    """A process that still writes to that log keeps nobody from the new file."""
    code = f"""
from pathlib import Path
from tts_pipeline.account import sqlite
from tts_pipeline.account.schema import migrate
sqlite._BUSY_S = 0.2
migrate(sqlite.SqliteDatabase(Path({str(path)!r})))
"""
    database = SqliteDatabase(path)
    migrate(database)
    with database.transaction():
        path.unlink()
        subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(StoreLostError):
        _now_us(database)
    assert _now_us(database) > 0


def test_so_is_a_replaced_one(path: Path, tmp_path: Path) -> None:
    """Such as one that is restored from a copy, without the log of the other one."""
    database, other = SqliteDatabase(path), SqliteDatabase(tmp_path / "other.db")
    migrate(database)
    id_of_the_other = migrate(other)
    other.close()
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink()
    (tmp_path / "other.db").replace(path)
    with pytest.raises(StoreLostError):
        migrate(database)
    assert migrate(database) == id_of_the_other


def test_a_file_that_was_replaced_while_it_was_closed_is_noticed(path: Path) -> None:
    """A new file may get the number of the old one, which nobody holds open: it has no tables."""
    database = SqliteDatabase(path)
    migrate(database)
    database.close()
    path.write_bytes(b"")  # as a new file with the same number
    with pytest.raises(StoreLostError):
        _now_us(database)


def test_a_store_that_was_closed_is_the_same(path: Path) -> None:
    """An error closes the connection; the next transaction goes on."""
    database = SqliteDatabase(path)
    id_before = migrate(database)
    with pytest.raises(StoreAwayError), database.transaction() as transaction:
        transaction.execute("NONSENSE")
    assert migrate(database) == id_before


def test_processes_that_lose_it_together_meet_again(path: Path) -> None:
    """Four processes count in one row while the file is deleted again and again: none sees a damaged file."""
    code = f"""
import sys, time
from pathlib import Path
from tts_pipeline.account.database import StoreAwayError, StoreLostError
from tts_pipeline.account.schema import migrate
from tts_pipeline.account.sqlite import SqliteDatabase
database, lost = SqliteDatabase(Path({str(path)!r})), 0
while lost < 20:
    try:
        migrate(database)
        with database.transaction() as transaction:
            transaction.execute("DELETE FROM tts_meta WHERE name = 'x'")
            transaction.execute("INSERT INTO tts_meta (name, value) VALUES ('x', 'y')")
    except StoreLostError:
        lost += 1
    except StoreAwayError as error:  # it was deleted while it was opened
        assert "delete it" not in str(error), error
"""
    workers = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) for _ in range(4)]
    done = threading.Event()

    def delete() -> None:
        while not done.wait(0.005):
            path.unlink(missing_ok=True)

    deleting = threading.Thread(target=delete)
    deleting.start()
    errors = [worker.communicate(timeout=patience(60))[1] for worker in workers]
    done.set()
    deleting.join(patience(10))
    assert errors == [""] * 4


@pytest.mark.parametrize("damage", ["no database", "damaged"])
def test_a_damaged_file_is_told(path: Path, damage: str) -> None:
    """With its path, and what to do."""
    if damage == "no database":
        path.parent.mkdir(parents=True)
        path.write_bytes(b"id,text\n" * 1_000)
    else:
        database = SqliteDatabase(path)
        migrate(database)
        database.close()  # the last one moves the log into the file
        content = path.read_bytes()
        path.write_bytes(content[:100] + b"\x7f" * (len(content) - 100))
    with pytest.raises(StoreAwayError, match=r"account\.db cannot be used: .*delete it"):
        migrate(SqliteDatabase(path))


def test_a_place_without_a_file_is_told(path: Path, tmp_path: Path) -> None:
    """A folder that is a file, a file that is a folder, a link to nowhere: path, reason, and what to give."""
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    path.mkdir(parents=True)
    for wrong, reason in (
        (tmp_path / "file" / "account.db", "File exists: .*file"),
        (path, "unable to open database file"),
        (tmp_path / "link", "File exists: .*link"),
    ):
        with pytest.raises(StoreAwayError, match=f"{wrong.name} cannot be used: {reason}.*may write"):
            migrate(SqliteDatabase(wrong))
    assert not (tmp_path / "nowhere").exists()


def test_a_place_without_rights_is_told(tmp_path: Path) -> None:
    """For a new file, and for one that is there: root, too, may not write to such a disk."""
    with small_disk(tmp_path / "disk", 500) as disk:
        database = SqliteDatabase(disk.folder / "account.db")
        migrate(database)
        database.close()
        disk.make_read_only()
        for name, reason in (("account.db", "unable to open"), ("other.db", "Read-only file system")):
            with pytest.raises(StoreAwayError, match=f"{name} cannot be used: .*{reason}.*may write"):
                migrate(SqliteDatabase(disk.folder / name))


def test_a_network_file_system_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Machines that share a home would damage the file; nothing is made there."""
    monkeypatch.setattr(sqlite, "network_file_system", lambda _: "nfs4")
    with pytest.raises(StoreAwayError, match=r"network file system \(nfs4\).*PostgreSQL"):
        migrate(SqliteDatabase(path))
    assert not path.parent.exists()


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    """The store is away; with room it goes on, with what was there."""
    with small_disk(tmp_path / "disk", 200) as disk:
        database = SqliteDatabase(disk.folder / "account.db")
        store_id = migrate(database)
        filling = disk.folder / "filling"
        with pytest.raises(OSError, match="No space"):
            filling.write_bytes(bytes(1_000_000))
        with pytest.raises(StoreAwayError, match=r"account\.db cannot be used"):
            _write(database, 1_000)
        filling.unlink()
        assert migrate(database) == store_id
        database.close()


def _write(database: SqliteDatabase, number: int) -> None:
    for _ in range(number):
        with database.transaction() as transaction:
            transaction.execute("INSERT INTO tts_machine_clock VALUES (?, 0, 0)", ("x" * 500,))


def test_a_writer_that_does_not_end_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while; a stopped process is no reason to wait for ever."""
    monkeypatch.setattr(sqlite, "_BUSY_S", 0.2)
    database, other = SqliteDatabase(path), SqliteDatabase(path)
    migrate(database)
    with other.transaction(), pytest.raises(StoreAwayError, match="locked"):
        _now_us(database)
    assert _now_us(database) > 0

"""A process that uses a store in a file forks, as Airflow and multiprocessing do: no lock and no change is lost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.machine import patience

_BEGIN = """
import os, sys, threading, traceback, warnings
from pathlib import Path
from tests.account.workers import worker
from tts_pipeline.account.database import StoreAwayError
from tts_pipeline.account.schema import migrate
from tts_pipeline.account.session import AccountSession
from tts_pipeline.account.sqlite import SqliteDatabase
from tts_pipeline.account.store_thread import StoreThread

warnings.simplefilter("ignore")  # of a fork beside threads
PATH = Path(sys.argv[1])

def add_one(database):
    with database.transaction() as transaction:
        rows = transaction.execute("SELECT value FROM tts_meta WHERE name = 'count'")
        transaction.execute("DELETE FROM tts_meta WHERE name = 'count'")
        transaction.execute("INSERT INTO tts_meta VALUES ('count', ?)", (str(int(rows[0][0]) + 1 if rows else 1),))

def start_child(work):
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return pid

def wait_for(pid):
    assert os.waitpid(pid, 0)[1] == 0

database = SqliteDatabase(PATH)
migrate(database)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the store is."""
    return tmp_path / "account.db"


def _run(script: str, path: Path) -> None:
    command = [sys.executable, "-c", _BEGIN + script, str(path)]
    result = subprocess.run(command, check=False, stderr=subprocess.PIPE, text=True, timeout=patience(120))
    assert (result.returncode, result.stderr) == (0, "")


def _count(path: Path) -> int:
    """Return what a process counted that is no relative of the others."""
    code = """
import sqlite3, sys
print(sqlite3.connect(sys.argv[1]).execute("SELECT value FROM tts_meta WHERE name = 'count'").fetchone()[0])
"""
    return int(subprocess.run([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, check=True).stdout)


def test_a_parent_that_closes_its_connection_leaves_the_child_the_log(path: Path) -> None:
    """It was idle at the fork. Whoever closes a file as the last one deletes its log: the child must not go unseen."""
    script = """
add_one(database)
of_child, of_parent = os.pipe(), os.pipe()

def child():
    own = SqliteDatabase(PATH)
    add_one(own)
    os.write(of_child[1], b".")
    os.read(of_parent[0], 1)
    for _ in range(10):
        add_one(own)

pid = start_child(child)
os.read(of_child[0], 1)
add_one(database)
database.close()
os.write(of_parent[1], b".")
for _ in range(10):
    add_one(database)
wait_for(pid)
"""
    _run(script, path)
    assert _count(path) == 23


def test_a_fork_waits_for_the_transactions_of_other_threads(path: Path) -> None:
    """A child would find the file locked for ever, by a thread that it does not have."""
    script = """
done = threading.Event()

def count():
    own = SqliteDatabase(PATH)
    while not done.is_set():
        with own.transaction() as transaction:
            for _ in range(20):
                transaction.now_us()
                transaction.execute("SELECT count(*) FROM tts_meta")

threads = [threading.Thread(target=count) for _ in range(2)]
for thread in threads:
    thread.start()
for _ in range(10):
    pid = start_child(lambda: add_one(SqliteDatabase(PATH)))
    add_one(database)
    wait_for(pid)
done.set()
for thread in threads:
    thread.join()
"""
    _run(script, path)
    assert _count(path) == 20


def test_a_fork_within_a_transaction_undoes_it(path: Path) -> None:
    """In both processes, and is told; both go on with the next one."""
    script = """
add_one(database)
try:
    with database.transaction() as transaction:
        transaction.execute("DELETE FROM tts_meta WHERE name = 'count'")
        pid = os.fork()
except StoreAwayError:
    add_one(database)
    if pid == 0:
        os._exit(0)
    wait_for(pid)
    os._exit(0)
os._exit(1)
"""
    _run(script, path)
    assert _count(path) == 3


def test_a_child_has_a_session_of_its_own(path: Path) -> None:
    """Beside one of its parent that goes on; a thread of the parent that waited for the next session is none of it."""
    script = """
from tts_pipeline.account import store_thread
from tts_pipeline.account.status import read_status

def start(name):
    session = AccountSession(StoreThread.take(str(PATH), lambda: SqliteDatabase(PATH)), worker(name))
    session.start()
    return session

def take_the_lock_again_and_again():
    while True:
        with store_thread._lock:
            sum(range(1000))

def child():
    session = start("child")
    with database.transaction() as transaction:
        names = [one.worker_id for one in read_status(transaction).workers if one.is_living]
    assert sorted(names) == ["child", "parent"], names
    session.close()

ended, running = start("ended"), start("parent")
ended.close()
threading.Thread(target=take_the_lock_again_and_again, daemon=True).start()
for _ in range(5):
    wait_for(start_child(child))
with database.transaction() as transaction:
    assert [one.worker_id for one in read_status(transaction).workers if one.is_living] == ["parent"]
running.close()
with database.transaction() as transaction:
    assert not read_status(transaction).workers
"""
    _run(script, path)

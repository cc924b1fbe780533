"""The account store's tables are made once, whoever comes first, and by whatever version of the program."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.account.workers import worker
from tests.machine import patience
from tests.postgres import AccountDatabase
from tts_pipeline.account import schema, worker_rows
from tts_pipeline.account.database import Database, StoreAwayError
from tts_pipeline.account.schema import MIGRATIONS, migrate
from tts_pipeline.errors import ConfigurationError

_LATER = (*MIGRATIONS, ("ALTER TABLE tts_worker ADD COLUMN of_later TEXT", "CREATE TABLE tts_of_later (name TEXT)"))


def _meta(database: Database) -> dict[str, str]:
    with database.transaction() as transaction:
        return dict(transaction.execute("SELECT name, value FROM tts_meta"))


def test_a_store_is_made_once(account_database: AccountDatabase) -> None:
    """It has an id of its own, which stays."""
    store_id = migrate(account_database())
    assert migrate(account_database()) == store_id
    assert _meta(account_database()) == {
        "store_id": store_id,
        "schema_version": str(len(MIGRATIONS)),
        "oldest_program": str(schema.OLDEST_PROGRAM),
        "budget_revision": "0",
    }


def test_processes_that_come_at_the_same_time_make_one_store(account_database: AccountDatabase) -> None:
    """Six of them; each waits until the tables are there, and all get the same id."""
    code = f"""
import sys
from tts_pipeline.account.location import find_store
from tts_pipeline.account.schema import migrate
database = find_store({account_database.place!r}).open()
print("ready", flush=True)
sys.stdin.readline()
print(migrate(database))
"""
    command = [sys.executable, "-c", code]
    pipe = subprocess.PIPE
    processes = [subprocess.Popen(command, text=True, stdin=pipe, stdout=pipe, stderr=pipe) for _ in range(6)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=patience(60)) for process in processes]
    assert [errors for _, errors in answers] == [""] * 6
    assert len({store_id for store_id, _ in answers}) == 1


def test_an_earlier_program_goes_on_beside_a_later_one(
    account_database: AccountDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A migration only adds: the earlier one finds its columns, and does not undo the later one's."""
    earlier, later = account_database(), account_database()
    store_id = migrate(earlier)
    with monkeypatch.context() as of_later:
        of_later.setattr(schema, "MIGRATIONS", _LATER)
        assert migrate(later) == store_id
        assert migrate(later) == store_id  # and is not done twice
    assert migrate(earlier) == store_id
    assert _meta(earlier)["schema_version"] == str(len(_LATER))
    with earlier.transaction() as transaction:
        worker_rows.register(transaction, worker("of the earlier program"), 0, is_waiting=False)
    with later.transaction() as transaction:
        assert transaction.execute("SELECT of_later FROM tts_worker") == [(None,)]


def test_a_program_that_is_too_old_is_told(account_database: AccountDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it writes anything; with both versions, and the two ways out."""
    with monkeypatch.context() as of_later:
        of_later.setattr(schema, "MIGRATIONS", _LATER)
        of_later.setattr(schema, "OLDEST_PROGRAM", len(_LATER))
        migrate(account_database())
    with pytest.raises(ConfigurationError, match=rf"version {len(_LATER)} .*knows {len(MIGRATIONS)} .*later version"):
        migrate(account_database())


def test_a_migration_that_fails_changes_nothing(
    account_database: AccountDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tables are made with the mark that they are there, or not at all."""
    database = account_database()
    migrate(database)
    with monkeypatch.context() as broken:
        broken.setattr(schema, "MIGRATIONS", (*_LATER, ("CREATE TABLE tts_worker (name TEXT)",)))
        with pytest.raises(StoreAwayError):
            migrate(database)
    assert _meta(database)["schema_version"] == str(len(MIGRATIONS))
    monkeypatch.setattr(schema, "MIGRATIONS", _LATER)
    migrate(database)


def test_looking_makes_nothing(account_database: AccountDatabase) -> None:
    """Neither a file nor a table."""
    database = account_database()
    assert not database.is_made()
    assert not database.is_made()
    migrate(database)
    assert database.is_made()

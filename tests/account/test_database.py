"""What every database of an account store promises, on both of them."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from tests.machine import patience
from tests.postgres import AccountDatabase
from tts_pipeline.account.database import Database, StoreAwayError
from tts_pipeline.account.schema import migrate

_INSERT_A = "INSERT INTO of_a_test (name, amount) VALUES ('a', 1)"
_INSERT = "INSERT INTO of_a_test (name, amount) VALUES (?, ?)"


def _with_table(account_database: AccountDatabase) -> Database:
    database = account_database()
    migrate(database)  # the clock has a table
    with database.transaction() as transaction:
        transaction.execute("CREATE TABLE of_a_test (name TEXT PRIMARY KEY, amount BIGINT)")
    return database


def _execute(database: Database, *statements: str, then: Exception | None = None) -> None:
    """Execute statements in one transaction, and undo it with an exception, if one is given."""
    with database.transaction() as transaction:
        for statement in statements:
            transaction.execute(statement)
        if then is not None:
            transaction.now_us()
            raise then


def _rows(database: Database) -> list[tuple[str, int | None]]:
    with database.transaction() as transaction:
        return transaction.execute("SELECT name, amount FROM of_a_test ORDER BY amount")


@pytest.mark.parametrize("durable", [True, False])
def test_all_statements_count(account_database: AccountDatabase, durable: bool) -> None:
    """For every connection, as soon as the block has ended."""
    database, other = _with_table(account_database), account_database()
    with database.transaction(durable=durable) as transaction:
        transaction.execute(_INSERT, ("a", 1))
        transaction.execute(_INSERT, ("b", 2))
        assert transaction.execute("UPDATE of_a_test SET amount = 3 WHERE name = 'b' RETURNING amount") == [(3,)]
    assert _rows(other) == [("a", 1), ("b", 3)]


def test_or_none_does(account_database: AccountDatabase) -> None:
    """An exception undoes all of the block, and the connection goes on."""
    database = _with_table(account_database)
    with pytest.raises(ZeroDivisionError):
        _execute(database, _INSERT_A, then=ZeroDivisionError())
    with database.transaction() as transaction:
        transaction.execute(_INSERT, ("c", 3))
    assert _rows(account_database()) == [("c", 3)]


@pytest.mark.parametrize("wrong", [_INSERT_A, "SELECT no_such_column FROM of_a_test", "INSERT INTO of_a_test"])
def test_a_statement_that_fails_undoes_all(account_database: AccountDatabase, wrong: str) -> None:
    """Wherever its failure shows: the store is away, and usable in the next transaction."""
    database = _with_table(account_database)
    with pytest.raises(StoreAwayError, match="the account store"):
        _execute(database, _INSERT_A, wrong)
    assert _rows(database) == []


@pytest.mark.parametrize(
    "text", ["", "it's", '"', "\\' \\n \\", "100 % of %s ? :name $1", "语音\n\u200d", "; DROP TABLE x"]
)
def test_a_value_comes_back_as_it_was(account_database: AccountDatabase, text: str) -> None:
    """No value is read as a part of a statement."""
    database = _with_table(account_database)
    with database.transaction() as transaction:
        transaction.execute(_INSERT, (text, -(2**63)))
        transaction.execute(_INSERT, (f"{text}!", 2**63 - 1))
        transaction.execute(_INSERT, (f"{text}?", None))
    with database.transaction() as transaction:
        for name, amount in ((text, -(2**63)), (f"{text}!", 2**63 - 1), (f"{text}?", None)):
            rows = transaction.execute("SELECT name, amount FROM of_a_test WHERE name = ? FOR UPDATE", (name,))
            assert rows == [(name, amount)]


def test_a_text_that_cannot_be_stored_is_told(account_database: AccountDatabase) -> None:
    """A name of a file may have bytes that are no UTF-8."""
    database = _with_table(account_database)
    with pytest.raises(StoreAwayError):
        _execute(database, "INSERT INTO of_a_test (name, amount) VALUES ('\udcff', 1)")
    assert _rows(database) == []


def test_rows_that_are_read_for_an_update_are_locked(account_database: AccountDatabase) -> None:
    """Eight threads, each with a connection of its own, add to one row: nothing is lost."""
    database = _with_table(account_database)
    with database.transaction() as transaction:
        transaction.execute(_INSERT, ("a", 0))

    def add() -> None:
        own = account_database()
        for _ in range(25):
            with own.transaction() as transaction:
                ((amount,),) = transaction.execute("SELECT amount FROM of_a_test WHERE name = 'a' FOR UPDATE")
                transaction.execute("UPDATE of_a_test SET amount = ? WHERE name = 'a'", (amount + 1,))
        own.close()

    _run(add, 8)
    assert _rows(database) == [("a", 200)]


def _run(work: Callable[[], None], number: int) -> None:
    failures: list[Exception] = []

    def guarded() -> None:
        try:
            work()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(patience(60))
    assert failures == []


def test_the_clock_is_one(account_database: AccountDatabase) -> None:
    """Whatever connection asks, the time goes on, and it is about the time of day in a new store."""
    databases = [_with_table(account_database), account_database()]
    times_us: list[int] = []
    for number in range(20):
        with databases[number % 2].transaction() as transaction:
            times_us.append(transaction.now_us())
            wall_us = transaction.wall_us()
    assert times_us == sorted(times_us)
    assert abs(wall_us - times_us[-1]) < 1_000_000


def test_closing_twice_does_no_harm(account_database: AccountDatabase) -> None:
    """And a closed one opens itself again."""
    database = _with_table(account_database)
    database.close()
    database.close()
    assert _rows(database) == []

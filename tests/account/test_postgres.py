"""An account store in PostgreSQL: a server that goes and comes back, and settings that are wrong."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from tests.account.workers import worker
from tests.machine import free_port, patience
from tests.postgres import PASSWORD, USER, PostgresServer

pytest.importorskip("psycopg", reason="needs psycopg: pip install 'tts-pipeline[postgres]'")

from tts_pipeline.account import budgets
from tts_pipeline.account import postgres as module
from tts_pipeline.account.amounts import parse_amount
from tts_pipeline.account.budgets import Terms
from tts_pipeline.account.database import StoreAwayError, StoreLostError
from tts_pipeline.account.exchange import Exchange, Requests
from tts_pipeline.account.postgres import PostgresDatabase
from tts_pipeline.account.pots import Want
from tts_pipeline.account.schema import migrate
from tts_pipeline.errors import ConfigurationError, TtsPipelineError
from tts_pipeline.periods import EVER, Period


@pytest.fixture
def database(postgres: str) -> Iterator[PostgresDatabase]:
    """A store with its tables."""
    database = PostgresDatabase(postgres)
    migrate(database)
    yield database
    database.close()


def _execute(database: PostgresDatabase, sql: str, *, durable: bool = False) -> Any:
    """Execute a statement in a transaction of its own; return the value of its one row."""
    with database.transaction(durable=durable) as transaction:
        ((value,),) = transaction.execute(sql)
    return value


def _name(url: str) -> str:
    return url.rpartition("/")[2]


def test_a_server_that_restarts_between_transactions_is_away(
    postgres_server: PostgresServer, database: PostgresDatabase
) -> None:
    """Until it is back: the connection is another one then, and what was committed is there."""
    first_pid = _execute(database, "SELECT pg_backend_pid()")
    store_id = migrate(database)
    with postgres_server.stopped():
        for _ in range(2):
            with pytest.raises(StoreAwayError, match=r"cannot be used: .*check that the server runs"):
                _execute(database, "SELECT 1")
    assert migrate(database) == store_id
    assert _execute(database, "SELECT pg_backend_pid()") != first_pid


def test_so_is_one_that_restarts_within_a_transaction(
    postgres_server: PostgresServer, database: PostgresDatabase
) -> None:
    """What the transaction did is undone; the next one finds the server."""
    with pytest.raises(StoreAwayError):
        _stop_within(database, postgres_server)
    assert _execute(database, "SELECT count(*) FROM tts_meta WHERE name = 'half'") == 0


def _stop_within(database: PostgresDatabase, server: PostgresServer) -> None:
    with database.transaction() as transaction:
        transaction.execute("INSERT INTO tts_meta VALUES ('half', 'done') RETURNING name")
        with server.stopped():
            pass


def test_a_server_that_answers_nothing_is_away(database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frozen machine accepts bytes, and says nothing for ever."""
    monkeypatch.setattr(module, "ANSWER_TIMEOUT_S", 0.5)
    pid = _execute(database, "SELECT pg_backend_pid()")
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(StoreAwayError, match=r"did not answer for 0\.5 s"):
            _execute(database, "SELECT 1")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert _execute(database, "SELECT pg_backend_pid()") != pid


def test_a_statement_that_waits_for_another_one_ends(
    postgres: str, database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server itself ends it, so that its locks do not outlive its client."""
    assert _execute(database, "SELECT current_setting('statement_timeout')") == "10s"
    monkeypatch.setattr(module, "_NOT_DURABLE", "BEGIN; SET LOCAL statement_timeout TO 300")
    other = PostgresDatabase(postgres)
    with other.transaction() as transaction:
        other.lock_schema(transaction)
        with pytest.raises(StoreAwayError, match="statement timeout"):
            _lock(database)
    other.close()
    _lock(database)


def test_a_client_that_is_stopped_within_a_transaction_keeps_nobody_waiting(
    database: PostgresDatabase, postgres: str
) -> None:
    """The server undoes its transaction before the others give up; it sees that when it goes on, and begins anew."""
    assert _execute(database, "SELECT current_setting('idle_in_transaction_session_timeout')") == "5s"
    code = """
import os, signal, sys
from tts_pipeline.account import postgres
from tts_pipeline.account.database import StoreAwayError
postgres._NOT_DURABLE = postgres._NOT_DURABLE.replace("TO 5000", "TO 500")
database = postgres.PostgresDatabase(sys.argv[1])
for _ in range(2):
    try:
        with database.transaction() as transaction:
            transaction.execute("SELECT value FROM tts_meta WHERE name = 'store_id' FOR UPDATE")
            print("in", flush=True)
            sys.stdin.readline()
            transaction.execute("UPDATE tts_meta SET value = 'of the stopped one' WHERE name = 'store_id'")
    except StoreAwayError as error:
        print(error, flush=True)
"""
    pipe = subprocess.PIPE
    client = subprocess.Popen([sys.executable, "-c", code, postgres], stdin=pipe, stdout=pipe, text=True)
    assert client.stdin is not None
    assert client.stdout is not None
    try:
        assert client.stdout.readline() == "in\n"
        client.send_signal(signal.SIGSTOP)
        store_id = _execute(database, "SELECT value FROM tts_meta WHERE name = 'store_id' FOR UPDATE")
    finally:
        client.send_signal(signal.SIGCONT)
    client.stdin.write("go on\ngo on\n")
    client.stdin.flush()
    assert "idle-in-transaction timeout" in client.stdout.readline()
    assert client.stdout.readline() == "in\n"
    assert client.wait(patience(10)) == 0
    client.stdin.close()
    client.stdout.close()
    assert len(store_id) == 32
    assert _execute(database, "SELECT value FROM tts_meta WHERE name = 'store_id'") == "of the stopped one"


def _lock(database: PostgresDatabase) -> None:
    with database.transaction() as transaction:
        database.lock_schema(transaction)


def test_only_a_durable_transaction_waits_for_the_disk(database: PostgresDatabase) -> None:
    """And nothing is left of the setting in the session, which others may use after us."""
    assert _execute(database, "SELECT current_setting('synchronous_commit')") == "off"
    assert _execute(database, "SELECT current_setting('synchronous_commit')", durable=True) == "on"
    assert database._connection.execute("SHOW synchronous_commit").fetchone() == ("on",)
    assert database._connection.execute("SHOW statement_timeout").fetchone() == ("0",)


def test_no_statement_is_prepared(database: PostgresDatabase) -> None:
    """A pool by transaction gives each transaction another session."""
    for _ in range(20):
        _execute(database, "SELECT count(*) FROM tts_meta")
    assert _execute(database, "SELECT count(*) FROM pg_prepared_statements") == 0


def test_a_transaction_takes_few_round_trips(postgres: str) -> None:
    """One for each statement with rows, and one for the end, with all statements that have none. A start takes 3."""
    host, port = "127.0.0.1", int(postgres.rpartition(":")[2].partition("/")[0])
    with _counting_proxy(host, port) as (own_port, round_trips):
        database = PostgresDatabase(postgres.replace(f":{port}/", f":{own_port}/"))
        migrate(database)
        before = len(round_trips)
        migrate(database)
        assert len(round_trips) - before == 3
        before = len(round_trips)
        with database.transaction() as transaction:
            transaction.now_us()
            transaction.execute("SELECT value FROM tts_meta WHERE name = ? FOR UPDATE", ("store_id",))
            for name in ("a", "b", "c"):
                transaction.execute("INSERT INTO tts_meta (name, value) VALUES (?, ?)", (name, name))
        assert len(round_trips) - before == 3
        database.close()


@contextmanager
def _counting_proxy(host: str, port: int) -> Iterator[tuple[int, list[int]]]:
    """Forward one connection; each message of the client, which waits for the answer, adds its size to the list."""
    messages: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def forward(source: socket.socket, to: socket.socket, sizes: list[int]) -> None:
            with suppress(OSError), source, to:  # the other direction may have closed them
                while data := source.recv(1_000_000):
                    sizes.append(len(data))
                    to.sendall(data)

        def serve() -> None:
            client, _ = listener.accept()
            server = socket.create_connection((host, port))
            threading.Thread(target=forward, args=(server, client, []), daemon=True).start()
            forward(client, server, messages)

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1], messages


def test_a_store_that_was_dropped_is_lost(postgres_server: PostgresServer, database: PostgresDatabase) -> None:
    """Somebody dropped its tables, or restored an empty database: they are made anew."""
    store_id = migrate(database)
    with database.transaction() as transaction:
        for (table,) in transaction.execute("SELECT tablename FROM pg_tables WHERE tablename LIKE 'tts_%'"):
            transaction.execute(f"DROP TABLE {table}")
    with pytest.raises(StoreLostError, match="deleted or replaced"):
        _execute(database, "SELECT count(*) FROM tts_worker")
    assert migrate(database) not in ("", store_id)


@pytest.mark.parametrize("wrong", ["password", "user", "host", "port", "database"])
def test_a_wrong_setting_is_told_without_the_password(postgres_server: PostgresServer, wrong: str) -> None:
    """In the message, the hint and the traceback."""
    right = postgres_server.url()
    url = {
        "password": postgres_server.url(password="hunter2-of-somebody"),
        "user": right.replace(USER, "nobody_of_this_name"),
        "host": right.replace("127.0.0.1", "no-such-host.invalid"),
        "port": right.replace(str(postgres_server.port), str(free_port())),
        "database": postgres_server.url("no_such_database"),
    }[wrong]
    reason = {
        "password": f"password authentication failed for user .{USER}",
        "user": "password authentication failed",
        "host": "no-such-host.invalid",
        "port": "Connection refused",
        "database": "database .no_such_database. does not exist",
    }[wrong]
    with pytest.raises(StoreAwayError, match=f"(?s)cannot be used: .*{reason}.*check that") as exc_info:
        migrate(PostgresDatabase(url))
    _has_no_password(exc_info.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://speaker:hunter2/x@127.0.0.1/name",
        "postgresql://speaker:hunter2@127.0.0.1:port/name",
        "postgresql://speaker:hunter2%zz@127.0.0.1/name",
        "postgresql://127.0.0.1/name?pasword=hunter2",
        "postgresql://speaker:hunter2@[::1/name",
        "postgresql://speaker:hunter2\udcff@127.0.0.1/name",
        "postgresql://speaker:hunter2\0@127.0.0.1/name",
    ],
)
def test_a_url_that_cannot_be_read_is_told_without_a_part_of_it(url: str) -> None:
    """What looks like a port to libpq may be half a password."""
    with pytest.raises(TtsPipelineError) as exc_info:
        migrate(PostgresDatabase(url))
    assert isinstance(exc_info.value, ConfigurationError)
    assert "%2F" in str(exc_info.value)
    _has_no_password(exc_info.value)


def _has_no_password(error: TtsPipelineError) -> None:
    text = "".join(traceback.format_exception(error)) + repr(error) + str(error.args)
    # a traceback quotes this file, too
    lines = [line for line in text.splitlines() if not line.strip().startswith(('"', "url"))]
    assert [line for line in lines if "hunter2" in line or PASSWORD in line] == []
    assert "\n" not in str(error)


def test_a_user_who_may_make_no_tables_is_told_how_to_let_it(postgres_server: PostgresServer, postgres: str) -> None:
    """Since version 15, only its owner may make tables in a database."""
    user = f"guest_{_name(postgres)}"
    postgres_server.query(f"CREATE USER {user} PASSWORD 'hunter2-of-a-guest'")
    guest = PostgresDatabase(postgres.replace(f"{USER}:{PASSWORD}", f"{user}:hunter2-of-a-guest"))
    with pytest.raises(StoreAwayError, match=r"permission denied .*GRANT CREATE ON SCHEMA public"):
        migrate(guest)
    postgres_server.query(f"GRANT CREATE ON SCHEMA public TO {user}", _name(postgres))
    assert migrate(guest)
    guest.close()


@pytest.mark.parametrize("is_owner", [True, False])
def test_who_may_make_no_tables_uses_those_that_are_there(
    postgres_server: PostgresServer, postgres: str, is_owner: bool
) -> None:
    """The user that made them, who lost the right; and another one, who may only read and write."""
    owner, guest = (f"{role}_{_name(postgres)}" for role in ("owner", "guest"))
    for user in (owner, guest):
        postgres_server.query(f"CREATE USER {user} PASSWORD 'hunter2-of-a-guest'")
    postgres_server.query(f"GRANT CREATE ON SCHEMA public TO {owner}", _name(postgres))
    database = PostgresDatabase(postgres.replace(f"{USER}:{PASSWORD}", f"{owner}:hunter2-of-a-guest"))
    store_id = migrate(database)
    database.close()
    postgres_server.query(f"REVOKE CREATE ON SCHEMA public FROM {owner}", _name(postgres))
    postgres_server.query(
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {guest}", _name(postgres)
    )
    database = PostgresDatabase(
        postgres.replace(f"{USER}:{PASSWORD}", f"{owner if is_owner else guest}:hunter2-of-a-guest")
    )
    assert migrate(database) == store_id
    exchange = Exchange(database, worker("one"))
    wants = [Want("no such budget", Period(EVER), 1, 1)]
    assert exchange.run(Requests(slots=1, wants=wants)).slots_s
    exchange.end()
    with database.transaction(durable=True) as transaction:
        budgets.set_budget(transaction, Terms("radio", parse_amount("1000 characters"), "ever"))
    database.close()


def test_a_user_without_any_right_is_told_how_to_get_it(
    postgres_server: PostgresServer, postgres: str, database: PostgresDatabase
) -> None:
    """The tables are there, but of another user."""
    user = f"guest_{_name(postgres)}"
    postgres_server.query(f"CREATE USER {user} PASSWORD 'hunter2-of-a-guest'")
    guest = PostgresDatabase(postgres.replace(f"{USER}:{PASSWORD}", f"{user}:hunter2-of-a-guest"))
    with pytest.raises(StoreAwayError, match=r"permission denied .*GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES"):
        migrate(guest)
    guest.close()


def test_another_encoding_of_the_database_changes_no_text(postgres_server: PostgresServer) -> None:
    """psycopg gives bytes for the texts of a database without one."""
    name = "of_a_test_sql_ascii"
    postgres_server.query(f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' TEMPLATE template0")
    database = PostgresDatabase(postgres_server.url(name))
    assert isinstance(migrate(database), str)
    assert _execute(database, "SELECT 'é' || 'x'") == "éx"
    database.close()
    postgres_server.query(f"DROP DATABASE {name} WITH (FORCE)")


def test_the_time_limit_of_an_answer_is_longer_than_that_of_a_statement() -> None:
    """So the server tells why; and both end before the session gives up its start (15 s)."""
    assert 10 < module.ANSWER_TIMEOUT_S < 15

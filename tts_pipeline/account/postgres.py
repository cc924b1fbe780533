"""The account store in a PostgreSQL database, which any number of machines share."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from tts_pipeline.account.database import Database, Row, StoreAwayError, StoreLostError, Transaction, Value
from tts_pipeline.errors import ConfigurationError, cause_of

_CONNECT_TIMEOUT_S = 10
ANSWER_TIMEOUT_S = 12
"""The longest wait for an answer. The server's own limit, below, ends a statement that waits for another one."""

_DURABLE = "BEGIN; SET LOCAL statement_timeout TO 10000; SET LOCAL idle_in_transaction_session_timeout TO 5000"
_NOT_DURABLE = f"{_DURABLE}; SET LOCAL synchronous_commit TO off"
"""No statement of ours takes 10 ms, nor does the time between two.

A client that says nothing for 5 s was stopped or cut off: the server undoes its transaction before the statements that
wait for its locks give up, after 10 s.
"""

_HINT = "check that the server runs, and the address, user and password"
_GRANT_HINT = (
    "let this user make tables there: GRANT CREATE ON SCHEMA public; or use those that another user made: GRANT "
    "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public"
)

_SCHEMA_LOCK = 7_221_509_318_274
"""The key of the advisory lock under which the schema changes: any number that nobody else uses."""


class PostgresDatabase(Database):
    """One connection, opened on first use, and again after an error.

    It keeps nothing in the session and prepares no statement, so a pool such as PgBouncer may stand between, in its
    mode by transaction (pgbouncer.org/features.html).
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: Any = None
        self._psycopg = _import_psycopg()

    @contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[Transaction]:  # noqa: D102 (as in the base)
        with self._errors():
            connection = self._open()
            transaction = _PostgresTransaction(connection, _DURABLE if durable else _NOT_DURABLE)
            try:
                yield transaction
                transaction.commit()
            except BaseException:
                with suppress(self._psycopg.Error):
                    connection.rollback()
                raise

    def has_tables(self, transaction: Transaction) -> bool:  # noqa: D102 (as in the base)
        # not to_regclass: a session may remember that a table was missing, and another one has just made it
        return bool(
            transaction.execute("SELECT oid FROM pg_class WHERE relname = 'tts_meta' AND pg_table_is_visible(oid)")
        )

    def lock_schema(self, transaction: Transaction) -> None:  # noqa: D102 (as in the base)
        transaction.execute("SELECT pg_advisory_xact_lock(?)", (_SCHEMA_LOCK,))

    def close(self) -> None:  # noqa: D102 (as in the base)
        if self._connection is not None:
            with suppress(self._psycopg.Error):
                self._connection.close()
            self._connection = None

    def _open(self) -> Any:
        if self._connection is None:
            self._check_url()
            self._connection = _connection_type(self._psycopg).connect(
                self._url,
                autocommit=True,
                cursor_factory=self._psycopg.ClientCursor,
                connect_timeout=_CONNECT_TIMEOUT_S,
                application_name="tts-pipeline",
                client_encoding="utf8",
            )
        return self._connection

    def _check_url(self) -> None:
        """Refuse a URL that libpq cannot read: its own message may hold a part of the password."""
        try:
            ports = str(self._psycopg.conninfo.conninfo_to_dict(self._url).get("port", "")).split(",")
            is_readable = "\0" not in self._url and all(port.isdecimal() for port in ports if port)
        except (self._psycopg.Error, ValueError):
            is_readable = False
        if not is_readable:
            raise ConfigurationError(
                "the URL of the account store cannot be read",
                hint="write postgresql://user@host:port/database, with :password after the user, and in it / as %2F, "
                "@ as %40",
            )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except self._psycopg.errors.UndefinedTable:
            self.close()
            raise StoreLostError("the account store was deleted or replaced", hint="it is made anew") from None
        except (self._psycopg.Error, OSError, UnicodeError) as error:
            self.close()
            message = " ".join(str(error).split()) or type(error).__name__
            is_refused = isinstance(error, self._psycopg.errors.InsufficientPrivilege)
            raise StoreAwayError(
                f"the account store cannot be used: {message}", hint=_GRANT_HINT if is_refused else _HINT
            ) from cause_of(error)


class _PostgresTransaction:
    """Sends statements without rows together with the next one that has rows, or with the end.

    So a transaction takes few round trips, and holds its locks for fewer. The values are literals in the text, because
    only the simple query protocol takes several statements at once.
    """

    def __init__(self, connection: Any, begin: str) -> None:
        self._cursor = connection.cursor()
        self._unsent = [begin]

    def execute(self, sql: str, values: Sequence[Value] = ()) -> list[Row]:
        self._unsent.append(self._cursor.mogrify(sql.replace("?", "%s"), values) if values else sql)
        if not sql.startswith("SELECT") and " RETURNING " not in sql:
            return []
        self._send()
        rows: list[Row] = self._cursor.fetchall()
        return rows

    def now_us(self) -> int:
        return self.wall_us()  # of one machine, whose clock its administrators keep

    def wall_us(self) -> int:
        ((now_us,),) = self.execute("SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)")
        return int(now_us)

    def commit(self) -> None:
        self.execute("COMMIT")
        self._send()

    def _send(self) -> None:
        self._cursor.execute("; ".join(self._unsent))
        self._unsent.clear()
        while self._cursor.nextset():
            pass


def _connection_type(psycopg: Any) -> Any:
    """Return psycopg's connection, but one that does not wait for ever for a server that is frozen or cut off."""

    class Connection(psycopg.Connection):  # type: ignore[misc]  # psycopg is imported when it is needed
        def wait(self, answer: Generator[Any, Any, Any], *arguments: Any, **options: Any) -> Any:
            return super().wait(within(answer), *arguments, **options)

    def within(answer: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """Pass on an answer's generator, which psycopg continues ten times a second even if nothing has come."""
        end_s = time.monotonic() + ANSWER_TIMEOUT_S
        try:
            ready = yield next(answer)
            while time.monotonic() < end_s:
                ready = yield answer.send(ready)
        except StopIteration as end:
            return end.value
        raise psycopg.OperationalError(f"the server did not answer for {ANSWER_TIMEOUT_S} s")

    return Connection


def _import_psycopg() -> Any:
    try:
        import psycopg
    except ImportError as error:
        raise ConfigurationError(
            "an account store in PostgreSQL needs psycopg, which is not installed",
            hint="pip install 'tts-pipeline[postgres]'",
        ) from error
    return psycopg

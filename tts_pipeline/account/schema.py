"""The account store's tables, which are made and migrated on first use.

A migration only adds, so that an earlier program goes on beside a later one. One that cannot do so raises
``oldest_program``, and an earlier program is told.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence

from tts_pipeline.account.database import Database, Transaction
from tts_pipeline.errors import ConfigurationError

MIGRATIONS: Sequence[Sequence[str]] = (
    (
        # one smooth clock for each account and model; the intervals are in microseconds
        """CREATE TABLE tts_rate_clock (
            service TEXT NOT NULL, account TEXT NOT NULL, model TEXT NOT NULL,
            next_slot_us BIGINT NOT NULL, pause_until_us BIGINT NOT NULL, pause_began_us BIGINT NOT NULL,
            pause_us BIGINT NOT NULL, slowdown INTEGER NOT NULL, slowed_us BIGINT NOT NULL,
            slots BIGINT NOT NULL, throttles BIGINT NOT NULL, seen_us BIGINT NOT NULL,
            PRIMARY KEY (service, account, model))""",
        # the processes that spend on an account
        """CREATE TABLE tts_worker (
            worker_id TEXT PRIMARY KEY,
            service TEXT NOT NULL, account TEXT NOT NULL, model TEXT NOT NULL,
            dataset_id TEXT NOT NULL, destination TEXT NOT NULL, door TEXT NOT NULL, host TEXT NOT NULL,
            pid BIGINT NOT NULL, started_wall_us BIGINT NOT NULL, lease_until_us BIGINT NOT NULL,
            interval_us BIGINT, account_concurrency BIGINT, is_waiting INTEGER NOT NULL,
            max_in_flight BIGINT NOT NULL)""",
        "CREATE INDEX tts_worker_account ON tts_worker (service, account, model, lease_until_us)",
        # amounts of a budget are in units of 1e-9 of its currency, or in characters without a currency
        """CREATE TABLE tts_budget (
            budget_id TEXT PRIMARY KEY, name TEXT NOT NULL, amount BIGINT NOT NULL, currency TEXT,
            period TEXT NOT NULL, timezone TEXT, service TEXT, model TEXT, tags TEXT NOT NULL,
            created_wall_us BIGINT NOT NULL, removed_wall_us BIGINT)""",
        "CREATE UNIQUE INDEX tts_budget_name ON tts_budget (name) WHERE removed_wall_us IS NULL",
        "INSERT INTO tts_meta (name, value) VALUES ('budget_revision', '0')",
        # what a budget has given away in one period: the sum of ``granted`` over its slices
        """CREATE TABLE tts_pot (
            budget_id TEXT NOT NULL, period TEXT NOT NULL, start_us BIGINT, end_us BIGINT, taken BIGINT NOT NULL,
            PRIMARY KEY (budget_id, period))""",
        # the part of a pot that one worker may spend, or has spent
        """CREATE TABLE tts_slice (
            budget_id TEXT NOT NULL, period TEXT NOT NULL, worker_id TEXT NOT NULL,
            granted BIGINT NOT NULL, settled BIGINT NOT NULL, confirmed BIGINT NOT NULL, open_bound BIGINT NOT NULL,
            is_open INTEGER NOT NULL, is_waiting INTEGER NOT NULL,
            PRIMARY KEY (budget_id, period, worker_id))""",
        "CREATE INDEX tts_slice_open ON tts_slice (budget_id, period) WHERE is_open = 1",
        "CREATE INDEX tts_slice_worker ON tts_slice (worker_id) WHERE is_open = 1",
    ),
)

OLDEST_PROGRAM = 1
"""The first version of the schema whose programs may use this one."""

_RECOVERY_US = 5_000_000
"""Five heartbeats: in this time, each worker that lives sees that the store was lost, and brings back what it knows."""


def migrate(database: Database) -> str:
    """Bring the schema up to date, if it is behind; return the store's id.

    Raises:
        ConfigurationError: A later program has changed the store so that this one may not use it.
        StoreAwayError: The database cannot be reached, or lets this user make no tables.
    """
    with database.transaction() as transaction:  # only reads: most users need no right to make or change a table
        meta = _find_meta(database, transaction)
    if _version(meta) < len(MIGRATIONS):
        with database.transaction(durable=True) as transaction:
            database.lock_schema(transaction)
            _change(database, transaction)
            meta = read_meta(transaction)
    return meta["store_id"]


def read_meta(transaction: Transaction) -> dict[str, str]:
    """Return what the store says of itself: ``store_id``, ``budget_revision``, ``recovery_end_us`` after a loss."""
    return dict(transaction.execute("SELECT name, value FROM tts_meta"))


def begin_recovery(transaction: Transaction) -> None:
    """Let nothing be drawn, and nobody begin, until all workers of a lost store have surely been back."""
    _set(transaction, "recovery_end_us", str(transaction.now_us() + _RECOVERY_US))


def recovery_end_us(meta: Mapping[str, str]) -> int:
    """Return the store's time until which a store that was lost is brought back; 0 if it never was."""
    return int(meta.get("recovery_end_us", 0))


def _change(database: Database, transaction: Transaction) -> None:
    """Make or change the tables, unless another process has just done so."""
    meta = _find_meta(database, transaction)
    version = _version(meta)
    if not meta:
        transaction.execute("CREATE TABLE tts_meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)")
        transaction.execute(
            "CREATE TABLE tts_machine_clock"
            " (boot_id TEXT NOT NULL, offset_us BIGINT NOT NULL, running_us BIGINT NOT NULL)"
        )
        _set(transaction, "store_id", uuid.uuid4().hex)
    for migration in MIGRATIONS[version:]:
        for statement in migration:
            transaction.execute(statement)
    if version < len(MIGRATIONS):
        _set(transaction, "schema_version", str(len(MIGRATIONS)))
        _set(transaction, "oldest_program", str(OLDEST_PROGRAM))
    if not meta and database.replaces_another():
        begin_recovery(transaction)


def _find_meta(database: Database, transaction: Transaction) -> dict[str, str]:
    """Return what the store says of itself; nothing if it has no tables."""
    meta = read_meta(transaction) if database.has_tables(transaction) else {}
    _check_version(meta)
    return meta


def _version(meta: Mapping[str, str]) -> int:
    return int(meta.get("schema_version", 0))


def _check_version(meta: Mapping[str, str]) -> None:
    oldest = int(meta.get("oldest_program", 0))
    if oldest > len(MIGRATIONS):
        raise ConfigurationError(
            f"the account store needs version {oldest} of the program's tables, and this program knows "
            f"{len(MIGRATIONS)}",
            hint="use the later version of tts-pipeline here, too, or another store with TTS_ACCOUNT_STORE",
        )


def _set(transaction: Transaction, name: str, value: str) -> None:
    transaction.execute("DELETE FROM tts_meta WHERE name = ?", (name,))
    transaction.execute("INSERT INTO tts_meta (name, value) VALUES (?, ?)", (name, value))

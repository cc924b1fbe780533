"""The account store's database behind one interface: SQLite for one machine, PostgreSQL for many.

Statements are written once, in the SQL that both know, with ``?`` for values. A statement that ends with ``FOR UPDATE``
locks the rows that it reads until the transaction ends. All rules are in Python, on rows that a transaction has locked.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from tts_pipeline.errors import StorageError

Row = tuple[Any, ...]
Value = str | int | None


class StoreAwayError(StorageError):
    """The store cannot be reached now; nothing was changed, or the change is not known. The session tries again."""


class StoreLostError(StorageError):
    """The store is another one than before: it was deleted, or restored. The session registers everything anew."""


class Transaction(Protocol):
    """The statements of one transaction: all of them count, or none."""

    def execute(self, sql: str, values: Sequence[Value] = ()) -> list[Row]:
        """Execute a statement; return its rows, an empty list if it gives none."""

    def now_us(self) -> int:
        """Return the store's time in microseconds: it never goes backwards, and is the same for all processes."""

    def wall_us(self) -> int:
        """Return the time of day in microseconds since 1970 (UTC), which may jump."""


class Database(ABC):
    """One connection to the store, for one thread. Every method may block."""

    @abstractmethod
    def transaction(self, *, durable: bool = False) -> AbstractContextManager[Transaction]:
        """Open a transaction, which the block's end commits and an exception undoes.

        A ``durable`` one is on the disk when the block has ended. Any other may be lost in a power cut, together with
        all that followed it.

        Raises:
            StoreAwayError: The database cannot be reached, or did not answer in time.
            StoreLostError: It is another database than at the first transaction.
        """

    def is_made(self) -> bool:
        """Return whether the store's tables are there; make nothing.

        Raises:
            StoreAwayError: The database cannot be reached, or did not answer in time.
        """
        with self.transaction() as transaction:
            return self.has_tables(transaction)

    @abstractmethod
    def has_tables(self, transaction: Transaction) -> bool:
        """Return whether the store's tables are there, for this transaction."""

    @abstractmethod
    def lock_schema(self, transaction: Transaction) -> None:
        """Let no other process change the schema until the transaction ends."""

    def replaces_another(self) -> bool:
        """Return whether this place had a store before, as far as is known; from now on it has had one."""
        return False

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""

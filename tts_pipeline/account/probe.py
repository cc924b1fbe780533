"""Look at an account store: whether it can be used, and who uses it."""

from __future__ import annotations

from contextlib import closing

from tts_pipeline.account.location import StoreLocation
from tts_pipeline.account.schema import migrate


def count_workers(location: StoreLocation) -> int:
    """Return how many workers of all accounts live in a store; make its tables if they are missing. Blocking.

    Raises:
        ConfigurationError: Its URL cannot be read, or a later program has changed it.
        StoreAwayError: It cannot be used.
    """
    with closing(location.open()) as database:
        migrate(database)
        with database.transaction() as transaction:
            now_us = transaction.now_us()
            ((workers,),) = transaction.execute("SELECT count(*) FROM tts_worker WHERE lease_until_us > ?", (now_us,))
            return int(workers)

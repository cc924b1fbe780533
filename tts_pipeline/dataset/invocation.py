"""Identify an invocation, one execution of a job by one process, in its journals, claims and bills."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tts_pipeline.models import Price
from tts_pipeline.wal.records import JournalHeader


@dataclass(frozen=True, slots=True)
class Invocation:
    """The values that all journals and bills of one execution share: its id, service, account, prices and tags.

    ``door`` is where it was started, and ``key_id`` tells its key from others without showing it.
    """

    invocation_id: str
    service: str
    model: str
    account: str | None
    prices: Mapping[str, Price]
    tags: Mapping[str, str]
    dataset_fingerprint: str
    door: str = ""
    key_id: str = ""
    list_prices: Sequence[Price] = ()

    @property
    def currency(self) -> str | None:
        """The currency of all prices; None without a price."""
        return next((price.currency for price in self.prices.values()), None)

    def journal_header(self, part: int, journal_id: str) -> JournalHeader:
        """Return the first record of a journal of this invocation."""
        return JournalHeader(
            journal_id=journal_id,
            part=part,
            invocation_id=self.invocation_id,
            service=self.service,
            model=self.model,
            account=self.account,
            prices=dict(self.prices),
            tags=dict(self.tags),
            dataset_fingerprint=self.dataset_fingerprint,
            door=self.door,
            key_id=self.key_id,
            list_prices=tuple(self.list_prices),
        )


def new_journal_id(earlier_ids: Sequence[str] = (), now_ns: Callable[[], int] = time.time_ns) -> str:
    """Return an id that is unique forever and sorts by time; after the earlier ids even if the clock was set back."""
    latest_ns = max((int(journal_id[:_TIME_DIGITS], 16) for journal_id in earlier_ids), default=-1)
    return f"{max(now_ns(), latest_ns + 1):0{_TIME_DIGITS}x}{secrets.token_hex(4)}"


_TIME_DIGITS = 16

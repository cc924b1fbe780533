"""One smooth clock for each account and model, from which all its workers take their slots.

A slot is an instant at which one request may leave. Slots are evenly spaced and each is given away once, so the
requests of any number of processes, together, reach the service as evenly as those of one. A worker takes a bunch of
slots a fraction of a second ahead: whoever dies loses no more, and all others have its share at once.

The rules are pure, on the values of one row; ``load`` and ``store`` move them from and to the database.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from tts_pipeline.account.database import Transaction
from tts_pipeline.account.identity import Account

HORIZON_US = 500_000
"""Slots are given away for this long ahead."""

FULL_RATE = 10_000
MAX_SLOWDOWN = 2_500
_FIRST_SLOWDOWN = 300
_THROTTLE_SLOWDOWN = 100
"""The rate learns from a 429 without ``Retry-After``: the first makes the interval 3 % longer, each further one 1 %, up
to 25 %, and each slot makes it 0.01 % shorter again. So about one request in a hundred is refused by a service that
permits less than it says, or no burst: it then refuses a request that comes a millisecond early."""

_RECOVERY_US = 10_000_000
"""Without a 429 for so long, the interval is 1 % shorter again, however few slots there were."""

MIN_PAUSE_US = 500_000
"""The pause of an account whose rate nobody knows."""

MAX_PAUSE_US = 86_400_000_000


@dataclass(slots=True)
class RateClock:
    """The clock's state; times are the store's, in microseconds.

    ``slowdown`` is in parts of ``FULL_RATE``, up to ``MAX_SLOWDOWN``. ``pause_us`` is the length of the last pause that
    the service did not name; 0 after a success. ``slots`` and ``throttles`` count all that ever were. ``seen_us`` is
    when a worker last looked.
    """

    next_slot_us: int = 0
    pause_until_us: int = 0
    pause_began_us: int = 0
    pause_us: int = 0
    slowdown: int = 0
    slowed_us: int = 0
    slots: int = 0
    throttles: int = 0
    seen_us: int = 0

    def look(self, now_us: int) -> None:
        """Follow a clock that was set back: what was ahead of it then is as far ahead now."""
        back_us = max(self.seen_us - now_us, 0)
        self.next_slot_us -= back_us
        self.pause_until_us -= back_us
        self.pause_began_us -= back_us
        self.slowed_us -= back_us
        self.seen_us = now_us

    def interval_us(self, own_interval_us: int) -> int:
        """Return the time between two slots, for the interval of the permitted rate."""
        return own_interval_us * (FULL_RATE + self.slowdown) // FULL_RATE

    def take(self, now_us: int, *, count: int, interval_us: int, lead_us: int, horizon_us: int = HORIZON_US) -> range:
        """Take up to ``count`` slots, the first at least ``lead_us`` from now; an empty range if none is near enough.

        ``interval_us`` is that of the permitted rate.
        """
        if self.pause_until_us > now_us or self.next_slot_us > now_us + horizon_us:
            return range(0)
        interval_us = self.interval_us(interval_us)
        first_us = max(self.next_slot_us, now_us + lead_us)
        self.next_slot_us = first_us + count * interval_us
        self.slots += count
        self.slowdown = max(self.slowdown - count, 0)
        return range(first_us, self.next_slot_us, interval_us)

    def next_try_us(self, now_us: int, horizon_us: int = HORIZON_US) -> int:
        """Return when ``take`` may give a slot again."""
        return max(now_us, self.pause_until_us, self.next_slot_us - horizon_us)

    def throttle(self, now_us: int, *, sent_us: int, retry_after_us: int | None, interval_us: int | None) -> None:
        """Count a 429: all workers pause, once for all requests that left before the pause ended.

        Those that left within the pause had their slots before it began.
        """
        self.throttles += 1
        is_new = sent_us >= self.pause_until_us
        if retry_after_us:
            pause_us = min(retry_after_us, MAX_PAUSE_US)
        elif is_new:
            self.pause_us = pause_us = min(2 * self.pause_us or interval_us or MIN_PAUSE_US, MAX_PAUSE_US)
            slowdown = max(self.slowdown + _THROTTLE_SLOWDOWN, _FIRST_SLOWDOWN)
            self.slowdown, self.slowed_us = min(slowdown, MAX_SLOWDOWN), now_us
        else:
            return
        if is_new:
            self.pause_began_us = now_us
        self.pause_until_us = max(self.pause_until_us, now_us + pause_us)
        self.next_slot_us = max(self.next_slot_us, self.pause_until_us)

    def on_success(self, *, sent_us: int) -> None:
        """Let the next pause be short again, if the request was sent after the last one began."""
        if sent_us >= self.pause_began_us:
            self.pause_us = 0

    def recover(self, now_us: int) -> None:
        """Go back towards the full rate."""
        if self.slowdown and now_us - self.slowed_us >= _RECOVERY_US:
            self.slowdown, self.slowed_us = max(self.slowdown - _THROTTLE_SLOWDOWN, 0), now_us


COLUMNS: Sequence[str] = [field.name for field in fields(RateClock)]
_KEY = "service = ? AND account = ? AND model = ?"
_SELECT = f"SELECT {', '.join(COLUMNS)} FROM tts_rate_clock WHERE {_KEY} FOR UPDATE"
_UPDATE = f"UPDATE tts_rate_clock SET {', '.join(f'{name} = ?' for name in COLUMNS)} WHERE {_KEY}"
_INSERT = (
    f"INSERT INTO tts_rate_clock ({', '.join(COLUMNS)}, service, account, model)"
    f" VALUES ({', '.join('?' * (len(COLUMNS) + 3))}) ON CONFLICT DO NOTHING"
)


def load(transaction: Transaction, account: Account) -> RateClock:
    """Lock and return an account's clock; make it if it is missing."""
    key = (account.service, account.name, account.model)
    while not (rows := transaction.execute(_SELECT, key)):
        transaction.execute(_INSERT, (*_values(RateClock()), *key))
    return RateClock(*rows[0])


def store(transaction: Transaction, account: Account, clock: RateClock) -> None:
    """Keep an account's clock, which this transaction has locked."""
    transaction.execute(_UPDATE, (*_values(clock), account.service, account.name, account.model))


def _values(clock: RateClock) -> tuple[int, ...]:
    return tuple(getattr(clock, name) for name in COLUMNS)

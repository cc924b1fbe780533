"""One worker's exchanges with the account store: it takes slots, tells of 429s, and shows that it lives."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tts_pipeline.account import rate_clock, worker_rows
from tts_pipeline.account.budgets import Budget
from tts_pipeline.account.database import Database, Transaction
from tts_pipeline.account.pot_exchange import PotExchange
from tts_pipeline.account.pot_rows import PotKey
from tts_pipeline.account.pots import Refusal, Spending, Want
from tts_pipeline.account.rate_clock import RateClock
from tts_pipeline.account.schema import migrate, read_meta, recovery_end_us
from tts_pipeline.account.store_clock import ClockMap
from tts_pipeline.account.worker_rows import Crowd, Worker

HEARTBEAT_S = 1.0


@dataclass(slots=True)
class Requests:
    """What a worker wants of the store, and has seen of the service since the last exchange.

    ``slots`` are wanted, at least ``lead_s`` from now; ``span_us`` is the time that the characters of one take.
    ``succeeded_s`` is when the last request left that succeeded. ``wants`` are wanted of the budgets, after all that is
    not spent was returned if the worker ``gives_back``; None is no draw. ``held_in_flight`` is the most attempts that
    it may have in flight by now.
    """

    slots: int = 0
    lead_s: float = 0.0
    span_us: int = 0
    throttles: list[tuple[float, float | None]] = field(default_factory=list)
    succeeded_s: float = -math.inf
    wants: Sequence[Want] | None = None
    gives_back: bool = False
    held_in_flight: int = 0

    def add_earlier(self, earlier: Requests) -> None:
        """Add what the store was not told."""
        if not self.slots:
            self.slots, self.lead_s, self.span_us = earlier.slots, earlier.lead_s, earlier.span_us
        if self.wants is None:
            self.wants, self.gives_back = earlier.wants, earlier.gives_back
        self.throttles[:0] = earlier.throttles
        self.succeeded_s = max(self.succeeded_s, earlier.succeeded_s)

    def add_unmet(self, requests: Requests, standing: Standing) -> None:
        """Add the slots that an exchange did not give, unless the account has no rate any more."""
        if requests.slots and not standing.slots_s and standing.interval_s is not None:
            self.add_earlier(Requests(requests.slots, requests.lead_s, requests.span_us))


@dataclass(frozen=True, slots=True)
class Standing:
    """What a worker knows of its account, in this process's monotonic seconds.

    ``slots_s`` are new. ``interval_s`` is the time between two slots, None without a rate. ``takes_bursts`` says
    whether the service took requests that came together, as far as is known. ``renewed_s`` is when the lease was last
    renewed. ``max_in_flight`` is the worker's part of the account's attempts in flight, None without a limit.
    ``away_s`` is for how long the store has been away; all else is then unknown.

    ``budgets`` are all of the store, None if they are as before. ``granted`` are the sizes of slices, as far as they
    were looked at, and ``refusals`` those of a draw; ``has_drawn`` says that it ended. ``is_recovering`` says that the
    store was lost before this worker began, and that others may still bring back its budgets.
    """

    slots_s: Sequence[float] = ()
    pause_until_s: float = -math.inf
    interval_s: float | None = None
    takes_bursts: bool = True
    away_s: float = 0.0
    renewed_s: float = -math.inf
    max_in_flight: int | None = None
    budgets: Sequence[Budget] | None = None
    granted: Mapping[PotKey, int] = field(default_factory=dict)
    refusals: Sequence[Refusal] = ()
    has_drawn: bool = False
    is_recovering: bool = False


class Exchange:
    """The exchanges of one worker, in one thread. The first one registers it."""

    def __init__(
        self,
        database: Database,
        worker: Worker,
        monotonic_s: Callable[[], float] = time.monotonic,
        *,
        is_migrated: bool = False,
    ) -> None:
        self._is_migrated = is_migrated
        self._database = database
        self._worker = worker
        self._monotonic_s = monotonic_s
        self._clock_map = ClockMap()
        self._crowd = Crowd.of_one(worker)
        self._pots = PotExchange(worker.worker_id)
        self._is_registered = self._is_lost = False
        self._has_asked = False
        self._is_recovering = True
        self._max_in_flight: int | None = None
        self._next_beat_s = self._next_take_s = -math.inf

    def due_s(self, requests: Requests) -> float:
        """Return when the next exchange is due."""
        if requests.throttles or requests.wants is not None:
            return -math.inf
        return min(self._next_beat_s, self._next_take_s) if requests.slots else self._next_beat_s

    def run(self, requests: Requests, spending: Sequence[Spending] = ()) -> Standing:
        """Exchange once; ``spending`` is what was spent of the budgets. Blocking.

        Raises:
            ConfigurationError: A later program has changed the store so that this one may not use it.
            StoreAwayError: The store cannot be used: nothing has happened, or it is not known what.
            StoreLostError: The store is another one: the next exchange registers the worker anew.
        """
        if not self._is_migrated:
            migrate(self._database)
            self._is_migrated = True
        was_lost = self._is_lost
        if was_lost:
            with self._database.transaction(durable=True) as transaction:
                self._pots.restore(transaction, spending)
            self._is_lost = False
        self._has_asked = self._has_asked or requests.slots > 0
        slots_us: Sequence[int] = ()
        budgets: Sequence[Budget] | None = None
        granted: Mapping[PotKey, int] = {}
        with self._database.transaction() as transaction:
            asked_s = self._monotonic_s()
            now_us = transaction.now_us()
            self._clock_map.add_sample(asked_s, now_us, self._monotonic_s())
            clock = rate_clock.load(transaction, self._worker.account)
            clock.look(now_us)
            if was_lost:  # others may still use slots of the lost clock
                clock.next_slot_us = max(clock.next_slot_us, now_us + 2 * rate_clock.HORIZON_US)
            if not self._is_registered or asked_s >= self._next_beat_s:
                self._beat(transaction, asked_s, now_us, requests.held_in_flight)
                budgets, granted = self._pots.beat(transaction, spending)
            interval_us = self._crowd.interval_us
            self._tell(clock, requests, now_us)
            if requests.slots and interval_us is not None and asked_s >= self._next_take_s:
                slots_us = self._take(clock, requests, max(interval_us, requests.span_us, 1), now_us)
            rate_clock.store(transaction, self._worker.account, clock)
            self._is_recovering = self._is_recovering and recovery_end_us(read_meta(transaction)) > now_us
        self._is_registered = True
        requests.throttles.clear()  # they are told, even if the draw fails
        draw = None
        if requests.wants is not None:
            with self._database.transaction(durable=True) as transaction:
                draw = self._pots.draw(transaction, requests.wants, spending if requests.gives_back else None)
        return Standing(
            renewed_s=self._next_beat_s - HEARTBEAT_S,
            max_in_flight=self._max_in_flight,
            slots_s=[self._clock_map.local_s(slot_us) for slot_us in slots_us],
            pause_until_s=self._clock_map.local_s(clock.pause_until_us),
            interval_s=None if interval_us is None else clock.interval_us(interval_us) / 1e6,
            takes_bursts=not clock.slowdown,
            budgets=budgets,
            granted=granted if draw is None else {**granted, **draw.granted},
            refusals=() if draw is None else draw.refusals,
            has_drawn=draw is not None,
            is_recovering=self._is_recovering,
        )

    def forget(self) -> None:
        """Let the next exchange register the worker anew, in another store."""
        self._is_migrated, self._is_registered, self._is_lost = False, False, True
        self._clock_map = ClockMap()

    def end(self, spending: Sequence[Spending] = ()) -> None:
        """Remove the worker: its share, and what it has not spent, go to the others. Blocking; raises as ``run``."""
        if self._is_lost:
            self.run(Requests(), spending)  # what this worker knows of the lost store is brought back before it goes
        if self._is_registered:
            with self._database.transaction(durable=bool(spending)) as transaction:
                worker_rows.end(transaction, self._worker.worker_id)
                self._pots.close(transaction, spending)

    def _beat(self, transaction: Transaction, asked_s: float, now_us: int, held: int) -> None:
        self._next_beat_s = asked_s + HEARTBEAT_S
        if not worker_rows.renew(transaction, self._worker, now_us, is_waiting=self._has_asked):
            worker_rows.register(transaction, self._worker, now_us, is_waiting=self._has_asked)
        self._has_asked = False
        self._max_in_flight = worker_rows.share_in_flight(transaction, self._worker, now_us, held=held)
        self._crowd = worker_rows.crowd_of(transaction, self._worker, now_us)

    def _tell(self, clock: RateClock, requests: Requests, now_us: int) -> None:
        if requests.succeeded_s > -math.inf:
            clock.on_success(sent_us=self._clock_map.store_us(requests.succeeded_s))
        for sent_at_s, retry_after_s in requests.throttles:
            retry_us = None if not retry_after_s else round(retry_after_s * 1e6)
            sent_us = self._clock_map.store_us(sent_at_s)
            clock.throttle(now_us, sent_us=sent_us, retry_after_us=retry_us, interval_us=self._crowd.interval_us)
        clock.recover(now_us)

    def _take(self, clock: RateClock, requests: Requests, interval_us: int, now_us: int) -> Sequence[int]:
        round_trips = int(4 * self._clock_map.round_trip_s * 1e6 / interval_us) + 1
        count = min(requests.slots, max(1, rate_clock.HORIZON_US // interval_us // self._crowd.sharers, round_trips))
        slots_us = clock.take(now_us, count=count, interval_us=interval_us, lead_us=round(requests.lead_s * 1e6))
        if not slots_us:
            wait_us = clock.next_try_us(now_us) - now_us + interval_us * self._crowd.sharers * random.random()
            self._next_take_s = self._monotonic_s() + wait_us / 1e6
        return slots_us

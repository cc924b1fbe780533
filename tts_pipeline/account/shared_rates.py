"""The rates of a client whose account has other workers: slots, taken ahead from the account's clock."""

from __future__ import annotations

import heapq
import math
import sys
from collections import deque
from collections.abc import Callable

from tts_pipeline.account.exchange import Standing
from tts_pipeline.account.session import AccountSession
from tts_pipeline.config import Limits
from tts_pipeline.flow.clock import Clock
from tts_pipeline.flow.rates import OwnRates, nobody
from tts_pipeline.flow.throttle_pause import FIRST_PAUSE_S

_LEAD_S = 0.02
_MIN_LEAD_S, _MAX_LEAD_S = 0.005, 0.25
_LEAD_DECAY = 0.99
"""An attempt is permitted this long before its slot, because it is first written to disk. The lead follows the longest
such time of late: a slot whose request is not ready is late, and two late ones may leave together."""

_MAX_LATE_S = 0.5
"""A slot that this process had no time for is used late, unless the service answers requests that come together with
a 429; one that is later than this is lost, as unused time is not saved up."""

_EXACT_LEAD_S = 0.1
_WATCH_S = 0.001
"""The event loop's timers are a millisecond late: a service that takes no bursts is watched for so long."""

_FORGOTTEN_S = 2.0
"""The slot of an attempt that was permitted and never sent, because its row was cancelled, is forgotten after this."""

_MEAN_WEIGHT = 0.05
"""The weight of one text in the running mean of their lengths."""


class SharedRates:
    """See ``flow.rates.Rates``.

    The client's own rates hold where the store gives no slots to this worker, and while a store is away that was not
    named.

    Args:
        session: The worker's session with the store.
        limits: The client's limits, with the card's rate.
        clock: The time, and the way to wait.
    """

    def __init__(self, session: AccountSession, limits: Limits, clock: Clock) -> None:
        self._own = OwnRates(limits, clock)
        self._takes_slots = session.worker.interval_us is not None
        self.is_limited = self._takes_slots or self._own.is_limited
        self.pause_until_s = -math.inf
        self.away_s = 0.0
        self.first_pause_s = FIRST_PAUSE_S
        self.max_in_flight = sys.maxsize if session.worker.account_concurrency is None else 0
        self.in_flight: Callable[[], int] = int
        self.on_change: Callable[[], None] = nobody
        self._session = session
        self._clock = clock
        characters = limits.characters_per_minute
        self._character_interval_s = 0.0 if characters is None else 60 / characters
        self._mean_characters = 0.0
        self._owed_characters = 0.0
        self._free: deque[float] = deque()
        self._bunch, self._asked = 1, 0
        self._booked: list[float] = []
        self._booked_at: deque[float] = deque()
        self._lead_s = _LEAD_S
        self._interval_s, self._has_interval = 0.0, self._takes_slots
        self._takes_bursts = True
        self._last_sent_s = -math.inf
        session.held_in_flight = self._held_in_flight

    def take_standing(self, standing: Standing) -> None:
        """Take notice of an exchange with the store."""
        is_away = standing.away_s > 0
        if not is_away:
            self._interval_s, self._has_interval = standing.interval_s or 0.0, standing.interval_s is not None
            self.pause_until_s, self._takes_bursts = standing.pause_until_s, standing.takes_bursts
        self._takes_slots = self._has_interval and not (is_away and not self._session.is_binding)
        if not self._takes_slots:
            self._asked = 0
        self.max_in_flight = self._share_in_flight(standing)
        self.away_s = standing.away_s if self._takes_slots else 0.0
        self.first_pause_s = 0.0 if self._takes_slots else FIRST_PAUSE_S
        if standing.slots_s:
            self._bunch, self._asked = len(standing.slots_s), 0
            self._free.extend(standing.slots_s)
        self.is_limited = self._takes_slots or self._own.is_limited or self.pause_until_s > self._clock.monotonic_s()
        self.on_change()

    def _share_in_flight(self, standing: Standing) -> int:
        if standing.away_s:
            return self.max_in_flight if self._session.is_binding else self._own.max_in_flight
        return sys.maxsize if standing.max_in_flight is None else standing.max_in_flight

    def _held_in_flight(self) -> int:
        return max(self.max_in_flight if self.max_in_flight < sys.maxsize else 0, self.in_flight())

    def delay_s(self, now_s: float, waiting: int) -> float:
        """See ``Rates``."""
        if not self._takes_slots:
            return self._own.delay_s(now_s, waiting)
        max_late_s = _MAX_LATE_S if self._takes_bursts else min(self._interval_s, _MAX_LATE_S)
        while self._free and self._free[0] < now_s - max_late_s:
            self._free.popleft()
        if 2 * len(self._free) <= min(self._bunch, waiting):
            self._ask(waiting)
        return self._free[0] - self._lead_s - now_s if self._free else math.inf

    def _ask(self, slots: int) -> None:
        if slots > self._asked:
            self._asked = slots
            span_s = self._character_interval_s * self._mean_characters
            self._session.request_slots(slots, lead_s=self._lead_s, span_s=span_s)

    def book(self, now_s: float, characters: int) -> None:
        """See ``Rates``."""
        if not self._takes_slots:
            self._own.book(now_s, characters)
            return
        if not self._free:  # permitted while the rates were not limited
            return
        heapq.heappush(self._booked, self._free.popleft())
        self._booked_at.append(now_s)
        if self._character_interval_s:
            self._book_characters(characters)

    def _book_characters(self, characters: int) -> None:
        """Give up slots for texts that are longer than the mean, for which slots are taken."""
        if not self._mean_characters:
            self._mean_characters = float(characters)
        self._owed_characters += characters - self._mean_characters
        self._mean_characters += _MEAN_WEIGHT * (characters - self._mean_characters)
        while self._free and self._owed_characters >= self._mean_characters > 0:
            self._free.popleft()
            self._owed_characters -= self._mean_characters

    async def wait_to_send(self, characters: int) -> None:
        """See ``Rates``."""
        if not self._booked:
            await self._own.wait_to_send(characters)
            return
        now_s = self._clock.monotonic_s()
        while len(self._booked) > 1 and self._booked[0] < now_s - _FORGOTTEN_S:
            heapq.heappop(self._booked)
        needed_s = now_s - self._booked_at.popleft()
        least_s = _MIN_LEAD_S if self._takes_bursts else _EXACT_LEAD_S
        self._lead_s = min(max(_LEAD_DECAY * self._lead_s, needed_s, least_s), _MAX_LEAD_S)
        slot_s = heapq.heappop(self._booked)
        if not self._takes_bursts:  # after a request that left late, too
            slot_s = max(slot_s, self._last_sent_s + self._interval_s)
        self._last_sent_s = max(slot_s, now_s)
        if slot_s > now_s:
            await self._clock.sleep(slot_s - now_s - (0.0 if self._takes_bursts else _WATCH_S))
        while self._clock.monotonic_s() < slot_s:
            await self._clock.sleep(0)

    def on_throttle(self, *, sent_at_s: float, retry_after_s: float | None) -> None:
        """See ``Rates``."""
        self._session.report_throttle(sent_at_s, retry_after_s)

    def on_success(self, sent_at_s: float) -> None:
        """See ``Rates``."""
        self._session.report_success(sent_at_s)

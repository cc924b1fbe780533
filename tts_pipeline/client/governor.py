"""Who may send now: a thin asyncio layer over the rules of ``judge.py``.

A permit is held from before an attempt is sent until its outcome is settled, and only by ``async with``. Waiting rows
are served in the order in which they came, so that in an outage each probe is another row's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from tts_pipeline.client.clock import Clock
from tts_pipeline.client.judge import Judge
from tts_pipeline.client.row import Row, Verdict
from tts_pipeline.config import Limits
from tts_pipeline.errors import FatalError, ServiceError, StoppedError
from tts_pipeline.models import Attempt

_Waiter = tuple[Row, "asyncio.Future[None]"]


class Governor:
    """Bounds what is in flight, spreads it over time, and stops all of it at once.

    Args:
        limits: Concurrency, rates and patience.
        clock: Time, and how to wait.
    """

    def __init__(self, limits: Limits, clock: Clock) -> None:
        self._max_in_flight = limits.max_concurrency
        self._clock = clock
        self._judge = Judge(limits, clock.utc_us)
        self._in_flight = 0
        self._waiters: deque[_Waiter] = deque()
        self._held: dict[Row, asyncio.Future[Verdict]] = {}
        self._naps: set[asyncio.Future[None]] = set()
        self._alarm: asyncio.Future[None] | None = None
        self._alarm_at_s = 0.0

    @property
    def in_flight(self) -> int:
        """Attempts that are sent and not settled."""
        return self._in_flight

    @contextmanager
    def row(self) -> Iterator[Row]:
        """Have a row on its way, for as long as the block runs."""
        row = Row()
        self._judge.entered()
        try:
            yield row
        finally:
            self._judge.left(row, self._clock.monotonic_s())
            self._apply_decisions()

    def permit(self, row: Row, make: Callable[[], Attempt]) -> Permit:
        """Permit one attempt: ``async with governor.permit(row, make) as attempt: ...``.

        The block's end is the attempt's outcome: without an exception it succeeded, with a ``ServiceError`` it failed,
        and with anything else (cancelled, disk full) nothing is learnt about the service. What becomes of a row whose
        attempt failed is in ``row.verdict`` after the block.

        Args:
            row: Whose attempt it is.
            make: Describes the attempt once its turn has come, so that its start and its price are those of sending.

        Raises:
            StoppedError: Nothing is sent any more.
            FatalError: In place of the block's own error, when other rows show that it is everybody's.
        """
        return Permit(self, row, make)

    async def rest(self, seconds: float) -> None:
        """Wait, but not beyond a stop."""
        if seconds <= 0 or self._judge.stopped is not None:
            return
        nap = asyncio.ensure_future(self._clock.sleep(seconds))
        self._naps.add(nap)
        try:
            await asyncio.wait((nap,))  # not "await nap": a stop cancels the nap, not whoever takes it
        finally:
            self._naps.discard(nap)
            nap.cancel()

    def stop(self, reason: StoppedError) -> None:
        """Permit nothing any more: whoever waits gets the reason; what is in flight goes on."""
        self._judge.stop(reason)
        self._apply_decisions()

    def close(self) -> None:
        """Leave no timer behind."""
        if self._alarm is not None:
            self._alarm.cancel()

    async def _enter(self, row: Row) -> float:
        """Wait for a row's turn; returns when it came."""
        if self._waiters or not self._take_turn(row):
            self._refuse_when_stopped()
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append((row, turn))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled() and turn.exception() is None:
                    self._leave()  # the turn came together with the cancellation: it is passed on
                raise
        return self._clock.monotonic_s()

    def _leave(self) -> None:
        self._in_flight -= 1
        self._wake()

    def _finish(self, row: Row, error: BaseException | None, sent_at_s: float) -> None:
        if error is None:
            self._judge.succeeded(self._clock.monotonic_s(), sent_at_s=sent_at_s)
        elif isinstance(error, ServiceError):
            row.verdict = self._judge.failed(row, error, self._clock.monotonic_s(), sent_at_s=sent_at_s)
            if row.verdict is Verdict.HOLD:
                self._held[row] = asyncio.get_running_loop().create_future()
        self._apply_decisions()
        self._leave()

    async def _release(self, row: Row) -> None:
        """Wait until other rows show whose failure a row's was."""
        try:
            row.verdict = await self._held[row]
        finally:
            del self._held[row]

    def _take_turn(self, row: Row) -> bool:
        if self._in_flight >= self._max_in_flight or self._judge.stopped is not None:
            return False
        now_s = self._clock.monotonic_s()
        delay_s = self._judge.delay_s(now_s)
        if delay_s > 0:
            self._set_alarm(now_s, delay_s)
            return False
        self._judge.sent(row, now_s)
        self._in_flight += 1
        return True

    def _wake(self) -> None:
        while self._waiters:
            row, turn = self._waiters[0]
            if turn.done():  # cancelled while it waited
                self._waiters.popleft()
            elif self._take_turn(row):
                self._waiters.popleft()
                turn.set_result(None)
            else:
                break
        self._apply_decisions()

    def _set_alarm(self, now_s: float, delay_s: float) -> None:
        if self._alarm is not None and not self._alarm.done():
            if self._alarm_at_s <= now_s + delay_s:
                return
            self._alarm.cancel()
        self._alarm_at_s = now_s + delay_s
        self._alarm = asyncio.ensure_future(self._ring(delay_s))

    async def _ring(self, delay_s: float) -> None:
        await self._clock.sleep(delay_s)
        self._alarm = None
        self._wake()

    def _apply_decisions(self) -> None:
        decided = self._judge.decided
        while decided:
            row, verdict = decided.pop()
            _resolve(self._held[row], verdict)
        if self._judge.stopped is not None:
            self._spread_stop(self._judge.stopped)

    def _spread_stop(self, reason: StoppedError) -> None:
        while self._waiters:
            _, turn = self._waiters.popleft()
            _refuse(turn, reason)
        for verdict in self._held.values():
            _refuse(verdict, reason)
        for nap in self._naps:
            nap.cancel()
        self.close()

    def _refuse_when_stopped(self) -> None:
        if self._judge.stopped is not None:
            self._spread_stop(self._judge.stopped)
            raise _again(self._judge.stopped)


class Permit:
    """The right to send one attempt. A budget belongs here: when the attempt is made, what it may cost is known."""

    __slots__ = ("_governor", "_make", "_row", "_sent_at_s")

    def __init__(self, governor: Governor, row: Row, make: Callable[[], Attempt]) -> None:
        self._governor = governor
        self._row = row
        self._make = make
        self._sent_at_s = 0.0

    async def __aenter__(self) -> Attempt:
        self._sent_at_s = await self._governor._enter(self._row)
        try:
            return self._make()
        except BaseException:
            self._governor._leave()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        row = self._row
        self._governor._finish(row, error, self._sent_at_s)
        if not isinstance(error, ServiceError):
            return
        if row.verdict is Verdict.HOLD:
            await self._governor._release(row)
        if row.verdict is Verdict.FATAL and not isinstance(error, FatalError):
            raise _as_fatal(error) from None


def _as_fatal(error: ServiceError) -> FatalError:
    return FatalError(
        error.message,
        code=error.code,
        http_status=error.http_status,
        request_id=error.request_id,
        may_be_billed=error.may_be_billed,
        hint=error.hint,
    )


def _again(reason: StoppedError) -> StoppedError:
    """Copy the reason: one exception raised in many tasks would collect all of their tracebacks."""
    return StoppedError(reason.message, stopped_by=reason.stopped_by, hint=reason.hint)


def _resolve(verdict: asyncio.Future[Verdict], decided: Verdict) -> None:
    if not verdict.done():
        verdict.set_result(decided)


def _refuse(waiting: asyncio.Future[Any], reason: StoppedError) -> None:
    if not waiting.done():
        waiting.set_exception(_again(reason))

"""Who may send now: a thin asyncio layer over the rules of ``judge.py``.

A permit is held from before an attempt is sent until its outcome is settled, and only by ``async with``. Waiting rows
are served in the order in which they came, so that in an outage each probe is another row's.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any

from tts_pipeline.client.budget import Budget
from tts_pipeline.client.clock import Clock
from tts_pipeline.client.judge import Judge
from tts_pipeline.client.row import Row, Verdict
from tts_pipeline.config import Limits
from tts_pipeline.errors import FatalError, ServiceError, StoppedError
from tts_pipeline.models import Attempt, Settlement

logger = logging.getLogger("tts_pipeline")

Make = Callable[[], Attempt]
"""Describes an attempt that is about to be sent."""

_Waiter = tuple[Row, Make, "asyncio.Future[Attempt]"]


class Governor:
    """Bounds what is in flight, spreads it over time, and stops all of it at once.

    Args:
        limits: Concurrency, rates and patience.
        clock: Time, and how to wait.
        budget: What may still be spent; None is without a cap.
    """

    def __init__(self, limits: Limits, clock: Clock, budget: Budget | None = None) -> None:
        self._clock = clock
        self._budget = budget or Budget()
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

    def row(self) -> OnItsWay:
        """Have a row on its way, for as long as the block runs: ``with governor.row() as row: ...``."""
        return OnItsWay(self)

    def permit(self, row: Row, make: Make) -> Permit:
        """Permit one attempt: ``async with governor.permit(row, make) as attempt: ...``.

        The block's end is the attempt's outcome: without an exception it succeeded, with a ``ServiceError`` it failed,
        and with anything else (cancelled, disk full) nothing is learnt about the service. What becomes of a row whose
        attempt failed is in ``row.verdict`` after the block.

        Args:
            row: Whose attempt it is.
            make: Describes the attempt when its turn comes, so that its start and its price are those of sending. What
                it may cost is then reserved; a row whose attempt does not fit waits for what others give back.

        Raises:
            StoppedError: Nothing is sent any more; also when nothing can be given back and the attempt does not fit.
            FatalError: In place of the block's own error, when other rows show that it is everybody's.
        """
        return Permit(self, row, make)

    def refuse_beyond_cap(self, characters: int) -> None:
        """Stop before the first request of a text that all of what is left of a cap does not pay for.

        Args:
            characters: What is billed for the text at least.

        Raises:
            StoppedError: Nothing is sent any more.
        """
        refusal = self._budget.refusal_of(characters)
        if refusal is not None:
            self.stop(refusal)
            self._refuse_when_stopped()

    def settle(self, settlement: Settlement) -> None:
        """Count what an attempt did cost; within its permit. One that is not settled may have cost all it could."""
        self._budget.settle(settlement)

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

    def expect_no_more(self) -> None:
        """Take note that no row enters any more."""
        self._judge.expect_no_more()

    def close(self) -> None:
        """Leave no timer behind."""
        if self._alarm is not None:
            self._alarm.cancel()

    def _begin(self) -> Row:
        self._judge.entered()
        return Row()

    def _end(self, row: Row) -> None:
        self._judge.left(row, self._clock.monotonic_s())
        self._apply_decisions()

    async def _enter(self, row: Row, make: Make) -> tuple[Attempt, float]:
        """Wait for a row's turn; returns its attempt, and when its turn came."""
        attempt = None if self._waiters else self._take_turn(row, make)
        if attempt is None:
            self._refuse_when_stopped()
            turn: asyncio.Future[Attempt] = asyncio.get_running_loop().create_future()
            self._waiters.append((row, make, turn))
            try:
                attempt = await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled() and turn.exception() is None:
                    self._budget.give_back(turn.result())
                    self._leave()  # the turn came together with the cancellation: it is passed on
                raise
        return attempt, self._clock.monotonic_s()

    def _leave(self) -> None:
        self._in_flight -= 1
        self._wake()

    def _finish(self, row: Row, attempt: Attempt, error: BaseException | None, sent_at_s: float) -> None:
        self._budget.abandon(attempt)
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

    def _take_turn(self, row: Row, make: Make) -> Attempt | None:
        most = min(self._judge.max_in_flight, self._budget.max_in_flight)
        if self._in_flight >= most or self._judge.stopped is not None:
            return None
        now_s = self._clock.monotonic_s()
        delay_s = self._judge.delay_s(now_s)
        if delay_s > 0:
            self._set_alarm(now_s, delay_s)
            return None
        attempt = make()
        if not self._budget.has_room_beside(attempt):
            return None
        if not self._budget.reserve(attempt):
            refusal = self._budget.refusal(attempt)
            if refusal is not None:
                self.stop(refusal)
            return None
        self._judge.sent(row, now_s)
        self._in_flight += 1
        return attempt

    def _wake(self) -> None:
        while self._waiters:
            row, make, turn = self._waiters[0]
            if turn.done():  # cancelled while it waited
                self._waiters.popleft()
                continue
            try:
                attempt = self._take_turn(row, make)
            except Exception as error:
                self._waiters.popleft()
                turn.set_exception(error)
                continue
            if attempt is None:
                break
            self._waiters.popleft()
            turn.set_result(attempt)
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
        lines = self._judge.herald.lines
        while lines:
            logger.warning("%s", lines.pop(0))
        if self._judge.stopped is not None:
            self._spread_stop(self._judge.stopped)

    def _spread_stop(self, reason: StoppedError) -> None:
        while self._waiters:
            _, _, turn = self._waiters.popleft()
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


class OnItsWay:
    """A row between its first attempt and its outcome. No ``@contextmanager``: its generator costs a row 2 us."""

    __slots__ = ("_governor", "_row")

    def __init__(self, governor: Governor) -> None:
        self._governor = governor

    def __enter__(self) -> Row:
        self._row = self._governor._begin()
        return self._row

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._governor._end(self._row)


class Permit:
    """The right to send one attempt, with what it may cost reserved."""

    __slots__ = ("_attempt", "_governor", "_make", "_row", "_sent_at_s")

    def __init__(self, governor: Governor, row: Row, make: Make) -> None:
        self._governor = governor
        self._row = row
        self._make = make
        self._sent_at_s = 0.0

    async def __aenter__(self) -> Attempt:
        self._attempt, self._sent_at_s = await self._governor._enter(self._row, self._make)
        return self._attempt

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        row = self._row
        self._governor._finish(row, self._attempt, error, self._sent_at_s)
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
    return StoppedError(reason.message, stopped_by=reason.stopped_by, hint=reason.hint, until=reason.until)


def _resolve(verdict: asyncio.Future[Verdict], decided: Verdict) -> None:
    if not verdict.done():
        verdict.set_result(decided)


def _refuse(waiting: asyncio.Future[Any], reason: StoppedError) -> None:
    if not waiting.done():
        waiting.set_exception(_again(reason))

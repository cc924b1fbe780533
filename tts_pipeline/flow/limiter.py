"""Permit attempts one by one: a thin asyncio layer over the rules of ``failure_policy.py``.

A permit is held, by ``with``, from before an attempt is sent until its outcome is settled. Rows are served first come,
first served, so that each probe of an outage is another row's.

In the calm (``FailurePolicy.is_calm``), and without a cap on spending, the rules decide nothing, so a permit is given
and returned without them: plain attributes say so, which cost a row less than one call of a rule.
"""

from __future__ import annotations

import asyncio
import math
import sys
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any

from msgspec import Struct

from tts_pipeline.attempt import Attempt, Settlement
from tts_pipeline.config import Limits
from tts_pipeline.errors import FatalError, ServiceError, StoppedError
from tts_pipeline.flow.budget import Budget
from tts_pipeline.flow.circuit_breaker import MIN_FAILING_ROWS
from tts_pipeline.flow.clock import Clock
from tts_pipeline.flow.failure_policy import FailurePolicy
from tts_pipeline.flow.rates import OwnRates, Rates
from tts_pipeline.flow.retry_state import Disposition, RetryState
from tts_pipeline.log import logger

MakeAttempt = Callable[[], Attempt]
"""Makes the record of an attempt that is about to be sent."""

_IDLE_S = 3.0
"""Money of pots that is unused for so long, because nothing may be sent, goes back to those who may wait for it."""

_Waiter = tuple[RetryState, MakeAttempt, "asyncio.Future[Permit]"]


class Limiter:
    """Bounds the attempts in flight, spreads them over time, and stops them all together.

    ``on_room`` is called, not in the same turn of the loop, with the number of rows that there is room for again.
    """

    def __init__(self, limits: Limits, clock: Clock, budget: Budget | None = None, rates: Rates | None = None) -> None:
        self._clock = clock
        self._budget = budget or Budget()
        self._budget.on_change = self._wake_waiters
        self.rates = rates or OwnRates(limits, clock)
        self.rates.on_change = self._on_rates
        self.rates.in_flight = lambda: self.in_flight
        self.policy = FailurePolicy(limits, clock.utc_us, self.rates)
        self.in_flight = 0
        self._waiters: deque[_Waiter] = deque()
        self._pending: dict[RetryState, asyncio.Future[Disposition]] = {}
        self._sleep_tasks: set[asyncio.Future[None]] = set()
        self.on_room: Callable[[int], None] = lambda _: None
        self._is_offering = self._is_short_of_money = False
        self._permitted_at_s = -math.inf
        self._timer: asyncio.Future[None] | None = None
        self._timer_due_s = 0.0

    def admit(self) -> Admission:
        """Count a row as active while the block runs: ``with limiter.admit() as row: ...``."""
        return Admission(self, RetryState())

    def room(self) -> int:
        """Return how many more rows should begin; 0 or less is none.

        In the calm, a row that begins while all slots are taken would only wait, and each slot would be handed from
        task to task: its last row's worker takes it without a wait. With fewer slots than ``MIN_FAILING_ROWS``, so many
        rows begin all the same: a failure is judged by other rows in progress, and a single row would be rejected for
        the first failure of the service. After a failure any number may begin: they go on while other rows are held,
        wait before a retry, or show by their outcomes whose the failure is.
        """
        if not self.policy.is_calm:
            return sys.maxsize
        max_rows = max(self._max_in_flight(), MIN_FAILING_ROWS)
        return max_rows - self.in_flight - len(self._waiters)

    def _offer_room(self) -> None:
        self._is_offering = False
        if (room := self.room()) > 0:
            self.on_room(room)

    def try_permit(self, row: RetryState, make_attempt: MakeAttempt) -> Permit | None:
        """Permit one attempt now; None if its row has to wait: then await ``wait_for_permit``.

        ::

            permit = limiter.try_permit(row, make_attempt) or await limiter.wait_for_permit(row, make_attempt)
            try:
                with permit: ...
            except ServiceError as error:
                await limiter.wait_for_disposition(row, error)
                raise

        The block's end is the attempt's outcome: without an exception it succeeded, with a ``ServiceError`` it failed,
        and any other exception (cancelled, disk full) says nothing about the service. After a failure,
        ``row.disposition`` holds what happens to the row.

        ``make_attempt`` is called when the row's turn comes, so that the start and the price are those of sending. The
        attempt's upper bound is then reserved; a row whose attempt does not fit waits until it fits, or never can.
        """
        return None if self._waiters else self._permit_next(row, make_attempt)

    async def wait_for_permit(self, row: RetryState, make_attempt: MakeAttempt) -> Permit:
        """Wait for a row's turn; see ``try_permit``.

        Raises:
            StoppedError: Nothing is sent any more; or the attempt does not fit, and nothing can come back.
            StorageError: The pot that the attempt is paid from cannot be read or written.
        """
        self._raise_if_stopped()
        turn: asyncio.Future[Permit] = asyncio.get_running_loop().create_future()
        self._waiters.append((row, make_attempt, turn))
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._budget.release(turn.result().attempt)
                self._free_slot()  # the turn came together with the cancellation: pass it on
            raise

    def refuse_beyond_cap(self, characters: int) -> None:
        """Stop before the first request of a text that costs more than the rest of the cap even at the least."""
        refusal = self._budget.refusal_for_text(characters)
        if refusal is not None:
            self.stop(refusal)
            self._raise_if_stopped()

    async def sleep(self, seconds: float) -> None:
        """Sleep for some seconds, or until the run stops."""
        if seconds <= 0 or self.policy.stop_reason is not None:
            return
        sleep_task = asyncio.ensure_future(self._clock.sleep(seconds))
        self._sleep_tasks.add(sleep_task)
        try:
            await asyncio.wait((sleep_task,))  # not "await sleep_task": a stop cancels the sleep, not the caller
        finally:
            self._sleep_tasks.discard(sleep_task)
            sleep_task.cancel()

    def stop(self, reason: StoppedError) -> None:
        """Permit no more attempts: waiting callers get the reason; attempts in flight go on."""
        self.policy.stop(reason)
        self._apply_decisions()

    def input_exhausted(self) -> None:
        """Record that no more rows will start."""
        self.policy.input_exhausted()

    def close(self) -> None:
        """Cancel the timer, and wait for no money."""
        if self._timer is not None:
            self._timer.cancel()
        self._budget.close()

    def end_row(self, row: RetryState) -> None:
        """Record that a row has its outcome."""
        self.policy.on_row_end(row, self._clock.monotonic_s())
        self._apply_decisions()

    def _free_slot(self) -> None:
        self.in_flight -= 1
        if self._waiters:
            self._wake_waiters()

    def finish_attempt(self, permit: Permit, error: BaseException | None) -> None:
        """Learn from an attempt's outcome, and give its slot to the next attempt."""
        if self._budget.has_cap:
            self._end_reservation(permit)
        if error is not None or not self.policy.is_calm:
            self._learn(permit, error)
        self._free_slot()
        if not self._is_offering and self.room() > 0:
            self._is_offering = True  # later, because the row's worker usually takes the slot again in this turn
            asyncio.get_running_loop().call_soon(self._offer_room)

    def _end_reservation(self, permit: Permit) -> None:
        if permit.settlement is None:
            self._budget.abandon(permit.attempt)
        else:
            self._budget.settle(permit.settlement)

    def _learn(self, permit: Permit, error: BaseException | None) -> None:
        row, now_s = permit.row, self._clock.monotonic_s()
        if error is None:
            self.policy.on_success(now_s, sent_at_s=permit.sent_at_s)
        elif isinstance(error, ServiceError):
            row.disposition = self.policy.on_failure(row, error, now_s, sent_at_s=permit.sent_at_s)
            if row.disposition is Disposition.PENDING:
                self._pending[row] = asyncio.get_running_loop().create_future()
        self._apply_decisions()

    async def wait_for_disposition(self, row: RetryState, error: ServiceError) -> None:
        """Wait until the outcomes of other rows decide about a failed row, if they have to.

        Raises:
            StoppedError: Nothing is sent any more.
            FatalError: Other rows show that all rows fail with this error, which is not fatal by itself.
        """
        if row.disposition is Disposition.PENDING:
            try:
                row.disposition = await self._pending[row]
            finally:
                del self._pending[row]
        if row.disposition is Disposition.FATAL and not isinstance(error, FatalError):
            raise _as_fatal(error) from None

    def _permit_next(self, row: RetryState, make_attempt: MakeAttempt) -> Permit | None:
        policy, budget = self.policy, self._budget
        free_slots = self._max_in_flight() - self.in_flight
        if free_slots <= 0:
            return None
        now_s = self._clock.monotonic_s()
        # While money is short, it comes first: whoever waits for it takes no slots of a rate from others.
        was_short_of_money = self._is_short_of_money
        if policy.is_paced and not was_short_of_money and not self._is_due(now_s, free_slots):
            return None
        attempt = make_attempt()
        self._is_short_of_money = budget.has_cap and not self._reserve(attempt)
        if self._is_short_of_money:
            return None
        if policy.is_paced and was_short_of_money and not self._is_due(now_s, free_slots):
            budget.release(attempt)
            return None
        self._permitted_at_s = now_s
        if policy.is_paced:
            policy.on_sent(row, now_s)
        self.in_flight += 1
        return Permit(self, row, attempt, now_s)

    def _max_in_flight(self) -> int:
        return min(self.policy.max_in_flight, self._budget.max_in_flight, self.rates.max_in_flight)

    def _is_due(self, now_s: float, free_slots: int) -> bool:
        """Return whether an attempt may be sent now; set the timer if it may be sent later."""
        delay_s = self.policy.delay_s(now_s, min(len(self._waiters) or 1, free_slots))
        if 0 < delay_s < math.inf:
            self._set_timer(now_s, delay_s)
        return delay_s <= 0 and self.policy.stop_reason is None  # a too long outage stops the run just here

    def _reserve(self, attempt: Attempt) -> bool:
        """Reserve an attempt's upper bound; stop the run if it will never fit.

        A row whose attempt does not fit yet waits here, and nowhere else: for open attempts of its own process, or for
        the money of others.
        """
        if not self._budget.has_room_beside(attempt):
            return False
        if self._budget.reserve(attempt):
            return True
        refusal = self._budget.refusal(attempt)
        if refusal is not None:
            self.stop(refusal)
        return False

    def _wake_waiters(self) -> None:
        while self._waiters:
            row, make_attempt, turn = self._waiters[0]
            if turn.done():  # its waiter was cancelled
                self._waiters.popleft()
                continue
            try:
                permit = self._permit_next(row, make_attempt)
            except Exception as error:
                self._waiters.popleft()
                turn.set_exception(error)
                continue
            if permit is None:
                break
            self._waiters.popleft()
            turn.set_result(permit)
        if not self.policy.is_calm:
            self._apply_decisions()

    def _on_rates(self) -> None:
        self.policy.on_rates()
        if not self.in_flight and self._clock.monotonic_s() > self._permitted_at_s + _IDLE_S:
            self._budget.give_back()
        self._wake_waiters()

    def _set_timer(self, now_s: float, delay_s: float) -> None:
        if self._timer is not None and not self._timer.done():
            if self._timer_due_s <= now_s + delay_s:
                return
            self._timer.cancel()
        self._timer_due_s = now_s + delay_s
        self._timer = asyncio.ensure_future(self._wake_after(delay_s))

    async def _wake_after(self, delay_s: float) -> None:
        await self._clock.sleep(delay_s)
        self._timer = None
        self._wake_waiters()

    def _apply_decisions(self) -> None:
        decisions = self.policy.decisions
        while decisions:
            row, disposition = decisions.pop()
            if not (pending := self._pending[row]).done():
                pending.set_result(disposition)
        messages = self.policy.notices.messages
        while messages:
            logger.warning("%s", messages.pop(0))
        if self.policy.stop_reason is not None:
            self._broadcast_stop(self.policy.stop_reason)

    def _broadcast_stop(self, reason: StoppedError) -> None:
        while self._waiters:
            _, _, turn = self._waiters.popleft()
            _fail(turn, reason)
        for pending in self._pending.values():
            _fail(pending, reason)
        for sleep_task in self._sleep_tasks:
            sleep_task.cancel()
        self.close()
        self._offer_room()  # rows that begin now get the reason

    def _raise_if_stopped(self) -> None:
        if self.policy.stop_reason is not None:
            self._broadcast_stop(self.policy.stop_reason)
            raise _copy_of(self.policy.stop_reason)


class Admission(Struct, eq=False):
    """A row from its first attempt to its outcome. No ``@contextmanager``: its generator costs 2 us a row."""

    limiter: Limiter
    row: RetryState

    def __enter__(self) -> RetryState:
        self.limiter.policy.active_rows += 1
        return self.row

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        policy = self.limiter.policy
        policy.active_rows -= 1
        if not policy.is_calm:
            self.limiter.end_row(self.row)


class Permit(Struct, eq=False):
    """The right to send one attempt; the attempt's upper bound is reserved.

    ``sent_at_s`` is the time of the row's turn. The holder sets ``settlement`` when the attempt's end is known; without
    it the attempt counts at its upper bound.
    """

    limiter: Limiter
    row: RetryState
    attempt: Attempt
    sent_at_s: float
    settlement: Settlement | None = None

    def __enter__(self) -> Attempt:
        return self.attempt

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.limiter.finish_attempt(self, error)


def _as_fatal(error: ServiceError) -> FatalError:
    return FatalError(
        error.message,
        code=error.code,
        http_status=error.http_status,
        request_id=error.request_id,
        may_be_billed=error.may_be_billed,
        hint=error.hint,
    )


def _copy_of(reason: StoppedError) -> StoppedError:
    """Copy the reason: one exception raised in many tasks would collect all of their tracebacks."""
    return StoppedError(reason.message, stopped_by=reason.stopped_by, hint=reason.hint, until=reason.until)


def _fail(pending: asyncio.Future[Any], reason: StoppedError) -> None:
    if not pending.done():
        pending.set_exception(_copy_of(reason))

"""The session of one worker with the account store: a thread that makes the exchanges.

The event loop never waits for the store. It asks for slots and goes on; the thread takes them and tells the loop.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence

from tts_pipeline.account.budgets import Budget
from tts_pipeline.account.database import StoreAwayError, StoreLostError
from tts_pipeline.account.exchange import Exchange, Requests, Standing
from tts_pipeline.account.pots import Spending, Want
from tts_pipeline.account.store_thread import StoreThread
from tts_pipeline.account.worker_rows import Worker
from tts_pipeline.errors import TtsPipelineError
from tts_pipeline.log import logger

_RETRY_S = (0.25, 3.0)
"""The wait before the next try when the store is away doubles between these."""

_START_S = 20.0
"""The longest wait for the first exchange: longer than any time limit of a database, and the recovery of a lost store.
"""

_CLOSE_S = 1.0


class AccountSession:
    """One worker's session.

    ``is_binding`` says whether nothing may be sent without the store. ``on_standing`` gets the worker's standing after
    each exchange; ``spending`` tells what was spent of the budgets, and ``held_in_flight`` how many attempts the worker
    may have in flight by now, all in the session's thread. ``budgets`` are
    those of the store at the last look.
    """

    def __init__(self, thread: StoreThread, worker: Worker, *, is_binding: bool = True) -> None:
        self.worker = worker
        self.is_binding = is_binding
        self.on_standing: Callable[[Standing], None] = _ignore
        self.spending: Callable[[], Sequence[Spending]] = tuple
        self.held_in_flight: Callable[[], int] = int
        self.budgets: Sequence[Budget] = ()
        self._thread = thread
        self._exchange = Exchange(thread.database, worker, is_migrated=thread.is_migrated)
        self._wake = threading.Condition()
        self._requests = Requests()
        self._is_closing = False
        self._away_since_s: float | None = None
        self._next_try_s = 0.0
        self._retry_s = _RETRY_S[0]
        self._started = threading.Event()
        self._ended = threading.Event()
        self._refusal: TtsPipelineError | None = None

    def start(self) -> None:
        """Register the worker. Blocking.

        Raises:
            ConfigurationError: A later program has changed the store so that this one may not use it.
            StoreAwayError: The store cannot be used.
        """
        self._thread.run(self._run)
        if not self._started.wait(_START_S):
            self.close()
            raise StoreAwayError("the account store does not answer")
        if self._refusal is not None:
            raise self._refusal

    def close(self) -> None:
        """End the worker: its share goes to the others. Blocking, for a moment.

        With slices of budgets, it waits for a store that is busy, so that what is not spent goes back.
        """
        with self._wake:
            self._is_closing = True
            self._wake.notify()
        self._ended.wait(_START_S if self.spending() else _CLOSE_S)

    def request_slots(self, count: int, *, lead_s: float, span_s: float) -> None:
        """Ask for slots, from the event loop; a new request replaces the last one. Never waits."""
        with self._wake:
            is_new = not self._requests.slots
            self._requests.slots, self._requests.lead_s = count, lead_s
            self._requests.span_us = round(span_s * 1e6)
            if is_new and count:
                self._wake.notify()

    def request_draw(self, wants: Sequence[Want], *, gives_back: bool) -> None:
        """Ask for parts of budgets, from the event loop; ``Standing.granted`` or ``refusals`` answer. Never waits."""
        with self._wake:
            self._requests.wants, self._requests.gives_back = wants, gives_back
            self._wake.notify()

    def report_throttle(self, sent_at_s: float, retry_after_s: float | None) -> None:
        """Tell all workers of a 429."""
        with self._wake:
            self._requests.throttles.append((sent_at_s, retry_after_s))
            self._wake.notify()

    def report_success(self, sent_at_s: float) -> None:
        """Record a success after a 429; the next exchange tells the store."""
        with self._wake:
            self._requests.succeeded_s = max(self._requests.succeeded_s, sent_at_s)

    def _run(self) -> None:
        while (requests := self._next_requests()) is not None:
            requests.held_in_flight = self.held_in_flight()
            try:
                standing = self._exchange.run(requests, self.spending())
            except TtsPipelineError as error:
                self._on_error(requests, error)
            except Exception as error:  # a bug: nobody may wait for an answer that never comes
                self._refusal, self._is_closing = StoreAwayError(f"the account store failed: {error!r}"), True
                logger.exception("the account store failed")
                self.on_standing(Standing(away_s=math.inf))
            else:
                self._on_exchange(requests, standing)
                self._thread.is_migrated = True
                if not standing.is_recovering:
                    self._started.set()
        self._started.set()
        try:
            self._end()
        except TtsPipelineError as error:
            logger.debug("the end of the session: %s", error)
        self._ended.set()

    def _end(self) -> None:
        try:
            self._exchange.end(self.spending())
        except StoreLostError:
            self._exchange.forget()
            self._exchange.end(self.spending())

    def _next_requests(self) -> Requests | None:
        """Wait until an exchange is due; return what the loop wants, None if the session is to end."""
        with self._wake:
            while not self._is_closing:
                wait_s = max(self._exchange.due_s(self._requests), self._next_try_s) - time.monotonic()
                if wait_s <= 0:
                    requests, self._requests = self._requests, Requests()
                    return requests
                self._wake.wait(wait_s)
            return None

    def _on_exchange(self, requests: Requests, standing: Standing) -> None:
        if self._away_since_s is not None:
            logger.warning("the account store is back after %.0f s", time.monotonic() - self._away_since_s)
            self._away_since_s = None
        with self._wake:
            self._requests.add_unmet(requests, standing)
        if standing.budgets is not None:
            self.budgets = standing.budgets
        self.on_standing(standing)

    def _on_error(self, requests: Requests, error: TtsPipelineError) -> None:
        with self._wake:
            self._requests.add_earlier(requests)
        now_s = time.monotonic()
        if isinstance(error, StoreLostError):
            self._exchange.forget()
            if self._started.is_set():  # else it was replaced while nobody used it
                logger.warning("%s", error.message)
        elif not self._started.is_set():
            self._refusal, self._is_closing = error, True
        else:
            if self._away_since_s is None:
                self._away_since_s, self._retry_s = now_s, _RETRY_S[0]
                logger.warning("%s; the run waits for it", error.message)
            self._next_try_s = now_s + self._retry_s
            self._retry_s = min(2 * self._retry_s, _RETRY_S[1])
            self.on_standing(Standing(away_s=max(now_s - self._away_since_s, 0.001)))


def _ignore(_: object) -> None:
    """Do nothing."""

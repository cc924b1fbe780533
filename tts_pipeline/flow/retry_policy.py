"""The retry policy: decide when a failed attempt or fetch is tried again, and how long to wait. Only this retries."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt

from tts_pipeline.config import Limits
from tts_pipeline.errors import ServiceError, TransientError
from tts_pipeline.flow.retry_state import Disposition, RetryState

Result = TypeVar("Result")
Stop = Callable[[RetryCallState], bool]
Wait = Callable[[RetryCallState], float]

_MAX_FETCHES = 3
"""The tries to fetch one URL before the whole attempt counts as failed."""


def stop_when_rejected(row: RetryState) -> Stop:
    """Stop when the failure is the row's own."""
    return lambda _: row.disposition is Disposition.REJECT


def wait_unless_paused(row: RetryState, wait: Wait) -> Wait:
    """Wait, but not where a pause or an outage of the run makes every row wait."""
    return lambda state: 0.0 if row.disposition is Disposition.RETRY_NOW else wait(state)


def wait_max(*waits: Wait) -> Wait:
    """Wait for the longest of several waits."""
    return lambda state: max(wait(state) for wait in waits)


def wait_retry_after(max_s: float) -> Wait:
    """Wait as long as the service asked for, but no longer than ``max_s``; 0 where it did not ask."""

    def wait_s(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        retry_after_s = error.retry_after_s if isinstance(error, ServiceError) else None
        return min(retry_after_s or 0.0, max_s)

    return wait_s


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Retries attempts and fetches with tenacity."""

    limits: Limits
    random: Random
    sleep: Callable[[float], Awaitable[None]]

    def jitter_s(self, retries: int) -> float:
        """Return a random wait before a retry, so that rows that failed together do not retry together.

        Each retry, this one included, doubles the bound of the wait, from ``retry_wait_s`` up to ``retry_wait_max_s``.
        """
        doublings = min(max(retries - 1, 0), 30)  # 2.0 ** 1024 is an OverflowError
        return self.random.uniform(0.0, min(self.limits.retry_wait_s * 2.0**doublings, self.limits.retry_wait_max_s))

    async def retry_attempts(
        self, row: RetryState, failure: ServiceError, attempt: Callable[[], Awaitable[Result]]
    ) -> Result:
        """Retry after a row's first failure, until an attempt succeeds or the row is rejected.

        The first attempt is made without this class: tenacity inspects its policies at every call, which takes 70 us, a
        fifth of a row's CPU time.

        Raises:
            TransientError: The last attempt's, if the row is rejected. Other errors end the retries immediately.
        """

        def wait_jitter(_: RetryCallState) -> float:
            return self.jitter_s(row.retries)

        stop = stop_when_rejected(row)
        wait = wait_unless_paused(row, wait_max(wait_jitter, wait_retry_after(self.limits.max_pause_s)))
        return await self._retry(failure, attempt, stop, wait)

    async def retry_fetch(self, attempt: Callable[[], Awaitable[Result]]) -> Result:
        """Try to fetch a URL a few times.

        Raises:
            TransientError: The last try's. Other errors end the tries immediately.
        """
        try:
            return await attempt()
        except TransientError as error:
            failure = error
        stop = stop_after_attempt(_MAX_FETCHES)
        return await self._retry(failure, attempt, stop, lambda state: self.jitter_s(state.attempt_number))

    async def _retry(
        self,
        failure: ServiceError,
        attempt: Callable[[], Awaitable[Result]],
        stop: Stop,
        wait: Wait,
    ) -> Result:
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(TransientError), stop=stop, wait=wait, sleep=self.sleep, reraise=True
        )
        return await retrying(_starting_with(failure, attempt))


def _starting_with(
    failure: ServiceError, attempt: Callable[[], Awaitable[Result]]
) -> Callable[[], Coroutine[None, None, Result]]:
    failures = iter((failure,))

    async def next_outcome() -> Result:
        for known_failure in failures:
            raise known_failure
        return await attempt()

    return next_outcome

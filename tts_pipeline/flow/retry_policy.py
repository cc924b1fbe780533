"""Retry policies for tenacity: when an attempt is tried again, and after how long. The one owner of retry."""

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

_MAX_FETCHES = 3
"""How often the fetch of one URL is tried before the whole attempt counts as failed."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Retries attempts and fetches."""

    limits: Limits
    random: Random
    sleep: Callable[[float], Awaitable[None]]

    def jitter_s(self, retries: int) -> float:
        """Return a random wait before a retry, so that rows that failed together do not return together.

        Each retry, this one included, doubles the bound of the wait, from ``retry_wait_s`` up to ``retry_wait_max_s``.
        """
        doublings = min(max(retries - 1, 0), 30)  # 2.0 ** 1024 is an OverflowError
        return self.random.uniform(0.0, min(self.limits.retry_wait_s * 2.0**doublings, self.limits.retry_wait_max_s))

    async def retry_attempts(
        self, row: RetryState, failure: ServiceError, attempt: Callable[[], Awaitable[Result]]
    ) -> Result:
        """Go on after a row's first failure: make attempts until one succeeds or the row is to blame.

        A first attempt is made without this class: tenacity inspects its policies at every call, 70 us, a fifth of a
        row's CPU time.

        Raises:
            TransientError: The last attempt's, when the row is to blame; other errors as they come.
        """

        def wait_s(state: RetryCallState) -> float:
            if row.disposition is Disposition.RETRY_NOW:  # the run's own pause or outage makes everybody wait
                return 0.0
            error = state.outcome.exception() if state.outcome else None
            asked_s = error.retry_after_s if isinstance(error, ServiceError) else None
            return max(self.jitter_s(row.retries), min(asked_s or 0.0, self.limits.max_pause_s))

        return await self._retry(failure, attempt, lambda _: row.disposition is Disposition.REJECT, wait_s)

    async def retry_fetch(self, attempt: Callable[[], Awaitable[Result]]) -> Result:
        """Try the fetch of a URL a few times.

        Raises:
            TransientError: The last try's; other errors as they come.
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
        stop: Callable[[RetryCallState], bool],
        wait_s: Callable[[RetryCallState], float],
    ) -> Result:
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(TransientError), stop=stop, wait=wait_s, sleep=self.sleep, reraise=True
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

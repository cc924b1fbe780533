"""Retry policies for tenacity: when an attempt is tried again, and after how long. The one owner of retry."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt
from tenacity.stop import stop_base
from tenacity.wait import wait_base

from tts_pipeline.config import Limits
from tts_pipeline.errors import ServiceError, TransientError
from tts_pipeline.flow.retry_state import Disposition, RetryState

Result = TypeVar("Result")

_MAX_FETCHES = 3
"""How often the fetch of one URL is tried before the whole attempt counts as failed."""


class stop_when_rejected(stop_base):
    """Stop when the failure was found to be the row's own."""

    def __init__(self, row: RetryState) -> None:
        self._row = row

    def __call__(self, retry_state: RetryCallState) -> bool:  # noqa: ARG002 (tenacity's signature)
        """Say whether to stop."""
        return self._row.disposition is Disposition.REJECT


class wait_full_jitter(wait_base):
    """Wait anything up to a bound that doubles with every retry, so that rows that failed together do not return so.

    Args:
        retries: Tells how many retries there were, this one included.
        limits: The first bound, ``retry_wait_s``, and the largest, ``retry_wait_max_s``.
        random: The source of chance.
    """

    def __init__(self, retries: Callable[[RetryCallState], int], limits: Limits, random: Random) -> None:
        self._retries = retries
        self._limits = limits
        self._random = random

    def __call__(self, retry_state: RetryCallState) -> float:
        """Return the seconds to wait."""
        doublings = min(max(self._retries(retry_state) - 1, 0), 30)  # 2.0 ** 1024 is an OverflowError
        bound_s = min(self._limits.retry_wait_s * 2.0**doublings, self._limits.retry_wait_max_s)
        return self._random.uniform(0.0, bound_s)


class wait_retry_after(wait_base):
    """Wait as long as the service asked for with ``Retry-After``, up to ``max_pause_s``; else not at all."""

    def __init__(self, limits: Limits) -> None:
        self._max_pause_s = limits.max_pause_s

    def __call__(self, retry_state: RetryCallState) -> float:
        """Return the seconds to wait."""
        error = retry_state.outcome.exception() if retry_state.outcome else None
        retry_after_s = error.retry_after_s if isinstance(error, ServiceError) else None
        return min(retry_after_s or 0.0, self._max_pause_s)


class wait_max(wait_base):
    """Wait as long as the longest of several waits; tenacity's own ``+`` adds them up."""

    def __init__(self, *waits: wait_base) -> None:
        self._waits = waits

    def __call__(self, retry_state: RetryCallState) -> float:
        """Return the seconds to wait."""
        return max(float(wait(retry_state)) for wait in self._waits)


class wait_unless_paused(wait_base):
    """Do not wait here where the run's own pause or outage makes everybody wait."""

    def __init__(self, row: RetryState, wait: wait_base) -> None:
        self._row = row
        self._wait = wait

    def __call__(self, retry_state: RetryCallState) -> float:
        """Return the seconds to wait."""
        return 0.0 if self._row.disposition is Disposition.RETRY_NOW else float(self._wait(retry_state))


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Makes what retries attempts and fetches.

    Args:
        limits: The waits.
        random: The source of jitter.
        sleep: How to wait.
    """

    limits: Limits
    random: Random
    sleep: Callable[[float], Awaitable[None]]

    async def retry_attempts(
        self, row: RetryState, failure: ServiceError, attempt: Callable[[], Awaitable[Result]]
    ) -> Result:
        """Go on after a row's first failure: make attempts until one succeeds or the row is to blame.

        A first attempt is made without this class: tenacity inspects its policies at every call, 70 us, a fifth of a
        row's CPU time.

        Raises:
            TransientError: The last attempt's, when the row is to blame; other errors as they come.
        """
        return await self._row_retrying(row)(_starting_with(failure, attempt))

    async def retry_fetch(self, attempt: Callable[[], Awaitable[Result]]) -> Result:
        """Try the fetch of a URL a few times.

        Raises:
            TransientError: The last try's; other errors as they come.
        """
        try:
            return await attempt()
        except TransientError as error:
            failure = error
        return await self._fetch_retrying()(_starting_with(failure, attempt))

    def _row_retrying(self, row: RetryState) -> AsyncRetrying:
        jitter = wait_full_jitter(lambda _: row.retries, self.limits, self.random)
        return AsyncRetrying(
            retry=retry_if_exception_type(TransientError),
            stop=stop_when_rejected(row),
            wait=wait_unless_paused(row, wait_max(jitter, wait_retry_after(self.limits))),
            sleep=self.sleep,
            reraise=True,
        )

    def _fetch_retrying(self) -> AsyncRetrying:
        return AsyncRetrying(
            retry=retry_if_exception_type(TransientError),
            stop=stop_after_attempt(_MAX_FETCHES),
            wait=wait_full_jitter(lambda state: state.attempt_number, self.limits, self.random),
            sleep=self.sleep,
            reraise=True,
        )


def _starting_with(
    failure: ServiceError, attempt: Callable[[], Awaitable[Result]]
) -> Callable[[], Coroutine[None, None, Result]]:
    failures = iter((failure,))

    async def next_outcome() -> Result:
        for known_failure in failures:
            raise known_failure
        return await attempt()

    return next_outcome

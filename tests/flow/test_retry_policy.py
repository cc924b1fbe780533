"""When an attempt is retried, and how long the wait is."""

from __future__ import annotations

import asyncio
from random import Random

import pytest
from tenacity import AsyncRetrying, Future, RetryCallState

from tts_pipeline.config import Limits
from tts_pipeline.errors import FatalError, PermanentError, ServiceError, TransientError
from tts_pipeline.flow.retry_policy import (
    RetryPolicy,
    Wait,
    stop_when_rejected,
    wait_max,
    wait_retry_after,
    wait_unless_paused,
)
from tts_pipeline.flow.retry_state import Disposition, RetryState

LIMITS = Limits(retry_wait_s=0.5, retry_wait_max_s=20, max_pause_s=3_600)


def retry(errors: list[ServiceError], row: RetryState) -> tuple[str | ServiceError, list[float]]:
    """Buy with attempts that fail one after the other; return the end and the waits."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async def attempt() -> str:
        if errors:
            raise errors.pop(0)
        return "speech"

    async def main() -> str | ServiceError:
        try:
            return await attempt()
        except ServiceError as error:
            failure = error
        try:
            return await RetryPolicy(LIMITS, Random(1), sleep).retry_attempts(row, failure, attempt)
        except ServiceError as error:
            return error

    return asyncio.run(main()), waits


def test_jitter_is_full_and_its_bound_doubles() -> None:
    """Any wait from 0 to 0.5, 1, 2, ... and 20 s at most."""
    policy = RetryPolicy(LIMITS, Random(1), asyncio.sleep)
    for number, bound_s in ((1, 0.5), (2, 1.0), (5, 8.0), (7, 20.0), (5_000, 20.0)):
        waits = [policy.jitter_s(number) for _ in range(300)]
        assert 0 <= min(waits) < 0.05 * bound_s
        assert 0.95 * bound_s < max(waits) <= bound_s


def transient(number: int = 1) -> TransientError:
    return TransientError(f"failure {number}", code="InternalError", http_status=500)


def busy(retry_after_s: float) -> TransientError:
    return TransientError("busy", code="ServiceUnavailable", http_status=503, retry_after_s=retry_after_s)


def after(error: BaseException | None) -> RetryCallState:
    """Return tenacity's state after a first attempt that failed, or succeeded."""
    state = RetryCallState(AsyncRetrying(), None, (), {})
    state.outcome = Future(1)
    state.outcome.set_exception(error) if error else state.outcome.set_result(None)
    return state


def test_each_policy_looks_at_the_row_or_at_the_answer_when_it_is_asked() -> None:
    """They are made before the row's disposition is known, and read as a sentence."""
    row, state = RetryState(), after(busy(9.0))
    waits: list[Wait] = [lambda _: 5.0, lambda _: 7.0]
    stop, wait = stop_when_rejected(row), wait_unless_paused(row, wait_max(*waits))
    assert (stop(state), wait(state)) == (False, 7.0)
    row.disposition = Disposition.RETRY_NOW
    assert (stop(state), wait(state)) == (False, 0.0)
    row.disposition = Disposition.REJECT
    assert stop(state)


@pytest.mark.parametrize(
    ("error", "max_s", "waited_s"),
    [
        (busy(9.0), 20.0, 9.0),
        (busy(9.0), 5.0, 5.0),
        (transient(), 20.0, 0.0),
        (ValueError(), 20.0, 0.0),
        (None, 20.0, 0.0),
    ],
)
def test_the_service_is_waited_for_where_it_asked(error: BaseException | None, max_s: float, waited_s: float) -> None:
    """No longer than the longest pause, and not at all where it did not ask."""
    assert wait_retry_after(max_s)(after(error)) == waited_s


@pytest.mark.parametrize(("asked_s", "waited_s"), [(7.0, 7.0), (9_999.0, 3_600.0)])
def test_retry_after_is_honoured_up_to_the_longest_pause(asked_s: float, waited_s: float) -> None:
    """A shorter jitter does not shorten it."""
    assert retry([busy(asked_s)], RetryState(disposition=Disposition.RETRY)) == ("speech", [waited_s])


def test_the_longest_wait_counts() -> None:
    """Jitter never shortens the service's wait, and a short one does not shorten the jitter."""
    assert retry([busy(30.0)], RetryState(disposition=Disposition.RETRY, retries=9))[1] == [30.0]
    assert retry([busy(0.001)], RetryState(disposition=Disposition.RETRY, retries=9))[1][0] > 0.001


def test_a_paced_row_does_not_wait_twice() -> None:
    """The run's pause is its wait."""
    assert retry([busy(30.0)], RetryState(disposition=Disposition.RETRY_NOW))[1] == [0.0]


def test_success_at_once_waits_for_nothing() -> None:
    """Nearly every row succeeds this way."""
    assert retry([], RetryState()) == ("speech", [])


def test_transient_failures_are_retried() -> None:
    """One wait for each."""
    end, waits = retry([transient(), transient()], RetryState(disposition=Disposition.RETRY, retries=1))
    assert end == "speech"
    assert len(waits) == 2
    assert all(0 < wait <= 0.5 for wait in waits)


def test_a_row_that_is_to_blame_is_not_retried() -> None:
    """Its own last error is raised."""
    error = transient(7)
    assert retry([error, transient(8)], RetryState(disposition=Disposition.REJECT)) == (error, [])


@pytest.mark.parametrize("kind", [PermanentError, FatalError])
def test_other_errors_are_never_retried(kind: type[ServiceError]) -> None:
    """Neither as the first failure nor as a later one."""
    error = kind("no", code="InvalidParameter", http_status=400)
    assert retry([error], RetryState()) == (error, [])
    end, waits = retry([transient(), error], RetryState(disposition=Disposition.RETRY_NOW))
    assert (end, waits) == (error, [0.0])

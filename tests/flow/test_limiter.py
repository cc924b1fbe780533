"""The limiter, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any, TypeVar

import pytest

from tests.flow.virtual_time import run_virtually, virtual_clock
from tts_pipeline.attempt import Attempt
from tts_pipeline.config import BudgetCap, Limits
from tts_pipeline.errors import (
    FatalError,
    ServiceError,
    StoppedError,
    StorageError,
    SuspectError,
    ThrottledError,
    TransientError,
)
from tts_pipeline.flow.budget import Budget
from tts_pipeline.flow.limiter import Limiter, Permit
from tts_pipeline.flow.retry_state import Disposition, RetryState

Result = TypeVar("Result")
Serve = Callable[[RetryState, int], Awaitable[None]]


def make_attempt(name: str = "a", characters: int = 5) -> Attempt:
    return Attempt(name, "u", 0, 0, 1, None, 0, characters, characters, None, None)


def broken() -> TransientError:
    return TransientError("broken", code="InternalError", http_status=500)


def with_limiter(
    limits: Limits, main: Callable[[Limiter], Coroutine[Any, Any, Result]], *, max_characters: int | None = None
) -> Result:
    async def run() -> Result:
        limiter = Limiter(limits, virtual_clock(), Budget(BudgetCap(max_characters=max_characters)))
        try:
            return await main(limiter)
        finally:
            limiter.close()

    return run_virtually(run())


@asynccontextmanager
async def permitted(limiter: Limiter, row: RetryState, make: Callable[[], Attempt]) -> AsyncIterator[Permit]:
    """Hold a permit; when the attempt failed, wait until its row's disposition is known."""
    permit = limiter.try_permit(row, make) or await limiter.wait_for_permit(row, make)
    try:
        with permit:
            yield permit
    except ServiceError as error:
        await limiter.wait_for_disposition(row, error)
        raise


async def run_row(limiter: Limiter, serve: Serve, *, retry_wait_s: float = 0.1) -> None:
    """Do what a client does with one row: try until it succeeds or is rejected."""
    with limiter.admit() as row:
        for number in range(1_000):
            try:
                async with permitted(limiter, row, make_attempt):
                    await serve(row, number)
            except TransientError:
                if row.disposition is Disposition.REJECT:
                    raise
                await limiter.sleep(0.0 if row.disposition is Disposition.RETRY_NOW else retry_wait_s)
            else:
                return


async def run_rows(limiter: Limiter, serve: Serve, *, rows: int) -> None:
    """Run rows by 64 workers."""
    queue = list(range(rows))

    async def work() -> None:
        while queue:
            queue.pop()
            await run_row(limiter, serve)

    await asyncio.gather(*(work() for _ in range(64)))


def test_no_more_in_flight_than_allowed_and_no_fewer() -> None:
    """Every slot is used while work remains."""

    async def main(limiter: Limiter) -> tuple[int, float]:
        most, began_s = 0, asyncio.get_running_loop().time()

        async def serve(_: RetryState, __: int) -> None:
            nonlocal most
            most = max(most, limiter.in_flight)
            await asyncio.sleep(1)

        await asyncio.gather(*(run_row(limiter, serve) for _ in range(12)))
        return most, asyncio.get_running_loop().time() - began_s

    most, took_s = with_limiter(Limits(max_concurrency=4), main)
    assert most == 4
    assert took_s == pytest.approx(3.0)


def test_a_cancelled_row_gives_its_place_back() -> None:
    """In the queue, in flight, and at the instant of its turn."""

    async def main(limiter: Limiter) -> None:
        async def forever(_: RetryState, __: int) -> None:
            await asyncio.Event().wait()

        tasks = [asyncio.create_task(run_row(limiter, forever)) for _ in range(3)]
        await asyncio.sleep(1)
        tasks[0].cancel()
        await asyncio.sleep(0)  # the second's turn has come ...
        tasks[1].cancel()  # ... and is not taken
        await asyncio.sleep(1)
        assert limiter.in_flight == 1
        tasks[2].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert limiter.in_flight == 0

    with_limiter(Limits(max_concurrency=1), main)


def test_an_error_that_is_not_the_services_gives_the_place_back() -> None:
    """A full disk says nothing about the service; nor does an attempt that cannot be made."""

    async def main(limiter: Limiter) -> None:
        async def full(_: RetryState, __: int) -> None:
            raise StorageError("disk full")

        def indescribable() -> Attempt:
            raise LookupError

        for _ in range(3):
            with pytest.raises(StorageError):
                await run_row(limiter, full)
            with limiter.admit() as row, pytest.raises(LookupError):
                limiter.try_permit(row, indescribable)
        assert limiter.in_flight == 0

    with_limiter(Limits(max_concurrency=1), main)


def test_a_429_pauses_everybody_once() -> None:
    """Many 429s at one time are one pause; then half as many go on at a time, and no row has lost an attempt."""

    async def main(limiter: Limiter) -> list[float]:
        began_s, sent_s = asyncio.get_running_loop().time(), list[float]()

        async def serve(_: RetryState, number: int) -> None:
            sent_s.append(asyncio.get_running_loop().time() - began_s)
            await asyncio.sleep(0.1)
            if number < 1:
                raise ThrottledError("", code="Throttling", http_status=429, retry_after_s=60.0, may_be_billed=False)

        await asyncio.gather(*(run_row(limiter, serve) for _ in range(8)))
        return sent_s

    sent_s = with_limiter(Limits(max_concurrency=8, max_attempts=1), main)
    assert sent_s == pytest.approx([0.0] * 8 + [60.1] * 4 + [60.2] * 4, abs=0.01)


def test_requests_are_spread_at_the_permitted_rate() -> None:
    """At 98 % of it at least, and never two closer than the interval."""

    async def main(limiter: Limiter) -> list[float]:
        sent_s: list[float] = []

        async def serve(_: RetryState, __: int) -> None:
            sent_s.append(asyncio.get_running_loop().time())

        await asyncio.gather(*(run_row(limiter, serve) for _ in range(181)))
        return sent_s

    sent_s = with_limiter(Limits(max_concurrency=16, requests_per_minute=180), main)
    assert sent_s[-1] - sent_s[0] == pytest.approx(60, rel=0.02)
    assert min(after - before for before, after in pairwise(sent_s)) > 0.333


def test_an_outage_costs_few_requests_and_no_row() -> None:
    """Thirty seconds of failures at 64 in flight: no row is rejected, and all go on within 3 s of the end."""

    async def main(limiter: Limiter) -> tuple[int, float]:
        loop = asyncio.get_running_loop()
        begin_s, end_s = loop.time() + 5, loop.time() + 35
        during, first_success_s = 0, [0.0]

        async def serve(_: RetryState, __: int) -> None:
            nonlocal during
            fails = begin_s <= loop.time() < end_s
            during += fails
            await asyncio.sleep(0.2)
            if fails:
                raise broken()
            if loop.time() > end_s and not first_success_s[0]:
                first_success_s[0] = loop.time() - end_s

        await run_rows(limiter, serve, rows=5_000)
        return during, first_success_s[0]

    during, noticed_after_s = with_limiter(Limits(max_concurrency=64), main)
    assert during < 3 * 64
    assert noticed_after_s < 3.5


def test_probes_are_of_different_rows() -> None:
    """One poisonous row must not represent the service."""

    async def main(limiter: Limiter) -> list[RetryState]:
        probes: list[RetryState] = []

        async def serve(row: RetryState, _: int) -> None:
            if limiter.in_flight == 1:
                probes.append(row)
            await asyncio.sleep(0.01)
            raise broken()

        tasks = [asyncio.create_task(run_row(limiter, serve)) for _ in range(8)]
        await asyncio.sleep(20)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return probes

    probes = with_limiter(Limits(max_concurrency=8), main)[-6:]
    assert len(set(probes)) == len(probes)


def test_a_long_outage_stops_everybody() -> None:
    """After ``max_outage_s``, whether rows wait, sleep or fail; the next probe is not sent any more."""

    async def main(limiter: Limiter) -> list[object]:
        async def serve(_: RetryState, __: int) -> None:
            assert limiter.policy.stop_reason is None
            await asyncio.sleep(0.1)
            raise broken()

        return list(await asyncio.gather(*(run_row(limiter, serve) for _ in range(40)), return_exceptions=True))

    results = with_limiter(Limits(max_concurrency=16, max_outage_s=60), main)
    assert [getattr(result, "stopped_by", None) for result in results] == ["outage"] * 40
    assert len({id(result) for result in results}) == 40


def test_a_poisonous_row_is_rejected_and_the_rest_is_done() -> None:
    """It fails on its own, while others succeed."""

    async def main(limiter: Limiter) -> list[object]:
        async def serve(row: RetryState, _: int) -> None:
            await asyncio.sleep(0.1)
            if row is poison[0]:
                raise broken()

        poison: list[RetryState] = []

        async def poisonous(row: RetryState, number: int) -> None:
            poison[:] = [row]
            await serve(row, number)

        others = [run_row(limiter, serve) for _ in range(100)]
        return list(await asyncio.gather(run_row(limiter, poisonous), *others, return_exceptions=True))

    first, *rest = with_limiter(Limits(max_concurrency=4), main)
    assert isinstance(first, TransientError)
    assert rest == [None] * 100


def test_a_stop_reaches_whoever_waits_and_not_what_is_in_flight() -> None:
    """Queued and sleeping rows get the reason immediately; an attempt in flight may end."""

    async def main(limiter: Limiter) -> list[object]:
        async def slow(_: RetryState, __: int) -> None:
            await asyncio.sleep(10)

        async def failing(_: RetryState, __: int) -> None:
            raise broken()

        tasks = [asyncio.create_task(run_row(limiter, failing, retry_wait_s=100.0))]
        tasks += [asyncio.create_task(run_row(limiter, slow)) for _ in range(2)]
        await asyncio.sleep(1)
        limiter.stop(StoppedError("enough", stopped_by="budget"))
        limiter.stop(StoppedError("later", stopped_by="interrupted"))
        await asyncio.sleep(1)
        assert [task.done() for task in tasks] == [True, False, True]
        return list(await asyncio.gather(*tasks, return_exceptions=True))

    resting, in_flight, queued = with_limiter(Limits(max_concurrency=1), main)
    assert in_flight is None
    assert [(error.message, error.stopped_by) for error in (resting, queued) if isinstance(error, StoppedError)] == [
        ("enough", "budget")
    ] * 2


@pytest.mark.parametrize(
    "error",
    [
        FatalError("no", code="InvalidApiKey", http_status=401, may_be_billed=False),
        SuspectError("no", code="HTTP403", http_status=403, may_be_billed=False),
    ],
)
def test_a_fatal_error_stops_the_rest(error: ServiceError) -> None:
    """Its row gets it, and waiting rows are stopped. A 403 is fatal when two rows meet it in succession."""

    async def main(limiter: Limiter) -> list[object]:
        async def refuse(_: RetryState, __: int) -> None:
            await asyncio.sleep(1)
            raise type(error)("no", code=error.code, http_status=error.http_status, may_be_billed=False)

        return list(await asyncio.gather(*(run_row(limiter, refuse) for _ in range(9)), return_exceptions=True))

    results = with_limiter(Limits(max_concurrency=3), main)
    kinds = [type(result) for result in results]
    # The first 403 gives its slot to a fourth row before the second shows what it was.
    fatal = 4 if isinstance(error, SuspectError) else 3
    assert kinds == [FatalError] * fatal + [StoppedError] * (9 - fatal)


def test_rest_is_not_disturbed_by_cancelling_somebody_else() -> None:
    """Cancelling a sleeping row cancels that row, and ends only its sleep."""

    async def main(limiter: Limiter) -> None:
        resting = asyncio.create_task(limiter.sleep(100))
        await asyncio.sleep(1)
        resting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await resting
        await limiter.sleep(0)
        assert len(asyncio.all_tasks()) <= 2

    with_limiter(Limits(), main)


def test_a_pause_and_an_outage_are_logged_when_they_begin_and_when_they_end(caplog: pytest.LogCaptureFixture) -> None:
    """With one warning each, however many requests met it."""

    async def main(limiter: Limiter) -> None:
        loop = asyncio.get_running_loop()
        begin_s = loop.time()

        async def serve(_: RetryState, number: int) -> None:
            await asyncio.sleep(0.1)
            if number == 0:
                raise ThrottledError("", code="Throttling", http_status=429, retry_after_s=60.0, may_be_billed=False)
            if loop.time() < begin_s + 90:
                raise broken()

        await asyncio.gather(*(run_row(limiter, serve) for _ in range(8)))

    with_limiter(Limits(max_concurrency=8), main)
    assert [(each.name, each.levelname) for each in caplog.records] == [("tts_pipeline", "WARNING")] * 4
    assert [each.getMessage()[:31] for each in caplog.records] == [
        "the service throttles (429): no",
        "the pause is over: the run goes",
        "the service is not usable (brok",
        "the service is usable again aft",
    ]


def test_fewer_are_in_flight_where_the_service_takes_fewer() -> None:
    """A service that takes 8 at a time soon gets 8 nearly all the time, and refuses few requests."""

    async def main(limiter: Limiter) -> tuple[list[tuple[float, int]], int]:
        taken, refused, samples = 0, 0, list[tuple[float, int]]()

        async def serve(_: RetryState, __: int) -> None:
            nonlocal taken, refused
            await asyncio.sleep(0.01)
            if taken >= 8:
                refused += 1
                raise ThrottledError("", code="Throttling", http_status=429, may_be_billed=False)
            taken += 1
            try:
                await asyncio.sleep(0.2)
            finally:
                taken -= 1
            samples.append((asyncio.get_running_loop().time(), limiter.in_flight))

        await run_rows(limiter, serve, rows=4_000)
        return samples, refused

    samples, refused = with_limiter(Limits(max_concurrency=64), main)
    settled = samples[400:-10]
    assert max(in_flight for _, in_flight in settled) <= 9
    assert len(settled) / (settled[-1][0] - settled[0][0]) > 0.9 * 8 / 0.21
    assert refused < 150

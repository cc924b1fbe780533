"""The room that a limiter offers for more rows, in virtual time."""

from __future__ import annotations

import asyncio

from tests.flow.test_limiter import broken, run_row, with_limiter
from tts_pipeline.config import Limits
from tts_pipeline.errors import FatalError, StoppedError, SuspectError
from tts_pipeline.flow.limiter import Limiter
from tts_pipeline.flow.retry_state import RetryState
from tts_pipeline.job.work_queue import WorkQueue
from tts_pipeline.job.workers import workers_for


def test_rows_are_invited_where_a_slot_is_free_and_its_worker_did_not_take_it_again() -> None:
    """In the calm one for each free slot, and none while all are taken; after a failure, as many as there are."""

    async def main(limiter: Limiter) -> list[tuple[int, int]]:
        offers: list[tuple[int, int]] = []
        limiter.on_room = lambda room: offers.append((limiter.in_flight, min(room, 1_000)))

        async def serve(_: RetryState, number: int) -> None:
            await asyncio.sleep(1)
            if is_failing and number == 0:
                raise broken()

        async def serve_rows(rows: int) -> None:
            for _ in range(rows):
                await run_row(limiter, serve)

        is_failing = False
        assert limiter.room() > 0
        await run_row(limiter, serve)
        await asyncio.sleep(0)
        assert (limiter.room(), offers.pop()) == (8, (0, 8))
        workers = [asyncio.create_task(serve_rows(rows)) for rows in (3, 3, 3, 3, 3, 3, 2, 1)]
        await asyncio.sleep(0.5)
        assert limiter.room() == 0
        await asyncio.gather(*workers)
        await asyncio.sleep(0)
        taken, offers[:] = list(offers), []
        is_failing = True
        await run_row(limiter, serve)
        assert offers[0] == (0, 1_000)
        offers.clear()
        limiter.stop(StoppedError("enough", stopped_by="budget"))
        assert offers == [(0, 1_000)]
        return taken

    # After a second one worker of the eight ends, after the next another, and after the third all others.
    assert with_limiter(Limits(max_concurrency=8), main) == [(7, 1), (6, 2), (0, 8)]


def test_with_few_slots_no_row_is_rejected_for_a_failure_that_every_row_meets() -> None:
    """Also after many successes there are other rows in progress, which show that the failure is the service's."""

    async def main(limiter: Limiter) -> tuple[list[int], list[int]]:
        queue = WorkQueue[int](9)
        queue.room, limiter.on_room = limiter.room, queue.offer
        rejected, stopped = list[int](), list[int]()

        async def work() -> None:
            while (number := await queue.get()) is not None:

                async def serve(_: RetryState, __: int, number: int = number) -> None:
                    await asyncio.sleep(1)
                    if number >= 24:
                        raise SuspectError("no", code="Odd", http_status=403)

                try:
                    await run_row(limiter, serve)
                except SuspectError:
                    rejected.append(number)
                except (FatalError, StoppedError):
                    stopped.append(number)
            queue.put_nowait(None)

        workers = [asyncio.create_task(work()) for _ in range(workers_for(1))]
        for number in [*range(40), None]:
            await queue.put(number)
        await asyncio.gather(*workers)
        return rejected, sorted(stopped)

    for limits, max_characters in ((Limits(max_concurrency=1), None), (Limits(max_concurrency=2), 100_000)):
        assert with_limiter(limits, main, max_characters=max_characters) == ([], list(range(24, 40)))

"""The room that a limiter offers for more rows, in virtual time."""

from __future__ import annotations

import asyncio

from tests.flow.test_limiter import broken, run_row, with_limiter
from tts_pipeline.config import Limits
from tts_pipeline.errors import StoppedError
from tts_pipeline.flow.limiter import Limiter
from tts_pipeline.flow.retry_state import RetryState


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
        assert limiter.has_room()
        await run_row(limiter, serve)
        await asyncio.sleep(0)
        assert (limiter.has_room(), offers.pop()) == (True, (0, 4))
        workers = [asyncio.create_task(serve_rows(rows)) for rows in (3, 3, 2, 1)]
        await asyncio.sleep(0.5)
        assert not limiter.has_room()
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

    # After a second one worker of the four ends, after the next another, and after the third both others.
    assert with_limiter(Limits(max_concurrency=4), main) == [(3, 1), (2, 2), (0, 4)]

"""Wait for parts that other processes hold, until a part is free or all holders are known to be alive."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence

from tts_pipeline.errors import StoppedError, StorageError, TtsPipelineError
from tts_pipeline.job.stop import CancelToken, run_stoppable
from tts_pipeline.storage.file_lock import HeldElsewhereError
from tts_pipeline.storage.lease import Leases

_MAX_NAMED = 5


def wait_for_others(leases: Leases, part_names: Sequence[str], stop: CancelToken) -> TtsPipelineError | None:
    """Wait until one of the parts that other processes hold may be free. Blocking.

    Returns None if a part may be free; else the reason to stop: all holders are alive, the destination failed, or the
    run was stopped.
    """
    try:
        return run_stoppable(_wait(leases, part_names, stop), stop)
    except StorageError as error:
        return error


async def _wait(leases: Leases, part_names: Sequence[str], stop: CancelToken) -> TtsPipelineError | None:
    loop, stop_event = asyncio.get_running_loop(), asyncio.Event()
    reasons: list[StoppedError] = []

    def on_stop(reason: StoppedError) -> None:
        reasons.append(reason)
        loop.call_soon_threadsafe(stop_event.set)

    with stop.subscribe(on_stop):
        while not reasons:
            await asyncio.to_thread(leases.poll)
            leases.check()
            busy = [error for error in map(leases.find_holder, part_names) if error is not None]
            if len(busy) < len(part_names):
                return None
            if all(error.is_alive for error in busy):
                return _contention_error(busy)
            await asyncio.wait([asyncio.ensure_future(stop_event.wait())], timeout=leases.poll_interval_s)
    return reasons[0]


def _contention_error(busy: Sequence[HeldElsewhereError]) -> StorageError:
    parts = defaultdict[str, list[str]](list)
    for error in busy:
        parts[error.holder].append(error.resource)
    holders = "; ".join(f"{holder} on {_shortened(names)}" for holder, names in parts.items())
    return StorageError(
        f"other processes hold all remaining parts of this dataset: {holders}",
        hint="everything done is kept; run the same command again when they have ended",
    )


def _shortened(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return ", ".join(names[:_MAX_NAMED]) + more

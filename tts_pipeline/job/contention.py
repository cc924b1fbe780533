"""Parts that other processes work on: waiting until one of them may be had, or until all these are known to live."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence

from tts_pipeline.dataset.claims import HeldElsewhereError
from tts_pipeline.dataset.lease import Leases
from tts_pipeline.errors import StoppedError, StorageError, TtsPipelineError
from tts_pipeline.job.stop import Stop, run_stoppable

_NAMED = 5


def wait_for_others(leases: Leases, names: Sequence[str], stop: Stop) -> TtsPipelineError | None:
    """Wait until a part may be had. Blocking.

    Args:
        leases: What this process holds.
        names: Of parts that others had.
        stop: Ends the waiting.

    Returns:
        None when it is worth a try; else why not: others live and go on, the destination failed, or it was stopped.
    """
    try:
        return run_stoppable(_wait(leases, names, stop), stop)
    except StorageError as error:
        return error


async def _wait(leases: Leases, names: Sequence[str], stop: Stop) -> TtsPipelineError | None:
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    reasons: list[StoppedError] = []

    def on_stop(reason: StoppedError) -> None:
        reasons.append(reason)
        loop.call_soon_threadsafe(stopped.set)

    with stop.heard_by(on_stop):
        while not reasons:
            await asyncio.to_thread(leases.poll)
            leases.check()
            busy = [error for error in map(leases.find_holder, names) if error is not None]
            if len(busy) < len(names):
                return None
            if all(error.is_alive for error in busy):
                return _held_elsewhere(busy)
            await asyncio.wait([asyncio.ensure_future(stopped.wait())], timeout=leases.poll_interval_s)
    return reasons[0]


def _held_elsewhere(busy: Sequence[HeldElsewhereError]) -> StorageError:
    parts = defaultdict[str, list[str]](list)
    for error in busy:
        parts[error.holder].append(error.resource)
    named = "; ".join(f"{holder} on {_listed(whats)}" for holder, whats in parts.items())
    return StorageError(
        f"other processes are at work on what is left of this dataset: {named}",
        hint="everything done is kept; run the same command again when they have ended",
    )


def _listed(whats: Sequence[str]) -> str:
    more = f" and {len(whats) - _NAMED} more" if len(whats) > _NAMED else ""
    return ", ".join(whats[:_NAMED]) + more

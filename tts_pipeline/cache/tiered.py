"""Join all caches into one for the client: several tiers, none of which can fail a run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from tts_pipeline.cache.cache_location import CacheTier
from tts_pipeline.cache.file_cache import FileCache
from tts_pipeline.errors import StorageError
from tts_pipeline.log import logger
from tts_pipeline.models import CachedAudio
from tts_pipeline.storage.daemon_threads import DaemonExecutor

THREADS = 16
MAX_PENDING_PUTS = 64
"""Answers on their way to a store, at most: above this number the next purchase waits."""

MAX_FAILURES = 8
"""A tier that failed this many times in succession is not used again in this run."""

CLOSE_S = 30.0
"""Seconds that the end of a run waits for answers on their way to a store."""

STOPPED_CLOSE_S = 1.0
"""The same after a stop, which must be quick."""

Result = TypeVar("Result")


@dataclass(slots=True)
class _GuardedTier:
    tier: CacheTier
    failures: int = 0
    has_warned: bool = False

    @property
    def is_disabled(self) -> bool:
        return self.failures >= MAX_FAILURES

    def record_failure(self, error: StorageError) -> None:
        self.failures += 1
        if not self.has_warned:
            self.has_warned = True
            logger.warning(
                "%s failed: %s; audio in it may be bought again, and bought audio may not be stored there. "
                "After %d failures in succession, this run does not use it any more",
                *(self.tier.label or "the cache of this job", error, MAX_FAILURES),
            )


class TieredCache:
    """A ``client.cache.AudioCache`` of datasets and reuse stores; bought audio goes to the reuse stores.

    A lookup tries ``job_cache``, which only ``RequestCoalescer`` writes, and then the tiers in order.
    """

    def __init__(self, tiers: Sequence[CacheTier], job_cache: CacheTier | None = None) -> None:
        self._tiers = [_GuardedTier(tier) for tier in tiers]
        self._lookup_tiers = [*([_GuardedTier(job_cache)] if job_cache else []), *self._tiers]
        self._threads = DaemonExecutor(THREADS, "reuse")
        self._put_slots = asyncio.Semaphore(MAX_PENDING_PUTS)
        self._put_tasks: set[asyncio.Task[None]] = set()

    async def close(self, within_s: float = CLOSE_S) -> None:
        """Wait for answers on their way to a store, at most ``within_s`` seconds."""
        if self._put_tasks:
            await asyncio.wait(self._put_tasks, timeout=within_s)
        if self._put_tasks:
            logger.warning("%d answers were not written to the reuse store in time", len(self._put_tasks))
        for task in self._put_tasks:
            task.cancel()
        self.abandon()

    def abandon(self) -> None:
        """Let the threads end without waiting."""
        self._threads.shutdown()

    async def get(self, request_key: str, take: int) -> CachedAudio | None:
        """Return the audio of a request from the first tier that has it; None when no tier has it."""
        for guarded in self._lookup_tiers:
            if not guarded.tier.may_have(request_key, take):
                continue
            cached = await self._call_guarded(guarded, partial(guarded.tier.get, request_key, take))
            if cached is not None:
                return cached
        return None

    async def put(self, request_key: str, take: int, entry: CachedAudio) -> None:
        """Start to write bought audio; wait only while ``MAX_PENDING_PUTS`` answers are on their way."""
        for guarded in self._tiers:
            if isinstance(guarded.tier, FileCache) and not guarded.is_disabled:
                await self._put_slots.acquire()
                task = asyncio.create_task(
                    self._call_guarded(guarded, partial(guarded.tier.put, request_key, take, entry))
                )
                self._put_tasks.add(task)
                task.add_done_callback(self._on_put_done)

    def _on_put_done(self, task: asyncio.Task[None]) -> None:
        self._put_tasks.discard(task)
        self._put_slots.release()

    async def _call_guarded(self, guarded: _GuardedTier, call: Callable[[], Result]) -> Result | None:
        if guarded.is_disabled:
            return None
        try:
            result = await asyncio.get_running_loop().run_in_executor(self._threads, call)
        except StorageError as error:
            guarded.record_failure(error)
            return None
        guarded.failures = 0
        return result

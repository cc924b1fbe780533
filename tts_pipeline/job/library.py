"""Everything that was bought before, as the client asks for it: several places, none of which can fail a run."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from tts_pipeline.daemon_threads import DaemonExecutor
from tts_pipeline.dataset.answers import FileCache
from tts_pipeline.dataset.kept import JobCache
from tts_pipeline.dataset.published import PublishedSpeech
from tts_pipeline.dataset.reuse import CacheTier
from tts_pipeline.errors import StorageError
from tts_pipeline.job.prepared import Prepared
from tts_pipeline.models import Found

logger = logging.getLogger("tts_pipeline")

THREADS = 16
PENDING = 64
"""Answers on their way to a store, at most: beyond it whoever bought the next one waits."""

FAILURES = 8
"""A place that failed so often in succession is left alone for the rest of the run."""

CLOSE_S = 30.0
"""How long the end of a run waits for what is still on its way to a store."""

STOPPED_CLOSE_S = 1.0
"""The same where the run was stopped, which is to be over soon."""

Result = TypeVar("Result")


@dataclass(slots=True)
class _Place:
    shelf: CacheTier
    failures: int = 0
    has_warned: bool = False

    @property
    def is_given_up(self) -> bool:
        return self.failures >= FAILURES

    def failed(self, error: StorageError) -> None:
        self.failures += 1
        if not self.has_warned:
            self.has_warned = True
            logger.warning(
                "%s failed: %s; what it holds may be bought again, and what is bought may not get there. "
                "After %d failures in succession it is left alone for the rest of this run",
                *(self.shelf.label or "what this job bought before", error, FAILURES),
            )


def library_of(prepared: Prepared, kept: JobCache | None) -> PlacesLibrary | None:
    """Open the places where a job's audio may be already; None when there are none. Blocking.

    Args:
        prepared: The job.
        kept: What it bought for its repeated requests; None when it has none.

    Raises:
        ConfigurationError: One of them cannot be read, or not be made.
        StorageError: The disk or the destination failed.
    """
    places = [place.open(prepared.job.audio) for place in prepared.reusable]
    if kept is None:
        return PlacesLibrary(places) if places else None
    if kept.is_new:  # another machine's work, or a dataset that was finished and has grown: its done parts tell
        own = PublishedSpeech(prepared.store, prepared.descriptor, prepared.job.audio, label="")
        places = [own, *places] if len(own) else places
    kept.create()
    return PlacesLibrary(places, kept)


class PlacesLibrary:
    """A ``client.reuse.AudioCache`` of datasets and reuse stores; those that can keep something get what is bought.

    Args:
        places: Where to look, in this order.
        kept: What this job bought for its repeated requests: looked at first, and written by ``Repeats`` alone.
    """

    def __init__(self, places: Sequence[CacheTier], kept: CacheTier | None = None) -> None:
        self._places = [_Place(shelf) for shelf in places]
        self._sources = [*([_Place(kept)] if kept else []), *self._places]
        self._threads = DaemonExecutor(THREADS, "reuse")
        self._room = asyncio.Semaphore(PENDING)
        self._pending: set[asyncio.Task[None]] = set()

    async def close(self, within_s: float = CLOSE_S) -> None:
        """Wait for what is still on its way to a store, but no longer than that many seconds."""
        if self._pending:
            await asyncio.wait(self._pending, timeout=within_s)
        if self._pending:
            logger.warning("%d answers did not get into the reuse store in time", len(self._pending))
        for task in self._pending:
            task.cancel()
        self.let_go()

    def let_go(self) -> None:
        """Let the threads end, whatever is still on its way."""
        self._threads.shutdown()

    async def get(self, request_key: str, take: int) -> Found | None:
        """Return what was bought for a request, from the first place that has it."""
        for place in self._sources:
            if not place.shelf.may_have(request_key, take):
                continue
            found = await self._of(place, partial(place.shelf.get, request_key, take))
            if found is not None:
                return found
        return None

    async def put(self, request_key: str, take: int, found: Found) -> None:
        """Begin to keep what was bought; waits only when too much of it is on its way already."""
        for place in self._places:
            if isinstance(place.shelf, FileCache) and not place.is_given_up:
                await self._room.acquire()
                task = asyncio.create_task(self._put(place, place.shelf, request_key, take, found))
                self._pending.add(task)
                task.add_done_callback(self._done)

    async def _put(self, place: _Place, store: FileCache, request_key: str, take: int, found: Found) -> None:
        await self._of(place, partial(store.put, request_key, take, found))

    def _done(self, task: asyncio.Task[None]) -> None:
        self._pending.discard(task)
        self._room.release()

    async def _of(self, place: _Place, call: Callable[[], Result]) -> Result | None:
        if place.is_given_up:
            return None
        try:
            result = await asyncio.get_running_loop().run_in_executor(self._threads, call)
        except StorageError as error:
            place.failed(error)
            return None
        place.failures = 0
        return result

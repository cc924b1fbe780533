from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from tests.builders import REQUEST_KEY, cached_audio
from tests.machine import patience
from tts_pipeline.cache import tiered as tiered_cache
from tts_pipeline.cache.file_cache import FileCache
from tts_pipeline.cache.tiered import MAX_FAILURES, TieredCache
from tts_pipeline.errors import StorageError
from tts_pipeline.models import CachedAudio
from tts_pipeline.storage.local_store import LocalStore

Result = TypeVar("Result")


class FakeTier:
    """A tier without a disk: it has one answer, or fails."""

    def __init__(self, label: str, cached: CachedAudio | None = None, *, may_have_any: bool = True) -> None:
        self.label = label
        self.entry = cached
        self.known = may_have_any
        self.lookups = 0
        self.error: StorageError | None = None

    def may_have(self, request_key: str, take: int) -> bool:
        return self.known

    def get(self, request_key: str, take: int) -> CachedAudio | None:
        self.lookups += 1
        if self.error is not None:
            raise self.error
        return self.entry


class SlowStore(FileCache):
    """A reuse store whose writes wait for an event, or fail."""

    def __init__(self, folder: Any) -> None:
        super().__init__(LocalStore(folder), "store")
        self.gate = threading.Event()
        self.gate.set()
        self.error: StorageError | None = None

    def put(self, request_key: str, take: int, cached: CachedAudio) -> None:
        self.gate.wait(patience(10))
        if self.error is not None:
            raise self.error
        super().put(request_key, take, cached)


def run(main: Coroutine[Any, Any, Result]) -> Result:
    return asyncio.run(main)


def test_the_first_place_that_has_it_is_taken_from() -> None:
    """The job's own cache comes first; a tier that knows that it lacks the audio is not read."""
    job_cache, unknown = FakeTier("", may_have_any=False), FakeTier("one", may_have_any=False)
    empty, has, last = (
        FakeTier("two"),
        FakeTier("three", cached_audio(origin="three#x")),
        FakeTier("four", cached_audio()),
    )

    async def main() -> CachedAudio | None:
        cache = TieredCache([unknown, empty, has, last], job_cache)
        try:
            return await cache.get(REQUEST_KEY, 0)
        finally:
            await cache.close()

    assert run(main()) == has.entry
    assert [place.lookups for place in (job_cache, unknown, empty, has, last)] == [0, 0, 1, 1, 0]


def test_what_is_put_goes_to_every_reuse_store_and_to_no_dataset(tmp_path: Any) -> None:
    """The answers are stored at the latest when the cache is closed."""
    stores = [SlowStore(tmp_path / "one"), SlowStore(tmp_path / "two")]

    async def main() -> None:
        cache = TieredCache([FakeTier("dataset"), *stores])
        await cache.put(REQUEST_KEY, 0, cached_audio())
        await cache.close()

    run(main())
    assert [store.get(REQUEST_KEY, 0) for store in stores] == [cached_audio(origin="store#u1")] * 2


def test_putting_does_not_wait_until_too_much_is_on_its_way(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A slow store delays no purchase at first, and then the next one: memory is bounded."""
    monkeypatch.setattr(tiered_cache, "MAX_PENDING_PUTS", 3)
    store = SlowStore(tmp_path)
    store.gate.clear()

    async def main() -> None:
        cache = TieredCache([store])
        for take in range(3):
            await cache.put(REQUEST_KEY, take, cached_audio())
        fourth = asyncio.create_task(cache.put(REQUEST_KEY, 3, cached_audio()))
        _, waiting = await asyncio.wait({fourth}, timeout=0.05)
        assert waiting == {fourth}
        store.gate.set()
        await fourth
        await cache.close()

    run(main())
    assert len(list(store.keys())) == 4
    assert caplog.text == ""


def test_closing_waits_only_so_long(tmp_path: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A warning counts the answers that were not written in time; the journal still has them."""
    store = SlowStore(tmp_path)
    store.gate.clear()

    async def main() -> None:
        cache = TieredCache([store])
        await cache.put(REQUEST_KEY, 0, cached_audio())
        await cache.close(within_s=0.01)

    run(main())
    store.gate.set()
    assert "1 answers were not written to the reuse store in time" in caplog.text


def test_a_place_that_fails_is_told_once_and_then_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    """Its audio is bought; after some failures in succession the tier is not used any more."""
    bad, good = FakeTier("bad"), FakeTier("good", cached_audio())
    bad.error = StorageError("the network is gone")

    async def main() -> list[CachedAudio | None]:
        cache = TieredCache([bad, good])
        hits = [await cache.get(REQUEST_KEY, 0) for _ in range(MAX_FAILURES + 5)]
        await cache.close()
        return hits

    assert run(main()) == [good.entry] * (MAX_FAILURES + 5)
    assert bad.lookups == MAX_FAILURES
    assert [record.getMessage().split(";")[0] for record in caplog.records] == ["bad failed: the network is gone"]


def test_a_success_in_between_forgives_failures() -> None:
    """Only failures in succession count."""
    tier = FakeTier("flaky")

    async def main() -> None:
        cache = TieredCache([tier])
        for number in range(4 * MAX_FAILURES):
            tier.error = None if number % MAX_FAILURES == 0 else StorageError("now and then")
            await cache.get(REQUEST_KEY, 0)
        await cache.close()

    run(main())
    assert tier.lookups == 4 * MAX_FAILURES


def test_a_store_that_cannot_be_written_fails_nobody(tmp_path: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Purchases go on, after one warning."""
    store = SlowStore(tmp_path)
    store.error = StorageError("no room")

    async def main() -> None:
        cache = TieredCache([store])
        for take in range(3):
            await cache.put(REQUEST_KEY, take, cached_audio())
        await cache.close()

    run(main())
    assert len(caplog.records) == 1

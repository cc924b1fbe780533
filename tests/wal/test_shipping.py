"""Journals are shipped to the destination in chunks, at the right times."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.builders import audio_of
from tests.machine import patience
from tts_pipeline.config import JOURNAL_CHUNK_BYTES
from tts_pipeline.dataset.names import parse_journal_id, parse_part_number
from tts_pipeline.errors import StorageError
from tts_pipeline.storage.open_store import open_store
from tts_pipeline.storage.store import Store
from tts_pipeline.wal.journal import Journal, encode_frame
from tts_pipeline.wal.records import JournalHeader
from tts_pipeline.wal.shipping import FOLDER, LogShipper, ShippedLog, chunk_name

NAME = "part-00007-0123"


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """A journal with only its header."""
    new_journal = Journal.create(tmp_path / "journals" / f"{NAME}.journal", JournalHeader(journal_id="0123"))
    yield new_journal
    new_journal.close()


def _append(journal: Journal, payload_bytes: int) -> None:
    journal.append([encode_frame(b"{}", audio_of("Line.", audio_bytes=payload_bytes).data)], durable=False)


def _shipped(store: Store) -> bytes:
    return b"".join(store.read(f"{FOLDER}/{name}") or b"" for name in store.names(FOLDER))


def test_a_segments_name_tells_its_part_its_journal_and_its_place() -> None:
    """The names sort by offset."""
    names = [chunk_name(NAME, offset) for offset in (0, 9 * 10**9, 10**13)]
    assert names == sorted(names)
    assert (parse_part_number(names[1]), parse_journal_id(names[1])) == (7, "0123")


def _chunks(store: Store) -> dict[str, bytes]:
    return {name: store.read(f"{FOLDER}/{name}") or b"" for name in store.names(FOLDER)}


def test_chunks_joined_are_the_journal(store: Store, journal: Journal) -> None:
    """Chunks have any size up to a bound; an existing chunk never changes, and nothing is sent twice."""
    log = ShippedLog(store, journal)
    log.send()
    assert _shipped(store) == journal.path.read_bytes()
    for payload_bytes in (100, JOURNAL_CHUNK_BYTES // 2, 2 * JOURNAL_CHUNK_BYTES):
        before = _chunks(store)
        _append(journal, payload_bytes)
        assert log.has_more
        log.send()
        assert _shipped(store) == journal.path.read_bytes()
        assert before.items() <= _chunks(store).items()
    assert len(store.names(FOLDER)) == 3 + 3
    assert max(map(len, _chunks(store).values())) == JOURNAL_CHUNK_BYTES
    for name in store.names(FOLDER):
        store.remove(f"{FOLDER}/{name}")
    assert not log.has_more
    log.send()
    assert store.names(FOLDER) == []


def test_a_chunk_that_failed_is_sent_again_as_it_was(tmp_path: Path, journal: Journal) -> None:
    """It may have arrived, or arrive late: then it must not replace a longer chunk."""
    store = open_store(tmp_path / "out", tmp_path / "staging")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / FOLDER).write_text("in the way")
    log, size_bytes = ShippedLog(store, journal), journal.size_bytes
    with pytest.raises(StorageError):
        log.send()
    (tmp_path / "out" / FOLDER).unlink()
    _append(journal, 1_000)
    log.send()
    assert [len(chunk) for chunk in _chunks(store).values()] == [size_bytes, journal.size_bytes - size_bytes]


def test_what_is_not_whole_is_not_sent(store: Store, journal: Journal) -> None:
    """A write that a full disk will cut back is never shipped."""
    size_bytes = journal.size_bytes
    with journal.path.open("ab") as file:
        file.write(b"torn")
    ShippedLog(store, journal).send()
    assert len(_shipped(store)) == size_bytes


def test_after_the_end_nothing_is_sent(store: Store, journal: Journal) -> None:
    """After the part is published, its journal and its chunks are removed."""
    log = ShippedLog(store, journal)
    log.close()
    journal.path.unlink()
    log.send()
    assert store.names(FOLDER) == []


def test_a_journal_that_is_gone_is_a_storage_error(store: Store, journal: Journal) -> None:
    """The error states the action and the path."""
    journal.path.unlink()
    with pytest.raises(StorageError, match="reading the journal"):
        ShippedLog(store, journal).send()
    journal.path.touch()


def _wait_until(condition: Callable[[], bool]) -> None:
    until_s = time.monotonic() + patience(10)
    while not condition():
        assert time.monotonic() < until_s
        time.sleep(0.01)


def _wait_until_shipped(store: Store, journal: Journal) -> None:
    _wait_until(lambda: _shipped(store) == journal.path.read_bytes())


def test_it_is_sent_now_and_then(store: Store, journal: Journal) -> None:
    """The shipper sends at its interval, or immediately when it is woken."""
    often, seldom = LogShipper(store, 0.02), LogShipper(store, 3_600)
    for shipper in (often, seldom):
        _append(journal, 1_000)
        shipper.add("0123", journal)
        if shipper is seldom:
            shipper.wake()
        _wait_until_shipped(store, journal)
        shipper.drop("0123")
        shipper.close()


def test_where_nothing_is_to_be_shipped_nothing_is(store: Store, journal: Journal) -> None:
    """A destination on this machine's own disk needs no shipping."""
    shipper = LogShipper(store, None)
    shipper.add("0123", journal)
    shipper.send_rest("0123")
    shipper.close()
    assert store.names(FOLDER) == []


def test_the_rest_is_sent_once(store: Store, journal: Journal) -> None:
    """An orderly stop sends the rest of a finished journal; an unknown journal has no rest."""
    shipper = LogShipper(store, 3_600)
    shipper.add("0123", journal)
    _append(journal, 1_000)
    shipper.send_rest("0123")
    assert _shipped(store) == journal.path.read_bytes()
    shipper.send_rest("0123")
    shipper.close()


def test_a_destination_that_fails_is_told_once_and_tried_again(
    tmp_path: Path, journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    """Meanwhile the bought audio exists only on this machine, and the waiters keep waiting."""
    store = open_store(tmp_path / "out", tmp_path / "staging")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / FOLDER).write_text("in the way")
    shipper = LogShipper(store, 3_600, is_strict=True)
    shipper.add("0123", journal)

    async def wait() -> None:
        arrival = asyncio.create_task(shipper.wait_until_shipped())
        await asyncio.to_thread(_wait_until, lambda: bool(caplog.messages))
        (tmp_path / "out" / FOLDER).unlink()
        await asyncio.wait_for(arrival, patience(10))
        assert _shipped(store) == journal.path.read_bytes()

    with caplog.at_level(logging.WARNING, "tts_pipeline"):
        asyncio.run(wait())
    shipper.close()
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("writing ")
    assert caplog.messages[0].endswith("nothing is bought")


def test_who_waits_goes_on_when_all_has_arrived(store: Store, journal: Journal) -> None:
    """A waiter waits for all journals; concurrent waiters share one round of sends."""
    other = Journal.create(journal.path.with_name("part-00008-4567.journal"), JournalHeader(journal_id="4567"))
    shipper = LogShipper(store, 3_600, is_strict=True)
    shipper.add("0123", journal)
    shipper.add("4567", other)

    async def wait() -> None:
        for number in range(3):
            _append(journal, 1_000 * number)
            _append(other, 1_000)
            await asyncio.gather(*(shipper.wait_until_shipped() for _ in range(20)))
            assert _shipped(store) == journal.path.read_bytes() + other.path.read_bytes()

    asyncio.run(wait())
    shipper.close()
    other.close()
    assert len(store.names(FOLDER)) <= 2 * 3


def test_who_waits_for_long_is_told(tmp_path: Path, journal: Journal) -> None:
    """Each waiter gets its own error and must not send; a cancelled waiter disturbs nobody."""
    store = open_store(tmp_path / "out", tmp_path / "staging")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / FOLDER).write_text("in the way")
    shipper = LogShipper(store, 3_600, is_strict=True)
    shipper.retry_timeout_s = 0

    async def wait() -> list[BaseException | None]:
        waiting = [asyncio.ensure_future(shipper.wait_until_shipped()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        shipper.add("0123", journal)
        return await asyncio.gather(*waiting, shipper.wait_until_shipped(), return_exceptions=True)

    cancelled, *errors = asyncio.run(wait())
    shipper.close()
    assert isinstance(cancelled, asyncio.CancelledError)
    assert {type(error) for error in errors} <= {StorageError, type(None)}
    assert isinstance(errors[-1], StorageError)

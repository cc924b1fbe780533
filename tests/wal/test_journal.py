from __future__ import annotations

import os
import queue
import stat
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.machine import patience
from tts_pipeline.errors import StorageError
from tts_pipeline.storage.disk_reserve import DiskReserve
from tts_pipeline.wal.journal import Journal, JournalEntry, JournalWriter, encode_frame
from tts_pipeline.wal.records import (
    JournalHeader,
    RejectRecord,
    RejectValues,
    encode_record,
)
from tts_pipeline.wal.replay import replay_journal

HEADER = JournalHeader(journal_id="j")
REJECTED = RejectValues(error_class="permanent", error_code="X", message="refused", attempts=1, failed_at=0)


def note_of(number: int) -> bytes:
    return encode_record(RejectRecord(str(number), 0, REJECTED))


def read_notes(path: Path) -> list[int]:
    """Return the numbers of the records in a journal, in order (replay keeps the order of first mention)."""
    replay = replay_journal(path)
    assert replay is not None
    return [int(utterance_id) for utterance_id, _ in replay.utterances]


def test_a_new_journal_names_itself_and_is_its_owners_only(tmp_path: Path) -> None:
    """Texts and audio are private: the mode is 0600. The header is written before anything is sent."""
    path = tmp_path / "deep" / "part-00000-j.journal"
    Journal.create(path, HEADER).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    replay = replay_journal(path)
    assert replay is not None
    assert (replay.journal_id, replay.header.part) == ("j", 0)


def test_a_journal_is_never_made_twice(tmp_path: Path) -> None:
    """An existing name is an error: an existing journal is never overwritten."""
    Journal.create(tmp_path / "x.journal", HEADER).close()
    with pytest.raises(StorageError, match="creating the journal"):
        Journal.create(tmp_path / "x.journal", HEADER)


class _SlowDisk(Journal):
    """A journal on a disk whose syncs wait for the test and are counted."""

    def begin(self) -> None:
        self.syncs = 0
        self.reached = threading.Event()
        self.may_sync = threading.Event()

    def fdatasync(self) -> None:
        self.reached.set()
        assert self.may_sync.wait(patience(10))
        super().fdatasync()
        self.syncs += 1


def _slow_disk(path: Path) -> _SlowDisk:
    journal = _SlowDisk(path, os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600), 0)
    journal.begin()
    journal.append([encode_frame(encode_record(HEADER))], durable=False)
    return journal


def make_writer(reserve: DiskReserve | None = None) -> tuple[JournalWriter, queue.SimpleQueue[Callable[[], None]]]:
    deliveries: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
    return JournalWriter(deliveries.put, reserve), deliveries


def test_many_intents_share_few_syncs_and_none_is_told_before_its_own(tmp_path: Path) -> None:
    """Of 1,000 concurrent intents, those that arrive during one sync share the next; each waits for its own sync."""
    journal = _slow_disk(tmp_path / "x.journal")
    writer, deliveries = make_writer()
    order: dict[int, int] = {}
    sync_counts: dict[int, int] = {}

    def put(number: int) -> None:
        def done(error: StorageError | None) -> None:
            assert error is None
            order[number] = len(order)
            sync_counts[number] = journal.syncs

        writer.put(JournalEntry(journal, note_of(number), durable=True, on_written=done))

    put(0)
    assert journal.reached.wait(patience(10))
    for number in range(1, 1_000):
        put(number)
    assert deliveries.empty(), "nothing is told while the first sync has not returned"
    journal.may_sync.set()
    while len(order) < 1_000:
        deliveries.get(timeout=patience(10))()
    writer.close()
    journal.close()
    assert journal.syncs <= 3
    assert sync_counts[0] == 1
    assert min(sync_counts[number] for number in range(1, 1_000)) >= 2
    assert [order[number] for number in range(1_000)] == list(range(1_000))
    assert read_notes(tmp_path / "x.journal") == list(range(1_000))


def test_what_need_not_be_durable_waits_for_no_sync(tmp_path: Path) -> None:
    """A result is written without a sync; the next intent's sync includes it."""
    journal = _slow_disk(tmp_path / "x.journal")
    writer, deliveries = make_writer()
    outcomes: list[StorageError | None] = []
    writer.put(JournalEntry(journal, note_of(1), b"audio", on_written=outcomes.append))
    deliveries.get(timeout=patience(10))()
    assert outcomes == [None]
    assert journal.syncs == 0
    assert not journal.reached.is_set()
    writer.close()
    journal.close()


def test_what_is_put_while_a_batch_is_on_its_way_is_the_next(tmp_path: Path) -> None:
    """However slow the disk is, all of it gets one write and one sync, after the first batch is reported."""
    journal = _slow_disk(tmp_path / "x.journal")
    writer, deliveries = make_writer()
    numbers: list[int] = []
    for number, durable in ((0, True), (1, False), (2, True), (3, True)):
        done = partial(lambda number, _: numbers.append(number), number)
        writer.put(JournalEntry(journal, note_of(number), durable=durable, on_written=done))
    journal.may_sync.set()
    finish = deliveries.get(timeout=patience(10))
    assert (numbers, read_notes(journal.path)) == ([], [0])
    finish()
    assert numbers == [0]
    deliveries.get(timeout=patience(10))()
    assert numbers == [0, 1, 2, 3]
    assert read_notes(journal.path) == [0, 1, 2, 3]
    assert journal.syncs == 2
    writer.close()
    journal.close()


def test_an_intent_is_told_when_what_was_put_before_is_written_in_every_journal(tmp_path: Path) -> None:
    """A process killed after sending then loses no answer, not even one of another part."""
    earlier = Journal.create(tmp_path / "earlier.journal", HEADER)
    later = Journal.create(tmp_path / "later.journal", HEADER)
    writer, deliveries = make_writer()
    snapshots: list[list[int]] = []

    def look(_: StorageError | None) -> None:
        snapshots.append(read_notes(earlier.path))

    for number in range(20):
        writer.put(JournalEntry(later, note_of(2 * number), durable=True, on_written=lambda _: None))
        writer.put(JournalEntry(earlier, note_of(number)))
        writer.put(JournalEntry(later, note_of(2 * number + 1), durable=True, on_written=look))
        while len(snapshots) <= number:
            deliveries.get(timeout=patience(10))()
    assert snapshots == [list(range(number + 1)) for number in range(20)]
    writer.close()
    earlier.close()
    later.close()


def test_an_intent_is_told_when_answers_in_other_journals_are_on_the_disk(tmp_path: Path) -> None:
    """A power cut costs no more answers than requests in flight: another part may take over an answer's permit."""
    synced: list[str] = []

    class _Seen(Journal):
        def fdatasync(self) -> None:
            super().fdatasync()
            synced.append(self.path.stem)

    earlier, later, closed = (
        _Seen.create(tmp_path / f"{name}.journal", HEADER) for name in ("earlier", "later", "closed")
    )
    synced.clear()
    writer, deliveries = make_writer()
    for journal in (earlier, closed):
        writer.put(JournalEntry(journal, note_of(1), b"audio"))
        deliveries.get(timeout=patience(10))()
    assert synced == []
    closed.close()
    outcomes: list[tuple[StorageError | None, list[str]]] = []
    for number in range(2):
        writer.put(
            JournalEntry(
                later, note_of(number), durable=True, on_written=lambda error: outcomes.append((error, list(synced)))
            )
        )
        deliveries.get(timeout=patience(10))()
    assert outcomes == [(None, ["earlier", "later"]), (None, ["earlier", "later", "later"])]
    writer.close()
    earlier.close()
    later.close()


def test_what_is_put_in_one_turn_is_one_wake_up(tmp_path: Path) -> None:
    """After a turn the writer gets its records together: one write, one sync. Closing writes the rest."""
    appended: list[int] = []

    class _Counted(Journal):
        def append(self, frames: Sequence[tuple[bytes, ...]], *, durable: bool) -> None:
            appended.append(len(frames))
            super().append(frames, durable=durable)

    journal = _Counted.create(tmp_path / "x.journal", HEADER)
    turns: list[Callable[[], None]] = []
    deliveries: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
    writer = JournalWriter(deliveries.put, call_soon=turns.append)
    for first in (0, 4):
        for number in range(first, first + 4):
            writer.put(JournalEntry(journal, note_of(number), durable=True, on_written=lambda _: None))
        assert len(turns) == 1, "asked for once in a turn"
        turns.pop()()
        deliveries.get(timeout=patience(10))()
    writer.put(JournalEntry(journal, note_of(8)))
    writer.close()
    journal.close()
    assert appended == [1, 4, 4, 1], "the header, two turns, and what was left"
    assert read_notes(tmp_path / "x.journal") == list(range(9))


def test_closing_writes_what_is_queued(tmp_path: Path) -> None:
    """All records put before the end are written, for all journals, also those without a waiter."""
    journals = [Journal.create(tmp_path / f"{number}.journal", HEADER) for number in range(3)]
    writer, _ = make_writer()
    for number in range(300):
        writer.put(JournalEntry(journals[number % 3], note_of(number), b"x" * number))
    writer.close()
    for number, journal in enumerate(journals):
        journal.close()
        assert read_notes(tmp_path / f"{number}.journal") == list(range(number, 300, 3))


def test_one_large_batch_is_written_whole(tmp_path: Path) -> None:
    """A batch of more pieces than one system call takes, with payloads, is written completely and in order."""
    journal = Journal.create(tmp_path / "x.journal", HEADER)
    journal.append([encode_frame(note_of(number), bytes(number % 50)) for number in range(3_000)], durable=True)
    journal.close()
    assert read_notes(tmp_path / "x.journal") == list(range(3_000))


def test_a_failed_journal_does_not_stop_the_others(tmp_path: Path) -> None:
    """Each waiter gets the result of its own journal."""
    good, bad = (Journal.create(tmp_path / f"{name}.journal", HEADER) for name in ("good", "bad"))
    bad.close()
    writer, deliveries = make_writer()
    outcomes: dict[str, list[StorageError | None]] = {"bad": [], "good": []}
    for name, journal in (("bad", bad), ("good", good)):
        writer.put(JournalEntry(journal, note_of(1), durable=True, on_written=outcomes[name].append))
    while not all(outcomes.values()):
        deliveries.get(timeout=patience(10))()
    writer.close()
    good.close()
    assert outcomes["good"] == [None]
    assert isinstance(outcomes["bad"][0], StorageError)


def test_a_sync_that_fails_fails_the_waiter_and_all_after_it(tmp_path: Path) -> None:
    """Nobody acts on records that are perhaps not on the disk; the written records may stay."""

    class _Broken(Journal):
        def fdatasync(self) -> None:
            raise OSError(5, "Input/output error")

    path = tmp_path / "x.journal"
    Journal.create(path, HEADER).close()
    journal = _Broken(path, os.open(path, os.O_WRONLY | os.O_APPEND), path.stat().st_size)
    with pytest.raises(StorageError, match="Input/output error"):
        journal.append([encode_frame(note_of(1))], durable=True)
    with pytest.raises(StorageError, match="Input/output error"):
        journal.append([encode_frame(note_of(2))], durable=False)
    journal.close()
    assert read_notes(path) == [1]


def test_a_closed_journal_touches_no_other_file(tmp_path: Path) -> None:
    """The writer's thread may come late, when another file has the descriptors of the journal."""
    journal = Journal.create(tmp_path / "x.journal", HEADER)
    journal.close()
    others = [tmp_path / f"other{number}" for number in range(4)]
    with ExitStack() as files:
        for other in others:
            files.enter_context(other.open("wb", buffering=0))
        with pytest.raises(StorageError, match="it is closed"):
            journal.fsync()
        with pytest.raises(StorageError, match="it is closed"):
            journal.append([encode_frame(note_of(1))], durable=True)
    assert all(other.read_bytes() == b"" for other in others)

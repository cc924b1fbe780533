"""Journals on a disk that takes no more: whole frames stay, answers still fit, nothing new is sent."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

from tests.builders import audio_of, make_speech
from tests.machine import patience, small_disk
from tests.wal.test_journal import HEADER, make_writer, note_of, read_notes
from tts_pipeline.attempt import Attempt
from tts_pipeline.errors import StorageError
from tts_pipeline.models import Utterance
from tts_pipeline.storage.disk_reserve import DiskReserve
from tts_pipeline.wal.journal import Journal, JournalEntry, encode_frame
from tts_pipeline.wal.records import (
    Discarded,
    Intent,
    SpeechRecord,
    SpeechValues,
    encode_record,
)
from tts_pipeline.wal.replay import replay_journal

_FULL = """
import queue, resource, signal, sys
from pathlib import Path
from tts_pipeline.wal.journal import Journal, JournalWriter, JournalEntry
from tts_pipeline.wal.records import JournalHeader, RejectRecord, RejectValues, encode_record

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
path = Path(sys.argv[1])
journal = Journal.create(path, JournalHeader(journal_id="j"))

def record(number, size):
    values = RejectValues(error_class="permanent", error_code="X", message="refused", attempts=1, failed_at=0)
    return encode_record(RejectRecord(str(number), 0, values)), bytes(size)

frames = [record(0, 1_000), record(1, 2_000), record(2, 50_000), record(3, 10)]
deliveries, told, later = queue.SimpleQueue(), [], []
writer = JournalWriter(deliveries.put)
writer.put(JournalEntry(journal, *record(9, 10)))
for pieces in frames:  # one batch, because the first record is not reported yet
    writer.put(JournalEntry(journal, *pieces, durable=True, on_written=told.append))
for _ in range(2):
    deliveries.get(timeout=10)()
writer.put(JournalEntry(journal, *record(4, 10), on_written=later.append))
deliveries.get(timeout=10)()
writer.close()
print([type(one).__name__ for one in told], [type(one).__name__ for one in later])
print(told[0])
"""


def test_a_disk_that_takes_no_more_keeps_whole_frames_and_refuses_the_rest(tmp_path: Path) -> None:
    """All waiters of the batch get the error, so none sends; whole frames stay, and later frames are refused."""
    path = tmp_path / "x.journal"
    command = [sys.executable, "-c", _FULL, str(path)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert output[0] == f"{['StorageError'] * 4} ['StorageError']"
    assert output[1].startswith(f"writing the journal {path}: File too large (")
    replay = replay_journal(path)
    assert replay is not None
    assert [key for key, _ in replay.utterances] == ["9", "0", "1"]
    assert replay.size_bytes == path.stat().st_size, "the torn frame is cut off"


def _until_full(folder: Path, reserve: DiskReserve | None, numbers: range) -> list[str]:
    """Write an intent and an answer of 100 KB for each number; return the outcome of each write."""
    writer, deliveries = make_writer(reserve)
    journal = Journal.create(folder / "x.journal", HEADER)
    outcomes: list[str] = []

    def note(kind: str, error: StorageError | None) -> None:
        outcomes.append(f"{kind} {'refused' if error else 'written'}")

    for number in numbers:
        for kind, payload in (("intent", b""), ("answer", bytes(100_000))):
            writer.put(
                JournalEntry(
                    journal, note_of(number), payload, durable=kind == "intent", on_written=partial(note, kind)
                )
            )
            deliveries.get(timeout=patience(10))()
    writer.close()
    journal.close()
    return outcomes


def test_on_a_full_disk_nothing_new_is_sent_and_answers_still_fit(tmp_path: Path) -> None:
    """The first write to a full disk releases the reserve: intents are refused, answers are written into it."""
    with small_disk(tmp_path / "disk", 2_048) as disk:
        reserve = DiskReserve(disk.folder, 1_048_576)
        reserve.allocate()
        outcomes = _until_full(disk.folder, reserve, range(14))
        first = outcomes.index("intent refused") if "intent refused" in outcomes else 99
        assert 8 < first < 24, "it was full at about 1 MB"
        assert outcomes[:first] == ["intent written", "answer written"] * (first // 2)
        assert outcomes[first:] == ["intent refused", "answer written"] * (14 - first // 2)
        assert read_notes(disk.folder / "x.journal") == list(range(14))


def test_when_even_the_ballast_is_used_up_whole_frames_stay(tmp_path: Path) -> None:
    """A record that does not fit is reported to its waiter; a later one that fits is still written."""
    with small_disk(tmp_path / "disk", 1_024) as disk:
        outcomes = _until_full(disk.folder, None, range(14))
        assert outcomes.count("answer refused") >= 3
        replay = replay_journal(disk.folder / "x.journal")
        assert replay is not None
        assert replay.size_bytes == (disk.folder / "x.journal").stat().st_size


def test_a_speech_whose_answer_had_no_room_is_not_done(tmp_path: Path) -> None:
    """A full disk may take a small record but not its audio: the journal is readable, and the audio is bought again."""
    path = tmp_path / "x.journal"
    attempt = Attempt("a", "u", 0, 0, 1, None, 0, 5, 5, None, None)
    journal = Journal.create(path, HEADER)
    values = SpeechValues.of(make_speech(Utterance("u", "Hello."), audio_of("Hello."), 6))
    records = (Intent(attempt), Discarded("a"), SpeechRecord("u", 0, values, answer=0))
    journal.append([encode_frame(encode_record(record)) for record in records], durable=True)
    journal.close()
    replay = replay_journal(path)
    assert replay is not None
    assert replay.finished_keys() == set()
    assert [settled for _, settled in replay.attempts.values()] == [None], "what it cost is unknown"


def test_a_batch_that_fills_the_disk_is_told_one_by_one(tmp_path: Path) -> None:
    """Of one batch, written records stay, other intents are refused, and the rest goes into the reserve."""
    with small_disk(tmp_path / "disk", 2_048) as disk:
        reserve = DiskReserve(disk.folder, 1_048_576)
        reserve.allocate()
        journal = Journal.create(disk.folder / "x.journal", HEADER)
        outcomes: dict[int, bool] = {}
        writer, deliveries = make_writer(reserve)
        writer.put(JournalEntry(journal, note_of(99)))
        for number in range(15):  # one batch, because the first record is not reported yet
            done = partial(lambda number, error: outcomes.update({number: error is None}), number)
            writer.put(
                JournalEntry(journal, note_of(number), bytes(100_000), durable=number in {2, 12, 14}, on_written=done)
            )
        for _ in range(2):
            deliveries.get(timeout=patience(10))()
        writer.close()
        journal.close()
        assert [number for number, written in sorted(outcomes.items()) if not written] == [12, 14]
        assert {0, 1, 2, 3, 4, 13} <= set(read_notes(disk.folder / "x.journal"))
        assert {12, 14}.isdisjoint(read_notes(disk.folder / "x.journal"))

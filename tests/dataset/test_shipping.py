"""What is sent of journals, and when."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dataset.samples import audio_of
from tests.patience import patience
from tts_pipeline.config import SEGMENT_BYTES
from tts_pipeline.dataset.journal import Journal, frame
from tts_pipeline.dataset.parts import journal_of, part_of
from tts_pipeline.dataset.shipping import FOLDER, Shipment, Shipper, segment_name
from tts_pipeline.dataset.store import Store, open_store
from tts_pipeline.errors import StorageError

NAME = "part-00007-0123"


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """A journal with its header and nothing else."""
    made = Journal.create(tmp_path / "journals" / f"{NAME}.journal", {"journal_id": "0123"})
    yield made
    made.close()


def _append(journal: Journal, payload_bytes: int) -> None:
    journal.append([frame(b"{}", audio_of("Line.", audio_bytes=payload_bytes).data)], durable=False)


def _shipped(store: Store) -> bytes:
    return b"".join(store.read(f"{FOLDER}/{name}") or b"" for name in store.names(FOLDER))


def test_a_segments_name_tells_its_part_its_journal_and_its_place() -> None:
    """And names sort as places do."""
    names = [segment_name(NAME, offset) for offset in (0, 9 * 10**9, 10**13)]
    assert names == sorted(names)
    assert (part_of(names[1]), journal_of(names[1])) == (7, "0123")


def test_segments_joined_are_the_journal(store: Store, journal: Journal) -> None:
    """All of one size but the last, which grows; what is shipped already is not sent again."""
    shipment = Shipment(store, journal)
    shipment.send()
    assert _shipped(store) == journal.path.read_bytes()
    for _ in range(5):
        _append(journal, SEGMENT_BYTES // 2)
        shipment.send()
    _append(journal, 2 * SEGMENT_BYTES)
    shipment.send()
    assert _shipped(store) == journal.path.read_bytes()
    sizes = [len(store.read(f"{FOLDER}/{name}") or b"") for name in store.names(FOLDER)]
    assert sizes[:-1] == [SEGMENT_BYTES] * 4
    for name in store.names(FOLDER):
        store.remove(f"{FOLDER}/{name}")
    shipment.send()
    assert store.names(FOLDER) == []


def test_what_is_not_whole_is_not_sent(store: Store, journal: Journal) -> None:
    """A write that is cut back when the disk is full was never there."""
    size_bytes = journal.size_bytes
    with journal.path.open("ab") as file:
        file.write(b"torn")
    Shipment(store, journal).send()
    assert len(_shipped(store)) == size_bytes


def test_after_the_end_nothing_is_sent(store: Store, journal: Journal) -> None:
    """The part is published: its journal, and what was shipped of it, are removed."""
    shipment = Shipment(store, journal)
    shipment.end()
    journal.path.unlink()
    shipment.send()
    assert store.names(FOLDER) == []


def test_a_journal_that_is_gone_is_a_storage_error(store: Store, journal: Journal) -> None:
    """It is told as what it is, and where."""
    journal.path.unlink()
    with pytest.raises(StorageError, match="reading the journal"):
        Shipment(store, journal).send()
    journal.path.touch()


def _wait_until_shipped(store: Store, journal: Journal) -> None:
    until_s = time.monotonic() + patience(10)
    while _shipped(store) != journal.path.read_bytes():
        assert time.monotonic() < until_s
        time.sleep(0.01)


def test_it_is_sent_now_and_then(store: Store, journal: Journal) -> None:
    """Without being asked; or at once, when asked to hurry."""
    often, seldom = Shipper(store, 0.02), Shipper(store, 3_600)
    for shipper in (often, seldom):
        _append(journal, 1_000)
        shipper.begin("0123", journal)
        if shipper is seldom:
            shipper.hurry()
        _wait_until_shipped(store, journal)
        shipper.forget("0123")
        shipper.close()


def test_where_nothing_is_to_be_shipped_nothing_is(store: Store, journal: Journal) -> None:
    """As for a destination on this machine's own disk."""
    shipper = Shipper(store, None)
    shipper.begin("0123", journal)
    shipper.send_rest("0123")
    shipper.close()
    assert store.names(FOLDER) == []


def test_the_rest_is_sent_once(store: Store, journal: Journal) -> None:
    """At an orderly stop, when the journal has ended; of one that is not known there is none."""
    shipper = Shipper(store, 3_600)
    shipper.begin("0123", journal)
    _append(journal, 1_000)
    shipper.send_rest("0123")
    assert _shipped(store) == journal.path.read_bytes()
    shipper.send_rest("0123")
    shipper.close()


def test_a_destination_that_fails_is_told_once_and_tried_again(
    tmp_path: Path, journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    """The run goes on: what was bought lies on this machine all the while."""
    store = open_store(tmp_path / "out", tmp_path / "staging")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / FOLDER).write_text("in the way")
    shipper = Shipper(store, 0.01)
    with caplog.at_level(logging.WARNING, "tts_pipeline"):
        shipper.begin("0123", journal)
        until_s = time.monotonic() + patience(10)
        while not caplog.messages:
            assert time.monotonic() < until_s
            time.sleep(0.01)
        time.sleep(0.1)  # more failures, which are not told
        (tmp_path / "out" / FOLDER).unlink()
        _wait_until_shipped(store, journal)
    shipper.close()
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("writing ")
    assert "lies on this machine alone" in caplog.messages[0]

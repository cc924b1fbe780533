from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.builders import audio_of, descriptor_of
from tests.datasets import Bench
from tts_pipeline.cache import dataset_cache as publishing
from tts_pipeline.cache.dataset_cache import DatasetCache
from tts_pipeline.config import AudioSettings, InputColumns
from tts_pipeline.dataset import speech_file
from tts_pipeline.dataset.descriptor import Descriptor
from tts_pipeline.dataset.reader import DatasetReader
from tts_pipeline.errors import StorageError
from tts_pipeline.storage.local_store import LocalStore
from tts_pipeline.storage.store import Store

RECEIVED = AudioSettings()


def _descriptor(bench: Bench, audio: AudioSettings = RECEIVED) -> Descriptor:
    job = {"audio_format": audio.format, "sample_rate_hz": audio.sample_rate_hz, "pause_ms": audio.pause_ms}
    return descriptor_of(bench.source.rows, bench.part_rows, job)


def _open_cache(
    bench: Bench, *, dataset_settings: AudioSettings = RECEIVED, settings: AudioSettings = RECEIVED
) -> DatasetCache:
    return DatasetCache(DatasetReader(bench.store, _descriptor(bench, dataset_settings)), settings, "../pilot")


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _get(speech: DatasetCache, text: str, take: int = 0) -> str | None:
    hit = speech.get(_key(text), take)
    assert (hit is not None) <= speech.may_have(_key(text), take)
    return None if hit is None else hit.origin


def test_every_row_of_done_parts_is_found(tmp_path: Path, store: Store) -> None:
    """Rows have their audio, words and reported usage; rejects and parts without a marker are not found."""
    bench = Bench.of(tmp_path, store, rows=25, part_rows=10)
    bench.run(0, refused=["r3"])
    bench.run(1)
    speech = _open_cache(bench)
    assert len(speech) == 19
    for number in range(25):
        expected = f"../pilot#r{number}" if number < 20 and number != 3 else None
        assert _get(speech, f"Line {number}.") == expected
    hit = speech.get(_key("Line 12."), 0)
    assert hit is not None
    assert hit.answer.audio == audio_of("Line 12.")
    assert [(word.text, word.text_start, word.text_end) for word in hit.answer.words or ()] == [("Line 12.", 0, 8)]
    assert (hit.answer.usage.characters_reported, hit.answer.request_id, hit.segments) == (8, "q", 1)


def test_takes_are_told_apart_and_unknown_requests_are_not_there(tmp_path: Path, store: Store) -> None:
    """Takes are distinguished even if the text is the same."""
    table = pa.table({"id": ["a", "a"], "text": ["x"] * 2, "n": [0, 1]})
    bench = Bench.of(tmp_path, store, table, columns=InputColumns(parameters={"take": "n"}))
    bench.run()
    speech = _open_cache(bench)
    assert [_get(speech, "x", take) for take in (0, 1, 2)] == ["../pilot#a", "../pilot#a", None]
    assert _get(speech, "y") is None


def test_a_part_of_rejects_only_has_no_file(tmp_path: Path, store: Store) -> None:
    """A part without a speech file is skipped."""
    bench = Bench.of(tmp_path, store, rows=4, part_rows=2)
    bench.run(0, refused=["r0", "r1"])
    bench.run(1)
    assert len(_open_cache(bench)) == 2


FLAC = AudioSettings("flac", 16_000)


@pytest.mark.parametrize(
    ("dataset_settings", "settings", "single", "joined"),
    [
        (RECEIVED, RECEIVED, True, True),
        (RECEIVED, FLAC, True, True),
        (RECEIVED, replace(FLAC, pause_ms=0), True, False),
        (FLAC, FLAC, True, True),
        (FLAC, replace(FLAC, pause_ms=0), True, False),
        (FLAC, RECEIVED, False, False),
        (FLAC, AudioSettings("flac"), False, False),
        (AudioSettings("as-received", 16_000), AudioSettings("as-received", 16_000), True, True),
        (AudioSettings("as-received", 16_000), RECEIVED, False, False),
    ],
)
def test_audio_that_is_not_what_a_purchase_would_give_is_left_out(
    tmp_path: Path, dataset_settings: AudioSettings, settings: AudioSettings, single: bool, joined: bool
) -> None:
    """Audio that was converted to another format, or joined with other pauses, is left out."""
    bench = Bench.of(tmp_path, LocalStore(tmp_path / "out"), rows=2)
    bench.run()
    _rewrite(bench, "segments", pa.array([1, 3], pa.int16()))
    speech = _open_cache(bench, dataset_settings=dataset_settings, settings=settings)
    assert (_get(speech, "Line 0.") is not None, _get(speech, "Line 1.") is not None) == (single, joined)


def _rewrite(bench: Bench, column: str, values: pa.Array) -> None:
    path = Path(bench.store.root) / "speech" / "part-00000.parquet"
    table = pq.read_table(path)
    place = table.schema.get_field_index(column)
    pq.write_table(table.set_column(place, table.schema.field(place), values), path)


def test_rows_of_one_order_read_each_row_group_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The full job has the order of the pilot: neighbours are read together, and released in time."""
    monkeypatch.setattr(speech_file, "ROW_GROUP_BYTES", 2_000)
    opened: Counter[str] = Counter()

    class Counting(LocalStore):
        def open(self, name: str) -> BinaryIO:
            opened[name] += 1
            return super().open(name)

    bench = Bench.of(tmp_path, Counting(tmp_path / "out"), rows=60, part_rows=60)
    bench.run()
    groups = pq.ParquetFile(tmp_path / "out" / "speech" / "part-00000.parquet").num_row_groups
    assert groups > publishing.CACHED_GROUPS
    opened.clear()
    speech = _open_cache(bench)
    for number in range(60):
        _get(speech, f"Line {number}.")
    assert opened["speech/part-00000.parquet"] == 1 + groups
    assert speech._table.cache_info().currsize == publishing.CACHED_GROUPS


def test_damaged_audio_is_not_there(tmp_path: Path) -> None:
    """Audio that does not match the row's hash is not reused."""
    bench = Bench.of(tmp_path, LocalStore(tmp_path / "out"), rows=2)
    bench.run()
    path = tmp_path / "out" / "speech" / "part-00000.parquet"
    whole, audio = path.read_bytes(), audio_of("Line 1.").data
    path.write_bytes(whole.replace(audio, audio[:-1] + b"!"))
    speech = _open_cache(bench)
    assert [_get(speech, f"Line {number}.") for number in range(2)] == ["../pilot#r0", None]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("audio", None),
        ("audio", {"bytes": None, "path": "x"}),
        *[(name, None) for name in ("audio_sha256", "quality", "duration_ms", "segments", "request_key", "take")],
        *[(name, -1) for name in ("duration_ms", "sample_rate_hz", "channels", "segments")],
        ("sample_rate_hz", 0),
        ("request_key", "../../x"),
        ("timestamps", [{"text": None, "start_ms": 0, "end_ms": 1, "text_start": 0, "text_end": 1}]),
        ("timestamps", [{"text": "x", "start_ms": -5, "end_ms": 1, "text_start": 0, "text_end": 1}]),
    ],
)
def test_a_row_that_cannot_be_true_is_not_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, column: str, value: object
) -> None:
    """Such a row is bought again; its file is named once; other rows are reused."""
    bench = Bench.of(tmp_path, LocalStore(tmp_path / "out"), rows=3)
    bench.run()
    path = tmp_path / "out" / "speech" / "part-00000.parquet"
    table = pq.read_table(path)
    place = table.column_names.index(column)
    values = [value, value, table.column(column)[2].as_py()]
    pq.write_table(table.set_column(place, column, pa.array(values, table.schema.field(column).type)), path)
    speech = _open_cache(bench)
    assert [_get(speech, f"Line {number}.") for number in range(3)] == [None, None, "../pilot#r2"]
    assert len(caplog.messages) <= 1
    assert all(str(path) in message for message in caplog.messages)


def test_a_part_that_was_made_anew_since_is_not_mistaken(tmp_path: Path) -> None:
    """The whole key decides, although the rows have moved; a removed row is not found."""
    bench = Bench.of(tmp_path, LocalStore(tmp_path / "out"), rows=3)
    bench.run()
    speech = _open_cache(bench)
    path = tmp_path / "out" / "speech" / "part-00000.parquet"
    table = pq.read_table(path)
    pq.write_table(table.slice(1, 1), path)
    assert [_get(speech, f"Line {number}.") for number in range(3)] == [None, None, None]
    again = _open_cache(bench)
    assert [_get(again, f"Line {number}.") for number in range(3)] == [None, "../pilot#r1", None]
    pq.write_table(table.slice(0, 0), path, row_group_size=1)
    assert [_get(_open_cache(bench), f"Line {number}.") for number in range(3)] == [None] * 3


@pytest.mark.parametrize("content", [b"", b"no Parquet at all"])
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, content: bytes) -> None:
    """Opening and reading both raise an error that names the file."""
    bench = Bench.of(tmp_path, LocalStore(tmp_path / "out"), rows=2)
    bench.run()
    speech: Any = _open_cache(bench)
    path = tmp_path / "out" / "speech" / "part-00000.parquet"
    path.write_bytes(content)
    with pytest.raises(StorageError, match="part-00000"):
        speech.get(_key("Line 0."), 0)
    with pytest.raises(StorageError, match="part-00000"):
        _open_cache(bench)

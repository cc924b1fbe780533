"""The index of exported files, from which the next export starts."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.datasets import speech_row, write_dataset
from tts_pipeline.errors import StorageError
from tts_pipeline.exports import export
from tts_pipeline.exports.index import INDEX_SCHEMA, ExportIndex, IndexEntry, write_index
from tts_pipeline.storage.store import Store


def test_an_index_of_other_columns_or_untrue_rows_is_damage_or_is_written_anew(tmp_path: Path) -> None:
    """Nothing that it tells is gone by unless it can be true."""
    dataset, out = write_dataset(tmp_path / "dataset", [speech_row("u1")]), tmp_path / "out"
    export(dataset, out, as_="files")
    table = pq.read_table(out / "index.parquet")
    for name, value in (("duration_ms", -1), ("bytes", None), ("sha256", None), ("frames", -5), ("channels", None)):
        place = table.column_names.index(name)
        changed = table.set_column(place, name, pa.array([value], table.schema.field(name).type))
        pq.write_table(changed, out / "index.parquet")
        assert (export(dataset, out, as_="files").written, pq.read_table(out / "index.parquet")) == (1, table)
    pq.write_table(table.drop_columns(["take"]), out / "index.parquet")
    with pytest.raises(StorageError, match="columns are not those of an index"):
        export(dataset, out, as_="files")


def _entry(number: int, **changes: Any) -> IndexEntry:
    values = {"utterance_id": f"u{number}", "take": 0, "name": f"u{number}.wav", "sha256": "00"}
    numbers = dict.fromkeys(("bytes", "sample_rate_hz", "channels", "duration_ms"), 1)
    return {**dict.fromkeys(INDEX_SCHEMA.names), **values, **numbers, **changes}


def test_what_was_exported_is_found_by_id_and_take(store: Store) -> None:
    """Of several rows of one utterance the last one counts; another take is another file."""
    with write_index(store, 1) as writer:
        writer.add([_entry(0), _entry(1), _entry(1, name="again.wav"), _entry(1, take=1, name="u1-1.wav")])
    index = ExportIndex(store)
    names = [entry and entry["name"] for entry in (index.get("u0", 0), index.get("u1", 0), index.get("u1", 1))]
    assert names == ["u0.wav", "again.wav", "u1-1.wav"]
    assert index.get("u2", 0) is None
    index.close()


def test_files_that_are_no_part_of_the_next_export_are_known(store: Store) -> None:
    """By their names, compared as disks do."""
    with write_index(store, 1) as writer:
        writer.add([_entry(0, name="U0.WAV")])
        names = writer.name_hashes
    with write_index(store, 1) as writer:
        writer.add([_entry(0), _entry(1)])
    index = ExportIndex(store)
    assert list(index.names_not_in(names)) == ["u1.wav"]
    index.close()


def test_an_export_that_was_killed_is_gone_on_with(store: Store) -> None:
    """Parts that were written are known; what was about to be written is unsure, whatever is told of it."""
    with suppress(ZeroDivisionError), write_index(store, 1) as writer:
        writer.write_intent(["u0.wav"])
        writer.checkpoint(0, [_entry(0)])
        writer.write_intent(["u1.wav"])
        raise ZeroDivisionError
    index = ExportIndex(store)
    assert index.next_run == 2
    assert (index.get("u0", 0) or {})["name"] == "u0.wav"
    assert index.get("u1", 0) is None
    assert [index.is_suspect(name) for name in ("u0.wav", "u1.wav")] == [False, True]
    index.close()

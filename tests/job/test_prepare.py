from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.builders import job_of, write_lines
from tts_pipeline.catalog import Service
from tts_pipeline.config import InputColumns, Selection
from tts_pipeline.errors import ConfigurationError, StorageError
from tts_pipeline.job.prepare import create_or_extend_dataset, find_repeated_hashes, prepare
from tts_pipeline.job.prepared_job import PreparedJob
from tts_pipeline.source.row_reader import RowReader


def _tree(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": "nowhere.parquet"}, "no such file or folder"),
        ({"columns": InputColumns(text="txet")}, "no column 'txet'"),
        ({"columns": InputColumns(utterance_id="number")}, "'number' for the id is of type double"),
        ({"columns": InputColumns(parameters={"voice": "speakr"})}, "no column 'speakr' for the parameter 'voice'"),
        ({"columns": InputColumns(parameters={"voice": "speaker"})}, r"'Bob' \(1 row\)"),
        ({"columns": InputColumns(utterance_id="speaker")}, r"'Cherry' \(19 rows\)"),
        ({"columns": InputColumns(parameters={"vioce": "speaker"})}, "'vioce'"),
        ({"parameters": {"voice": "Cherri"}}, "'voice' cannot be 'Cherri'"),
        ({"parameters": {"voice": "Cherry", "speed": 9}}, "'speed' cannot be 9"),
        ({"parameters": {"vocie": "Cherry"}}, "no parameter 'vocie'"),
        ({"selection": Selection(limit=0)}, "`limit` is 0"),
        ({"selection": Selection(sample=-1)}, "`sample` is -1"),
        ({"options": {"tag_columns": {"team": "speakr"}}}, "no column 'speakr' for the tag 'team'"),
        ({"options": {"tags": {"day": 20260101}}}, "the tag 'day' is 20260101"),
        ({"options": {"part_rows": -1}}, "part_rows is -1"),
        ({"options": {"part_rows": 0}}, "part_rows is 0"),
        ({"options": {"max_open_parts": 0}}, "max_open_parts is 0"),
        ({"limits": {"max_concurrency": 0}}, "max_concurrency is 0"),
        ({"limits": {"max_attempts": 0}}, "max_attempts is 0"),
        ({"service": Service(base_url="https://voices.example")}, "needs a key"),
        ({"destination": "nosuch://bucket"}, "cannot open the destination"),
    ],
)
def test_whatever_is_wrong_is_found_before_anything_is_written(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    """The error names the setting, and the disk is unchanged."""
    speakers = ["Cherry"] * 19 + ["Bob"]
    write_lines(tmp_path / "lines.parquet", number=[0.5] * 20, speaker=speakers)
    before = _tree(tmp_path)
    with pytest.raises(ConfigurationError, match=message) as exc_info:
        prepare(job_of(tmp_path, **change))
    assert exc_info.value.hint
    assert _tree(tmp_path) == before
    assert not (tmp_path / "out").exists()


def test_a_colliding_column_is_refused_and_can_be_renamed(tmp_path: Path) -> None:
    """The hint names the parameter that solves it."""
    write_lines(tmp_path / "lines.parquet", duration_ms=[1] * 20)
    with pytest.raises(ConfigurationError) as exc_info:
        prepare(job_of(tmp_path))
    assert "rename={'duration_ms':" in (exc_info.value.hint or "")
    prepare(job_of(tmp_path, columns=InputColumns(rename={"duration_ms": "planned_ms"})))


def test_a_good_job_writes_nothing_until_it_is_established(tmp_path: Path) -> None:
    """Checking leaves the destination alone; creating the dataset writes the descriptor once."""
    write_lines(tmp_path / "lines.parquet")
    prepared = prepare(job_of(tmp_path))
    assert not (tmp_path / "out").exists()
    create_or_extend_dataset(prepared)
    create_or_extend_dataset(prepared)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".repeated", "dataset.json"]


def test_the_repeats_of_a_single_part_are_not_stored(tmp_path: Path) -> None:
    """No other shard needs them, and a later run scans the few rows again; a good scan still comes first."""
    write_lines(tmp_path / "lines.parquet")
    prepared = create_or_extend_dataset(prepare(job_of(tmp_path, options={"part_rows": 1_000})))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["dataset.json"]
    assert find_repeated_hashes(replace(prepared, repeated_hashes=None)).tolist() == []
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["dataset.json"]


def test_another_job_or_a_changed_source_is_refused(tmp_path: Path) -> None:
    """A destination has one job and one source; run options may change."""
    write_lines(tmp_path / "lines.parquet")
    create_or_extend_dataset(prepare(job_of(tmp_path)))
    with pytest.raises(ConfigurationError, match=r"parameters is .*'Cherry'.* there and .*'Stella'.* now"):
        prepare(job_of(tmp_path, parameters={"voice": "Stella"}))
    assert prepare(job_of(tmp_path, options={"part_rows": 9})).descriptor.part_rows == 5
    write_lines(tmp_path / "lines.parquet", 21)
    with pytest.raises(ConfigurationError, match=r"'lines\.parquet' has changed"):
        prepare(job_of(tmp_path))


def test_a_destination_with_other_things_in_it_is_refused(tmp_path: Path) -> None:
    """A dataset is never mixed with other files."""
    write_lines(tmp_path / "lines.parquet")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "holiday.jpg").write_bytes(b"")
    with pytest.raises(ConfigurationError, match="is not empty and holds no dataset"):
        prepare(job_of(tmp_path))


def test_a_destination_that_is_a_file_is_a_storage_error(tmp_path: Path) -> None:
    """The error says that it is no folder."""
    write_lines(tmp_path / "lines.parquet")
    (tmp_path / "out").write_bytes(b"")
    with pytest.raises(StorageError, match="is a file, not a folder"):
        prepare(job_of(tmp_path))


def test_a_known_dataset_is_not_scanned_again(tmp_path: Path) -> None:
    """An equal fingerprint means an equal source, so a resumed job begins immediately."""
    write_lines(tmp_path / "lines.parquet")
    create_or_extend_dataset(prepare(job_of(tmp_path)))
    metadata = pq.read_metadata(tmp_path / "lines.parquet").row_group(0).column(0)
    with (tmp_path / "lines.parquet").open("r+b") as file:
        file.seek(metadata.data_page_offset)
        file.write(b"\xff" * 16)
    prepare(job_of(tmp_path))
    with pytest.raises(StorageError):
        prepare(job_of(tmp_path, destination=tmp_path / "new"))


def _taken(prepared: PreparedJob) -> list[str]:
    ids: list[str] = RowReader(prepared.source).read(prepared.row_indices)["id"].to_pylist()
    return ids


def test_a_limit_takes_the_first_rows(tmp_path: Path) -> None:
    """At most as many as the source has."""
    write_lines(tmp_path / "lines.parquet")
    assert _taken(prepare(job_of(tmp_path, selection=Selection(limit=3)))) == ["r0", "r1", "r2"]
    assert len(_taken(prepare(job_of(tmp_path, selection=Selection(limit=99))))) == 20


def test_a_sample_is_the_same_for_a_seed_and_in_source_order(tmp_path: Path) -> None:
    """Another seed takes other rows; a too large sample takes all rows."""
    write_lines(tmp_path / "lines.parquet", 100)
    first, same, other = (_taken(prepare(job_of(tmp_path, selection=Selection(sample=9, seed=s)))) for s in (1, 1, 2))
    assert first == same != other
    assert len(set(first)) == 9
    assert first == sorted(first, key=lambda name: int(name[1:]))
    assert len(_taken(prepare(job_of(tmp_path, selection=Selection(sample=1_000))))) == 100


def test_prices_in_force_stand_in_the_descriptor(tmp_path: Path) -> None:
    """As text, with their source, so that a bill's prices can be looked up later."""
    write_lines(tmp_path / "lines.parquet")
    (price, *_) = prepare(job_of(tmp_path)).descriptor.prices
    assert price["per_10k_characters"] == "0.8"
    assert price["currency"] == "CNY"
    assert price["source"]


def test_a_source_without_rows_is_a_job_without_parts(tmp_path: Path) -> None:
    """An empty job is no error."""
    write_lines(tmp_path / "lines.parquet", 0)
    assert prepare(job_of(tmp_path)).descriptor.parts == 0


def test_a_moved_source_is_the_same(tmp_path: Path) -> None:
    """Another root with the same files: the dataset continues."""
    write_lines(tmp_path / "here" / "a.parquet")
    job = replace(job_of(tmp_path), source=tmp_path / "here")
    create_or_extend_dataset(prepare(job))
    (tmp_path / "here").rename(tmp_path / "there")
    prepare(replace(job, source=tmp_path / "there"))

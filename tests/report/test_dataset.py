"""A dataset's tables as lazy frames, on a disk and on any store."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import polars as pl
import pyarrow as pa
import pytest

import tts_pipeline as tts
from tests.builders import job_of, write_lines
from tts_pipeline.dataset.claims import Claim, write_claim
from tts_pipeline.dataset.reader import DatasetReader
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.job import run_job
from tts_pipeline.report.dataset import scan_table
from tts_pipeline.schema import REJECTS, SPEECH, USAGE
from tts_pipeline.storage.local_store import LocalStore
from tts_pipeline.storage.open_store import open_store

REFUSED = {"what": "refuse", "text": "Line 3."}
Place = Callable[[Path], str]


@pytest.fixture(scope="module")
def folder(tone_service: LocalService, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve rows in three parts, one of them a reject, with an extra source column; the folder's name is a pattern."""
    folder = tmp_path_factory.mktemp("a[1]")
    tone_service.set_faults([REFUSED])
    write_lines(folder / "lines.parquet", 12, chapter=pa.array(range(12)))
    run_job(job_of(folder, tone_service.url))
    tone_service.clear_faults()
    return folder / "out"


@pytest.fixture(params=["local", "memory"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Yield a function that puts a folder on the local disk or in memory, and returns its path or URL."""
    url = f"memory://{uuid.uuid4().hex}/out"
    filesystem, path = fsspec.core.url_to_fs(url)

    def put(folder: Path) -> str:
        if request.param == "local":
            return str(folder)
        for file in folder.rglob("*"):
            if file.is_file():
                filesystem.pipe_file(f"{path}/{file.relative_to(folder).as_posix()}", file.read_bytes())
        return url

    yield put
    if filesystem.exists(path):
        filesystem.rm(path, recursive=True)


def test_tables_are_frames_in_the_order_of_the_source(folder: Path, place: Place) -> None:
    """Published columns, then the source's; rejects hold the whole row; usage has a row for each request."""
    dataset = tts.open_dataset(place(folder))
    assert (dataset.parts, dataset.descriptor.rows, dataset.totals.speech) == ([0, 1, 2], 12, 11)
    speech = dataset.speech().collect()
    assert speech.columns == [*(column.name for column in SPEECH), "chapter"]
    assert speech["utterance_id"].to_list() == [f"r{number}" for number in range(12) if number != 3]
    assert speech["audio"].struct.field("bytes").bin.starts_with(b"RIFF").all()
    rejects = dataset.rejects().collect()
    assert rejects.columns == [*(column.name for column in REJECTS), "input"]
    assert rejects["input"].to_list() == [{"id": "r3", "text": "Line 3.", "chapter": 3}]
    usage = dataset.usage().collect()
    assert usage.columns == [*(column.name for column in USAGE), "is_open"]
    assert (usage.height, usage["is_open"].any()) == (dataset.totals.attempts, False)


def test_what_is_selected_is_all_that_is_read(folder: Path, place: Place, tmp_path: Path) -> None:
    """A file with damaged audio still yields other columns; rows can be filtered, sliced and counted."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    table = DatasetReader.open(copy).read("speech/part-00001.parquet", ["audio"])
    audio: bytes = table["audio"][0].as_py()["bytes"][50:90]
    path = copy / "speech/part-00001.parquet"
    data = path.read_bytes()
    assert audio in data
    path.write_bytes(data.replace(audio, b"\0" * len(audio)))
    speech = tts.open_dataset(place(copy)).speech()
    chapters = speech.filter(pl.col("chapter") > 5).select("chapter", "utterance_id")
    assert chapters.collect()["chapter"].to_list() == [6, 7, 8, 9, 10, 11]
    assert speech.select("utterance_id").slice(4, 3).collect()["utterance_id"].to_list() == ["r5", "r6", "r7"]
    assert speech.head(2).collect()["utterance_id"].to_list() == ["r0", "r1"]
    assert speech.select(pl.len()).collect().item() == 11


def test_an_unfinished_part_has_usage_only(folder: Path, place: Place, tmp_path: Path) -> None:
    """Its speech and rejects are not shown; the money that its process may spend is one open row."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "parts.json").unlink()
    (copy / "done/part-00000.json").unlink()
    write_claim(LocalStore(copy), 0, Claim("j", "i", 1, 500, None, None, "local", "m", None, {"team": "blue"}))
    dataset = tts.open_dataset(place(copy))
    assert (dataset.parts, dataset.descriptor.parts) == ([1, 2], 3)
    assert dataset.speech().collect()["utterance_id"].to_list() == [f"r{number}" for number in range(5, 12)]
    assert dataset.rejects().collect().height == 0
    usage = dataset.usage().collect()
    assert usage.height == 12 + 1
    (claimed,) = usage.filter("is_open").to_dicts()
    assert (claimed["outcome"], claimed["characters_billed"], claimed["characters_upper_bound"]) == ("unknown", 0, 500)


def test_a_dataset_without_rows_has_empty_frames(folder: Path, tmp_path: Path) -> None:
    """With the published columns."""
    shutil.copy(folder / "dataset.json", tmp_path)
    dataset = tts.open_dataset(tmp_path)
    frames = dataset.speech().collect(), dataset.rejects().collect(), dataset.usage().collect()
    assert [frame.shape for frame in frames] == [(0, len(SPEECH)), (0, len(REJECTS)), (0, len(USAGE) + 1)]


def test_rows_know_their_file(folder: Path, place: Place) -> None:
    """In the order of the file names."""
    dataset = DatasetReader(open_store(place(folder)))
    names = ["speech/part-00002.parquet", "speech/part-00000.parquet"]
    frame = scan_table(dataset, "speech", names, "file").select("utterance_id", "file").collect()
    assert frame["file"].to_list() == [names[0]] * 2 + [names[1]] * 4

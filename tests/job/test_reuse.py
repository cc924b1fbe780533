"""Bought once, over many jobs: audio of earlier datasets and of reuse stores; against the service's own bill."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.builders import job_of, write_lines
from tests.conftest import StartEmulator
from tests.datasets import check_bill, read_table
from tests.machine import patience
from tts_pipeline.cache.file_cache import MARKER
from tts_pipeline.config import AudioSettings, Selection
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.emulator.tone import tone
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.job import Report, run_job
from tts_pipeline.job.report import Saving


@pytest.fixture
def service(tone_service: LocalService) -> LocalService:
    """A service that hums, with an empty bill and no faults."""
    return tone_service


def write_texts(folder: Path, texts: Sequence[str | None], **more: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    ids = [f"r{number}" for number in range(len(texts))]
    pq.write_table(pa.table({"id": ids, "text": pa.array(texts, pa.string()), **more}), folder / "lines.parquet")


def repeating_texts(rows: int, distinct: int) -> list[str]:
    return [f"Line {number % distinct}." for number in range(rows)]


def purchases(service: LocalService) -> int:
    received: int = service.bill()["received"]
    return received


def check_speech(destination: Path, rows: int) -> list[dict[str, Any]]:
    """Check that every row has the bytes of its own text, in source order, and costs nothing if it was reused."""
    speech: list[dict[str, Any]] = read_table(destination, "speech").to_pylist()
    usage = {(row["utterance_id"], row["take"]) for row in read_table(destination, "usage").to_pylist()}
    assert [row["utterance_id"] for row in speech] == [f"r{number}" for number in range(rows)]
    for row in speech:
        assert row["audio"]["bytes"] == tone(row["text"])
        if row["deduplicated_from"] is not None:
            assert (row["attempts"], row["cost"], row["characters_billed"]) == (0, 0, 0)
            assert row["characters_reported"] == row["characters_counted"]
            assert (row["utterance_id"], row["take"]) not in usage
        else:
            assert (row["attempts"] > 0, row["cost"] > 0) == (True, True)
    return speech


def leftover_files(destination: Path) -> list[Path]:
    paths = [*(destination / ".work").rglob("*"), *destination.glob(".repeated")]
    return [path for path in paths if path.is_file()]


def test_a_source_that_has_grown_buys_only_new_texts(tmp_path: Path, service: LocalService) -> None:
    """Finished parts serve equal rows that came later."""
    changes: dict[str, Any] = {"source": tmp_path / "lines"}
    write_texts(tmp_path / "lines", repeating_texts(20, 20))
    run_job(job_of(tmp_path, service.url, **changes))
    more = pa.table({"id": [f"r{number}" for number in range(20, 50)], "text": repeating_texts(30, 30)})
    pq.write_table(more, tmp_path / "lines" / "more.parquet")
    report = run_job(job_of(tmp_path, service.url, **changes))
    assert (report.stopped, report.dataset.speech, report.dataset.reused, purchases(service)) == (None, 50, 20, 30)
    speech = check_speech(tmp_path / "out", 50)
    assert [row["deduplicated_from"] for row in speech[20:40]] == [f"r{number}" for number in range(20)]
    assert leftover_files(tmp_path / "out") == []


def _run(folder: Path, service: LocalService, *reuse: Any, destination: str = "out", **changes: Any) -> Report:
    options = {"reuse": reuse, **changes.pop("options", {})}
    return run_job(job_of(folder, service.url, destination=folder / destination, options=options, **changes))


def test_a_pilot_becomes_the_full_job(tmp_path: Path, service: LocalService) -> None:
    """The full job buys only rows that the pilot lacks, and names the origin of the others."""
    write_lines(tmp_path / "lines.parquet", 40)
    _run(tmp_path, service, destination="pilot", selection=Selection(sample=15, seed=3))
    pilot = read_table(tmp_path / "pilot", "speech").to_pylist()
    report = _run(tmp_path, service, tmp_path / "pilot")
    assert (report.stopped, report.dataset.speech, report.dataset.reused) == (None, 40, 15)
    assert (purchases(service), report.dataset.attempts) == (40, 25)
    label = str(tmp_path / "pilot")
    assert report.reused_from == {label: 15}
    characters, cost = (sum(row[name] for row in pilot) for name in ("characters_billed", "cost"))
    assert report.saved[label] == Saving(15, characters, cost)
    speech = {row["utterance_id"]: row for row in check_speech(tmp_path / "out", 40)}
    for row in pilot:
        taken = speech[row["utterance_id"]]
        assert taken["deduplicated_from"] == f"{tmp_path / 'pilot'}#{row['utterance_id']}"
        same = ("audio", "timestamps", "request_key", "request_id", "duration_ms", "characters_reported", "quality")
        assert {name: taken[name] for name in same} == {name: row[name] for name in same}


@pytest.mark.parametrize("by", ["dataset", "store"])
def test_the_same_job_as_flac_buys_nothing(tmp_path: Path, service: LocalService, by: str) -> None:
    """Reused audio is as received, and then converted; for long texts too."""
    long = " ".join(f"Sentence number {number} is not short." for number in range(40))
    write_texts(tmp_path, [*repeating_texts(20, 20), long])
    store = tmp_path / "store"
    _run(
        tmp_path, service, *([store] if by == "store" else []), parameters={"voice": "Cherry", "enable_timestamp": True}
    )
    bought = purchases(service)
    assert bought > 22
    changes: dict[str, Any] = {
        "audio": AudioSettings("flac"),
        "parameters": {"voice": "Cherry", "enable_timestamp": True},
    }
    report = _run(tmp_path, service, store if by == "store" else tmp_path / "out", destination="flac", **changes)
    assert (report.stopped, report.dataset.reused, purchases(service)) == (None, 21, bought)
    assert (report.dataset.attempts, report.dataset.characters_billed) == (0, 0)
    first, second = (read_table(tmp_path / name, "speech").to_pylist() for name in ("out", "flac"))
    for wav_row, flac_row in zip(first, second, strict=True):
        same = (
            "utterance_id",
            "text",
            "duration_ms",
            "timestamps",
            "segments",
            "request_key",
            "quality",
            "sample_rate_hz",
        )
        assert {name: flac_row[name] for name in same} == {name: wav_row[name] for name in same}
        assert (flac_row["audio_format"], flac_row["cost"]) == ("flac", 0)
    assert second[-1]["segments"] > 1


def test_a_second_dataset_buys_only_its_new_lines(tmp_path: Path, service: LocalService) -> None:
    """Ids and order do not matter, only the requests; through a store that many jobs share."""
    write_texts(tmp_path / "one", [f"Line {number}." for number in range(20)])
    write_texts(tmp_path / "two", [f"Line {number}." for number in reversed(range(10, 30))])
    _run(tmp_path / "one", service, tmp_path / "store")
    report = _run(tmp_path / "two", service, tmp_path / "store")
    assert (report.dataset.reused, purchases(service)) == (10, 30)
    row = read_table(tmp_path / "two" / "out", "speech").to_pylist()[-1]
    assert row["deduplicated_from"] == f"{tmp_path / 'store'}#r10"
    assert row["audio"]["bytes"] == tone("Line 10.")


def test_a_store_may_be_any_url(tmp_path: Path, service: LocalService) -> None:
    """Here in memory; a password in the URL is in no table."""
    url = f"memory://someone:secret@{uuid.uuid4().hex}/store"
    write_lines(tmp_path / "lines.parquet", 10)
    _run(tmp_path, service, url)
    report = _run(tmp_path, service, url, destination="again")
    assert (report.dataset.reused, purchases(service)) == (10, 10)
    assert "secret" not in str(read_table(tmp_path / "again", "speech").to_pylist())
    assert "secret" not in str(report.reused_from)


def test_another_service_or_voice_is_another_purchase(tmp_path: Path, service: LocalService) -> None:
    """A store's audio is reused only for exactly the same request."""
    write_lines(tmp_path / "lines.parquet", 5)
    _run(tmp_path, service, tmp_path / "store")
    report = _run(tmp_path, service, tmp_path / "store", destination="stella", parameters={"voice": "Stella"})
    assert (report.dataset.reused, purchases(service)) == (0, 10)


def test_repeats_and_a_store_together(tmp_path: Path, service: LocalService) -> None:
    """The store's audio serves all equal rows; missing audio is bought once, and then is in the store."""
    write_texts(tmp_path / "one", repeating_texts(5, 5))
    _run(tmp_path / "one", service, tmp_path / "store")
    write_texts(tmp_path / "two", repeating_texts(40, 10))
    report = _run(tmp_path / "two", service, tmp_path / "store")
    assert (report.dataset.reused, purchases(service)) == (35, 10)
    assert sum(report.reused_from.values()) == 35
    assert _run(tmp_path / "two", service, tmp_path / "store", destination="again").dataset.reused == 40
    assert purchases(service) == 10


def test_a_running_dataset_can_be_taken_from(tmp_path: Path, service: LocalService) -> None:
    """From its finished parts; other rows are bought."""
    write_lines(tmp_path / "lines.parquet", 20)
    service.set_faults([{"what": "error", "status": 401, "code": "InvalidApiKey", "message": "no", "after": 12}])
    _run(tmp_path, service, destination="stopped", limits={"max_concurrency": 1})
    service.clear_faults()
    before = purchases(service)
    report = _run(tmp_path, service, tmp_path / "stopped")
    assert (report.dataset.speech, report.dataset.reused, purchases(service)) == (20, 10, before + 10)


@pytest.mark.parametrize("content", ["file", "others", "version", "below"])
def test_a_place_that_cannot_be_a_store_is_refused_before_anything_is_sent(
    tmp_path: Path, service: LocalService, content: str
) -> None:
    """The error names it, and nothing is written."""
    write_lines(tmp_path / "lines.parquet", 5)
    place = tmp_path / "place"
    if content in {"file", "below"}:
        place.write_bytes(b"")
    else:
        place.mkdir()
        (place / (MARKER if content == "version" else "holiday.jpg")).write_bytes(b'{"format_version": 99}')
    with pytest.raises(ConfigurationError, match="place"):
        _run(tmp_path, service, place / "below" if content == "below" else place)
    assert purchases(service) == 0
    assert not (tmp_path / "out").exists()


def test_a_store_that_fails_costs_money_and_no_row(
    tmp_path: Path, service: LocalService, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning, and the run goes on without the store."""
    write_lines(tmp_path / "lines.parquet", 40)
    _run(tmp_path, service, tmp_path / "store")
    for folder in (tmp_path / "store").iterdir():
        if folder.is_dir():
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()
            folder.write_bytes(b"a file where a folder belongs")
    caplog.clear()
    report = _run(tmp_path, service, tmp_path / "store", destination="again")
    assert (report.stopped, report.dataset.speech, report.dataset.reused) == (None, 40, 0)
    warnings = [record.getMessage() for record in caplog.records if str(tmp_path / "store") in record.getMessage()]
    assert len(warnings) == 1
    assert "may be bought again" in warnings[0]


def test_reuse_does_not_change_what_the_dataset_is(tmp_path: Path, service: LocalService) -> None:
    """It is a run option: a run may begin without it and continue with it."""
    write_lines(tmp_path / "lines.parquet", 10)
    _run(tmp_path, service, destination="pilot", selection=Selection(limit=8))
    service.set_faults([{"what": "error", "status": 401, "code": "InvalidApiKey", "message": "no", "after": 3}])
    assert _run(tmp_path, service, limits={"max_concurrency": 1}).stopped_by == "service"
    service.clear_faults()
    report = _run(tmp_path, service, tmp_path / "pilot")
    assert (report.stopped, report.dataset.speech, report.dataset.reused) == (None, 10, 5)


_RUN = """
import sys
from pathlib import Path
from tests.builders import job_of
from tts_pipeline.job import run_job
folder, url, out, reuse = sys.argv[1:]
options = {"part_rows": 10, "reuse": [reuse] if reuse else []}
report = run_job(job_of(Path(folder), url, destination=Path(folder) / out, options=options))
print(report.dataset.reused, report.stopped)
"""


def _start(folder: Path, service: LocalService, out: str, reuse: str = "") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _RUN, str(folder), service.url, out, reuse]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_kill_buys_again_at_most_what_was_in_flight(tmp_path: Path, emulator: StartEmulator) -> None:
    """Repeats are bought once even if the process dies in between."""
    service = emulator(voice_mode="tone", latency_ms=30)
    write_texts(tmp_path, repeating_texts(300, 120))
    for received in (30, 70):
        with _start(tmp_path, service, "out") as process:
            while purchases(service) < received and process.poll() is None:
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
    assert run_job(job_of(tmp_path, service.url, options={"part_rows": 10})).stopped is None
    _check_speech_after_kill(tmp_path / "out", 300)
    assert 120 <= purchases(service) <= 120 + 2 * 8
    check_bill(tmp_path / "out", service)


def _check_speech_after_kill(destination: Path, rows: int) -> None:
    speech = read_table(destination, "speech").to_pylist()
    assert [row["utterance_id"] for row in speech] == [f"r{number}" for number in range(rows)]
    assert all(row["audio"]["bytes"] == tone(row["text"]) for row in speech)


@pytest.mark.slow
def test_two_processes_share_a_store(tmp_path: Path, emulator: StartEmulator) -> None:
    """Both end well; each reuses the other's purchases, and a third finds everything."""
    service = emulator(voice_mode="tone", latency_ms=20)
    write_lines(tmp_path / "lines.parquet", 100)
    store = str(tmp_path / "store")
    running = [_start(tmp_path, service, out, store) for out in ("one", "two")]
    outputs = [process.communicate(timeout=patience(60)) for process in running]
    assert [process.returncode for process in running] == [0, 0], outputs
    assert 100 <= purchases(service) <= 200
    before = purchases(service)
    report = run_job(job_of(tmp_path, service.url, options={"reuse": [store]}))
    assert (report.dataset.reused, purchases(service)) == (100, before)
    check_speech(tmp_path / "out", 100)

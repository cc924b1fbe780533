"""Bought once: repeated requests within a job, and audio of other jobs; against the service's own bill."""

from __future__ import annotations

import shutil
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
from tests.patience import patience
from tts_pipeline.cache.file_cache import MARKER
from tts_pipeline.config import AudioSettings, InputColumns, Selection
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.emulator.tone import tone
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.job import Report, run_job


@pytest.fixture
def service(tone_service: LocalService) -> LocalService:
    """A service that hums, with an empty bill and no faults."""
    return tone_service


def _write(folder: Path, texts: Sequence[str | None], **more: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    ids = [f"r{number}" for number in range(len(texts))]
    pq.write_table(pa.table({"id": ids, "text": pa.array(texts, pa.string()), **more}), folder / "lines.parquet")


def _repeating(rows: int, distinct: int) -> list[str]:
    return [f"Line {number % distinct}." for number in range(rows)]


def _bought(service: LocalService) -> int:
    received: int = service.bill()["received"]
    return received


def _check_speech(destination: Path, rows: int) -> list[dict[str, Any]]:
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


def _left(destination: Path) -> list[Path]:
    paths = [*(destination / ".work").rglob("*"), *destination.glob(".repeated")]
    return [path for path in paths if path.is_file()]


def test_equal_rows_of_a_job_are_bought_once_across_parts(tmp_path: Path, service: LocalService) -> None:
    """300 rows with 50 texts in three parts are 50 requests; the first row of each in source order owns it."""
    _write(tmp_path, _repeating(300, 50))
    report = run_job(job_of(tmp_path, service.url, options={"part_rows": 100}))
    assert (report.stopped, _bought(service)) == (None, 50)
    speech = _check_speech(tmp_path / "out", 300)
    owners = [row["deduplicated_from"] for row in speech]
    assert owners == [None] * 50 + [f"r{number % 50}" for number in range(50, 300)]
    assert (report.dataset.speech, report.dataset.reused, report.dataset.attempts) == (300, 250, 50)
    assert report.this_run == report.dataset
    assert report.reused_from == {"": 250}
    check_bill(tmp_path / "out", service)
    assert _left(tmp_path / "out") == []


def test_a_thousand_equal_rows_do_not_hold_the_others_back(tmp_path: Path, emulator: StartEmulator) -> None:
    """They wait for one request without a worker: the rows behind them go on at full concurrency."""
    service = emulator(voice_mode="tone", latency_ms=100)
    _write(tmp_path, ["The same."] * 1_000 + [f"Line {number}." for number in range(64)])
    report = run_job(job_of(tmp_path, service.url, options={"part_rows": 1_064}, limits={"max_concurrency": 16}))
    assert (report.dataset.speech, _bought(service)) == (1_064, 65)
    assert service.bill()["max_in_flight"] == 16
    entries = service.bill(entries=True)["entries"]
    assert [entry["text"] for entry in entries[:16]].count("The same.") == 1


def test_what_is_asked_for_otherwise_is_no_repeat(tmp_path: Path, service: LocalService) -> None:
    """Another voice or take is another purchase; a value from a column equals the same fixed value."""
    texts = ["Hello."] * 8
    speakers = ["Cherry", None, "Stella", "Stella", "Cherry", "Cherry", "Stella", None]
    takes = [0, 0, 0, 0, 1, 1, 1, 0]
    _write(tmp_path, texts, speaker=speakers, number=takes)
    columns = InputColumns(parameters={"voice": "speaker", "take": "number"})
    run_job(job_of(tmp_path, service.url, columns=columns))
    assert _bought(service) == 4
    owners = [row["deduplicated_from"] for row in read_table(tmp_path / "out", "speech").to_pylist()]
    assert owners == [None, "r0", None, "r2", None, "r4", None, "r0"]


def test_rows_without_a_text_are_not_repeats(tmp_path: Path, service: LocalService) -> None:
    """Each is a separate reject."""
    _write(tmp_path, [None, "", " ", None, "", "Fine."])
    report = run_job(job_of(tmp_path, service.url))
    assert (report.dataset.rejects, report.dataset.speech, _bought(service)) == (5, 1, 1)


def test_when_the_owner_is_rejected_the_others_buy_for_themselves(tmp_path: Path, service: LocalService) -> None:
    """Each row of a refused text is a separate reject, with its own attempt."""
    _write(tmp_path, ["Bad word."] * 40 + ["Fine."] * 10)
    service.set_faults([{"what": "refuse", "text": "Bad word"}])
    report = run_job(job_of(tmp_path, service.url))
    assert (report.stopped, report.dataset.rejects, report.dataset.speech) == (None, 40, 10)
    assert _bought(service) == 41
    check_bill(tmp_path / "out", service)


def test_when_the_owner_fails_for_once_the_next_one_buys_for_all(tmp_path: Path, service: LocalService) -> None:
    """One success serves all remaining rows."""
    _write(tmp_path, ["The same."] * 30 + [f"Line {number}." for number in range(30)])
    service.set_faults([{"what": "error", "status": 400, "code": "InvalidParameter", "message": "no", "count": 1}])
    report = run_job(job_of(tmp_path, service.url, limits={"max_concurrency": 1}))
    assert (report.dataset.rejects, report.dataset.speech, _bought(service)) == (1, 59, 32)


def test_an_equal_text_that_always_fails_is_no_outage(tmp_path: Path, service: LocalService) -> None:
    """Rows that wait for a failing row do not delay its end: each is rejected at last, and the others are speech."""
    _write(tmp_path, [*["It breaks."] * 4, *_repeating(200, 200)])
    service.set_faults([{"what": "error", "status": 500, "code": "InternalError", "message": "x", "text": "It breaks"}])
    limits = {"max_concurrency": 2, "max_attempts": 2, "retry_wait_s": 0.01, "retry_wait_max_s": 0.02}
    report = run_job(job_of(tmp_path, service.url, limits=limits))
    assert (report.stopped, report.dataset.speech, report.dataset.rejects) == (None, 200, 4)
    check_bill(tmp_path / "out", service)


def test_a_resumed_job_remembers_what_it_bought(tmp_path: Path, service: LocalService) -> None:
    """Rows of later parts reuse audio from before the stop, though its part is already published."""
    service.set_faults([{"what": "error", "status": 401, "code": "InvalidApiKey", "message": "no", "after": 20}])
    job = job_of(tmp_path, service.url, options={"part_rows": 10, "max_open_parts": 1}, limits={"max_concurrency": 1})
    _write(tmp_path, [*_repeating(30, 20), "A stop.", *_repeating(29, 20)])
    assert run_job(job).stopped_by == "service"
    assert _left(tmp_path / "out") != []
    service.clear_faults()
    report = run_job(job)
    assert (report.stopped, report.dataset.speech, report.dataset.reused) == (None, 60, 39)
    assert _bought(service) == 22
    assert _left(tmp_path / "out") == []


@pytest.mark.parametrize("loss", ["files", "folder"])
def test_without_what_was_kept_a_job_still_ends_right(tmp_path: Path, service: LocalService, loss: str) -> None:
    """The list of repeats is computed anew; damaged audio is bought once more; published parts replace lost audio."""
    _write(tmp_path, [*_repeating(20, 20), "A stop.", *_repeating(19, 20)])
    service.set_faults([{"what": "error", "status": 401, "code": "InvalidApiKey", "message": "no", "after": 20}])
    job = job_of(tmp_path, service.url, options={"part_rows": 10, "max_open_parts": 1}, limits={"max_concurrency": 1})
    run_job(job)
    service.clear_faults()
    for path in (tmp_path / "out" / ".work").rglob("*.answer"):
        path.write_bytes(b"damaged")
    (tmp_path / "out" / ".repeated").unlink()
    if loss == "folder":
        shutil.rmtree(tmp_path / "out" / ".work" / "repeated")
    before = _bought(service)
    report = run_job(job)
    assert (report.stopped, report.dataset.speech) == (None, 40)
    rows_of_the_last_part = 10
    least = 1 + rows_of_the_last_part if loss == "files" else 1
    assert before + least <= _bought(service) <= before + least + 9
    check_bill(tmp_path / "out", service)


def test_a_source_that_has_grown_buys_only_new_texts(tmp_path: Path, service: LocalService) -> None:
    """Finished parts serve equal rows that came later."""
    changes: dict[str, Any] = {"source": tmp_path / "lines"}
    _write(tmp_path / "lines", _repeating(20, 20))
    run_job(job_of(tmp_path, service.url, **changes))
    more = pa.table({"id": [f"r{number}" for number in range(20, 50)], "text": _repeating(30, 30)})
    pq.write_table(more, tmp_path / "lines" / "more.parquet")
    report = run_job(job_of(tmp_path, service.url, **changes))
    assert (report.stopped, report.dataset.speech, report.dataset.reused, _bought(service)) == (None, 50, 20, 30)
    speech = _check_speech(tmp_path / "out", 50)
    assert [row["deduplicated_from"] for row in speech[20:40]] == [f"r{number}" for number in range(20)]
    assert _left(tmp_path / "out") == []


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
    assert (_bought(service), report.dataset.attempts) == (40, 25)
    assert report.reused_from == {str(tmp_path / "pilot"): 15}
    speech = {row["utterance_id"]: row for row in _check_speech(tmp_path / "out", 40)}
    for row in pilot:
        taken = speech[row["utterance_id"]]
        assert taken["deduplicated_from"] == f"{tmp_path / 'pilot'}#{row['utterance_id']}"
        same = ("audio", "timestamps", "request_key", "request_id", "duration_ms", "characters_reported", "quality")
        assert {name: taken[name] for name in same} == {name: row[name] for name in same}


@pytest.mark.parametrize("by", ["dataset", "store"])
def test_the_same_job_as_flac_buys_nothing(tmp_path: Path, service: LocalService, by: str) -> None:
    """Reused audio is as received, and then converted; for long texts too."""
    long = " ".join(f"Sentence number {number} is not short." for number in range(40))
    _write(tmp_path, [*_repeating(20, 20), long])
    store = tmp_path / "store"
    _run(
        tmp_path, service, *([store] if by == "store" else []), parameters={"voice": "Cherry", "enable_timestamp": True}
    )
    bought = _bought(service)
    assert bought > 22
    changes: dict[str, Any] = {
        "audio": AudioSettings("flac"),
        "parameters": {"voice": "Cherry", "enable_timestamp": True},
    }
    report = _run(tmp_path, service, store if by == "store" else tmp_path / "out", destination="flac", **changes)
    assert (report.stopped, report.dataset.reused, _bought(service)) == (None, 21, bought)
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
    _write(tmp_path / "one", [f"Line {number}." for number in range(20)])
    _write(tmp_path / "two", [f"Line {number}." for number in reversed(range(10, 30))])
    _run(tmp_path / "one", service, tmp_path / "store")
    report = _run(tmp_path / "two", service, tmp_path / "store")
    assert (report.dataset.reused, _bought(service)) == (10, 30)
    row = read_table(tmp_path / "two" / "out", "speech").to_pylist()[-1]
    assert row["deduplicated_from"] == f"{tmp_path / 'store'}#r10"
    assert row["audio"]["bytes"] == tone("Line 10.")


def test_a_store_may_be_any_url(tmp_path: Path, service: LocalService) -> None:
    """Here in memory; a password in the URL is in no table."""
    url = f"memory://someone:secret@{uuid.uuid4().hex}/store"
    write_lines(tmp_path / "lines.parquet", 10)
    _run(tmp_path, service, url)
    report = _run(tmp_path, service, url, destination="again")
    assert (report.dataset.reused, _bought(service)) == (10, 10)
    assert "secret" not in str(read_table(tmp_path / "again", "speech").to_pylist())
    assert "secret" not in str(report.reused_from)


def test_another_service_or_voice_is_another_purchase(tmp_path: Path, service: LocalService) -> None:
    """A store's audio is reused only for exactly the same request."""
    write_lines(tmp_path / "lines.parquet", 5)
    _run(tmp_path, service, tmp_path / "store")
    report = _run(tmp_path, service, tmp_path / "store", destination="stella", parameters={"voice": "Stella"})
    assert (report.dataset.reused, _bought(service)) == (0, 10)


def test_repeats_and_a_store_together(tmp_path: Path, service: LocalService) -> None:
    """The store's audio serves all equal rows; missing audio is bought once, and then is in the store."""
    _write(tmp_path / "one", _repeating(5, 5))
    _run(tmp_path / "one", service, tmp_path / "store")
    _write(tmp_path / "two", _repeating(40, 10))
    report = _run(tmp_path / "two", service, tmp_path / "store")
    assert (report.dataset.reused, _bought(service)) == (35, 10)
    assert sum(report.reused_from.values()) == 35
    assert _run(tmp_path / "two", service, tmp_path / "store", destination="again").dataset.reused == 40
    assert _bought(service) == 10


def test_a_running_dataset_can_be_taken_from(tmp_path: Path, service: LocalService) -> None:
    """From its finished parts; other rows are bought."""
    write_lines(tmp_path / "lines.parquet", 20)
    service.set_faults([{"what": "error", "status": 401, "code": "InvalidApiKey", "message": "no", "after": 12}])
    _run(tmp_path, service, destination="stopped", limits={"max_concurrency": 1})
    service.clear_faults()
    before = _bought(service)
    report = _run(tmp_path, service, tmp_path / "stopped")
    assert (report.dataset.speech, report.dataset.reused, _bought(service)) == (20, 10, before + 10)


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
    assert _bought(service) == 0
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
    _write(tmp_path, _repeating(300, 120))
    for received in (30, 70):
        with _start(tmp_path, service, "out") as process:
            while _bought(service) < received and process.poll() is None:
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
    assert run_job(job_of(tmp_path, service.url, options={"part_rows": 10})).stopped is None
    _check_speech_after_kill(tmp_path / "out", 300)
    assert 120 <= _bought(service) <= 120 + 2 * 8
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
    assert 100 <= _bought(service) <= 200
    before = _bought(service)
    report = run_job(job_of(tmp_path, service.url, options={"reuse": [store]}))
    assert (report.dataset.reused, _bought(service)) == (100, before)
    _check_speech(tmp_path / "out", 100)

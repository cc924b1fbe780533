"""Equal rows of one job: bought once, whatever happens to the row that buys."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.builders import job_of
from tests.conftest import StartEmulator
from tests.datasets import check_bill, read_table
from tests.job.test_reuse import check_speech, leftover_files, purchases, repeating_texts, write_texts
from tts_pipeline.config import InputColumns
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.job import run_job


@pytest.fixture
def service(tone_service: LocalService) -> LocalService:
    """A service that hums, with an empty bill and no faults."""
    return tone_service


def test_equal_rows_of_a_job_are_bought_once_across_parts(tmp_path: Path, service: LocalService) -> None:
    """300 rows with 50 texts in three parts are 50 requests; the first row of each in source order owns it."""
    write_texts(tmp_path, repeating_texts(300, 50))
    report = run_job(job_of(tmp_path, service.url, options={"part_rows": 100}))
    assert (report.stopped, purchases(service)) == (None, 50)
    speech = check_speech(tmp_path / "out", 300)
    owners = [row["deduplicated_from"] for row in speech]
    assert owners == [None] * 50 + [f"r{number % 50}" for number in range(50, 300)]
    assert (report.dataset.speech, report.dataset.reused, report.dataset.attempts) == (300, 250, 50)
    assert report.this_run == report.dataset
    assert report.reused_from == {"": 250}
    check_bill(tmp_path / "out", service)
    assert leftover_files(tmp_path / "out") == []


def test_a_thousand_equal_rows_do_not_hold_the_others_back(tmp_path: Path, emulator: StartEmulator) -> None:
    """They wait for one request without a worker: the rows behind them go on at full concurrency."""
    service = emulator(voice_mode="tone", latency_ms=100)
    write_texts(tmp_path, ["The same."] * 1_000 + [f"Line {number}." for number in range(64)])
    report = run_job(job_of(tmp_path, service.url, options={"part_rows": 1_064}, limits={"max_concurrency": 16}))
    assert (report.dataset.speech, purchases(service)) == (1_064, 65)
    assert service.bill()["max_in_flight"] == 16
    entries = service.bill(entries=True)["entries"]
    assert [entry["text"] for entry in entries[:16]].count("The same.") == 1


def test_what_is_asked_for_otherwise_is_no_repeat(tmp_path: Path, service: LocalService) -> None:
    """Another voice or take is another purchase; a value from a column equals the same fixed value."""
    texts = ["Hello."] * 8
    speakers = ["Cherry", None, "Stella", "Stella", "Cherry", "Cherry", "Stella", None]
    takes = [0, 0, 0, 0, 1, 1, 1, 0]
    write_texts(tmp_path, texts, speaker=speakers, number=takes)
    columns = InputColumns(parameters={"voice": "speaker", "take": "number"})
    run_job(job_of(tmp_path, service.url, columns=columns))
    assert purchases(service) == 4
    owners = [row["deduplicated_from"] for row in read_table(tmp_path / "out", "speech").to_pylist()]
    assert owners == [None, "r0", None, "r2", None, "r4", None, "r0"]


def test_rows_without_a_text_are_not_repeats(tmp_path: Path, service: LocalService) -> None:
    """Each is a separate reject."""
    write_texts(tmp_path, [None, "", " ", None, "", "Fine."])
    report = run_job(job_of(tmp_path, service.url))
    assert (report.dataset.rejects, report.dataset.speech, purchases(service)) == (5, 1, 1)


def test_when_the_owner_is_rejected_the_others_buy_for_themselves(tmp_path: Path, service: LocalService) -> None:
    """Each row of a refused text is a separate reject, with its own attempt."""
    write_texts(tmp_path, ["Bad word."] * 40 + ["Fine."] * 10)
    service.set_faults([{"what": "refuse", "text": "Bad word"}])
    report = run_job(job_of(tmp_path, service.url))
    assert (report.stopped, report.dataset.rejects, report.dataset.speech) == (None, 40, 10)
    assert purchases(service) == 41
    check_bill(tmp_path / "out", service)


def test_when_the_owner_fails_for_once_the_next_one_buys_for_all(tmp_path: Path, service: LocalService) -> None:
    """One success serves all remaining rows."""
    write_texts(tmp_path, ["The same."] * 30 + [f"Line {number}." for number in range(30)])
    service.set_faults([{"what": "error", "status": 400, "code": "InvalidParameter", "message": "no", "count": 1}])
    report = run_job(job_of(tmp_path, service.url, limits={"max_concurrency": 1}))
    assert (report.dataset.rejects, report.dataset.speech, purchases(service)) == (1, 59, 32)


def test_an_equal_text_that_always_fails_is_no_outage(tmp_path: Path, service: LocalService) -> None:
    """Rows that wait for a failing row do not delay its end: each is rejected at last, and the others are speech."""
    write_texts(tmp_path, [*["It breaks."] * 4, *repeating_texts(200, 200)])
    service.set_faults([{"what": "error", "status": 500, "code": "InternalError", "message": "x", "text": "It breaks"}])
    limits = {"max_concurrency": 2, "max_attempts": 2, "retry_wait_s": 0.01, "retry_wait_max_s": 0.02}
    report = run_job(job_of(tmp_path, service.url, limits=limits))
    assert (report.stopped, report.dataset.speech, report.dataset.rejects) == (None, 200, 4)
    check_bill(tmp_path / "out", service)


def test_a_resumed_job_remembers_what_it_bought(tmp_path: Path, service: LocalService) -> None:
    """Rows of later parts reuse audio from before the stop, though its part is already published."""
    service.set_faults([{"what": "error", "status": 401, "code": "InvalidApiKey", "message": "no", "after": 20}])
    job = job_of(tmp_path, service.url, options={"part_rows": 10, "max_open_parts": 1}, limits={"max_concurrency": 1})
    write_texts(tmp_path, [*repeating_texts(30, 20), "A stop.", *repeating_texts(29, 20)])
    assert run_job(job).stopped_by == "service"
    assert leftover_files(tmp_path / "out") != []
    service.clear_faults()
    report = run_job(job)
    assert (report.stopped, report.dataset.speech, report.dataset.reused) == (None, 60, 39)
    assert purchases(service) == 22
    assert leftover_files(tmp_path / "out") == []


@pytest.mark.parametrize("loss", ["files", "folder"])
def test_without_what_was_kept_a_job_still_ends_right(tmp_path: Path, service: LocalService, loss: str) -> None:
    """The list of repeats is computed anew; damaged audio is bought once more; published parts replace lost audio."""
    write_texts(tmp_path, [*repeating_texts(20, 20), "A stop.", *repeating_texts(19, 20)])
    service.set_faults([{"what": "error", "status": 401, "code": "InvalidApiKey", "message": "no", "after": 20}])
    job = job_of(tmp_path, service.url, options={"part_rows": 10, "max_open_parts": 1}, limits={"max_concurrency": 1})
    run_job(job)
    service.clear_faults()
    for path in (tmp_path / "out" / ".work").rglob("*.answer"):
        path.write_bytes(b"damaged")
    (tmp_path / "out" / ".repeated").unlink()
    if loss == "folder":
        shutil.rmtree(tmp_path / "out" / ".work" / "repeated")
    before = purchases(service)
    report = run_job(job)
    assert (report.stopped, report.dataset.speech) == (None, 40)
    rows_of_the_last_part = 10
    least = 1 + rows_of_the_last_part if loss == "files" else 1
    assert before + least <= purchases(service) <= before + least + 9
    check_bill(tmp_path / "out", service)

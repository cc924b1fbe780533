"""The execution of a prepared job: run the remaining parts, report a stop, finalize the dataset."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.builders import MODEL, job_of, row_ids, write_lines
from tests.conftest import StartEmulator
from tests.datasets import check_bill, read_table, spoken_ids
from tts_pipeline.catalog import load_catalog
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.errors import FatalError, StorageError
from tts_pipeline.job import Job, Progress, Shard, plan, run_job, run_parts
from tts_pipeline.job.execution import RunControl, finalize_job, recover_and_prepare, run_all_parts, run_shard
from tts_pipeline.job.prepare import create_or_extend_dataset
from tts_pipeline.job.prepared_job import PreparedJob


def test_a_second_run_sends_nothing_and_tells_the_same_totals(tmp_path: Path, tone_service: LocalService) -> None:
    """Every run resumes; a finished dataset has nothing left to do."""
    write_lines(tmp_path / "lines.parquet")
    first = run_job(job_of(tmp_path, tone_service.url))
    received = tone_service.bill()["received"]
    second = run_job(job_of(tmp_path, tone_service.url))
    assert tone_service.bill()["received"] == received
    assert second.dataset == first.dataset
    assert (second.stopped, second.this_run.attempts, second.this_run.speech) == (None, 0, 0)


def test_a_fatal_answer_ends_the_run_and_a_later_one_goes_on(tmp_path: Path, tone_service: LocalService) -> None:
    """Everything done is kept, and the bill is right."""
    write_lines(tmp_path / "lines.parquet", 40)
    job = job_of(tmp_path, tone_service.url)
    tone_service.set_faults([{"what": "error", "status": 403, "code": "Arrearage", "message": "overdue", "after": 20}])
    report = run_job(job)
    assert isinstance(report.stopped, FatalError)
    assert report.stopped_by == "service"
    assert 0 < report.dataset.speech <= 20
    usage = read_table(tmp_path / "out", "usage")
    assert usage.num_rows == report.dataset.attempts == tone_service.bill()["received"]
    tone_service.clear_faults()
    again = run_job(job)
    assert (again.stopped, again.dataset.speech) == (None, 40)
    assert again.this_run.speech == 40 - report.dataset.speech
    assert spoken_ids(tmp_path / "out") == row_ids(40)
    check_bill(tmp_path / "out", tone_service)


def test_counts_of_an_unfinished_dataset_include_what_is_in_journals(
    tmp_path: Path, tone_service: LocalService
) -> None:
    """Finished rows of an open part count as done, and still do in the next run."""
    write_lines(tmp_path / "lines.parquet", 20)
    job = job_of(tmp_path, tone_service.url, options={"part_rows": 20}, limits={"max_concurrency": 1})
    tone_service.set_faults([{"what": "error", "status": 401, "code": "InvalidApiKey", "message": "no", "after": 7}])
    first, second = run_job(job), run_job(job)
    assert (first.dataset.speech, first.dataset.attempts) == (7, 8)
    assert (second.dataset.speech, second.dataset.attempts, second.this_run.speech) == (7, 9, 0)
    assert not (tmp_path / "out" / "speech").exists()


def test_a_mistake_of_ours_is_raised_with_what_was_done_kept(tmp_path: Path, tone_service: LocalService) -> None:
    """It is not reported as a stop of the service; locks are free and finished parts stay finished."""
    write_lines(tmp_path / "lines.parquet", 20)
    job = job_of(tmp_path, tone_service.url)
    run_parts(job, plan(job, 4)[0])
    catalog = load_catalog()
    card = catalog.cards["modelstream", MODEL]
    mistake: Any = "the first of May"  # where a date belongs
    broken = replace(card.prices[0], effective_from=mistake)
    cards = {**catalog.cards, ("modelstream", MODEL): replace(card, prices=(broken,))}
    with pytest.raises(TypeError):
        run_job(replace(job, catalog=replace(catalog, cards=cards)))
    assert spoken_ids(tmp_path / "out") == row_ids(5)
    assert run_job(job).dataset.speech == 20


def test_progress_is_filled_while_it_runs(tmp_path: Path, tone_service: LocalService) -> None:
    """All rows, rows done before, and the results of this run."""
    write_lines(tmp_path / "lines.parquet", 20)
    job = job_of(tmp_path, tone_service.url)
    run_parts(job, plan(job, 4)[1])
    progress = Progress()
    run_job(job, progress)
    totals = progress.totals
    assert (totals.rows, progress.done_before, totals.speech, totals.attempts) == (20, 5, 15, 15)
    assert (progress.in_flight, progress.retries, totals.unknown_attempts) == (0, 0, 0)


def test_a_service_is_reached_only_when_there_is_something_to_do(tmp_path: Path, tone_service: LocalService) -> None:
    """A finished dataset starts no local service; otherwise the started service is used."""
    write_lines(tmp_path / "lines.parquet", 5)
    job = job_of(tmp_path)
    reached: list[str] = []

    def reach(service: Any) -> Any:
        reached.append(service.name)
        entered = ExitStack()
        entered.push(lambda *_: reached.append("left"))
        return _Entering(entered, replace(service, base_url=tone_service.url))

    for _ in range(2):
        assert run_job(job, start_service=reach).dataset.speech == 5
    assert reached == ["voices", "left"]


class _Entering:
    """A context manager that yields a value."""

    def __init__(self, stack: ExitStack, value: Any) -> None:
        self._stack = stack
        self._value = value

    def __enter__(self) -> Any:
        return self._value

    def __exit__(self, *exception: object) -> None:
        self._stack.close()


_ON_A_SMALL_DISK = """
import resource, sys
from pathlib import Path
from tests.builders import job_of
from tts_pipeline.job import run_job
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
report = run_job(job_of(Path(sys.argv[1]), sys.argv[2], options={"part_rows": 100}))
print(report.stopped_by, report.dataset.speech, report.stopped)
"""


def test_a_disk_that_is_full_stops_the_run_and_keeps_what_was_received(
    tmp_path: Path, tone_service: LocalService
) -> None:
    """In good order; the next run, with room, buys at most the attempts in flight again, and the bill stays right."""
    write_lines(tmp_path / "lines.parquet", 100)
    command = [sys.executable, "-c", _ON_A_SMALL_DISK, str(tmp_path), tone_service.url]
    words = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ).stdout.split(maxsplit=2)
    assert (words[0], int(words[1]) > 5) == ("storage", True)
    assert "File too large" in words[2]
    first = tone_service.bill()["received"]
    assert run_job(job_of(tmp_path, tone_service.url)).dataset.speech == 100
    assert spoken_ids(tmp_path / "out") == row_ids(100)
    assert tone_service.bill()["received"] <= 100 + 8
    assert first >= int(words[1])
    check_bill(tmp_path / "out", tone_service)


def test_a_slow_service_and_an_orderly_stop_leave_one_claim_of_nobody(tmp_path: Path, emulator: StartEmulator) -> None:
    """After a stop, usage accounts for all claims; none remains."""
    slow = emulator(voice_mode="tone", tone_bytes=20_000)
    write_lines(tmp_path / "lines.parquet", 20)
    slow.set_faults([{"what": "error", "status": 401, "code": "InvalidApiKey", "message": "no", "after": 3}])
    run_job(job_of(tmp_path, slow.url))
    assert list((tmp_path / "out" / "claims").iterdir()) == []
    descriptor = orjson.loads((tmp_path / "out" / "dataset.json").read_bytes())
    assert descriptor["parts"] == 4


def _established(job: Job) -> PreparedJob:
    return create_or_extend_dataset(recover_and_prepare(job))


def test_a_shard_is_run_and_nothing_is_finalized(tmp_path: Path, tone_service: LocalService) -> None:
    """The run counts its own rows, the dataset counts all; only the last step finalizes."""
    write_lines(tmp_path / "lines.parquet")
    with (prepared := _established(job_of(tmp_path, tone_service.url))).leases:
        report = run_shard(prepared, Shard(1, 1, 2, shards=2), RunControl())
        assert (report.stopped, report.this_run.rows, report.this_run.speech) == (None, 10, 10)
        assert (report.dataset.rows, report.dataset.speech) == (20, 10)
        with pytest.raises(StorageError, match="2 of 4 parts are not done: part-00000, part-00003"):
            finalize_job(prepared)
        assert not (tmp_path / "out" / "parts.json").exists()
        assert run_all_parts(prepared, RunControl()).dataset.speech == 20
    assert (tmp_path / "out" / "parts.json").exists()
    check_bill(tmp_path / "out", tone_service)


def test_what_keeps_a_dataset_from_being_finalized_is_the_runs_stop(tmp_path: Path, tone_service: LocalService) -> None:
    """All rows are spoken, a file is missing: no ``parts.json``, and the report has the reason beside the counts."""
    write_lines(tmp_path / "lines.parquet")
    with (prepared := _established(job_of(tmp_path, tone_service.url))).leases:
        for index in range(4):
            run_shard(prepared, Shard(index, index, 1, shards=4), RunControl())
        (tmp_path / "out" / "speech" / "part-00002.parquet").unlink()
        report = run_all_parts(prepared, RunControl())
    assert (report.stopped_by, report.dataset.speech) == ("storage", 20)
    assert "speech/part-00002.parquet" in str(report.stopped)
    assert not (tmp_path / "out" / "parts.json").exists()


def test_rejected_rows_are_no_rows_that_were_done_before(tmp_path: Path, tone_service: LocalService) -> None:
    """Their parts are reopened only on request: progress begins with the other rows."""
    write_lines(tmp_path / "lines.parquet")
    tone_service.set_faults([{"what": "refuse", "text": "Line 7."}])
    job = job_of(tmp_path, tone_service.url)
    run_job(job)
    for retry_rejects, done_before in ((False, 20), (True, 19)):
        control = RunControl()
        again = replace(job, options=replace(job.options, retry_rejects=retry_rejects))
        with (prepared := _established(again)).leases:
            report = run_all_parts(prepared, control)
        assert (control.progress.done_before, report.dataset.rejects) == (done_before, 1)

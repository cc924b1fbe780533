"""An estimate and the run that follows it: the same requests, characters and cost, whatever is there already."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tts_pipeline as tts
from tests.builders import MODEL, job_of
from tts_pipeline.catalog import Service
from tts_pipeline.config import AudioSettings, BudgetCap, InputColumns, QualityPolicy, Selection
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.estimates import Estimate, estimate_rows
from tts_pipeline.job import Job, Report, RunOptions, run_job

LONG = " ".join(f"Sentence number {number} of a text that is too long for one request." for number in range(24))
"""Three segments of the model."""

TEXTS = [
    *(f"Line {number}." for number in range(8)),
    *("你好，世界。", LONG, "Line 3.", "", "Line 3.", LONG, None, "Line 7."),
]
RUNNING = RunOptions(part_rows=3)
STOPPED = [{"what": "error", "status": 401, "code": "InvalidApiKey", "message": "no", "after": 6}]


def _write(folder: Path, texts: Sequence[str | None], name: str = "lines.parquet") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    ids = [f"{name}{number}" for number in range(len(texts))]
    pq.write_table(pa.table({"id": ids, "text": pa.array(texts, pa.string())}), folder / name)
    return folder / name


def _job(folder: Path, service: LocalService, source: Path | None = None, **changes: Any) -> Job:
    return job_of(folder, service.url, source=source or folder / "lines.parquet", **changes)


def _files(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*")}


def _estimate_and_run(job: Job, service: LocalService) -> tuple[Estimate, Report]:
    """Estimate, then run; the estimate sends and changes nothing, and the run does just what it said."""
    files_before = _files(Path(job.destination).parent)
    received = service.bill()["received"]
    estimate = estimate_rows(job.source, job)
    assert _files(Path(job.destination).parent) == files_before
    assert service.bill()["received"] == received
    report = run_job(job)
    run = report.this_run
    assert report.stopped is None
    assert estimate.segments == run.attempts == service.bill()["received"] - received
    assert estimate.characters_billed == run.characters_billed
    assert (estimate.cost, estimate.currency) == (run.cost or 0, run.currency or "CNY")
    assert estimate.rows == report.dataset.rows
    assert estimate.rows - estimate.rows_there - estimate.rows_rejected_before == run.speech + run.rejects
    assert estimate.rows_without_text + estimate.rows_too_long + estimate.rows_unspeakable == run.rejects
    assert estimate.reused_rows + estimate.repeated_rows == run.reused
    return estimate, report


def test_a_new_dataset(tmp_path: Path, tone_service: LocalService) -> None:
    """Duplicates, long texts and rows without text; finished, nothing is left to buy."""
    _write(tmp_path, TEXTS)
    estimate, _ = _estimate_and_run(_job(tmp_path, tone_service), tone_service)
    assert (
        estimate.rows,
        estimate.rows_there,
        estimate.repeated_rows,
        estimate.rows_without_text,
        estimate.segments,
    ) == (16, 0, 4, 2, 12)
    again, _ = _estimate_and_run(_job(tmp_path, tone_service), tone_service)
    assert (again.rows_there, again.rows_rejected_before, again.segments) == (14, 2, 0)
    assert again.cost == 0


@pytest.mark.parametrize(("action", "requests"), [("reject", 2), ("keep", 4)])
def test_texts_with_nothing_to_say(action: Any, requests: int, tmp_path: Path, tone_service: LocalService) -> None:
    """They are refused before money, unless they are to be sent."""
    _write(tmp_path, ["...", "Line 1.", "😀", "", "Line 2.", "..."])
    estimate, _ = _estimate_and_run(_job(tmp_path, tone_service, options={"unspeakable": action}), tone_service)
    assert (estimate.segments, estimate.rows_without_text) == (requests, 1)


@pytest.mark.parametrize("selection", [Selection(limit=9), Selection(sample=7, seed=3)])
def test_a_pilot(selection: Selection, tmp_path: Path, tone_service: LocalService) -> None:
    """The same rows are drawn."""
    _write(tmp_path, TEXTS)
    estimate, _ = _estimate_and_run(_job(tmp_path, tone_service, selection=selection), tone_service)
    assert estimate.rows == (selection.limit or selection.sample)


def test_ids_that_are_made_and_parameters_from_columns(tmp_path: Path, tone_service: LocalService) -> None:
    """Equal texts of two voices are two purchases, and of two takes as well; the same after a pilot of them."""
    table = pa.table(
        {"text": ["Hello."] * 6, "who": ["Cherry", "Aiden", None, "Cherry", "Aiden", "Cherry"], "n": [0, 0, 0, 1, 1, 0]}
    )
    pq.write_table(table, tmp_path / "lines.parquet")
    columns = InputColumns(generate_ids=True, parameters={"voice": "who", "take": "n"})
    pilot = _job(tmp_path / "pilot", tone_service, tmp_path / "lines.parquet", columns=columns)
    estimate, _ = _estimate_and_run(replace(pilot, selection=Selection(limit=1)), tone_service)
    assert estimate.segments == 1
    whole = _job(tmp_path, tone_service, columns=columns, options={"reuse": str(tmp_path / "pilot" / "out")})
    estimate, _ = _estimate_and_run(whole, tone_service)
    assert (estimate.segments, estimate.reused_rows, estimate.repeated_rows) == (3, 3, 0)


@pytest.mark.parametrize("kind", ["dataset", "store"])
def test_reuse(kind: str, tmp_path: Path, tone_service: LocalService) -> None:
    """Of a dataset and of a reuse store; a text of several segments too, also where it is cut at the same places."""
    pilot = tmp_path / "pilot"
    _write(pilot, TEXTS[:10])
    store = str(tmp_path / "store")
    run_job(_job(pilot, tone_service, options={"reuse": store} if kind == "store" else {}))
    _write(tmp_path, [*TEXTS, "Something new."])
    reuse = store if kind == "store" else str(pilot / "out")
    estimate, _ = _estimate_and_run(_job(tmp_path, tone_service, options={"reuse": reuse}), tone_service)
    assert (estimate.segments, estimate.reused_rows) == (1, 14)


def test_audio_of_another_kind_is_not_reused(tmp_path: Path, tone_service: LocalService) -> None:
    """A run could not take it either."""
    _write(tmp_path / "pilot", TEXTS[:10])
    run_job(_job(tmp_path / "pilot", tone_service, audio=AudioSettings("flac", 8_000)))
    _write(tmp_path, TEXTS)
    options = {"reuse": str(tmp_path / "pilot" / "out")}
    estimate, _ = _estimate_and_run(_job(tmp_path, tone_service, options=options), tone_service)
    assert estimate.reused_rows == 0
    shutil.rmtree(tmp_path / "out")
    estimate, _ = _estimate_and_run(
        _job(tmp_path, tone_service, options=options, audio=AudioSettings("flac", 8_000)), tone_service
    )
    assert estimate.segments == 0


def test_audio_that_the_policy_rejects_is_not_reused(tmp_path: Path, tone_service: LocalService) -> None:
    """It was kept with its flag, and a stricter job buys it again."""
    _write(tmp_path / "pilot", TEXTS[:8])
    tone_service.set_faults([{"what": "shape", "sound": "clipped", "text": "Line 5."}])
    run_job(_job(tmp_path / "pilot", tone_service))
    tone_service.clear_faults()
    _write(tmp_path, TEXTS[:8])
    options = {"reuse": str(tmp_path / "pilot" / "out"), "quality": QualityPolicy({"clipped": "reject"})}
    estimate, _ = _estimate_and_run(_job(tmp_path, tone_service, options=options), tone_service)
    assert (estimate.segments, estimate.reused_rows) == (1, 7)


def test_a_run_that_was_stopped(tmp_path: Path, tone_service: LocalService) -> None:
    """Rows that lie in open journals are there, and so are single segments of a long text."""
    _write(tmp_path, [LONG, *TEXTS, LONG + " More.", "Line 0."])
    capped = {"budget": BudgetCap(max_characters=700), "part_rows": 4}
    stopped = run_job(_job(tmp_path, tone_service, limits={"max_concurrency": 1}, options=capped))
    assert stopped.stopped is not None
    assert stopped.this_run.attempts > 0
    estimate, _ = _estimate_and_run(_job(tmp_path, tone_service), tone_service)
    assert estimate.rows_without_text + estimate.rows_rejected_before == 2
    characters = stopped.this_run.characters_billed + estimate.characters_billed
    assert characters == tone_service.bill()["characters"]


def test_a_run_that_failed_amid_repeated_rows(tmp_path: Path, tone_service: LocalService) -> None:
    """Rows that repeat one that is done are free."""
    _write(tmp_path, [f"Line {number % 6}." for number in range(40)])
    tone_service.set_faults([{**STOPPED[0], "after": 4}])
    assert run_job(_job(tmp_path, tone_service, limits={"max_concurrency": 2})).stopped is not None
    tone_service.clear_faults()
    estimate, _ = _estimate_and_run(_job(tmp_path, tone_service), tone_service)
    assert 0 < estimate.segments < 6


@pytest.mark.parametrize("finished", [True, False])
def test_rejects(finished: bool, tmp_path: Path, tone_service: LocalService) -> None:
    """They are bought only when they are to be tried anew, in parts that are done and in those that are not."""
    _write(tmp_path, TEXTS)
    refused = [{"what": "refuse", "text": text} for text in ("Line 2.", "Line 6.", "number 20 of")]
    tone_service.set_faults([*refused, *([] if finished else STOPPED)])
    job = _job(tmp_path, tone_service, limits={"max_concurrency": 1}, options={"max_rejects": None})
    run_job(job)
    tone_service.clear_faults()
    retrying = replace(job, options=replace(job.options, retry_rejects=True))
    if finished:
        estimate, _ = _estimate_and_run(job, tone_service)
        assert (estimate.segments, estimate.rows_rejected_before) == (0, 6)
    estimate, _ = _estimate_and_run(retrying, tone_service)
    assert estimate.segments > 0
    assert estimate.rows_rejected_before == 0


def test_a_rebuild(tmp_path: Path, tone_service: LocalService) -> None:
    """What is unchanged is taken from the dataset in place, and from what was begun beside it."""
    _write(tmp_path, TEXTS[:10])
    run_job(_job(tmp_path, tone_service))
    _write(tmp_path, [*TEXTS, *(f"More {number}." for number in range(9))])
    job = _job(tmp_path, tone_service, options={"rebuild": True})
    first = estimate_rows(job.source, job)
    assert (first.segments, first.reused_rows, first.rows_there) == (9, 14, 0)
    tone_service.set_faults(STOPPED)
    assert run_job(job).stopped is not None
    tone_service.clear_faults()
    estimate, _ = _estimate_and_run(job, tone_service)
    assert 0 < estimate.segments < 9
    assert estimate.rows_there > 0
    estimate, _ = _estimate_and_run(job, tone_service)
    assert estimate.segments == 0


def test_a_source_that_has_grown(tmp_path: Path, tone_service: LocalService) -> None:
    """Only the new rows are bought, wherever their files stand."""
    _write(tmp_path / "source", TEXTS[:8], "b.parquet")
    job = _job(tmp_path, tone_service, tmp_path / "source")
    run_job(job)
    _write(tmp_path / "source", TEXTS, "c.parquet")
    estimate, _ = _estimate_and_run(job, tone_service)
    assert (estimate.rows, estimate.rows_there, estimate.segments) == (24, 8, 4)
    _write(tmp_path / "source", ["Another.", "Line 1."], "a.parquet")
    estimate, _ = _estimate_and_run(replace(job, options=replace(job.options, append=True)), tone_service)
    assert estimate.segments == 1


@pytest.mark.parametrize("is_shipped", [True, False])
def test_another_machine_goes_on(is_shipped: bool, tmp_path: Path, tone_service: LocalService) -> None:
    """It knows what was shipped to the destination; without that the rows of open parts are bought again."""
    _write(tmp_path, TEXTS)
    options = {"work_dir": tmp_path / "one", "ship_journals": is_shipped}
    tone_service.set_faults(STOPPED)
    assert run_job(_job(tmp_path, tone_service, limits={"max_concurrency": 1}, options=options)).stopped is not None
    tone_service.clear_faults()
    elsewhere = _job(tmp_path, tone_service, options={**options, "work_dir": tmp_path / "two"})
    estimate = _estimate_and_run(elsewhere, tone_service)[0]
    assert estimate.segments == 6 if is_shipped else estimate.segments > 6


def test_a_frame_is_for_a_dataset_as_in_a_run(tmp_path: Path, tone_service: LocalService) -> None:
    """A destination knows its source by its rows; on an object store as on a disk."""
    frame = pl.DataFrame({"id": range(8), "text": TEXTS[:8]})
    service, destination = (
        Service(base_url=tone_service.url, name="voices", auth="none"),
        f"memory://{uuid.uuid4().hex}/out",
    )
    estimate = tts.estimate(frame, service, model=MODEL, destination=destination, voice="Cherry", options=RUNNING)
    assert (estimate.rows, estimate.rows_there, estimate.segments) == (8, 0, 8)
    assert tts.run(frame, destination, service, model=MODEL, voice="Cherry", options=RUNNING).dataset.speech == 8
    estimate = tts.estimate(frame, service, model=MODEL, destination=destination, voice="Cherry", options=RUNNING)
    assert (estimate.rows_there, estimate.segments) == (8, 0)
    with pytest.raises(ConfigurationError, match="voice"):
        tts.estimate(frame, service, model=MODEL, destination=destination, voice="Aiden", options=RUNNING)


def test_retakes_are_within_the_bounds(tmp_path: Path, tone_service: LocalService) -> None:
    """At least as estimated, and at most with every retake; a policy without retakes has no other bound."""
    _write(tmp_path, TEXTS)
    for name, rules in (
        ("some", [{"what": "shape", "sound": "clipped", "every": 3}]),
        ("all", [{"what": "shape", "sound": "clipped"}]),
    ):
        tone_service.set_faults(rules)
        job = _job(
            tmp_path,
            tone_service,
            destination=tmp_path / name,
            options={"quality": QualityPolicy({"clipped": "retry"}, 2)},
        )
        estimate = estimate_rows(job.source, job)
        run = run_job(job).this_run
        assert estimate.segments < run.attempts <= estimate.segments_at_most == 3 * estimate.segments
        assert estimate.characters_billed < run.characters_billed <= estimate.characters_at_most
        assert estimate.cost is not None
        assert run.cost is not None
        assert estimate.cost_at_most is not None
        assert estimate.cost < run.cost <= estimate.cost_at_most
    assert run.attempts == estimate.segments_at_most
    job = replace(job, destination="", options=replace(job.options, quality=QualityPolicy({})))
    assert estimate_rows(job.source, job).segments_at_most == estimate.segments

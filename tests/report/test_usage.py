"""The bill of datasets equals the service's own, in any grouping, and never adds unlike figures."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import fsspec
import polars as pl
import pyarrow as pa
import pytest

from tests.builders import job_of, write_lines
from tests.conftest import StartEmulator
from tests.datasets import check_bill, read_table
from tests.killing import PRICE, KilledJob, write_source
from tts_pipeline.browse.snapshot import Snapshot
from tts_pipeline.cli import main
from tts_pipeline.dataset.claims import Claim, write_claim
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.errors import ConfigurationError, StorageError
from tts_pipeline.job import run_job
from tts_pipeline.report import open_parts, usage, usage_report
from tts_pipeline.schema import to_table, usage_schema
from tts_pipeline.storage.open_store import open_store
from tts_pipeline.storage.parquet import write_tables

REFUSED = {"what": "refuse", "text": "Line 3."}


def a_request(**changes: Any) -> dict[str, Any]:
    """Return a row of the usage table."""
    return {
        "attempt_id": uuid.uuid4().hex,
        **dict.fromkeys(("invocation_id", "journal_id", "service", "model"), "x"),
        "started_at": datetime(2026, 3, 1, 23, 30, tzinfo=UTC),
        "outcome": "succeeded",
        "attempt": 1,
        **dict.fromkeys(("characters_counted", "characters_billed", "characters_upper_bound"), 10),
        "tags": [],
        **changes,
    }


def write_dataset(place: str, tmp_path: Path, *rows: dict[str, Any], file: str = "usage/part-00000-a") -> str:
    """Write a dataset that is a usage table and nothing else."""
    store = open_store(place, tmp_path / "staging")
    store.write("dataset.json", b"{}")
    if rows:
        write_tables(store, f"{file}.parquet", usage_schema(), [to_table(rows, usage_schema())])
    return place


def test_the_totals_are_the_services_bill(tone_service: LocalService, tmp_path: Path) -> None:
    """Requests, characters and cost of a job with refusals and retries, grouped and added up again."""
    tone_service.set_faults([REFUSED, {"what": "error", "status": 500, "first": 2}])
    write_lines(tmp_path / "lines.parquet", 20, speaker=pa.array(["Cherry", "Stella"] * 10))
    job = job_of(tmp_path, tone_service.url, options={"tags": {"team": "blue"}})
    columns = replace(job.columns, parameters={"voice": "speaker"})
    run_job(replace(job, parameters={}, columns=columns))
    bill, out = tone_service.bill(), str(tmp_path / "out")
    for by in ([], ["voice"], ["outcome", "error_code"], ["hour", "tag:team"]):
        report = usage_report([out], by)
        assert report["requests"].sum() == bill["received"]
        assert report["characters_billed"].sum() == bill["characters"]
        assert report["cost"].sum() == sum(read_table(tmp_path / "out", "usage")["cost"].to_pylist())
        assert (report["failed"].sum(), report["open_parts"].sum()) == (3, 0)
        assert report["retries"].sum() == 2
    check_bill(tmp_path / "out", tone_service)
    assert usage_report([out], ["voice", "tag:team"]).select("voice", "tag:team").rows() == [
        ("Cherry", "blue"),
        ("Stella", "blue"),
    ]


def test_what_a_rebuild_spent_is_in_the_bill(tone_service: LocalService, tmp_path: Path) -> None:
    """The old generation's requests, and those of an unfinished new generation."""
    write_lines(tmp_path / "lines.parquet", 5)
    job = job_of(tmp_path, tone_service.url)
    run_job(job)
    again = replace(job, parameters={"voice": "Stella"}, options=replace(job.options, rebuild=True))
    tone_service.set_faults([{"what": "error", "status": 401, "code": "InvalidApiKey", "after": 2}])
    run_job(again)
    assert usage_report([job.destination])["requests"].sum() == tone_service.bill()["received"] > 5
    tone_service.clear_faults()
    run_job(again)
    assert usage_report([job.destination])["requests"].sum() == tone_service.bill()["received"]


def test_currencies_are_never_added_together(tmp_path: Path) -> None:
    """Each currency has a row; an unknown cost stays unknown, and is counted."""
    money = {"cost": Decimal("0.25"), "cost_upper_bound": Decimal("0.5")}
    rows = [a_request(currency=currency, **money) for currency in ("CNY", "USD", "CNY")]
    out = write_dataset(str(tmp_path / "out"), tmp_path, *rows, a_request(), a_request(currency="CNY"))
    report = usage_report([out]).select("currency", "requests", "cost", "cost_upper_bound", "requests_without_cost")
    half, one = Decimal("0.5"), Decimal(1)
    assert report.rows() == [("CNY", 3, half, one, 1), ("USD", 1, half / 2, half, 0), (None, 1, None, None, 1)]


def test_days_and_hours_are_utc(tmp_path: Path) -> None:
    """Whatever the reader's time zone."""
    late = datetime(2026, 3, 2, 0, 10, tzinfo=UTC)
    out = write_dataset(str(tmp_path / "out"), tmp_path, a_request(), a_request(started_at=late))
    assert [str(day) for day in usage_report([out], ["day"])["day"]] == ["2026-03-01", "2026-03-02"]
    assert usage_report([out], ["hour"])["hour"].to_list() == [
        late.replace(day=1, hour=23, minute=0),
        late.replace(minute=0),
    ]


def test_a_url_is_a_dataset_like_any_other(tmp_path: Path) -> None:
    """Several datasets are one bill, grouped by dataset; a repeated one counts once, whatever its path."""
    root = uuid.uuid4().hex
    remote = write_dataset(f"memory://{root}/out", tmp_path, a_request(), a_request(voice="Cherry"))
    local = write_dataset(str(tmp_path / "out [1]"), tmp_path, a_request(), file="usage/part-00000-b")
    try:
        (tmp_path / "link").symlink_to(local)
        again: list[str | Path] = [local, f"{tmp_path}/../{tmp_path.name}/out [1]", tmp_path / "link"]
        report = usage_report([remote, local, *again], ["dataset"]).select("dataset", "requests")
        assert dict(report.rows()) == {remote: 2, local: 1}
    finally:
        fsspec.filesystem("memory").rm(f"/{root}", recursive=True)


def test_a_dataset_without_requests_has_an_empty_bill(tmp_path: Path) -> None:
    """All columns, no rows."""
    out = write_dataset(str(tmp_path / "out"), tmp_path)
    assert usage_report([out], ["day", "tag:x"]).is_empty()
    assert usage([out]).collect_schema().names() == [*usage_schema().names, "dataset", "is_correction", "is_settlement"]


@pytest.mark.parametrize(
    ("by", "message"), [("voize", "Did you mean 'voice'"), ("tag:", "tag:KEY"), ("cost", "Known: month, day, hour")]
)
def test_what_it_cannot_be_told_apart_by_is_named(tmp_path: Path, by: str, message: str) -> None:
    """The error has the nearest name, and all known names."""
    out = write_dataset(str(tmp_path / "out"), tmp_path)
    with pytest.raises(ConfigurationError, match=message):
        usage_report([out], [by])


def test_a_place_without_a_dataset_is_told(tmp_path: Path) -> None:
    """A misspelt path is no empty bill; neither is no path."""
    with pytest.raises(ConfigurationError, match="there is no dataset at"):
        usage_report([str(tmp_path / "nowhere")])
    with pytest.raises(ConfigurationError, match="no dataset is given"):
        usage_report([])


def test_a_damaged_file_is_a_storage_error(tmp_path: Path) -> None:
    """Not a bill without this file."""
    out = write_dataset(str(tmp_path / "out"), tmp_path, a_request())
    (tmp_path / "out/usage/part-00001-b.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(StorageError, match="reading usage tables"):
        usage_report([out])


def test_the_frame_goes_on_lazily(tmp_path: Path) -> None:
    """It is a Polars frame like any other."""
    out = write_dataset(str(tmp_path / "out"), tmp_path, a_request(error_code="x"), a_request())
    assert usage([out]).filter(pl.col("error_code").is_not_null()).select(pl.len()).collect().item() == 1


def _amounts(billed: int, at_most: int, cost: str, cost_at_most: str) -> dict[str, Any]:
    counts = {"characters_billed": billed, "characters_upper_bound": at_most}
    return {**counts, "cost": Decimal(cost), "cost_upper_bound": Decimal(cost_at_most), "currency": "CNY"}


@pytest.mark.parametrize(
    "amounts",
    [_amounts(-1, 10, "1", "1"), _amounts(11, 10, "1", "1"), _amounts(1, 1, "-1", "1"), _amounts(1, 1, "2", "1")],
    ids=["negative characters", "more characters confirmed", "negative cost", "more cost confirmed"],
)
def test_amounts_that_cannot_be_true_are_a_damaged_file(tmp_path: Path, amounts: dict[str, Any]) -> None:
    """A hostile file makes no bill smaller: the error names it, on a disk and at a URL."""
    for place in (str(tmp_path / "out"), f"memory://damaged-{uuid.uuid4().hex}"):
        write_dataset(place, tmp_path, a_request())
        write_dataset(place, tmp_path, a_request(), a_request(**amounts), file="usage/part-00000-b")
        with pytest.raises(StorageError, match=r"part-00000-b\.parquet is damaged: its amounts"):
            usage_report([place])


def test_what_rests_on_reports_that_cannot_be_true_is_told(tmp_path: Path) -> None:
    """The number and the possible cost of such requests; files of earlier versions lack the column, and are read."""
    good, bad = _amounts(10, 10, "1", "1"), {**_amounts(10, 10_000, "1", "1000"), "implausible": True}
    place = write_dataset(str(tmp_path / "out"), tmp_path, a_request(**good), a_request(**bad), a_request(**bad))
    earlier = to_table([a_request(**good)], usage_schema()).drop_columns(["implausible"])
    write_tables(open_store(place, tmp_path / "staging"), "usage/part-00001-a.parquet", earlier.schema, [earlier])
    assert usage([place]).select("implausible").collect().to_series().to_list() == [None, True, True, None]
    (row,) = usage_report([place]).to_dicts()
    assert (row["requests"], row["implausible"], row["cost"]) == (4, 2, Decimal(4))
    assert (row["cost_upper_bound"], row["cost_in_question"]) == (Decimal(2_002), Decimal(2_000))
    write_dataset(place, tmp_path, a_request(), file="usage/part-00002-a")
    assert [
        (row["implausible"], row["cost_in_question"]) for row in usage_report([place], ["price_basis"]).to_dicts()
    ] == [
        (2, Decimal(2_000)),
        (0, None),
    ]


CLAIM = Claim("j", "i", 1_700_000_000_000_000, 500, Decimal("0.04"), "CNY", "local", "m", "books", {"team": "blue"})


@pytest.fixture
def claimed(tmp_path: Path) -> Path:
    """A dataset without published parts: one part is claimed."""
    store = open_store(tmp_path / "out", tmp_path)
    store.write("dataset.json", b"{}")
    write_claim(store, 3, CLAIM)
    return tmp_path / "out"


@pytest.mark.slow
def test_a_job_that_was_killed_is_on_the_bill(
    emulator: StartEmulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before a new run: confirmed <= charged <= possible, in characters and money, on the report and the page."""
    service = emulator(voice_mode="tone", tone_bytes=2_000, latency_ms=100)
    write_source(tmp_path / "lines.parquet", 100)
    job = KilledJob(service, tmp_path / "lines.parquet", str(tmp_path / "out"), tmp_path / "work", 4)
    while not service.bill()["characters"]:
        assert job.kill_at_random(within_s=0.3)
    charged = service.bill()["characters"]
    bills = [
        usage_report([job.destination]).to_dicts(),
        usage_report([job.destination], ["service", "voice", "day"]).to_dicts(),
        Snapshot(open_store(job.destination, tmp_path)).bill()["totals"],
    ]
    for rows in bills:
        (row,) = rows
        assert row["open_parts"] >= 1
        assert row["requests"] < service.bill()["received"], "those of the open part are not published"
        assert row["characters_billed"] <= charged <= row["characters_upper_bound"]
        assert row["cost"] <= PRICE * charged <= row["cost_upper_bound"]
    assert main(["report", job.destination]) == 0
    output = capsys.readouterr().out
    assert "at most" in output
    assert "Run the job again" in output


def test_an_open_part_is_told_apart_like_any_request(claimed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By account, tag and service; programs get each with its machine; an open part of a rebuild counts too."""
    (row,) = usage_report([claimed], ["account", "tag:team", "outcome"]).to_dicts()
    assert (row["account"], row["tag:team"], row["outcome"], row["cost_upper_bound"]) == (
        *("books", "blue", "unknown"),
        Decimal("0.04"),
    )
    assert (row["requests"], row["wasted_unknown"]) == (0, 0), "it is no request, and its audio may be kept"
    assert usage_report([claimed], until="2023-11-14T22:13:20")["open_parts"].sum() == 0, "it began at this instant"
    assert main(["report", str(claimed), "--format", "json"]) == 0
    (part,) = json.loads(capsys.readouterr().out)["open"]
    assert (part["part"], part["characters_upper_bound"], part["cost_upper_bound"]) == ("part-00003", 500, "0.04")
    write_claim(open_store(claimed / ".generations/2", claimed), 0, replace(CLAIM, journal_id="k"))
    assert usage_report([claimed])["characters_upper_bound"].to_list() == [1_000]


def test_an_open_part_without_a_price_has_no_cost(claimed: Path) -> None:
    """Its cost is null, not 0; it counts among open parts, not among requests."""
    write_claim(open_store(claimed, claimed), 3, replace(CLAIM, cost_upper_bound=None, currency=None))
    (row,) = usage_report([claimed]).to_dicts()
    assert (row["cost"], row["cost_upper_bound"], row["requests_without_cost"], row["open_parts"]) == (None, None, 0, 1)


@pytest.mark.parametrize("damage", [b"", b"{}", b'{"cost_upper_bound": "x"}', b"[1]"])
def test_a_damaged_claim_is_named(claimed: Path, damage: bytes) -> None:
    """Without its possible spending the bill would be too low."""
    (claim,) = (claimed / "claims").iterdir()
    claim.write_bytes(damage)
    with pytest.raises(StorageError, match=rf"{claim.name}.* is damaged"):
        open_parts([claimed])

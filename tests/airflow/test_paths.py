"""Sources and datasets where Airflow's connections lead: a real S3 API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("airflow.sdk", reason="apache-airflow is not installed (pip install 'tts-pipeline[airflow]')")

from airflow.sdk import Asset, ObjectStoragePath
from airflow.sdk.io import attach, store

from tests.airflow.tasks import context_of, job_fields, run_task
from tests.builders import write_lines
from tts_pipeline.airflow.operators.synthesize import SpeechSynthesizeOperator
from tts_pipeline.airflow.operators.usage_report import SpeechUsageReportOperator
from tts_pipeline.airflow.paths import resolve_path
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.storage.location import FsspecPath


@pytest.fixture
def bucket(s3: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A bucket that only the connections ``lake`` and ``vault`` open: nothing in the environment leads there."""
    import s3fs

    client = {"endpoint_url": s3["AWS_ENDPOINT_URL"], "region_name": s3["AWS_DEFAULT_REGION"]}
    opened = s3fs.S3FileSystem(key="test", secret="test", client_kwargs=client, skip_instance_cache=True)
    store._STORE_CACHE.clear()
    for conn_id in ("lake", "vault"):
        attach("s3", conn_id, fs=opened)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    s3fs.S3FileSystem.clear_instance_cache()
    yield opened
    store._STORE_CACHE.clear()


@pytest.mark.parametrize("place", ["/data/a", "file:///data/a", Path("/data/a"), ObjectStoragePath("file:///data/a")])
def test_local_places_are_paths(place: Any) -> None:
    """Whatever they are given as."""
    assert str(resolve_path(place)).removeprefix("file://") == "/data/a"


def test_a_url_without_a_connection_is_the_drivers_own() -> None:
    """It finds its credentials itself."""
    assert resolve_path("s3://bucket/a") == "s3://bucket/a"
    assert resolve_path(ObjectStoragePath("s3://bucket/a")) == "s3://bucket/a"


@pytest.mark.parametrize(
    ("place", "conn_id"),
    [
        ("s3://lake@bucket/a/b", None),
        ("s3://bucket/a/b", "lake"),
        (ObjectStoragePath("s3://bucket/a/b", conn_id="lake"), None),
        (ObjectStoragePath("s3://lake@bucket/a/b"), None),
        ("s3://other@bucket/a/b", "lake"),
    ],
)
def test_a_connection_opens_a_place(bucket: Any, place: Any, conn_id: str | None) -> None:
    """In the URL, in the path, or beside it, which goes first; it is no part of the place's name."""
    location = resolve_path(place, conn_id)
    assert isinstance(location, FsspecPath)
    assert (location.url, location.filesystem) == ("s3://bucket/a/b", bucket)
    assert "test" not in repr(location)


def test_storage_without_a_provider_is_told() -> None:
    """Which one to install."""
    with pytest.raises(ConfigurationError, match=r"abfs.*install the provider"):
        resolve_path("abfs://lake@bucket/a")


def test_source_dataset_and_report_on_s3(tmp_path: Path, service: LocalService, bucket: Any) -> None:
    """Through two connections; the second run finds everything there, and the report adds it up."""
    source = write_lines(tmp_path / "lines.parquet", 12)
    bucket.put_file(str(source), "bucket/texts/lines.parquet")
    fields = job_fields(tmp_path, options={"work_dir": tmp_path / "work"})
    fields |= {"source": "s3://lake@bucket/texts", "destination": ObjectStoragePath("s3://vault@bucket/spoken")}
    result = run_task(SpeechSynthesizeOperator(task_id="speak", **fields))
    assert (result["dataset"], result["speech"]) == ("s3://bucket/spoken", 12)
    assert run_task(SpeechSynthesizeOperator(task_id="speak", **fields)) == result
    assert service.bill()["received"] == 12
    assert {"speech", "usage", "parts.json"} <= {path.rsplit("/", 1)[-1] for path in bucket.ls("bucket/spoken")}
    report = SpeechUsageReportOperator(
        task_id="report",
        datasets=["s3://bucket/spoken"],
        datasets_conn_id="vault",
        by=["voice"],
        destination="s3://lake@bucket/reports/one.csv",
    )
    summary = run_task(report)
    assert summary["table"] == "s3://bucket/reports/one.csv"
    again = SpeechSynthesizeOperator(task_id="speak", outlets=[Asset("spoken")], **fields)
    context = context_of(again)
    run_task(again, outlet_events=context["outlet_events"])
    event = SimpleNamespace(extra=context["outlet_events"][Asset("spoken")].extra)
    report.datasets, report.datasets_conn_id = [], None
    assert run_task(report, triggering_asset_events={"spoken": [event]}) == summary
    assert bucket.cat_file("bucket/reports/one.csv").startswith(b"voice,requests")

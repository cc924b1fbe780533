"""Sources and jobs against the local service."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tts_pipeline.catalog import Service
from tts_pipeline.config import Limits
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.job import Job, RunOptions

MODEL = "qwen3-tts-flash"


def write_lines(path: Path, rows: int = 20, **more: Any) -> Path:
    """Write a source of short, distinct texts (``r0``: ``Line 0.``), with more columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ids = pa.array([f"r{number}" for number in range(rows)], pa.string())
    texts = pa.array([f"Line {number}." for number in range(rows)], pa.string())
    pq.write_table(pa.table({"id": ids, "text": texts, **more}), path)
    return path


def job_of(folder: Path, url: str = "http://127.0.0.1:9", **given: Any) -> Job:
    """Return a job of the source in a folder, by default on a service that is not there."""
    limits = Limits(**{"max_concurrency": 8, "stop_grace_s": 1.0, **given.pop("limits", {})})
    options = {"limits": limits, "part_rows": 5, **given.pop("options", {})}
    values: dict[str, Any] = {
        "source": folder / "lines.parquet",
        "destination": folder / "out",
        "service": Service(base_url=url, name="voices", auth="none"),
        "model": MODEL,
        "parameters": {"voice": "Cherry"},
        **given,
    }
    return Job(**values, options=RunOptions(**options))


def read(destination: Path, table: str) -> pa.Table:
    """Read one table of a dataset, all parts in order; an empty one where there is no file."""
    files = sorted((destination / table).glob("*.parquet"))
    return pa.concat_tables([pq.read_table(path) for path in files]) if files else pa.table({})


def row_ids(rows: int) -> list[str]:
    """Return the ids of the source's rows."""
    return [f"r{number}" for number in range(rows)]


def spoken_ids(destination: Path) -> list[str]:
    """Return the ids that have speech, in the dataset's order."""
    ids: list[str] = read(destination, "speech")["utterance_id"].to_pylist()
    return ids


def check_bill(destination: Path, service: LocalService) -> None:
    """Every request is in usage, and what the service charged lies between what is confirmed and what is possible."""
    usage, bill = read(destination, "usage"), service.bill()
    assert usage.num_rows >= bill["received"]
    assert len(set(usage["attempt_id"].to_pylist())) == usage.num_rows
    billed, at_most = (sum(usage[f"characters_{name}"].to_pylist()) for name in ("billed", "upper_bound"))
    assert billed <= bill["characters"] <= at_most
    if "unknown" not in usage["outcome"].to_pylist():
        assert billed == bill["characters"]
        assert usage.num_rows == bill["received"]

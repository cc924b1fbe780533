"""Generate a month of usage in a ledger, or run one step over it in a process of its own: report, freeze, show."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa

from benchmarks.contestants.task import peak_rss_mb
from tts_pipeline.browse.ledger_bill import LedgerBill
from tts_pipeline.cli import main as main_of_cli
from tts_pipeline.ledger import Ledger
from tts_pipeline.periods import microseconds
from tts_pipeline.schema import repeat, usage_schema
from tts_pipeline.storage.local_store import LocalStore
from tts_pipeline.storage.parquet import write_tables

START = datetime(2026, 11, 1, tzinfo=UTC)
END = datetime(2026, 12, 1, tzinfo=UTC)
DATASETS, HOURS = 14, 6
TEAMS = ("radio", "books", "maps")
VOICES = ("Cherry", "Chelsie", "Stella", "Aiden")


def generate(folder: Path, rows: int, files: int) -> None:
    """Write usage files of a month, each with the requests of some hours, as a journal has them."""
    generator, store = np.random.default_rng(15), LocalStore(folder)
    for number in range(files):
        count = rows // files + (number < rows % files)
        began = START + (END - START - timedelta(hours=HOURS)) * number / files
        journal = f"{microseconds(began) * 1_000:016x}{number:08x}"
        dataset = f"{number % DATASETS:016x}"
        table = _rows(generator, count, began, journal, number)
        write_tables(store, f"usage/{dataset}/part-{number:05}-{journal}.parquet", table.schema, [table])


def _rows(generator: np.random.Generator, count: int, began: datetime, journal: str, number: int) -> pa.Table:
    offsets = np.sort(generator.integers(0, HOURS * 3_600_000_000, count)) + microseconds(began)
    characters = generator.integers(5, 200, count)
    failed = generator.random(count) < 0.01
    frame = pl.DataFrame(
        {
            "started_us": offsets,
            "characters_counted": characters,
            "failed": failed,
            "voice": generator.choice(VOICES, count),
            "latency_ms": generator.integers(200, 3_000, count),
            "random": generator.integers(0, 2**62, count),
        }
    ).with_row_index()
    index, ok = pl.col("index"), ~pl.col("failed")
    billed = pl.when(ok).then("characters_counted").otherwise(0)
    started_at = pl.col("started_us").cast(pl.Datetime("us", "UTC"))
    cost = (billed.cast(pl.Decimal(18, 9)) * pl.lit("0.000080000").cast(pl.Decimal(18, 9))).cast(pl.Decimal(18, 9))
    text, null = pl.lit, pl.lit(None)
    columns: dict[str, Any] = {
        "attempt_id": text(journal + "-") + index.cast(pl.String),
        "invocation_id": text(f"{number % DATASETS:032x}"),
        "journal_id": text(journal),
        "utterance_id": text("line-") + index.cast(pl.String),
        "take": text(0),
        "segment": text(0),
        "attempt": text(1),
        "account": text("acme" if number % 2 else "labs"),
        "service": text("dashscope"),
        "model": text("qwen3-tts-flash"),
        "voice": pl.col("voice"),
        "started_at": started_at,
        "finished_at": started_at + pl.duration(milliseconds=pl.col("latency_ms")),
        "latency_ms": pl.col("latency_ms"),
        "http_status": pl.when(ok).then(200).otherwise(500),
        "outcome": pl.when(ok).then(text("succeeded")).otherwise(text("failed")),
        "error_code": pl.when(ok).then(null).otherwise(text("InternalError")),
        "request_id": pl.col("random").cast(pl.String),
        "characters_counted": pl.col("characters_counted"),
        "characters_reported": pl.when(ok).then("characters_counted"),
        "characters_billed": billed,
        "characters_upper_bound": pl.col("characters_counted"),
        "price_id": text("list-1"),
        "price_basis": text("list"),
        "cost": cost,
        "cost_upper_bound": cost,
        "currency": text("CNY"),
        "implausible": text(value=False),
        "list_cost": cost,
        "kind": text("speech"),
        "audio_ms": pl.when(ok).then(pl.col("characters_counted") * 80),
        "door": text("run"),
        "key_id": text("0123abcd"),
    }
    schema = usage_schema()
    table = frame.select(**{name: columns.get(name, null) for name in schema.names if name != "tags"}).to_arrow()
    tags = repeat([("team", TEAMS[number % len(TEAMS)])], schema.field("tags"), count)
    arrays = [tags if field.name == "tags" else table.column(field.name).cast(field.type) for field in schema]
    return pa.table(arrays, schema=schema)


def _report(folder: Path, *period: str) -> Any:
    """Run the real command; return its answer."""
    flags = ["report", "--ledger", str(folder), *period, "--by", "tag:team", "--format", "json"]
    output = StringIO()
    with redirect_stdout(output):
        status = main_of_cli(flags)
    assert status == 0
    return json.loads(output.getvalue())


def _report_from_rows(folder: Path) -> Any:
    """Report a period that does not begin with a quarter of an hour, so that sums do not answer."""
    return _report(folder, "--from", "2026-10-31T23:59:59Z", "--until", "2026-12-01")


def _compact(folder: Path) -> Any:
    return Ledger(LocalStore(folder)).compact("2026-11", "UTC", microseconds(END)).manifest.rows


def _page(folder: Path) -> Any:
    totals = LedgerBill(Ledger(LocalStore(folder))).figures("2026-11")["totals"]
    return [[total["requests"], str(total["cost"])] for total in totals]


_DUCKDB = """
SELECT map_extract_value(tags, 'team') AS team, currency, count(*) AS requests,
    count(*) FILTER (outcome = 'succeeded'), count(*) FILTER (outcome = 'discarded'),
    count(*) FILTER (outcome = 'failed'), count(*) FILTER (outcome = 'unknown'), count(*) FILTER (attempt > 1),
    sum(characters_billed), sum(characters_upper_bound), sum(cost), sum(cost_upper_bound),
    count(*) FILTER (cost_upper_bound IS NULL), count(*) FILTER (implausible),
    sum(cost_upper_bound) FILTER (implausible), count(*) FILTER (characters_reported <> characters_counted),
    sum(list_cost), sum(cost) FILTER (list_cost IS NOT NULL), sum(cost_upper_bound) FILTER (outcome = 'failed'),
    sum(cost_upper_bound) FILTER (outcome = 'unknown'), sum(cost) FILTER (outcome = 'discarded'),
    sum(cost) FILTER (outcome = 'discarded' AND error_code = 'retaken'),
    sum(audio_ms) FILTER (outcome = 'succeeded'), sum(characters_billed) FILTER (cost IS NOT NULL)
FROM read_parquet(?)
WHERE started_at >= TIMESTAMPTZ '2026-11-01 00:00:00+00' AND started_at < TIMESTAMPTZ '2026-12-01 00:00:00+00'
GROUP BY ALL ORDER BY ALL
"""
"""The sums from which every column of the report follows."""


def _duckdb(folder: Path) -> Any:
    frozen, usage = folder / "frozen" / "2026-11", folder / "usage"
    files = [str(path) for path in sorted(frozen.glob("0*.parquet")) or sorted(usage.rglob("*.parquet"))]
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    return [list(map(str, row)) for row in connection.execute(_DUCKDB, [files]).fetchall()]


STEPS: Mapping[str, Callable[[Path], Any]] = {
    "report": lambda folder: _report(folder, "--month", "2026-11"),
    "report from rows": _report_from_rows,
    "DuckDB": _duckdb,
    "compact": _compact,
    "page": _page,
}


def main() -> None:
    """Write a ledger, or run the step that the command line names; print what it took as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ledger", description=__doc__)
    parser.add_argument("step", choices=["generate", *STEPS])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--files", type=int, default=600)
    arguments = parser.parse_args()
    started_s, cpu_s = time.monotonic(), time.process_time()
    if arguments.step == "generate":
        Ledger(LocalStore(arguments.folder)).make()
        generate(arguments.folder, arguments.rows, arguments.files)
        result = None
    else:
        result = STEPS[arguments.step](arguments.folder)
    figures = {"seconds": time.monotonic() - started_s, "cpu_s": time.process_time() - cpu_s}
    print(json.dumps({**figures, "peak_mb": peak_rss_mb(), "result": result}))


if __name__ == "__main__":
    main()

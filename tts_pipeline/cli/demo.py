"""Run the command ``demo``: make a small dataset in ten languages, spoken by the local service."""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tts_pipeline.catalog import load_catalog
from tts_pipeline.cli.run import run_with_progress, summarise
from tts_pipeline.cli.status import OK, status_of_run
from tts_pipeline.cli.terminal import align_columns, print_result, print_status
from tts_pipeline.config import InputColumns
from tts_pipeline.dataset.reader import DatasetReader
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.job import Job, Report
from tts_pipeline.storage.local_store import LocalStore
from tts_pipeline.storage.location import is_local, local_path
from tts_pipeline.storage.parquet import read_columns

MODEL = "qwen3-tts-flash"
EXAMPLE_IDS = ("harbour", "baker", "orange")
MAX_WORDS = 5

_PARAMETERS = {"voice": "voice", "language_type": "language_type"}


def demo(arguments: argparse.Namespace) -> int:
    """Make the demo's dataset, or show the existing one; return the exit status.

    The lines are written beside it, as Parquet, so that a person can read them and use them with ``run``. A second run
    finds everything done, sends nothing and shows the same. The status is 0 if every line is speech except the line
    that the local service is set to refuse.
    """
    destination: str = arguments.destination
    if not is_local(destination):
        raise ConfigurationError(
            f"the demo writes to a local folder, not to {destination!r}", hint="give a folder on this machine"
        )
    script = _script()
    folder = local_path(destination)
    source = folder.with_name(f"{folder.name}-lines.parquet")
    _write_lines(source, script["lines"])
    job = Job(
        source=source,
        destination=destination,
        service=load_catalog().service("local"),
        model=MODEL,
        parameters={"enable_timestamp": True},
        columns=InputColumns(parameters=_PARAMETERS),
    )
    print_status(f"The same as a command:\n  {_equivalent_command(source, destination)}\n")
    report = run_with_progress(job, quiet=arguments.quiet, faults=[{"what": "refuse", "text": script["refused"]}])
    print_result(summarise(job, report))
    if report.stopped is None and not report.this_run.attempts:
        print_result("\nThe dataset was finished already: nothing was sent.")
    _show_rows(folder)
    return _status(report, script)


def _script() -> dict[str, Any]:
    return tomllib.loads((files(__package__) / "demo_lines.toml").read_text(encoding="utf-8"))


def _write_lines(path: Path, lines: list[Mapping[str, str]]) -> None:
    """Write the lines as Parquet, but never over a file with other content."""
    table = pa.Table.from_pylist(lines)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path)
        return
    try:
        is_same = read_columns(path).equals(table)
    except (pa.ArrowInvalid, OSError):
        is_same = False
    if not is_same:
        raise ConfigurationError(
            f"{path} exists and does not hold the demo's lines", hint="move it away, or give another destination"
        )


def _equivalent_command(source: Path, destination: str) -> str:
    flags = " ".join(f"--column {name}={column}" for name, column in _PARAMETERS.items())
    return (
        f"tts-pipeline run {source} {destination} --service local --model {MODEL} {flags} --set enable_timestamp=true"
    )


def _show_rows(folder: Path) -> None:
    dataset = DatasetReader(LocalStore(folder))
    files = dataset.files("speech")
    if not files:
        return
    names = ["utterance_id", "language", "voice", "duration_ms", "timestamps"]
    rows = {row["utterance_id"]: row for table in dataset.read_files(files, names) for row in table.to_pylist()}
    head = ("id", "language", "voice", "seconds", "first words, with their seconds")
    print_result("\n" + align_columns([head, *(_row(rows[name]) for name in EXAMPLE_IDS if name in rows)]))


def _row(row: Mapping[str, Any]) -> tuple[str, ...]:
    words = " ".join(_words(row["timestamps"] or []))
    return row["utterance_id"], row["language"] or "", row["voice"], f"{row['duration_ms'] / 1_000:.2f}", words


def _words(timestamps: list[Mapping[str, Any]]) -> Iterator[str]:
    for word in timestamps[:MAX_WORDS]:
        yield f"{word['text']} [{word['start_ms'] / 1_000:.2f}-{word['end_ms'] / 1_000:.2f}]"


def _status(report: Report, script: Mapping[str, Any]) -> int:
    refused = sum(script["refused"] in line["text"] for line in script["lines"])
    is_as_expected = report.stopped is None and report.dataset.rejects == refused
    return OK if is_as_expected else status_of_run(report.stopped_by, report.dataset.rejects)

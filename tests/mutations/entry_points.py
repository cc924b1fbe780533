"""The entry points of the package, called in this process, with their output and their exit status."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tts_pipeline.browse.row import RowAddress, read_clip, read_row
from tts_pipeline.browse.row_query import RowQuery
from tts_pipeline.browse.snapshot import Snapshot
from tts_pipeline.catalog.keys import environment
from tts_pipeline.cli import main
from tts_pipeline.cli.build_job import build_job
from tts_pipeline.cli.parser import parse_arguments
from tts_pipeline.cli.settings import read_settings
from tts_pipeline.cli.status import MEANINGS
from tts_pipeline.dataset.reader import DatasetReader
from tts_pipeline.errors import TtsPipelineError
from tts_pipeline.job import publish
from tts_pipeline.storage.open_store import open_store

MODEL = "qwen3-tts-flash"


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a command ended: its exit status, and what it printed."""

    status: int
    output: str
    errors: str

    @property
    def json(self) -> dict[str, Any]:
        """The last line of what it printed."""
        last_line: dict[str, Any] = json.loads(self.output.splitlines()[-1])
        return last_line


def arguments(source: Path, destination: Path, url: str, *more: str) -> list[str]:
    """Return the command line of a run."""
    fixed = ["--model", MODEL, "--max-concurrency", "4", "--max-attempts", "2", "--part-rows", "5"]
    voice = [] if "--voice" in more else ["--voice", "Cherry"]
    return ["run", str(source), str(destination), "--service", url, *fixed, *voice, "--quiet", "--json", *more]


def run_command(argv: Sequence[str]) -> CommandResult:
    """Run a command; whatever is not an error of ours comes through."""
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        status = main(argv)
    assert status in MEANINGS
    return CommandResult(status, output.getvalue(), errors.getvalue())


def report(dataset: Path) -> CommandResult:
    """Add up the bill."""
    return run_command(["report", str(dataset), "--format", "json"])


def estimate(source: Path, dataset: Path, url: str) -> CommandResult:
    """Estimate what is left to do."""
    return run_command(_without_concurrency("estimate", arguments(source, dataset, url)))


def validate(source: Path, dataset: Path, url: str) -> CommandResult:
    """Check the job."""
    return run_command(_without_concurrency("validate", arguments(source, dataset, url)))


def _without_concurrency(command: str, argv: Sequence[str]) -> list[str]:
    return [command, *argv[1:]]


def export(dataset: Path, destination: Path, as_: str) -> CommandResult:
    """Export a dataset."""
    return run_command(["export", os.fspath(dataset), os.fspath(destination), "--as", as_, "--quiet", "--json"])


def finalize(source: Path, dataset: Path, url: str) -> None:
    """Publish a dataset."""
    with contextlib.suppress(TtsPipelineError):
        publish(build_job(read_settings(parse_arguments(arguments(source, dataset, url))), environment()))


def browse(dataset: Path) -> None:
    """Ask for all that a page asks for, each on its own: one that fails does not end the others."""
    store = open_store(dataset, dataset)
    with contextlib.suppress(TtsPipelineError):
        snapshot = Snapshot(store)
        for ask in (snapshot.summary, snapshot.bill, snapshot.is_current, lambda: snapshot.page(RowQuery())):
            with contextlib.suppress(TtsPipelineError):
                ask()
    for table in ("speech", "rejects"):
        place = RowAddress(table, "part-00000", 1)
        with contextlib.suppress(TtsPipelineError):
            read_row(DatasetReader(store), place)
        with contextlib.suppress(TtsPipelineError):
            read_clip(DatasetReader(store), place)

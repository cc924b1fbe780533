"""Read the usage of past calls of ``synthesize`` on this machine."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from tts_pipeline.dataset.names import file_names
from tts_pipeline.dataset.usage_files import open_claims, usage_name
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.frames.call_store import CallStore
from tts_pipeline.frames.rows import Frame, materialize
from tts_pipeline.job import RunOptions
from tts_pipeline.job.ledger import ledger_of
from tts_pipeline.report.dataset import claims_frame, scan_usage_files

_FOLDER = "__folder"


def usage_of(frame: Frame | None = None, *, work_dir: Path | None = None) -> pl.DataFrame:
    """Return the usage table of the calls that made a frame: one row per sent request, failed requests included.

    Usage is kept on this machine and found by the frame's ``invocation_id``, even after the frame itself is gone.

    Args:
        frame: The frame that ``synthesize`` returned, or some of its rows, also read back from a file; None is all
            calls of this user, stopped calls included. A part whose process still runs or was killed is one ``unknown``
            row with the most that it may have spent; run the call again to settle it.
        work_dir: The ``work_dir`` of the call's ``RunOptions``.

    Returns:
        The columns of ``schemas/usage.json``; all requests of each call that has a row in the frame, and of its earlier
        runs if it was stopped and continued. A call that reused audio for all its rows has none.

    Raises:
        ConfigurationError: The frame has no column ``invocation_id``.
    """
    store = CallStore.at(work_dir, ledger_of(RunOptions()))
    store.close_finished_calls()
    tables = _read_open_calls(store)
    files = store.usage_files()  # after the open calls: one that is closed in between is in both, never in neither
    for path in files:
        tables.pop(f"usage/{path.name}", None)
    scans = [claims_frame([]).lazy().with_columns(pl.lit("").alias(_FOLDER)), *tables.values()]
    if files:
        folder = pl.col(_FOLDER).str.replace("[^/]+$", "")  # one for each call
        scans.append(scan_usage_files(files, _FOLDER).with_columns(folder))
    usage = pl.concat(scans, how="diagonal_relaxed")
    if frame is not None:
        call_folders = (
            usage.filter(pl.col("invocation_id").is_in(_invocations(frame).implode())).select(_FOLDER).unique()
        )
        usage = usage.join(call_folders, on=_FOLDER, how="semi", maintain_order="left")
    return usage.drop(_FOLDER).collect()


def _read_open_calls(store: CallStore) -> dict[str, pl.LazyFrame]:
    """Return the usage of calls that are not closed by the names of its files; claims stand in for missing files.

    The files are read at once: they go to another place when the call is closed.
    """
    tables: dict[str, pl.LazyFrame] = {}
    for dataset in store.open_datasets():
        folder = pl.lit(dataset.root).alias(_FOLDER)
        for part, claim in open_claims(dataset, ()):  # first: one that is settled in between has both, never neither
            tables[usage_name(part, claim.journal_id)] = claims_frame([claim]).lazy().with_columns(folder)
        for name in (f"usage/{file_name}" for file_name in file_names(dataset, "usage")):
            content = dataset.read(name)
            if content is not None:
                tables[name] = scan_usage_files([content]).with_columns(folder)
    return tables


def _invocations(frame: Frame) -> pl.Series:
    table = materialize(frame)
    names = table.columns if isinstance(table, pl.DataFrame) else table.column_names
    if "invocation_id" not in names:
        raise ConfigurationError(
            "the frame has no column 'invocation_id', which synthesize adds",
            hint="give the frame that synthesize returned, or some of its rows",
        )
    return pl.DataFrame(table.select(["invocation_id"]))["invocation_id"].unique()

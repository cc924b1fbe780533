"""Read the usage of past calls of ``synthesize`` on this machine."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from tts_pipeline.errors import ConfigurationError
from tts_pipeline.frames.call_store import CallStore
from tts_pipeline.frames.rows import Frame, materialize
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
    store = CallStore.at(work_dir)
    store.close_finished_calls()
    # Claims are read before the usage: a part that is published in between appears twice, never not at all.
    claims = [] if frame is not None else store.open_claims()
    open_usage = claims_frame(claims)
    files = store.usage_files()
    if not files:
        return open_usage
    usage = scan_usage_files(files, _FOLDER)
    if frame is not None:
        usage = usage.with_columns(pl.col(_FOLDER).str.replace("[^/]+$", ""))  # one folder for each call
        call_folders = (
            usage.filter(pl.col("invocation_id").is_in(_invocations(frame).implode())).select(_FOLDER).unique()
        )
        usage = usage.join(call_folders, on=_FOLDER, how="semi", maintain_order="left")
    return pl.concat([usage.drop(_FOLDER).collect(), open_usage], how="diagonal_relaxed")


def _invocations(frame: Frame) -> pl.Series:
    table = materialize(frame)
    names = table.columns if isinstance(table, pl.DataFrame) else table.column_names
    if "invocation_id" not in names:
        raise ConfigurationError(
            "the frame has no column 'invocation_id', which synthesize adds",
            hint="give the frame that synthesize returned, or some of its rows",
        )
    return pl.DataFrame(table.select(["invocation_id"]))["invocation_id"].unique()

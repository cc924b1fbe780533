"""Usage of past calls on this machine."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from tts_pipeline.errors import ConfigurationError
from tts_pipeline.frames.call_store import CallStore
from tts_pipeline.frames.rows import Frame, materialize
from tts_pipeline.report.dataset import claims_frame, scan_usage_files

_FOLDER = "__folder"


def usage_of(frame: Frame | None = None, *, work_dir: Path | None = None) -> pl.DataFrame:
    """Return the usage table of the calls that made a frame: one row per request that was sent, also those in vain.

    What ``synthesize`` bought stays on the bill when the frame is thrown away: usage is kept on this machine, and found
    by the frame's ``invocation_id``, so that nothing has to be handed around beside the frame.

    Args:
        frame: What ``synthesize`` returned, or some of its rows, also read back from a file; None is all calls of this
            user, also those that were stopped. A part whose process runs or was killed is one ``unknown`` row with all
            that it may have spent; run the call again to know.
        work_dir: As it was given in ``RunOptions``.

    Returns:
        The columns of ``schemas/usage.json``; all requests of each call that has a row in the frame, and of its earlier
        runs when it was stopped and gone on with; none where all its rows were taken from what was bought before.

    Raises:
        ConfigurationError: The frame has no column ``invocation_id``.
    """
    store = CallStore.at(work_dir)
    claims = [] if frame is not None else store.open_claims()  # before the usage: what is published meanwhile is twice
    open_usage = claims_frame(claims)
    files = store.usage_files()
    if not files:
        return open_usage
    usage = scan_usage_files(files, _FOLDER)
    if frame is not None:
        usage = usage.with_columns(pl.col(_FOLDER).str.replace("[^/]+$", ""))  # one for each call
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
            "the frame has no column 'invocation_id', which synthesize made",
            hint="give the frame as it was returned, or some rows of it",
        )
    return pl.DataFrame(table.select(["invocation_id"]))["invocation_id"].unique()

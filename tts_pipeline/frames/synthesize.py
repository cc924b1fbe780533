"""Synthesize speech for the rows of a frame, and return the frame with the speech beside its rows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextvars import copy_context
from dataclasses import replace
from functools import partial, wraps
from typing import Any, Concatenate, ParamSpec, Protocol, cast, overload

import polars as pl
import pyarrow as pa

from tts_pipeline.card import Endpoint
from tts_pipeline.catalog import AnyCatalog
from tts_pipeline.config import AudioSettings, InputColumns, Selection
from tts_pipeline.deprecation import Moved, renamed_arguments
from tts_pipeline.frames.call_store import CallStore
from tts_pipeline.frames.frame_job import FrameJob
from tts_pipeline.frames.polars_calls import refuse_double_purchase
from tts_pipeline.frames.progress import show_progress
from tts_pipeline.frames.rows import Frame, column_arguments, materialize, select, utterance_rows, with_outcomes
from tts_pipeline.job import CancelToken, Progress, RunOptions
from tts_pipeline.job.job import list_locations
from tts_pipeline.job.ledger import ledger_of
from tts_pipeline.models import ParameterValue
from tts_pipeline.source.frame_stream import ArrowStream
from tts_pipeline.storage.daemon_threads import POLL_S, DaemonExecutor

P = ParamSpec("P")


class FrameFunction(Protocol[P]):
    """A function that returns a Polars frame for a Polars frame, and an Arrow table for any other frame."""

    @overload
    def __call__(self, frame: pl.DataFrame | pl.LazyFrame, /, *args: P.args, **kwargs: P.kwargs) -> pl.DataFrame: ...
    @overload
    def __call__(self, frame: ArrowStream, /, *args: P.args, **kwargs: P.kwargs) -> pa.Table: ...


class AsyncFrameFunction(Protocol[P]):
    """The asynchronous form of ``FrameFunction``."""

    @overload
    async def __call__(
        self, frame: pl.DataFrame | pl.LazyFrame, /, *args: P.args, **kwargs: P.kwargs
    ) -> pl.DataFrame: ...
    @overload
    async def __call__(self, frame: ArrowStream, /, *args: P.args, **kwargs: P.kwargs) -> pa.Table: ...


def _typed_by_frame(synthesize: Callable[Concatenate[Frame, P], pl.DataFrame | pa.Table]) -> FrameFunction[P]:
    """Type a function so that the kind of the frame is the kind of the result."""
    return cast("FrameFunction[P]", synthesize)


def _reuse_in_options(reuse: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    if reuse is None:
        return {"cache": False}
    options = arguments.get("options") or RunOptions()
    return {"options": replace(options, reuse=[*list_locations(options.reuse), *list_locations(reuse)])}


_OLD_ARGUMENTS: Mapping[str, str | Moved] = {
    "running": "options",
    "reuse": Moved("options.reuse, and reuse=None is cache=False", _reuse_in_options),
}


async def _wait_until_done(future: asyncio.Future[Any]) -> None:
    """Wait for a future in short waits: a loop that nothing wakes does not handle signals of other threads."""
    while not future.done():
        await asyncio.wait([future], timeout=POLL_S)


def _make_async(synthesize: FrameFunction[P]) -> AsyncFrameFunction[P]:
    @renamed_arguments(**_OLD_ARGUMENTS)
    @wraps(synthesize)
    async def asynthesize(frame: Frame, /, *args: Any, **kwargs: Any) -> pl.DataFrame | pa.Table:
        refuse_double_purchase(has_cache=kwargs.get("cache", True))
        stop = kwargs["stop"] = kwargs.get("stop") or CancelToken()
        call, threads = partial(cast("Any", synthesize), frame, *args, **kwargs), DaemonExecutor(1, "synthesize")
        future = asyncio.get_running_loop().run_in_executor(threads, copy_context().run, call)
        threads.shutdown()
        try:
            await _wait_until_done(future)
        except asyncio.CancelledError:
            stop.set("cancellation")
            # Without a reader of the exception, the loop logs an error.
            future.add_done_callback(lambda done: done.cancelled() or done.exception())
            await _wait_until_done(future)
            raise
        return future.result()

    asynthesize.__name__ = asynthesize.__qualname__ = "asynthesize"
    asynthesize.__doc__ = """Synthesize speech for the rows of a frame in a thread beside the loop; see ``synthesize``.

    A cancelled call first stops in good order; the same call, made again, continues it.
    """
    return cast("AsyncFrameFunction[P]", asynthesize)


@_typed_by_frame
@renamed_arguments(**_OLD_ARGUMENTS)
def synthesize(  # noqa: PLR0913 (public: the settings of a call are keyword arguments)
    frame: Frame,
    /,
    service: Endpoint,
    *,
    model: str,
    text: str | pl.Expr | None = None,
    utterance_id: str | pl.Expr | None = None,
    columns: Mapping[str, str] | InputColumns | None = None,
    audio: AudioSettings | None = None,
    selection: Selection | None = None,
    options: RunOptions | None = None,
    cache: bool = True,
    catalog: AnyCatalog | None = None,
    progress: bool | None = None,
    stop: CancelToken | None = None,
    unchecked: Sequence[str] = (),
    **parameters: ParameterValue | pl.Expr,
) -> pl.DataFrame | pa.Table:
    """Synthesize speech for the rows of a frame, and return the frame with the result of each row beside it.

    A call is as durable as a job. After a kill or a stop, the same call buys only the requests that were in flight.
    Repeated later, it buys nothing, nor does another call with the same requests, as long as their audio is kept: at
    most 10 GiB, in the user's state directory, oldest removed first. Two equal calls at the same time both buy.
    ``usage_of(spoken)`` is the bill.

    It works in ``frame.pipe``, in a notebook, and where an event loop runs: it blocks the loop, ``asynthesize`` does
    not. Ctrl-C, a budget and an outage stop it in good order.

    Args:
        frame: The rows: a Polars DataFrame, a LazyFrame, which is computed first, or any object with
            ``__arrow_c_stream__`` (pyarrow, pandas, DuckDB). All audio is returned in memory; if that is too much,
            ``run`` takes the same frames and makes a dataset.
        service: The service, with its key; see ``find_service``.
        model: The model's name, as the service knows it.
        text: The column of the text, or an expression; None is that of ``columns``, which is ``text`` by default.
        utterance_id: The column of the id, which names the row in the bill, or an expression; None is that of
            ``columns``, by default ``id`` if there is such a column, else the row's number. The row's number is added
            to a repeated id.
        columns: Voice parameter -> column that carries it row by row; a null leaves the parameter unset. Or an
            ``InputColumns`` without ``rename``, ``hive`` and ``drop``, which are for files.
        audio: The format and sample rate of the audio; None is audio as received.
        selection: The rows to take; None is all rows.
        options: How the call is run: limits, budget, reuse, quality; None is the defaults. A budget holds over all runs
            of the same call until it has ended. ``work_dir`` replaces the user's state directory.
        cache: Whether purchases are kept in the state directory, and reused from there. If not, the purchases of a
            stopped call are lost.
        catalog: Services, cards and prices, or the TOML file of your own; None is the built-in catalog.
        progress: None shows progress on a terminal and in a notebook; True prints lines on standard error elsewhere.
        stop: Stops the call from another thread; see ``tts_pipeline.CancelToken``. With None only signals stop it.
        unchecked: Names of parameters that are sent without a check against the model's card.
        **parameters: Voice parameters: a value is the same for all rows (``voice="Cherry"``), a Polars expression
            differs from row to row (``voice=pl.col("speaker")``), also for Arrow tables.

    Returns:
        The selected rows in their order; a Polars DataFrame for Polars, else a ``pyarrow.Table``. Their own columns are
        followed by ``utterance_id`` and the columns of the speech table from ``audio`` on (see
        ``schemas/speech.json``), and by ``error_class``, ``error_code`` and ``message`` of the rejects table. A row is
        either speech, and its errors are null, or a reject, and its ``audio`` is null; a row without text is a reject.
        Equal requests are bought once: the first has the cost, the others cost 0. Texts and bytes of an Arrow table
        have the large types.

    Raises:
        ConfigurationError: An argument or a column is wrong, or ``cache`` is off and Polars, which may call a function
            twice, is the caller. Nothing was sent. Never retried.
        StoppedError: A budget, an outage, too many rejects or an interruption stopped the call. Not retried: make the
            same call again to continue.
        FatalError: The service refuses all rows (key, balance, model). Not retried: make the same call again.
        StorageError: The disk failed. Not retried: make the same call again.

    Example:
        >>> import polars as pl
        >>> import tts_pipeline as tts
        >>> lines = pl.DataFrame({"text": ["Good morning.", "早上好。"], "speaker": ["Cherry", "Chelsie"]})
        >>> spoken = tts.synthesize(lines, service, model="qwen3-tts-flash", voice=pl.col("speaker"))
        >>> spoken.select("speaker", "characters_billed", "cost", "error_code").rows()
        [('Cherry', 13, Decimal('0.001040000'), None), ('Chelsie', 7, Decimal('0.000560000'), None)]
        >>> tts.usage_of(spoken)["outcome"].to_list()
        ['succeeded', 'succeeded']
    """
    refuse_double_purchase(has_cache=cache)
    options = options or RunOptions()
    store = CallStore.at(options.work_dir, ledger_of(options))
    arguments = column_arguments(text, utterance_id, columns, parameters)
    table = select(materialize(frame), selection or Selection())
    rows = utterance_rows(table, arguments)
    frame_job = FrameJob(
        service=service,
        model=model,
        fixed_parameters=arguments.fixed_parameters,
        column_parameters=tuple(arguments.column_parameters),
        audio=audio or AudioSettings(),
        catalog=catalog,
        options=options,
        unchecked=tuple(unchecked),
        cache=store.file_cache_dir() if cache else None,
    )
    counts = Progress()
    with show_progress(counts, progress):
        outcomes = frame_job.run(rows, store, counts, stop or CancelToken())
    store.tidy()
    return with_outcomes(table, rows, outcomes)


asynthesize = _make_async(synthesize)

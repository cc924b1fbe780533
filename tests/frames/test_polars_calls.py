"""Inside a function that Polars calls: it may do so twice."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import tts_pipeline as tts
from tests.builders import NOWHERE, call_arguments, line_frame
from tts_pipeline.config import Limits
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.frames.polars_calls import called_by_polars
from tts_pipeline.job import RunOptions

FRAME = line_frame(6).with_columns(group=pl.lit(1))


def _elementwise(say: Callable[[Any], Any], lazy: pl.LazyFrame) -> pl.LazyFrame:
    return lazy.select(pl.col("text").map_batches(say, return_dtype=pl.String, is_elementwise=True))


CALLS: dict[str, Callable[[Callable[[Any], Any], pl.LazyFrame], pl.LazyFrame]] = {
    "map_batches": lambda say, lazy: lazy.map_batches(say),
    "streamable map_batches": lambda say, lazy: lazy.map_batches(say, streamable=True),
    "map_batches of an expression": lambda say, lazy: lazy.select(
        pl.col("text").map_batches(say, return_dtype=pl.String)
    ),
    "elementwise map_batches": _elementwise,
    "map_elements": lambda say, lazy: lazy.select(pl.col("text").map_elements(say, return_dtype=pl.String)),
    "map_groups": lambda say, lazy: lazy.group_by("group").map_groups(say, schema=FRAME.schema),
}


@pytest.mark.parametrize("engine", ["in-memory", "streaming"])
@pytest.mark.parametrize("name", CALLS)
def test_polars_is_known_by_every_way_it_calls(name: str, engine: Any) -> None:
    """In its own threads and in ours, eager and streamed."""
    known: list[bool] = []

    def say(rows: Any) -> Any:
        known.append(called_by_polars())
        return rows

    CALLS[name](say, FRAME.lazy()).collect(engine=engine)
    assert known
    assert all(known)


def test_a_pipe_is_no_such_call() -> None:
    """Nor is a thread of one's own, nor a coroutine."""
    known = [
        FRAME.pipe(lambda _: called_by_polars()),
        FRAME.lazy().pipe(lambda _: called_by_polars()),
        called_by_polars(),
        asyncio.run(asyncio.to_thread(called_by_polars)),
    ]
    thread = threading.Thread(target=lambda: known.append(called_by_polars()))
    thread.start()
    thread.join()
    assert not any(known)


@pytest.mark.parametrize("streamable", [False, True])
def test_without_a_cache_nothing_is_bought_there(streamable: bool, tmp_path: Path) -> None:
    """The error goes through Polars to who collects."""
    impatient = RunOptions(limits=Limits(max_outage_s=0.1), work_dir=tmp_path)

    def say(rows: pl.DataFrame) -> pl.DataFrame:
        return tts.synthesize(rows, NOWHERE, model="qwen3-tts-flash", cache=False, options=impatient)

    with pytest.raises(ConfigurationError, match="twice"):
        FRAME.lazy().map_batches(say, schema=FRAME.schema, streamable=streamable).collect(engine="streaming")


@pytest.mark.parametrize("engine", ["in-memory", "streaming"])
def test_with_a_cache_it_works_and_twice_costs_once(engine: Any, tone_service: LocalService, tmp_path: Path) -> None:
    """However often Polars calls; no display is drawn there."""
    arguments = call_arguments(tone_service, tmp_path)
    schema = tts.synthesize(line_frame(1), voice="Cherry", **arguments).schema
    say: Callable[[pl.DataFrame], pl.DataFrame] = lambda rows: tts.synthesize(rows, voice="Cherry", **arguments)  # noqa: E731
    for _ in range(2):
        spoken = line_frame(60).lazy().map_batches(say, schema=schema, streamable=True).collect(engine=engine)
        assert sorted(spoken["text"]) == sorted(line_frame(60)["text"])
        assert spoken["audio"].null_count() == 0
    assert tone_service.bill()["received"] == 60

"""``estimate``, for a frame, a file and everything else that has rows."""

from __future__ import annotations

import doctest
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

import tts_pipeline as tts
from tests.builders import NARRATOR, NOW, STUDIO
from tts_pipeline.catalog import Catalog
from tts_pipeline.config import InputColumns, Limits, Selection
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.estimates import estimate, estimate_rows
from tts_pipeline.job import Job, RunOptions

CATALOG = Catalog({}, {("studio", "narrator"): NARRATOR})
ROWS = {"text": ["Hello.", "你好。", "Hello.", None], "who": ["anna", "bert", "anna", "bert"]}


def _stored(folder: Path) -> str:
    path = folder / "lines.parquet"
    pl.DataFrame(ROWS).write_parquet(path)
    return str(path)


KINDS: dict[str, Callable[[Path], Any]] = {
    "frame": lambda _: pl.DataFrame(ROWS),
    "lazy": lambda _: pl.LazyFrame(ROWS),
    "arrow": lambda _: pa.table(ROWS),
    "path": _stored,
}


@pytest.mark.parametrize("kind", KINDS)
def test_everything_that_has_rows_can_be_estimated(kind: str, tmp_path: Path) -> None:
    """With the same figures; ids are not needed for them."""
    options = RunOptions(limits=Limits(requests_per_minute=60))
    result = estimate(
        KINDS[kind](tmp_path),
        STUDIO,
        model="narrator",
        columns={"voice": "who"},
        options=options,
        catalog=CATALOG,
        language="en",
    )
    assert (result.rows, result.rows_without_text, result.repeated_rows, result.segments) == (4, 1, 1, 2)
    assert (result.characters_billed, result.cost, result.currency) == (11, Decimal("0.002200000"), "EUR")
    assert (result.price_id, result.price_basis) == ("studio-list", "list")
    assert (result.elapsed_s, result.limited_by, result.requests_per_minute) == (2.0, "requests_per_minute", 60.0)
    assert {(totals.language, totals.voice): totals.rows for totals in result.spoken} == {
        ("en", "anna"): 2,
        ("en", "bert"): 1,
    }
    assert result.audio_bytes == pytest.approx(result.audio_hours * 3_600 * 48_000, abs=1)


def test_the_text_may_be_another_column() -> None:
    """``InputColumns`` names it."""
    frame = pl.DataFrame({"line": ["Hello."], "who": ["anna"]})
    columns = InputColumns(text="line", parameters={"voice": "who"})
    assert estimate(frame, STUDIO, model="narrator", columns=columns, catalog=CATALOG).characters_billed == 6


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        ({"txt": ["a"]}, {}, "Did you mean 'txt'"),
        ({"text": [1]}, {}, "not string"),
        ({"text": ["a"], "who": ["carl"]}, {"voice": "who"}, r"'carl' \(1 row\)"),
        ({"text": ["a"]}, {"voice": "who"}, "no column 'who'"),
        ({"text": ["a"], "who": ["x"]}, {"pitch": "who"}, "no parameter 'pitch'"),
        ({"text": ["a"], "n": ["x"]}, {"take": "n"}, "not integer"),
    ],
)
def test_what_a_run_refuses_is_refused(rows: dict[str, Any], columns: dict[str, str], message: str) -> None:
    """With the same words."""
    with pytest.raises(ConfigurationError, match=message):
        estimate(pl.DataFrame(rows), STUDIO, model="narrator", columns=columns, catalog=CATALOG)


def test_columns_that_speech_has_too_are_no_trouble() -> None:
    """A dataset's own speech table can be estimated for another voice."""
    frame = pl.DataFrame({"utterance_id": ["a"], "text": ["Hello."], "cost": [1]})
    assert estimate(frame, STUDIO, model="narrator", catalog=CATALOG).segments == 1


def test_a_job_may_ask_for_ids_and_a_selection() -> None:
    """As the command line does: a run would look for them."""
    rows = pl.DataFrame({"id": ["a", "b"], "text": ["Hello.", "Bye."]})
    job = Job("", "", STUDIO, "narrator", selection=Selection(limit=1), catalog=CATALOG)
    assert estimate_rows(rows, job, today=NOW.date()).characters_billed == 6
    with pytest.raises(ConfigurationError, match="no column 'id'"):
        estimate_rows(rows.drop("id"), job)


def test_a_services_own_rate_counts_as_given() -> None:
    """It is what a run would keep to."""
    service = tts.load_catalog().service("dashscope")
    result = estimate(pl.DataFrame({"text": ["Hello."] * 2}), service, model="qwen3-tts-flash", voice="Cherry")
    assert result.requests_per_minute == 180.0
    assert result.elapsed_s == pytest.approx(1 / 3), "two equal lines are one request"


def test_the_documented_example_runs() -> None:
    """As it stands."""
    (example,) = doctest.DocTestFinder(recurse=False).find(estimate, "example")
    assert doctest.DocTestRunner().run(example).failed == 0

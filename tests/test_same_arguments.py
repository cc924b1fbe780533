"""The public functions take the same names for the same things."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import tts_pipeline as tts
from tests.builders import MODEL
from tests.datasets import read_table
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.errors import ConfigurationError

NAMES = {"text", "utterance_id", "columns", "audio", "selection", "options", "catalog", "unchecked"}
"""The arguments of every function, by their common names."""

LINES = pl.DataFrame(
    {"key": ["a", "b", "c"], "line": ["One.", "Two, too.", "Three."], "speaker": ["Cherry", "Chelsie", "Cherry"]}
)

Call = Callable[[Path, tts.Service, dict[str, Any]], tuple[list[str], int, int]]
"""Calls a function; returns the ids, the characters billed and the sample rate of its output."""


def arguments(folder: Path) -> dict[str, Any]:
    """Return arguments for every function: two of the three lines, by their own names, at 16 kHz."""
    return {
        "text": "line",
        "utterance_id": "key",
        "columns": {"voice": "speaker"},
        "audio": tts.AudioSettings("wav", 16_000),
        "selection": tts.Selection(limit=2),
        "options": tts.RunOptions(work_dir=folder / "work", tags={"team": "blue"}),
    }


def write_catalog(folder: Path) -> Path:
    """Write a catalog with one service, and return its file."""
    file = folder / "mine.toml"
    file.write_text('[services.studio]\nbase_url = "http://127.0.0.1:1"\nauth = "none"\n')
    return file


def outcome_of(dataset: Path) -> tuple[list[str], int, int]:
    """Return ids, characters billed and sample rate of a dataset."""
    speech = read_table(dataset, "speech").sort_by("utterance_id")
    (rate,) = set(speech["sample_rate_hz"].to_pylist())
    return speech["utterance_id"].to_pylist(), sum(speech["characters_billed"].to_pylist()), rate


def _run(folder: Path, service: tts.Service, fields: dict[str, Any]) -> tuple[list[str], int, int]:
    tts.run(LINES, folder / "out", service, model=MODEL, catalog=write_catalog(folder), **fields)
    return outcome_of(folder / "out")


def _job(folder: Path, service: tts.Service, fields: dict[str, Any]) -> tuple[list[str], int, int]:
    LINES.write_parquet(folder / "lines.parquet")
    columns = tts.InputColumns(fields.pop("text"), fields.pop("utterance_id"), parameters=fields.pop("columns"))
    values = {**fields, "columns": columns, "catalog": tts.load_catalog(write_catalog(folder))}
    job = tts.Job(folder / "lines.parquet", folder / "out", service, MODEL, **values)
    for shard in tts.plan(job, 2):
        tts.run_parts(job, shard)
    tts.publish(job)
    return outcome_of(folder / "out")


def _synthesize(folder: Path, service: tts.Service, fields: dict[str, Any]) -> tuple[list[str], int, int]:
    return _outcome_of_frame(tts.synthesize(LINES, service, model=MODEL, catalog=str(write_catalog(folder)), **fields))


def _asynthesize(folder: Path, service: tts.Service, fields: dict[str, Any]) -> tuple[list[str], int, int]:
    call = tts.asynthesize(LINES, service, model=MODEL, catalog=tts.load_catalog(), **fields)
    return _outcome_of_frame(asyncio.run(call))


def _outcome_of_frame(spoken: pl.DataFrame) -> tuple[list[str], int, int]:
    (rate,) = set(spoken["sample_rate_hz"])
    return spoken["utterance_id"].to_list(), sum(spoken["characters_billed"]), rate


@pytest.mark.parametrize("function", [tts.run, tts.synthesize, tts.asynthesize, tts.estimate])
def test_every_function_has_the_same_names(function: Callable[..., Any]) -> None:
    """By keyword only, and without a value they are the defaults."""
    parameters = inspect.signature(function).parameters
    assert parameters.keys() >= NAMES
    assert {parameters[name].kind for name in NAMES} == {inspect.Parameter.KEYWORD_ONLY}
    assert inspect.Parameter.empty not in {parameters[name].default for name in NAMES}


@pytest.mark.parametrize("call", [_run, _job, _synthesize, _asynthesize])
def test_the_same_arguments_make_the_same_speech(call: Call, tone_service: LocalService, tmp_path: Path) -> None:
    """The text's and the id's column, a voice for each row, the audio, and which rows."""
    service = tts.Service(base_url=tone_service.url, auth="none")
    assert call(tmp_path, service, arguments(tmp_path)) == (["a", "b"], len("One.Two, too."), 16_000)
    assert tone_service.bill()["received"] == 2


def test_an_estimate_counts_what_the_same_arguments_buy(tone_service: LocalService, tmp_path: Path) -> None:
    """Whether or not it is for a dataset."""
    service = tts.Service(base_url=tone_service.url, auth="none")
    for destination in (None, tmp_path / "out"):
        fields = {**arguments(tmp_path), "catalog": tts.load_catalog(), "destination": destination}
        estimate = tts.estimate(LINES, service, model=MODEL, **fields)
        assert (estimate.segments, estimate.characters_billed) == (2, len("One.Two, too."))
    assert tone_service.bill()["received"] == 0


@pytest.mark.parametrize("call", [_run, _synthesize, _asynthesize])
@pytest.mark.parametrize("name", ["text", "utterance_id"])
def test_a_column_that_is_not_there_is_named(call: Call, name: str, tone_service: LocalService, tmp_path: Path) -> None:
    """Before anything is sent."""
    service = tts.Service(base_url=tone_service.url, auth="none")
    with pytest.raises(ConfigurationError, match="lien"):
        call(tmp_path, service, {**arguments(tmp_path), name: "lien"})
    assert tone_service.bill()["received"] == 0


def test_a_catalog_is_a_value_or_its_file(tmp_path: Path) -> None:
    """Read once, where a job is made; a file that is not there is named."""
    file = write_catalog(tmp_path)
    catalog = tts.load_catalog(file)
    assert tts.load_catalog(catalog) is catalog
    service = tts.find_service("studio", catalog=file, environ={})
    assert service == tts.find_service("studio", catalog=catalog, environ={})
    job = tts.Job("in", "out", service, MODEL, catalog=str(file))
    assert job == tts.Job("in", "out", service, MODEL, catalog=catalog)
    with pytest.raises(ConfigurationError, match=r"unknown service 'there'"):
        tts.find_service("there", catalog=file)
    for function in (tts.run, tts.synthesize, tts.asynthesize, tts.estimate, tts.estimate_cost, tts.find_service):
        assert "AnyCatalog" in str(inspect.signature(function).parameters["catalog"].annotation)
    with pytest.raises(ConfigurationError, match=r"theirs\.toml"):
        tts.estimate(LINES, service, model=MODEL, text="line", catalog=tmp_path / "theirs.toml")


def test_prices_are_laid_over_a_catalog_that_is_loaded(tmp_path: Path) -> None:
    """As over one that is in a file."""
    prices = tmp_path / "prices.toml"
    prices.write_text(f"""[prices.mine]
service = "modelstream"
model = "{MODEL}"
currency = "EUR"
per_10k_characters = 0.5
""")
    loaded = tts.load_catalog(tts.load_catalog(write_catalog(tmp_path)), prices)
    assert loaded == tts.load_catalog(str(write_catalog(tmp_path)), str(prices))
    assert [price.price_id for price in loaded.prices["modelstream", MODEL]] == ["mine"]


def test_arguments_go_over_the_columns_value() -> None:
    """What names a column by itself wins; an id's column means that no ids are made."""
    columns = tts.InputColumns(text="t", generate_ids=True, drop=("x",), hive=False)
    assert tts.InputColumns.from_arguments(columns) == columns
    combined = tts.InputColumns.from_arguments(columns, text="line", utterance_id="key", drop=["y"])
    assert combined == tts.InputColumns("line", "key", drop=("x", "y"), hive=False)

"""Rows and sums of a ledger agree, and say which rows came late."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from tests.ledger.processes import NOW_US
from tests.ledger.usage import expected_sums, guess_rows, journal_id, put_usage, sums_of, usage_rows
from tts_pipeline.ledger import Ledger
from tts_pipeline.ledger.scan import MARKS, scan_ledger, scan_sums
from tts_pipeline.ledger.sums import KEYS, MEASURES
from tts_pipeline.periods import microseconds
from tts_pipeline.schema import usage_schema
from tts_pipeline.storage.local_store import LocalStore
from tts_pipeline.storage.store import Store

AT = datetime(2026, 11, 15, tzinfo=UTC)


def _ledger(store: Store, *, is_frozen: bool = True) -> Ledger:
    """Return a ledger with a lost journal and one of 60 minutes; the latter's rows are added up by quarter hour."""
    dataset, ledger = store.subfolder("dataset"), Ledger(store.subfolder("ledger"))
    lost, known = journal_id(AT), journal_id(AT, 1)
    put_usage(dataset, 0, lost, guess_rows(lost, AT, 1_000))
    put_usage(dataset, 1, known, usage_rows(known, AT, rows=60))
    ledger.sync_dataset(dataset, "/data/one")
    if is_frozen:
        (table,) = ledger.compact("2026-11", "UTC", NOW_US).manifest.tables
        assert (table.rows, table.sums_rows) == (61, 5)
    return ledger


def test_an_empty_ledger_has_the_columns(store: Store) -> None:
    """Of usage, and what the ledger says of each row."""
    contents = Ledger(store).contents()
    frame = scan_ledger(contents).collect()
    assert frame.height == 0
    assert frame.columns == [*usage_schema().names, "dataset_id", *MARKS]
    sums = scan_sums(contents, MEASURES)
    assert sums is not None
    assert sums.collect().columns == [*KEYS, *MEASURES, *MARKS]


def test_sums_answer_what_they_hold(store: Store) -> None:
    """Their columns, and periods of whole quarter hours; all else is answered by the rows."""
    ledger = _ledger(store)
    assert scan_sums(ledger.contents(), {"cost", "tags", "is_correction", "dataset"}) is not None
    assert scan_sums(ledger.contents(), {"utterance_id"}) is None
    at_us = microseconds(AT)
    assert scan_sums(ledger.contents(at_us, at_us + 900_000_000), MEASURES) is not None
    assert scan_sums(ledger.contents(at_us, at_us + 60_000_000), MEASURES) is None
    assert sums_of(ledger, AT, AT + timedelta(minutes=15))["requests"] == 16


def test_sums_forget_a_guess_that_was_replaced(store: Store) -> None:
    """The guess is taken away from the sums of its month, and leaves no row of zeros behind."""
    ledger = _ledger(store)
    lost, known = journal_id(AT), journal_id(AT, 1)
    rows = usage_rows(lost, AT, rows=2, voice="Stella")
    dataset = store.subfolder("dataset")
    put_usage(dataset, 0, lost, rows)
    ledger.sync_dataset(dataset, "/data/one")
    assert sums_of(ledger) == expected_sums([*rows, *usage_rows(known, AT, rows=60)])
    sums = scan_sums(ledger.contents(), MEASURES)
    assert sums is not None
    by_voice = sums.group_by("voice", "is_correction").agg(pl.col("requests").sum()).collect().sort("voice")
    assert by_voice.rows() == [("Cherry", False, 60), ("Stella", True, 2)]


def test_a_condition_and_a_limit_are_kept(store: Store) -> None:
    """Whether Polars reads the files itself or not."""
    for is_frozen in (False, True):
        rows = scan_ledger(_ledger(store.subfolder(str(is_frozen)), is_frozen=is_frozen).contents())
        long = rows.filter(pl.col("characters_billed") > 30)
        assert long.select(pl.len()).collect().item() == 30
        assert long.head(7).collect().height == 7
        assert rows.select("tags", "dataset").collect().height == 61


def test_what_is_too_varied_has_no_sums(store: Store) -> None:
    """Sums of as many rows as there are requests would save nothing."""
    dataset, ledger = store.subfolder("dataset"), Ledger(store.subfolder("ledger"))
    rows = [{**row, "tags": [("row", row["utterance_id"])]} for row in usage_rows(journal_id(AT), AT, rows=60)]
    put_usage(dataset, 0, journal_id(AT), rows)
    ledger.sync_dataset(dataset, "/data/one")
    (table,) = ledger.compact("2026-11", "UTC", NOW_US).manifest.tables
    assert (table.sums_name, table.sums_rows) == (None, 0)
    assert sums_of(ledger) == expected_sums(rows)
    sums = scan_sums(ledger.contents(), MEASURES)
    assert sums is not None
    assert sums.select("tags").unique().collect().height == 60


def test_the_places_of_datasets_are_found_in_flat_memory(tmp_path: Path) -> None:
    """No step of reading needs all rows at once, as the streaming engine does them all."""
    ledger = _ledger(LocalStore(tmp_path))
    for rows in (scan_ledger(ledger.contents()), scan_sums(ledger.contents(), KEYS)):
        assert rows is not None
        places = rows.group_by("dataset").agg()
        graph = places.show_graph(plan_stage="physical", engine="streaming", raw_output=True)
        assert graph is not None
        in_memory = re.search(r"COLOR=(\"[\d. ]+\")>⬤</FONT> in-memory engine", graph)
        assert in_memory is not None
        assert f"fillcolor={in_memory[1]}" not in graph
        assert places.collect().to_series().to_list() == ["/data/one"]

"""Increments add up to the bill: each usage file is in exactly one, whoever reports when."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ledger.usage import COST, Sums, expected_sums, guess_rows, journal_id, put_usage, sums_of, usage_rows
from tests.machine import patience
from tests.report.test_usage import CLAIM
from tts_pipeline.dataset.claims import write_claim
from tts_pipeline.errors import ConfigurationError, StorageError
from tts_pipeline.ledger import Ledger
from tts_pipeline.periods import microseconds
from tts_pipeline.report.increments import Increment, Increments
from tts_pipeline.report.usage_files import UsageFiles, files_of_datasets, files_of_ledger
from tts_pipeline.schema import to_table, usage_schema
from tts_pipeline.storage.open_store import open_store
from tts_pipeline.storage.store import Store

NOVEMBER = datetime(2026, 11, 15, 12, tzinfo=UTC)
BY = ("day", "voice", "tag:team")


@pytest.fixture
def dataset(store: Store) -> Store:
    return store.subfolder("dataset")


@pytest.fixture
def increments(store: Store) -> Increments:
    return Increments(store.subfolder("state"))


def publish(dataset: Store, number: int, at: datetime = NOVEMBER, **more: Any) -> list[dict[str, Any]]:
    """Publish the usage of a part; return its rows."""
    journal = journal_id(at, number)
    rows = usage_rows(journal, at, rows=number + 1, **more)
    put_usage(dataset, number, journal, rows)
    return rows


def night(increments: Increments, number: int, files: UsageFiles, by: Iterable[str] = BY) -> Increment:
    """Report as one run of a DAG."""
    return increments.make(f"run {number}", f"bill-{number}.csv", files, list(by))


def added_up(made: Iterable[Increment]) -> Sums:
    """Add up what several tables say."""
    report = pl.concat([increment.report.select(*expected_sums([])) for increment in made])
    return report.select(pl.all().fill_null(0).sum()).row(0, named=True)


def test_each_night_counts_what_is_new(increments: Increments, dataset: Store) -> None:
    """Whenever it was sent: usage that is published late is in the next increment; a night without usage is empty."""
    first = publish(dataset, 1)
    made = [night(increments, 1, files_of_datasets([dataset]))]
    late = publish(dataset, 2, NOVEMBER - timedelta(days=30))
    made += [night(increments, number, files_of_datasets([dataset])) for number in (2, 3)]
    assert [increment.report["requests"].to_list() for increment in made] == [[2], [3], []]
    assert [increment.number for increment in made] == [1, 2, 3]
    assert made[1].report.select(BY).row(0) == (NOVEMBER.date() - timedelta(days=30), "Cherry", "radio")
    assert added_up(made) == expected_sums([*first, *late])
    assert added_up([made[1]]) == expected_sums(late)


def test_a_run_that_is_repeated_gets_its_increment(increments: Increments, dataset: Store) -> None:
    """Not what has come since, and also when the dataset is gone, or the keys have changed."""
    publish(dataset, 1)
    made = night(increments, 1, files_of_datasets([dataset]))
    publish(dataset, 2)
    night(increments, 2, files_of_datasets([dataset]))
    again = night(increments, 1, files_of_datasets([dataset]), by=["service"])
    assert again.report.equals(made.report)
    dataset.remove_folder("usage")
    kept = increments.of_run("run 1")
    assert kept is not None
    assert (kept.number, kept.files) == (1, 1)
    assert kept.report.equals(made.report)
    assert increments.of_run("run 3") is None


def test_runs_at_the_same_time_divide_the_usage(increments: Increments, dataset: Store) -> None:
    """Each file is counted by one of them, and none by two."""
    rows = [row for number in range(12) for row in publish(dataset, number)]
    files = files_of_datasets([dataset])
    barrier = threading.Barrier(6)
    made: list[Increment] = []

    def run(number: int) -> None:
        barrier.wait(patience(30))
        made.append(night(increments, number, files))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(patience(60))
    assert sorted(increment.number for increment in made) == [1, 2, 3, 4, 5, 6]
    assert added_up(made) == expected_sums(rows)


def test_usage_that_replaces_a_guess_is_counted_without_it(increments: Increments, dataset: Store) -> None:
    """The guess is taken away, on its day and with its keys; other keys by then are no reason to count it twice."""
    lost = journal_id(NOVEMBER)
    put_usage(dataset, 0, lost, guess_rows(lost, NOVEMBER, 1_000))
    made = [night(increments, 1, files_of_datasets([dataset]))]
    assert added_up(made)["cost_upper_bound"] == 1_000 * COST
    real = usage_rows(lost, NOVEMBER, rows=6)
    put_usage(dataset, 0, lost, real)
    made.append(night(increments, 2, files_of_datasets([dataset])))
    assert made[1].report["requests"].to_list() == [6, -1]
    assert added_up(made) == expected_sums(real)
    put_usage(dataset, 0, lost, guess_rows(lost, NOVEMBER, 1_000))
    made.append(night(increments, 3, files_of_datasets([dataset]), by=["model"]))
    assert added_up(made) == expected_sums(guess_rows(lost, NOVEMBER, 1_000))


def test_a_file_is_known_by_its_journal(increments: Increments, dataset: Store, store: Store) -> None:
    """A rebuild renames it, and a dataset is copied: it is the same usage."""
    rows = publish(dataset, 3)
    name = f"part-00003-{rows[0]['journal_id']}.parquet"
    copy = store.subfolder("copy")
    put_usage(copy, 3, rows[0]["journal_id"], rows)
    made = [night(increments, 1, files_of_datasets([dataset, copy, dataset]))]
    dataset.move(f"usage/{name}", f"usage/generation-1-{name}")
    made += [night(increments, 2, files_of_datasets([dataset])), night(increments, 3, files_of_datasets([copy]))]
    assert added_up(made) == expected_sums(rows) == added_up(made[:1])


def test_possible_spending_of_open_parts_waits(increments: Increments, dataset: Store) -> None:
    """It is told, and counted when it is published; else it would be counted every night."""
    rows = publish(dataset, 1)
    write_claim(dataset, 3, CLAIM)
    made = night(increments, 1, files_of_datasets([dataset]))
    assert (made.open_parts, made.report["open_parts"].to_list()) == (1, [0])
    assert added_up([made]) == expected_sums(rows)


def test_a_table_of_another_run_is_not_overwritten(increments: Increments, dataset: Store) -> None:
    """The run is refused, and counts nothing: with another name it counts all that it should."""
    publish(dataset, 1)
    files = files_of_datasets([dataset])
    increments.make("run 1", "bill.csv", files, BY)
    late = publish(dataset, 2)
    files = files_of_datasets([dataset])
    with pytest.raises(ConfigurationError, match=r"bill.csv already holds .* run 1.*mode='total'"):
        increments.make("run 2", "bill.csv", files, BY)
    assert added_up([increments.make("run 2", "bill-2.csv", files, BY)]) == expected_sums(late)


@pytest.mark.parametrize("damage", [b"", b"PAR1"])
def test_a_record_that_is_lost_or_damaged_is_named(
    increments: Increments, dataset: Store, store: Store, damage: bytes
) -> None:
    """What it counted would be counted again."""
    for number in (1, 2):
        publish(dataset, number)
        night(increments, number, files_of_datasets([dataset]))
    store.write("state/increments/000001.parquet", damage)
    with pytest.raises(StorageError, match=r"000001.parquet.*counted again"):
        night(increments, 3, files_of_datasets([dataset]))
    store.remove("state/increments/000001.parquet")
    with pytest.raises(StorageError, match=r"000001.parquet is missing.*counted again"):
        night(increments, 3, files_of_datasets([dataset]))


def test_a_file_with_the_rows_of_another_is_refused(increments: Increments, dataset: Store) -> None:
    """Its journal would be counted under two names."""
    rows = publish(dataset, 1)
    night(increments, 1, files_of_datasets([dataset]))
    put_usage(dataset, 2, journal_id(NOVEMBER, 99), rows[:1])
    with pytest.raises(StorageError, match="rows of another journal"):
        night(increments, 2, files_of_datasets([dataset]))


def test_a_wrong_key_counts_nothing(increments: Increments, dataset: Store) -> None:
    """The run is repeated with another."""
    rows = publish(dataset, 1)
    with pytest.raises(ConfigurationError, match="cannot be grouped by 'weekday'"):
        night(increments, 1, files_of_datasets([dataset]), by=["weekday"])
    assert added_up([night(increments, 1, files_of_datasets([dataset]))]) == expected_sums(rows)


def test_a_ledger_is_counted_through_its_whole_life(increments: Increments, store: Store, dataset: Store) -> None:
    """Raw, frozen before it was counted, late for a frozen month, settled, and in place of a frozen guess."""
    ledger = Ledger(store.subfolder("ledger"))
    made: list[Increment] = []

    def report() -> Sums:
        made.append(night(increments, len(made), files_of_ledger(ledger, ledger.contents())))
        assert added_up(made) == sums_of(ledger)
        return added_up(made[-1:])

    lost = journal_id(NOVEMBER, 50)
    counted = publish(dataset, 1)
    ledger.sync_dataset(dataset, "/data/one")
    assert report() == expected_sums(counted)
    uncounted = publish(dataset, 2)
    put_usage(dataset, 50, lost, guess_rows(lost, NOVEMBER, 1_000))
    ledger.sync_dataset(dataset, "/data/one")
    ledger.compact("2026-11", "UTC", microseconds(datetime(2027, 1, 1, tzinfo=UTC)))
    assert report() == expected_sums([*uncounted, *guess_rows(lost, NOVEMBER, 1_000)])
    late = publish(dataset, 3)
    ledger.sync_dataset(dataset, "/data/one")
    settled = {**usage_rows(counted[0]["journal_id"], NOVEMBER, rows=1)[0], "attempt_id": "settled-1"}
    settled |= {"outcome": "settled", "cost_upper_bound": Decimal(0), "characters_upper_bound": 0}
    ledger.append_settlement("invoice-11", to_table([settled], usage_schema()))
    assert report() == expected_sums([*late, settled])
    assert made[-1].report["corrections"].sum() == 4
    real = usage_rows(lost, NOVEMBER, rows=6)
    put_usage(dataset, 50, lost, real)
    ledger.sync_dataset(dataset, "/data/one")
    assert report()["requests"] == 5
    assert report()["requests"] == 0


@st.composite
def nights(draw: st.DrawFn) -> list[tuple[str, int]]:
    """Events in any order: usage is published, replaced, renamed or deleted; runs report, and report again."""
    kinds = ["publish", "replace", "rename", "report", "report again"]
    return draw(st.lists(st.tuples(st.sampled_from(kinds), st.integers(0, 5)), max_size=25))


@settings(max_examples=25, deadline=None)
@given(events=nights())
def test_the_tables_add_up_to_the_bill_in_any_order_of_events(
    events: list[tuple[str, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """At the end of each report."""
    root = open_store(tmp_path_factory.mktemp("nights"))
    dataset, increments = root.subfolder("dataset"), Increments(root.subfolder("state"))
    dataset.write("dataset.json", b"{}")
    tables: dict[int, Increment] = {}
    bill: dict[int, list[dict[str, Any]]] = {}
    for kind, number in events:
        journal, is_known = journal_id(NOVEMBER, number), number in bill
        name = f"part-{number:05}-{journal}.parquet"
        match kind:
            case "publish" | "replace" if is_known == (kind == "replace"):
                bill[number] = usage_rows(journal, NOVEMBER, rows=len(bill.get(number, [])) + 1)
                dataset.remove(f"usage/generation-1-{name}")
                put_usage(dataset, number, journal, bill[number])
            case "rename":
                dataset.move(f"usage/{name}", f"usage/generation-1-{name}")
            case "report again" if tables:
                chosen = sorted(tables)[number % len(tables)]
                again = night(increments, chosen, files_of_datasets([dataset]))
                assert again.report.equals(tables[chosen].report)
            case "report":
                tables[len(tables)] = night(increments, len(tables), files_of_datasets([dataset]))
                assert added_up(tables.values()) == expected_sums(row for rows in bill.values() for row in rows)

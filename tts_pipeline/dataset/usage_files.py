"""Write and add up usage files, one per journal, which are the bill; only a provisional file is ever replaced."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import compress
from typing import Any

import pyarrow as pa

from tts_pipeline.attempt import Outcome
from tts_pipeline.dataset.claims import Claim, read_claim
from tts_pipeline.dataset.names import file_names, parse_part_number, part_name
from tts_pipeline.dataset.price_rows import prices_in, read_prices
from tts_pipeline.dataset.totals import damaged_amounts
from tts_pipeline.dataset.usage_table import claim_usage, usage_table
from tts_pipeline.models import UtteranceKey
from tts_pipeline.money import Cost, are_consistent_amounts, total_cost
from tts_pipeline.schema import MONEY, USAGE, to_table, usage_schema
from tts_pipeline.storage.parquet import conform_columns, read_columns, size_and_hash, write_tables
from tts_pipeline.storage.store import Store, storage_errors
from tts_pipeline.wal.replay import Replay

_AMOUNTS = ("characters_billed", "characters_upper_bound", "cost", "cost_upper_bound")
_COST_COLUMNS = (*_AMOUNTS, "currency", "outcome", "implausible")


def usage_name(part: int, journal_id: str) -> str:
    """Return the name of a journal's usage file."""
    return f"usage/{part_name(part)}-{journal_id}.parquet"


@dataclass(frozen=True, slots=True)
class UsageFile:
    """The facts of a usage file that a marker needs: its size and hash, its cost, and its price rows."""

    size_and_hash: dict[str, Any]
    cost: Cost
    prices: list[dict[str, Any]]


def read_usage_file(store: Store, name: str) -> UsageFile | None:
    """Read the facts of a usage file; None when it does not exist. Blocking.

    Raises:
        StorageError: The file is damaged, or its amounts are impossible.
    """
    data = store.read(name)
    if data is None:
        return None
    cost = usage_cost(data, store.describe(name))
    with storage_errors(f"reading {store.describe(name)}", Exception):
        return UsageFile(size_and_hash(BytesIO(data)), cost, read_prices(data))


def commit_journal_usage(
    store: Store, part: int, replay: Replay, tags: Mapping[UtteranceKey, Mapping[str, str]] | None = None
) -> UsageFile | None:
    """Publish the usage of a journal that receives no more records; return the facts of a file that was written.

    Published usage stays as it is, unless it is another machine's guess about a journal that seemed lost: the original
    journal, but not an adopted copy, replaces it. Tags by utterance are added to the tags of the job. Blocking.
    """
    name = usage_name(part, replay.journal_id)
    if not replay.attempts and (replay.unaccounted is None or replay.unaccounted.is_nothing):
        return None
    is_new = not store.exists(name)
    if not is_new and not is_provisional(store, part, replay):
        return None
    table = usage_table(replay, tags or {})
    file = write_tables(store, name, table.schema, [table], is_new=is_new)
    return UsageFile(file, cost_of_usage(table, store.describe(name)), prices_in(table.schema))


def account_for_claims(store: Store, names: Iterable[str], local_journals: Collection[str]) -> None:
    """Write ``unknown`` usage for claims whose journal is neither local nor published; remove the claims. Blocking."""
    for name in names:
        claim = read_claim(store, name)
        if claim is None or claim.journal_id in local_journals:
            continue
        usage = usage_name(parse_part_number(name), claim.journal_id)
        if not store.exists(usage):
            write_tables(store, usage, usage_schema(), [to_table([claim_usage(claim)], usage_schema())])
        store.remove(name)


def committed_journals(store: Store) -> set[str]:
    """Return the journals whose usage is published, as ``part-00007-<journal_id>``. Blocking."""
    return {name.removesuffix(".parquet") for name in file_names(store, "usage") if name.startswith("part-")}


def open_claims(store: Store, counted_journals: Collection[str]) -> Iterator[tuple[int, Claim]]:
    """Yield each claim whose journal is not in ``counted_journals``, with its part's number. Blocking.

    Its process is still spending, or was killed. List the counted journals before the call: usage that is published
    meanwhile then counts twice rather than not at all.
    """
    for name in file_names(store, "claims"):
        claim = None if name.removesuffix(".json") in counted_journals else read_claim(store, f"claims/{name}")
        if claim is not None:
            yield parse_part_number(name), claim


def claim_cost(claim: Claim) -> Cost:
    """Return the possible spending under a claim: all of it."""
    return Cost.at_most(claim.characters_upper_bound, claim.cost_upper_bound, claim.currency)


def usage_cost(data: bytes, location: str = "a usage file") -> Cost:
    """Add up a usage file.

    Raises:
        StorageError: The file is damaged, or its amounts are impossible.
    """
    with storage_errors(f"reading {location}", Exception):
        table = conform_columns(read_columns(data, _COST_COLUMNS), _COST_COLUMNS, USAGE, location, keeps_nulls=True)
    return cost_of_usage(table, location)


def cost_of_usage(table: pa.Table, location: str) -> Cost:
    """Add up a usage table.

    Raises:
        StorageError: The amounts are impossible.
    """
    columns = [_values(table.column(name)) for name in _COST_COLUMNS]
    billed, characters, confirmed, costs, currencies, _, _ = columns
    try:
        is_sound = all(
            map(are_consistent_amounts, zip(billed, characters, strict=True), zip(confirmed, costs, strict=True))
        )
    except (TypeError, ArithmeticError, AttributeError):  # nulls, or another type
        is_sound = False
    if not is_sound:
        raise damaged_amounts(location)
    bounded = [None if cost is None else currency for cost, currency in zip(costs, currencies, strict=True)]
    total = Cost()
    for currency in dict.fromkeys(bounded):
        is_of_currency = [other == currency for other in bounded]
        total.add(_column_sums(currency, [list(compress(column, is_of_currency)) for column in columns]))
    return total


def _values(column: pa.ChunkedArray) -> list[Any]:
    """Return a column's values; money through NumPy, which takes a third of the time."""
    values: list[Any] = column.to_numpy(zero_copy_only=False).tolist() if column.type == MONEY else column.to_pylist()
    return values


def _column_sums(currency: str | None, columns: Sequence[list[Any]]) -> Cost:
    """Add up rows of one currency, column by column; rows of None have no currency, or no bound on their cost."""
    billed, characters, confirmed, costs, _, outcomes, implausible = columns
    costs_in_question = list(compress(costs, implausible))
    return Cost(
        attempts=len(outcomes),
        unknown_attempts=outcomes.count(Outcome.UNKNOWN),
        characters_billed=sum(billed),
        characters_upper_bound=sum(characters),
        characters_without_price=sum(count for count, cost in zip(characters, costs, strict=True) if cost is None),
        cost=total_cost(known for known, cost in zip(confirmed, costs, strict=True) if cost is not None),
        cost_upper_bound=total_cost(costs),
        currency=currency,
        implausible_attempts=len(costs_in_question),
        cost_in_question=total_cost(costs_in_question),
    )


def is_provisional(store: Store, part: int, replay: Replay) -> bool:
    """Return whether the published usage of a journal is another machine's guess that the journal can correct."""
    name = usage_name(part, replay.journal_id)
    return (
        replay.unaccounted is None
        and bool(replay.attempts)
        and store.exists(name)
        and not _holds_outcomes_of(store, name, replay)
    )


def _holds_outcomes_of(store: Store, name: str, replay: Replay) -> bool:
    """Return whether a usage file holds exactly the attempts of a journal, with their outcomes."""
    data = store.read(name)
    if data is None:
        return False
    with storage_errors(f"reading {store.describe(name)}", Exception):
        table = read_columns(data, ["attempt_id", "outcome"])
        rows = set(zip(table["attempt_id"].to_pylist(), table["outcome"].to_pylist(), strict=True))
    outcomes = {(id_, settled.outcome if settled else Outcome.UNKNOWN) for id_, (_, settled) in replay.attempts.items()}
    return rows == outcomes

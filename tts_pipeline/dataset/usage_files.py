"""The usage table's files, one for each journal: the bill. None is ever replaced, but a guess by the truth."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from tts_pipeline.cost import total_cost
from tts_pipeline.dataset.claims import Claim, read_claim
from tts_pipeline.dataset.names import file_names, part_name, part_of
from tts_pipeline.dataset.price_rows import with_prices
from tts_pipeline.dataset.replay import Key, Lost, Replay
from tts_pipeline.dataset.store import Store, storage_errors
from tts_pipeline.dataset.tables import own_columns, read_columns
from tts_pipeline.dataset.totals import Totals, are_amounts, damaged_amounts
from tts_pipeline.models import Outcome, Price
from tts_pipeline.schema import USAGE, table_of, usage_schema, usage_values

_PIECE_BYTES = 256 * 1024
_AMOUNTS = ("characters_billed", "characters_upper_bound", "cost", "cost_upper_bound")
_IMPLAUSIBLE = "implausible"


def usage_name(part: int, journal_id: str) -> str:
    """Return the name of a journal's usage file."""
    return f"usage/{part_name(part)}-{journal_id}.parquet"


def publish_usage_of(store: Store, part: int, one: Replay, tags: Mapping[Key, Mapping[str, str]] | None = None) -> None:
    """Publish the usage of a journal that will not be written to any more; what is published is left alone. Blocking.

    But what another machine told of a journal that it took for lost is replaced by the truth, which a copy is not.

    Args:
        store: The destination.
        part: Whose journal it is.
        one: The journal, read back.
        tags: By utterance, beside those of the whole job.

    Raises:
        StorageError: The destination failed.
    """
    name = usage_name(part, one.journal_id)
    if not one.attempts and (one.lost is None or not one.lost.characters_upper_bound):
        return
    is_new = not store.exists(name)
    if is_new or is_guess(store, part, one):
        table = table_of(_usage_rows(one, tags or {}), usage_schema())
        write_table(store, name, with_prices(table, one.header["prices"]), is_new=is_new)


def account_for_claims(store: Store, names: Iterable[str], journals_here: Collection[str]) -> None:
    """Write ``unknown`` usage for claims whose journal is neither here nor published, and remove them. Blocking.

    Args:
        store: The destination.
        names: The claims'.
        journals_here: Ids of journals that are on this machine: their usage is known.

    Raises:
        StorageError: The destination failed.
    """
    for name in names:
        claim = read_claim(store, name)
        if claim is None or claim.journal_id in journals_here:
            continue
        usage = usage_name(part_of(name), claim.journal_id)
        if not store.exists(usage):
            write_table(store, usage, table_of([claimed_usage(claim)], usage_schema()))
        store.remove(name)


def published_journals(store: Store) -> set[str]:
    """Return the journals whose usage is published, by their files' name without its suffix. Blocking.

    Raises:
        StorageError: The destination failed.
    """
    return {name.removesuffix(".parquet") for name in file_names(store, "usage") if name.startswith("part-")}


def open_claims(store: Store, known: Collection[str]) -> Iterator[tuple[int, Claim]]:
    """Yield the claims whose journals are not known: their processes are still spending, or were killed. Blocking.

    Args:
        store: The destination.
        known: Journals that are accounted for otherwise. To be listed before that is read: what is published meanwhile
            then counts twice rather than not at all.

    Yields:
        The part's number, and the claim on it.

    Raises:
        StorageError: The destination failed, or a claim is damaged.
    """
    for name in file_names(store, "claims"):
        claim = None if name.removesuffix(".json") in known else read_claim(store, f"claims/{name}")
        if claim is not None:
            yield part_of(name), claim


def claimed(claim: Claim) -> Totals:
    """Return what a claim may have spent: all that it claims."""
    totals = Totals(characters_upper_bound=claim.characters_upper_bound)
    if claim.cost_upper_bound is None:
        totals.characters_without_price = claim.characters_upper_bound
    totals.add_cost(None, claim.cost_upper_bound, claim.currency)
    return totals


def usage_totals(data: bytes, place: str = "a usage file") -> Totals:
    """Add up a usage file.

    Args:
        data: What is in it.
        place: Where it stands, for messages.

    Raises:
        StorageError: It is damaged, or tells amounts that cannot be true.
    """
    with storage_errors(f"reading {place}", Exception):
        names = ("outcome", "currency", *_AMOUNTS, _IMPLAUSIBLE)
        table = own_columns(read_columns(data, names), names, USAGE, place, keeps_nulls=True)
        billed, bounds, confirmed, costs = (table.column(name).to_pylist() for name in _AMOUNTS)
    try:
        is_sound = all(map(are_amounts, zip(billed, bounds, strict=True), zip(confirmed, costs, strict=True)))
    except (TypeError, ArithmeticError, AttributeError):  # nulls, or another type
        is_sound = False
    if not is_sound:
        raise damaged_amounts(place)
    totals = Totals(attempts=table.num_rows)
    totals.unknown_attempts = table.column("outcome").to_pylist().count("unknown")
    totals.characters_billed, totals.characters_upper_bound = sum(billed), sum(bounds)
    totals.characters_without_price = sum(bound for bound, cost in zip(bounds, costs, strict=True) if cost is None)
    known = [currency for currency in table.column("currency").to_pylist() if currency is not None]
    totals.add_cost(total_cost(confirmed), total_cost(costs), known[0] if known else None)
    for cost in table.filter(table.column(_IMPLAUSIBLE)).column("cost_upper_bound").to_pylist():
        totals.add_implausible(cost)
    return totals


def write_table(store: Store, name: str, table: pa.Table, *, is_new: bool = False) -> dict[str, Any]:
    """Write a table as a file of the destination, and return its size and hash; see ``Store.stage``. Blocking."""
    return write_tables(store, name, table.schema, [table], is_new=is_new)


def write_tables(
    store: Store, name: str, schema: pa.Schema, tables: Iterable[pa.Table], *, is_new: bool = False
) -> dict[str, Any]:
    """Write tables as row groups of a file, as ``write_table`` does. Blocking."""
    with store.stage(name, is_new=is_new) as path:
        with pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as writer:
            for table in tables:
                writer.write_table(table)
        return facts_of_path(path)


def facts_of_path(path: Path) -> dict[str, Any]:
    """Return a file's size and hash, as a marker tells them."""
    with path.open("rb") as file:
        return facts_of(file)


def facts_of(file: BinaryIO) -> dict[str, Any]:
    """Return an open file's size and hash; read from its beginning."""
    digest, size_bytes = hashlib.sha256(), 0
    while piece := file.read(_PIECE_BYTES):
        digest.update(piece)
        size_bytes += len(piece)
    return {"bytes": size_bytes, "sha256": digest.hexdigest()}


def is_guess(store: Store, part: int, one: Replay) -> bool:
    """Return whether what is published of a journal is what another machine took it for, and the journal knows better.

    Raises:
        StorageError: The destination failed, or what is published is damaged.
    """
    name = usage_name(part, one.journal_id)
    return one.lost is None and bool(one.attempts) and store.exists(name) and not _is_told(store, name, one)


def _is_told(store: Store, name: str, one: Replay) -> bool:
    """Return whether a usage file holds a journal's attempts as they ended, no more and no less."""
    data = store.read(name)
    if data is None:
        return False
    with storage_errors(f"reading {store.describe(name)}", Exception):
        table = read_columns(data, ["attempt_id", "outcome"])
        told = set(zip(table["attempt_id"].to_pylist(), table["outcome"].to_pylist(), strict=True))
    ended = {(id_, settled.outcome if settled else Outcome.UNKNOWN) for id_, (_, settled) in one.attempts.items()}
    return told == ended


def _usage_rows(one: Replay, tags: Mapping[Key, Mapping[str, str]]) -> list[dict[str, Any]]:
    header = one.header
    constants = {name: header[name] for name in ("invocation_id", "journal_id", "account", "service", "model")}
    prices = {
        name: Price(price_id=name, currency=price["currency"], basis=price["basis"])
        for name, price in header["prices"].items()
    }
    known = [
        {
            **usage_values(attempt, settlement, prices),
            **constants,
            "tags": list({**header["tags"], **tags.get((attempt.utterance_id, attempt.take), {})}.items()),
        }
        for attempt, settlement in one.attempts.values()
    ]
    lost = one.lost
    return (
        known if lost is None or not lost.characters_upper_bound else [*known, claimed_usage(_rest_of_claim(one, lost))]
    )


def _rest_of_claim(one: Replay, lost: Lost) -> Claim:
    """Return a claim on just what is lost."""
    names = ("journal_id", "invocation_id", "service", "model", "account", "tags")
    return Claim(
        **{name: one.header[name] for name in names},
        opened_at_us=lost.claimed_at_us,
        characters_upper_bound=lost.characters_upper_bound,
        cost_upper_bound=lost.cost_upper_bound,
        currency=lost.currency,
    )


def _guess_id(journal_id: str) -> str:
    return f"claim-{journal_id}"


def claimed_usage(claim: Claim) -> dict[str, Any]:
    """Return the usage row that stands for all that a claim may have spent, as long as its journal does not tell."""
    return {
        "attempt_id": _guess_id(claim.journal_id),
        "invocation_id": claim.invocation_id,
        "journal_id": claim.journal_id,
        "account": claim.account,
        "service": claim.service,
        "model": claim.model,
        "started_at": claim.opened_at_us,
        "outcome": "unknown",
        "characters_counted": claim.characters_upper_bound,
        "characters_billed": 0,
        "characters_upper_bound": claim.characters_upper_bound,
        "cost": None if claim.cost_upper_bound is None else Decimal(0),
        "cost_upper_bound": claim.cost_upper_bound,
        "currency": claim.currency,
        "tags": list(claim.tags.items()),
    }

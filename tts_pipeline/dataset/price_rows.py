"""Store the prices of a bill in usage files and markers, so that every cost can be recomputed.

A price row is a ``Price`` as JSON: each field by name, as text, or null. A usage file holds the rows of its attempts'
prices in its Parquet metadata, under ``prices``, so that a process which adopts the part has them, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import orjson
import pyarrow as pa

from tts_pipeline.errors import ConfigurationError
from tts_pipeline.models import Price
from tts_pipeline.storage.json_files import JsonFields
from tts_pipeline.storage.parquet import parquet_file

PriceRow = Mapping[str, str | None]

_KEY = b"prices"
_AMOUNTS = ("currency", "per_10k_characters", "per_1m_input_tokens", "per_1m_output_tokens")


def price_row(price: Price) -> dict[str, str | None]:
    """Return the row of a price; amounts and days are text."""
    return {name: None if value is None else str(value) for name, value in asdict(price).items()}


def with_prices(usage: pa.Table, prices: Mapping[str, Price]) -> pa.Table:
    """Return a usage table whose metadata holds the rows of the prices in its ``price_id`` column."""
    price_ids = set(usage.column("price_id").to_pylist()) - {None}
    rows = [price_row(prices[price_id]) for price_id in sorted(price_ids & prices.keys())]
    return usage.replace_schema_metadata({**(usage.schema.metadata or {}), _KEY: orjson.dumps(rows)})


def read_prices(data: bytes) -> list[dict[str, Any]]:
    """Return the price rows of a usage file; an empty list if it has none."""
    return prices_in(parquet_file(pa.BufferReader(data)).schema_arrow)


def prices_in(schema: pa.Schema) -> list[dict[str, Any]]:
    """Return the price rows in a usage table's metadata; an empty list if it has none."""
    rows: list[dict[str, Any]] = orjson.loads((schema.metadata or {}).get(_KEY, b"[]"))
    return rows


def check_price_row(row: JsonFields) -> dict[str, Any]:
    """Return a stored price row after checking that all its values are texts or null."""
    row.text("price_id")
    for name in row.values:
        row.text_or_none(name)
    return row.values


def distinct_prices(rows: Iterable[PriceRow]) -> list[PriceRow]:
    """Return each price row once, sorted by id; differing rows of the same id are both kept."""
    unique_rows = {orjson.dumps(dict(row), option=orjson.OPT_SORT_KEYS): row for row in rows}
    return sorted(unique_rows.values(), key=lambda row: row["price_id"] or "")


def refuse_changed_prices(existing: Iterable[PriceRow], current: Iterable[PriceRow]) -> None:
    """Refuse prices with which the costs of a dataset no longer add up; the dates and source of a price may change.

    Raises:
        ConfigurationError: The amount of an id has changed, or the costs would be in two currencies.
    """
    existing_by_id = {row["price_id"]: row for row in existing}
    for row in current:
        existing_row = existing_by_id.get(row["price_id"], row)
        if any(existing_row.get(name) != row[name] for name in _AMOUNTS):
            raise ConfigurationError(
                f"the price {row['price_id']!r} differs from the price of this id in this dataset",
                hint="give a changed price a new id: the bill so far keeps its prices",
            )
        currencies = {other.get("currency") for other in (row, *existing_by_id.values())}
        if len(currencies) > 1:
            raise ConfigurationError(
                f"this dataset has costs in {next(iter(existing_by_id.values())).get('currency')}, "
                f"and the price {row['price_id']!r} is in {row['currency']}",
                hint="a dataset adds its costs up: use another destination, or a price in its currency",
            )

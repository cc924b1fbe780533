"""Price rows go through journal, usage file and marker into the finalized dataset."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import orjson
import pytest

from tests.builders import FLASH_PRICE, descriptor_of
from tests.datasets import Bench
from tts_pipeline.dataset.commit import marker_name
from tts_pipeline.dataset.finalize import finalize
from tts_pipeline.dataset.price_rows import distinct_prices, price_row, refuse_changed_prices
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.models import Price
from tts_pipeline.storage.store import Store

NEWER = replace(FLASH_PRICE, price_id="list-2", effective_from=date(2026, 1, 1))


def test_a_price_is_stored_whole() -> None:
    """Amounts and days are text, unset fields are null."""
    assert price_row(NEWER) == {
        "price_id": "list-2",
        "currency": "CNY",
        "basis": "list",
        "per_10k_characters": "0.8",
        "per_1m_input_tokens": None,
        "per_1m_output_tokens": None,
        "effective_from": "2026-01-01",
        "effective_until": None,
        "source": "",
        "timezone": "UTC",
    }


def test_the_prices_of_a_bill_go_with_it(tmp_path: Path, store: Store) -> None:
    """A marker has the prices in its usage, including another machine's; the manifest has each price once."""
    prices = {price.price_id: price for price in (FLASH_PRICE, NEWER)}
    bench = Bench.of(tmp_path, store, rows=8, part_rows=4, prices=prices)

    async def another_machine() -> None:
        async with bench.part(0) as part:
            await bench.say(part, part.todo[0])

    asyncio.run(another_machine())
    bench.committer.suspend_part(bench.rows(0), bench.replays(0))
    for path in bench.journals.glob("*.journal"):
        path.unlink()
    bench.prices = {NEWER.price_id: NEWER}  # no attempt names this price
    bench.run(0)
    bench.run(1)
    first, second = (orjson.loads(store.read(marker_name(number)) or b"") for number in range(2))
    assert (first["prices"], second["prices"]) == ([price_row(FLASH_PRICE)], [])
    finalize(store, descriptor_of(8, 4, {"model": "m", "service": "s"}))
    assert orjson.loads(store.read("parts.json") or b"")["prices"] == [price_row(FLASH_PRICE)]


def test_prices_of_one_id_that_differ_are_both_kept() -> None:
    """A bill that cannot be explained is worse than one with two explanations."""
    row, other = price_row(FLASH_PRICE), price_row(replace(FLASH_PRICE, per_10k_characters=Decimal(1)))
    assert len(distinct_prices([row, other, dict(row), price_row(NEWER)])) == 3


@pytest.mark.parametrize(
    ("now", "message"),
    [
        (replace(FLASH_PRICE, per_10k_characters=Decimal(1)), "'list-1' differs from the price of this id"),
        (replace(FLASH_PRICE, price_id="x", currency="USD"), "has costs in CNY, and the price 'x' is in USD"),
    ],
)
def test_a_bill_stays_one_bill(now: Price, message: str) -> None:
    """An id means one amount, and all costs are in one currency."""
    with pytest.raises(ConfigurationError, match=message):
        refuse_changed_prices([price_row(FLASH_PRICE)], [price_row(now)])


def test_a_price_may_end_and_another_begin() -> None:
    """A price may change in the middle of a dataset, and a dataset without a price may get one."""
    closed_price = replace(FLASH_PRICE, effective_until=date(2026, 1, 1), source="read again")
    refuse_changed_prices([price_row(FLASH_PRICE)], [price_row(closed_price), price_row(NEWER)])
    refuse_changed_prices([], [price_row(FLASH_PRICE)])
    refuse_changed_prices([price_row(FLASH_PRICE)], [])

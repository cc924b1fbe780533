"""History at other prices: the same as a run with these prices would have cost."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.report.test_usage import a_request, write_dataset
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.report.bill import bill_of_datasets
from tts_pipeline.report.period import read_period
from tts_pipeline.report.reprice import read_new_prices, repriced_report

FLASH = {"service": "dashscope", "model": "qwen3-tts-flash", "price_id": "old", "currency": "CNY"}
TOKENS = {**FLASH, "model": "qwen-tts"}

CONTRACT = """
[prices.contract-2026]
service = "dashscope"
model = "qwen3-tts-flash"
currency = "CNY"
per_10k_characters = 0.5
effective_until = 2026-12-01
timezone = "Asia/Shanghai"

[prices.contract-2027]
service = "dashscope"
model = "qwen3-tts-flash"
currency = "CNY"
per_10k_characters = 0.25
effective_from = 2026-12-01
effective_until = 2027-01-01
timezone = "Asia/Shanghai"

[prices.by-token]
service = "dashscope"
model = "qwen-tts"
currency = "USD"
per_1m_input_tokens = 1
per_1m_output_tokens = 10
"""


def _money(cost: str, at_most: str, **more: Any) -> dict[str, Any]:
    return {"cost": Decimal(cost), "cost_upper_bound": Decimal(at_most), **more}


def _report(tmp_path: Path, *rows: dict[str, Any], by: tuple[str, ...] = (), where: str | None = None) -> pl.DataFrame:
    (tmp_path / "prices.toml").write_text(CONTRACT)
    bill = bill_of_datasets([write_dataset(str(tmp_path / "out"), tmp_path, *rows)], read_period())
    return repriced_report(bill, read_new_prices(tmp_path / "prices.toml"), by, "UTC", where)


def test_the_price_is_that_of_the_day_of_its_time_zone(tmp_path: Path) -> None:
    """The last second of November in Shanghai costs 0.5, the first of December 0.25; the next year has no price."""
    times = ["2026-11-30T15:59:59", "2026-11-30T16:00", "2026-12-31T16:00"]
    rows = [
        a_request(**FLASH, **_money("0.8", "0.8"), started_at=datetime.fromisoformat(time).replace(tzinfo=UTC))
        | dict.fromkeys(("characters_billed", "characters_upper_bound"), 10_000)
        for time in times
    ]
    report = _report(tmp_path, *rows, by=("hour",))
    assert report["repriced_cost"].to_list() == [Decimal("0.5"), Decimal("0.25"), None]
    assert report["difference"].to_list() == [Decimal("-0.3"), Decimal("-0.55"), None]
    assert report["cost"].to_list() == [Decimal("0.8")] * 3
    assert report["repriced_list_cost"].to_list() == [Decimal("0.8"), Decimal("0.8"), None]
    assert report["repriced_requests_without_cost"].to_list() == [0, 0, 1]


def test_bounds_are_priced_too(tmp_path: Path) -> None:
    """Failed and unknown requests confirm nothing, and may cost what their characters cost."""
    rows = [
        a_request(**FLASH, **_money("0", "0.8"), outcome=outcome, characters_billed=0, characters_upper_bound=20_000)
        for outcome in ("failed", "unknown")
    ]
    (row,) = _report(tmp_path, *rows).to_dicts()
    assert (row["repriced_cost"], row["repriced_cost_upper_bound"]) == (Decimal(0), Decimal(2))


def test_tokens_are_priced_by_token(tmp_path: Path) -> None:
    """In another currency nothing is subtracted; what was not reported, or cannot be true, has no cost."""
    known = a_request(**TOKENS, **_money("1", "1"), input_tokens=1_000, output_tokens=100_000)
    rows = [
        *(known, known | {"implausible": True}, known | {"input_tokens": None}),
        known | {"outcome": "failed", "characters_billed": 0, "characters_upper_bound": 0, "input_tokens": None},
        known | {"outcome": "unknown", "characters_billed": 0, "input_tokens": None},
    ]
    (row,) = _report(tmp_path, *rows).to_dicts()
    assert (row["repriced_cost"], row["repriced_currency"], row["currency"]) == (Decimal("1.001"), "USD", "CNY")
    assert (row["difference"], row["repriced_requests_without_cost"]) == (None, 3)
    assert row["repriced_cost_upper_bound"] == Decimal("1.001")


def test_models_that_the_file_does_not_name_keep_their_cost(tmp_path: Path) -> None:
    """As those of a run would, whose prices are the catalog's then."""
    other = a_request(service="studio", model="narrator", currency="CNY", **_money("3", "4"))
    report = _report(tmp_path, other, a_request(**FLASH, **_money("1", "1")), by=("model",))
    assert report.select("model", "repriced_cost", "repriced_cost_upper_bound", "difference").rows() == [
        ("narrator", Decimal(3), Decimal(4), Decimal(0)),
        ("qwen3-tts-flash", Decimal("0.0005"), Decimal("0.0005"), Decimal("-0.9995")),
    ]


def test_what_is_repriced_is_chosen_and_grouped_like_any_report(tmp_path: Path) -> None:
    """By tag, with an error for one that nothing has."""
    rows = [a_request(**FLASH, **_money("1", "1"), tags=[("team", team)]) for team in ("radio", "news")]
    report = _report(tmp_path, *rows, by=("tag:team",), where="tag:team = 'radio'")
    assert report.select("tag:team", "requests").rows() == [("radio", 1)]
    with pytest.raises(ConfigurationError, match="Did you mean 'team'"):
        _report(tmp_path, *rows, by=("tag:taem",))
    with pytest.raises(ConfigurationError, match="Did you mean 'team'"):
        _report(tmp_path, *rows, where="tag:taem = 'radio'")


def test_a_file_without_prices_is_told(tmp_path: Path) -> None:
    """It would change nothing."""
    (tmp_path / "prices.toml").write_text("")
    with pytest.raises(ConfigurationError, match=r"prices\.toml has no price"):
        read_new_prices(tmp_path / "prices.toml")

"""Charges keep the rules of the FOCUS 1.2 specification, and add up to the bill that they come from.

The rules below are written from the column definitions of the specification (tag v1.2, 2025-05-30), not from our code.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.report.test_usage import a_request
from tts_pipeline.catalog import load_catalog
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.models import Price, Usage
from tts_pipeline.money import cost_of
from tts_pipeline.report.focus import SCHEMA, Focus, catalog_prices, focus_rows
from tts_pipeline.schema import to_table, usage_schema

MANDATORY = """
BilledCost BillingAccountId BillingAccountName BillingCurrency BillingPeriodEnd BillingPeriodStart ChargeCategory
ChargeClass ChargeDescription ChargePeriodEnd ChargePeriodStart ContractedCost EffectiveCost InvoiceIssuerName ListCost
PricingQuantity PricingUnit ProviderName PublisherName ServiceCategory ServiceName
"""
CONDITIONAL = """
ConsumedQuantity ConsumedUnit ContractedUnitPrice ListUnitPrice PricingCategory SkuId SkuMeter SkuPriceDetails
SkuPriceId Tags
"""
"""Required of a provider that publishes prices, negotiates them, meters usage and takes tags, as those here do."""
RECOMMENDED = "ChargeFrequency InvoiceId ServiceSubcategory"

DECIMALS = {"BilledCost", "EffectiveCost", "ContractedCost", "ContractedUnitPrice", "ListCost", "ListUnitPrice"} | {
    "ConsumedQuantity",
    "PricingQuantity",
    "x_CostUpperBound",
}
INSTANTS = {"BillingPeriodEnd", "BillingPeriodStart", "ChargePeriodEnd", "ChargePeriodStart"}
NULLABLE = {"BillingAccountName", "ChargeClass", "InvoiceId", "SkuPriceDetails", "Tags"}
"""Nullable in a row of usage that is not a correction; a null means something in each."""
ALLOWED: Mapping[str, set[str | None]] = {
    "ChargeCategory": {"Usage", "Purchase", "Tax", "Credit", "Adjustment"},
    "ChargeClass": {"Correction", None},
    "ChargeFrequency": {"One-Time", "Recurring", "Usage-Based"},
    "PricingCategory": {"Standard", "Dynamic", "Committed", "Other"},
    "ServiceCategory": {"AI and Machine Learning"},  # of 19, the only one that is true here
    "ServiceSubcategory": {
        "AI Platforms",
        "Bots",
        "Generative AI",
        "Machine Learning",
        "Natural Language Processing",
        "Other (AI and Machine Learning)",
    },
}
UNIT = re.compile(r"([1-9][0-9]* )?(Characters|Tokens)")
"""The form ``<quantity> <plural-units>`` of UnitFormat."""

LIST_PRICE = Price("list", "CNY", "list", per_10k_characters=Decimal("0.8"))
CONTRACT = Price("contract", "CNY", "user", per_10k_characters=Decimal("0.6123456"))
DOLLARS = Price("dollars", "USD", "user", per_10k_characters=Decimal("0.15"))
BY_TOKEN = Price("tokens", "CNY", "list", per_1m_input_tokens=Decimal("1.6"), per_1m_output_tokens=Decimal(10))
PRICES = (LIST_PRICE, CONTRACT, DOLLARS, BY_TOKEN)


def frame(rows: Sequence[Mapping[str, Any]]) -> pl.LazyFrame:
    """Return rows as the ledger does: usage, with the columns that newer versions and the ledger add."""
    usage = pl.DataFrame(to_table([a_request(**row) for row in rows], usage_schema()))
    added = {"list_cost": pl.Decimal(18, 9), "kind": pl.String(), "key_id": pl.String()}
    flags = ("is_open", "is_correction")
    return usage.with_columns(
        *(pl.Series(name, [row.get(name) for row in rows], kind) for name, kind in added.items()),
        *(pl.Series(name, [row.get(name, False) for row in rows], pl.Boolean) for name in flags),
    ).lazy()


def priced(price: Price, characters: int = 10, **changes: Any) -> dict[str, Any]:
    """Return a request that succeeded at a price."""
    usage = Usage(input_tokens=characters, output_tokens=3 * characters)
    cost = cost_of(price, characters=characters, usage=usage)
    listed = cost_of(LIST_PRICE, characters=characters, usage=usage) if price is CONTRACT else None
    return {
        "service": "dashscope",
        "model": "qwen-tts" if price is BY_TOKEN else "qwen3-tts-flash",
        **dict.fromkeys(("characters_billed", "characters_upper_bound", "input_tokens"), characters),
        "output_tokens": 3 * characters,
        **{name: getattr(price, name) for name in ("price_id", "currency")},
        "price_basis": price.basis,
        "list_cost": cost if price.basis == "list" else listed,
        **dict.fromkeys(("cost", "cost_upper_bound"), cost),
        **changes,
    }


def charges(*rows: Mapping[str, Any], **options: Any) -> list[dict[str, Any]]:
    """Return the charges of requests at the prices above, as rows."""
    return focus_rows(frame(rows), **{"prices": PRICES, **options}).charges.to_dicts()


def check_rules(focus: Focus) -> None:
    """Check names, order, types, nullability, allowed values and products of all charges."""
    names = focus.charges.columns
    assert set(" ".join([MANDATORY, CONDITIONAL, RECOMMENDED]).split()) == {
        name for name in names if not name.startswith("x_")
    }
    own = [name for name in names if name.startswith("x_")]
    assert names[-len(own) :] == own, "custom columns come last"
    assert all(re.fullmatch("(x_)?[A-Z][A-Za-z]{1,49}", name) for name in names), "Pascal case"
    for name, kind in focus.charges.schema.items():
        assert isinstance(kind, pl.Decimal) == (name in DECIMALS), name
        assert (kind == pl.Datetime("us", "UTC")) == (name in INSTANTS), name
        assert name in DECIMALS | INSTANTS or kind == pl.String, name
    for row in focus.charges.iter_rows(named=True):
        _check_row(row)
    _check_consistency(focus.charges)


def _check_row(row: Mapping[str, Any]) -> None:
    for name, value in row.items():
        assert value is not None or name in NULLABLE or name.startswith("x_"), name
        assert value is None or not isinstance(value, str) or value.strip(), f"{name} is an empty text"
    for name, values in ALLOWED.items():
        assert row[name] in values, name
    assert re.fullmatch("[A-Z]{3}", row["BillingCurrency"])
    assert UNIT.fullmatch(row["PricingUnit"])
    assert UNIT.fullmatch(row["ConsumedUnit"])
    for unit_price, cost in (("ContractedUnitPrice", "ContractedCost"), ("ListUnitPrice", "ListCost")):
        assert row[unit_price] >= 0
        assert row[unit_price] * row["PricingQuantity"] == row[cost]
    assert row["BillingPeriodStart"] <= row["ChargePeriodStart"] < row["ChargePeriodEnd"] <= row["BillingPeriodEnd"]
    assert row["EffectiveCost"] == row["BilledCost"], "no prepaid purchases"
    for name in ("Tags", "SkuPriceDetails"):
        values = {} if row[name] is None else json.loads(row[name], object_pairs_hook=_unique)
        assert all(isinstance(value, str) for value in values.values())
    assert all(key.startswith("x_") for key in json.loads(row["SkuPriceDetails"])), "a property of our own"


def _unique(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    assert max(Counter(key for key, _ in pairs).values()) == 1
    return dict(pairs)


def _check_consistency(rows: pl.DataFrame) -> None:
    parents = {"SkuPriceId": "SkuId", "SkuId": "SkuMeter", "ServiceName": "ServiceCategory", "BillingPeriodStart": None}
    for child, parent in parents.items():
        if parent is not None and rows.height:
            assert rows.group_by(child).agg(pl.col(parent).n_unique())[parent].max() == 1, f"{child} has one {parent}"
    assert not rows.drop("BilledCost", "EffectiveCost").is_duplicated().any()


_MOMENTS = st.datetimes(datetime(2026, 9, 30, 12), datetime(2026, 12, 1, 12)).map(lambda at: at.replace(tzinfo=UTC))


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    """Any request: of every outcome, at a price or none, at any time, tagged or not."""
    price = draw(st.sampled_from([*PRICES, None]))
    common = {
        "started_at": draw(_MOMENTS),
        "account": draw(st.sampled_from([None, "", "main"])),
        "key_id": draw(st.sampled_from([None, "none", "a1b2c3d4"])),
        "tags": draw(st.lists(st.tuples(st.sampled_from(['team"', "ü", "x"]), st.text(max_size=2)), max_size=2)),
        "kind": draw(st.sampled_from([None, "speech", "transcription"])),
    }
    if price is None:
        return {**common, "outcome": draw(st.sampled_from(["succeeded", "failed", "unknown"]))}
    row = {**priced(price, draw(st.integers(1, 600))), **common}
    amount = draw(st.decimals("-0.1", "0.1", places=9))
    nothing = {"cost": Decimal(0), "characters_billed": 0, "input_tokens": None, "output_tokens": None}
    changes: Mapping[str, Mapping[str, Any]] = {
        "succeeded": {},
        "discarded": {"outcome": "discarded"},
        "refused": {**nothing, "outcome": "failed", "cost_upper_bound": Decimal(0), "characters_upper_bound": 0},
        "unknown": {**nothing, "outcome": "unknown"},
        "open": {**nothing, "outcome": "unknown", "is_open": True},
        "late": {"is_correction": True},
        "unlisted": {"list_cost": None},
        "settled": {"outcome": "settled", "cost": amount, "cost_upper_bound": -amount, "list_cost": None},
    }
    return {**row, **changes[draw(st.sampled_from(sorted(changes)))]}


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(requests(), max_size=12), timezone=st.sampled_from(["UTC", "Asia/Shanghai", "Africa/Cairo"]))
def test_the_rules_of_the_specification(rows: list[dict[str, Any]], timezone: str) -> None:
    """Charges keep every rule, add up to the bill in each currency, and leave out only requests without a cost."""
    focus = focus_rows(frame(rows), timezone=timezone, prices=PRICES, as_of=datetime(2026, 11, 20, tzinfo=UTC))
    check_rules(focus)
    for ours, theirs in {"cost": "BilledCost", "cost_upper_bound": "x_CostUpperBound"}.items():
        bill = Counter[str]()
        for row in rows:
            if row.get("cost") is not None:
                bill[row["currency"]] += row[ours]
        by_currency = dict(focus.charges.group_by("BillingCurrency").agg(pl.col(theirs).sum()).iter_rows())
        assert {currency: sum_ for currency, sum_ in by_currency.items() if sum_} == {
            currency: sum_ for currency, sum_ in bill.items() if sum_
        }
    assert focus.requests_without_price == sum(row.get("cost") is None for row in rows)


@settings(max_examples=20, deadline=None)
@given(rows=st.lists(requests(), min_size=1, max_size=12))
def test_sums_give_the_same_charges_as_requests(rows: list[dict[str, Any]]) -> None:
    """Usage that the ledger has added up by the quarter of an hour."""
    keys = ("service", "model", "account", "key_id", "kind", "outcome", "tags", "is_open", "is_correction")
    price = ("price_id", "price_basis", "currency")
    counts = ("characters_billed", "characters_upper_bound", "input_tokens", "output_tokens", "requests")
    figures = [*counts, "cost", "cost_upper_bound", "list_cost"]
    is_known = [pl.col(name).is_not_null().alias(f"has_{name}") for name in ("cost", "list_cost")]
    is_request = ~pl.col("is_open") & (pl.col("outcome") != "settled")
    sums = (pl.when(pl.col(name).is_not_null().any()).then(pl.col(name).sum()).alias(name) for name in figures)
    whole = frame(rows)
    added_up = (
        whole.with_columns(pl.col("started_at").dt.truncate("15m"), requests=is_request.cast(pl.Int64))
        .group_by("started_at", *keys, *price, *is_known)
        .agg(sums)
    )
    now = datetime(2026, 11, 20, tzinfo=UTC)
    by_request, by_sum = (focus_rows(each, prices=PRICES, as_of=now) for each in (whole, added_up))
    assert by_request.charges.equals(by_sum.charges)
    assert by_request.requests_without_price == by_sum.requests_without_price


def test_a_day_is_of_the_time_zone() -> None:
    """Its bounds are in UTC, and it is shorter when the clocks go forward; the month begins with the zone's."""
    row = priced(LIST_PRICE, started_at=datetime(2026, 3, 29, 12, tzinfo=UTC))
    (utc,), (berlin,) = (charges(row, timezone=zone) for zone in ("UTC", "Europe/Berlin"))
    assert utc["ChargePeriodStart"] == datetime(2026, 3, 29, tzinfo=UTC)
    assert berlin["ChargePeriodStart"] == datetime(2026, 3, 28, 23, tzinfo=UTC)
    assert berlin["ChargePeriodEnd"] - berlin["ChargePeriodStart"] == timedelta(hours=23)
    assert (berlin["BillingPeriodStart"], berlin["BillingPeriodEnd"]) == (
        datetime(2026, 2, 28, 23, tzinfo=UTC),
        datetime(2026, 3, 31, 22, tzinfo=UTC),
    )
    with pytest.raises(ConfigurationError, match=r"no time zone .*Did you mean 'Asia/Shanghai'"):
        charges(timezone="Asia/Shanghay")


def test_a_cost_by_token_is_two_charges() -> None:
    """Input and output have prices of their own; what rounding leaves over is with the output."""
    input_, output = charges(priced(BY_TOKEN, 101), priced(BY_TOKEN, 7))
    assert [row["SkuId"] for row in (input_, output)] == ["qwen-tts/input-tokens", "qwen-tts/output-tokens"]
    assert (input_["ConsumedQuantity"], input_["PricingQuantity"]) == (108, Decimal("0.000108"))
    assert (input_["BilledCost"], output["BilledCost"]) == (Decimal("0.000172800"), Decimal("0.003240000"))
    assert (input_["PricingUnit"], output["ListUnitPrice"]) == ("1000000 Tokens", 10)


@pytest.mark.parametrize("prices", [PRICES, ()])
def test_list_and_contract_prices_stand_side_by_side(prices: Sequence[Price]) -> None:
    """A contract's price that is not given is what the costs come to; so is the maker's price of the time."""
    (row,) = charges(priced(CONTRACT, 10_000), priced(CONTRACT, 20_000), prices=prices)
    assert (row["ContractedUnitPrice"], row["ListUnitPrice"]) == (Decimal("0.6123456"), Decimal("0.8"))
    assert (row["BilledCost"], row["ListCost"]) == (Decimal("1.8370368"), Decimal("2.4"))
    assert row["ChargeDescription"] == "qwen3-tts-flash: characters at 0.6123456 CNY per 10000 Characters"
    (unlisted,) = charges(priced(DOLLARS, 10_000), prices=prices)
    assert unlisted["ListCost"] == unlisted["ContractedCost"] == Decimal("0.15"), "no list price is known"


def test_a_list_price_may_change_within_a_month() -> None:
    """Each day has the list price that held on it."""
    days = [datetime(2026, 11, day, 12, tzinfo=UTC) for day in (1, 2)]
    dearer = priced(CONTRACT, 10_000, started_at=days[1], list_cost=Decimal("1.2"))
    rows = charges(priced(CONTRACT, 10_000, started_at=days[0]), dearer)
    assert [row["ListUnitPrice"] for row in rows] == [Decimal("0.8"), Decimal("1.2")]


def test_a_settlement_is_a_correction_once_its_month_has_ended() -> None:
    """In the present month it is a part of the charge: the rule is about periods that were invoiced before."""
    settled = priced(LIST_PRICE, 5, outcome="settled", cost=Decimal("0.0004"), cost_upper_bound=Decimal("-0.0004"))
    rows = [priced(LIST_PRICE), settled]
    (whole,) = charges(*rows, as_of=datetime(2026, 3, 31, tzinfo=UTC))
    assert (whole["ChargeClass"], whole["BilledCost"], whole["ConsumedQuantity"]) == (None, Decimal("0.0012"), 15)
    correction, usage = charges(*rows, as_of=datetime(2026, 4, 1, tzinfo=UTC))
    assert (usage["ChargeClass"], usage["BilledCost"]) == (None, Decimal("0.0008"))
    assert (correction["ChargeClass"], correction["BilledCost"]) == ("Correction", Decimal("0.0004"))
    (late,) = charges(priced(LIST_PRICE, is_correction=True), as_of=datetime(2026, 4, 1, tzinfo=UTC))
    assert late["ChargeClass"] == "Correction"


def test_what_may_have_been_charged_is_apart() -> None:
    """A request of unknown outcome costs nothing until it is settled; its most is in a column of ours."""
    unknown = priced(LIST_PRICE, outcome="unknown", cost=Decimal(0), characters_billed=0)
    (row,) = charges(unknown, prices=())
    assert (row["BilledCost"], row["x_CostUpperBound"]) == (0, Decimal("0.0008"))
    assert row["ContractedUnitPrice"] == Decimal("0.8"), "what its most comes to"
    assert not charges({**unknown, "cost_upper_bound": Decimal(0)}), "nothing was charged, and nothing may have been"


def test_who_provides_makes_and_pays() -> None:
    """A gateway provides what a maker publishes; an account is called by its label, else by its key."""
    rows = charges(
        priced(LIST_PRICE, service="modelstream", account="books", key_id="a1b2c3d4"),
        priced(LIST_PRICE, key_id="a1b2c3d4"),
        priced(LIST_PRICE, service="https://tts.example.com", model="own-voice", key_id="none"),
    )
    columns = ("ProviderName", "PublisherName", "InvoiceIssuerName", "BillingAccountId", "BillingAccountName")
    assert {tuple(row[name] for name in columns) for row in rows} == {
        ("modelstream", "Alibaba Cloud", "modelstream", "books", "books"),
        ("Alibaba Cloud", "Alibaba Cloud", "Alibaba Cloud", "a1b2c3d4", None),
        ("https://tts.example.com",) * 4 + (None,),
    }


def test_charges_are_apart_by_tags() -> None:
    """Their order does not matter, and quotes in them do not break the JSON."""
    tags = [("team", 'the "best"'), ("show", "ü=1")]
    rows = charges(*(priced(LIST_PRICE, tags=each) for each in (tags, tags[::-1], [])))
    assert [row["Tags"] for row in rows] == ['{"show":"ü=1","team":"the \\"best\\""}', None]
    assert [row["ConsumedQuantity"] for row in rows] == [20, 10]


def test_the_catalog_knows_its_prices() -> None:
    """Also those by token, which a charge needs."""
    prices = catalog_prices(load_catalog())
    assert any(price.per_1m_output_tokens for price in prices)
    row = priced(BY_TOKEN, price_id="aliyun-qwen-tts", model="qwen-tts")
    assert [charge["SkuMeter"] for charge in charges(row, prices=prices)] == ["Input Tokens", "Output Tokens"]


def test_no_usage_is_no_charges() -> None:
    """The table has its columns all the same."""
    focus = focus_rows(frame([]))
    assert (focus.charges.height, focus.requests_without_price) == (0, 0)
    assert focus.charges.schema == pl.Schema(SCHEMA)

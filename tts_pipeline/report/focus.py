"""Add usage up as charges of FOCUS 1.2, the form of billing data that cost tools read.

The rules are those of the FinOps Open Cost and Usage Specification 1.2 (tag v1.2 of
https://github.com/FinOps-Open-Cost-and-Usage-Spec/FOCUS_Spec, 2025-05-30, read 2026-11-30). A charge is what one meter
counted on one day for one account, key, price and set of tags. ``docs/focus.md`` explains each column.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import orjson
import polars as pl

from tts_pipeline.catalog import Catalog
from tts_pipeline.models import Price
from tts_pipeline.money import NANO, ZERO
from tts_pipeline.periods import check_timezone, period_of
from tts_pipeline.report.bill import collect_usage
from tts_pipeline.report.facts import TAG_TYPE

_INSTANT = pl.Datetime("us", "UTC")
_MONEY = pl.Decimal(38, 9)
_UNIT_PRICE = pl.Decimal(18, 9)
_QUANTITY = pl.Decimal(18, 6)
_PRODUCT = pl.Decimal(36, 15)  # holds a unit price times a quantity exactly

SCHEMA: Mapping[str, pl.DataType] = {
    "BilledCost": _MONEY,
    "BillingAccountId": pl.String(),
    "BillingAccountName": pl.String(),
    "BillingCurrency": pl.String(),
    "BillingPeriodEnd": _INSTANT,
    "BillingPeriodStart": _INSTANT,
    "ChargeCategory": pl.String(),
    "ChargeClass": pl.String(),
    "ChargeDescription": pl.String(),
    "ChargeFrequency": pl.String(),
    "ChargePeriodEnd": _INSTANT,
    "ChargePeriodStart": _INSTANT,
    "ConsumedQuantity": pl.Decimal(38, 1),  # with a decimal place, because tools take the types of a CSV from its texts
    "ConsumedUnit": pl.String(),
    "ContractedCost": _PRODUCT,
    "ContractedUnitPrice": _UNIT_PRICE,
    "EffectiveCost": _MONEY,
    "InvoiceId": pl.String(),
    "InvoiceIssuerName": pl.String(),
    "ListCost": _PRODUCT,
    "ListUnitPrice": _UNIT_PRICE,
    "PricingCategory": pl.String(),
    "PricingQuantity": _QUANTITY,
    "PricingUnit": pl.String(),
    "ProviderName": pl.String(),
    "PublisherName": pl.String(),
    "ServiceCategory": pl.String(),
    "ServiceName": pl.String(),
    "ServiceSubcategory": pl.String(),
    "SkuId": pl.String(),
    "SkuMeter": pl.String(),
    "SkuPriceDetails": pl.String(),
    "SkuPriceId": pl.String(),
    "Tags": pl.String(),
    "x_CostUpperBound": _MONEY,
    "x_KeyId": pl.String(),
    "x_PriceBasis": pl.String(),
    "x_PriceId": pl.String(),
}
"""The columns in order, with their types. Those that begin with ``x_`` are not part of FOCUS."""

_PROVIDERS = {"dashscope": "Alibaba Cloud", "openai": "OpenAI"}
"""The names of services whose makers' names are known; another service is called by its name in the catalog."""

_PUBLISHERS = {"qwen": "Alibaba Cloud", "gpt-": "OpenAI", "tts-": "OpenAI"}
"""The makers of models, by the beginning of a model's name; the provider counts as the maker of other models."""

_SERVICE_NAMES = {"speech": "Text to Speech", "transcription": "Speech to Text"}
_SUBCATEGORIES = {"speech": "Generative AI", "transcription": "Machine Learning"}

_PRICED = ("service", "model", "price_id", "price_basis", "currency")
_KEY = ("day", *_PRICED, "account", "key_id", "kind", "tags")
_COUNTS = ("characters_billed", "characters_upper_bound", "input_tokens", "output_tokens", "listed_characters")
_AMOUNTS = ("cost", "cost_upper_bound", "list_cost", "listed_cost")

_ARITHMETIC = Context(prec=60, rounding=ROUND_HALF_EVEN)


@dataclass(frozen=True, slots=True)
class Focus:
    """Charges of FOCUS, and the number of requests that are left out of them.

    A request without a price has an unknown cost, which a charge cannot express: null is not allowed, and 0 is wrong.
    """

    charges: pl.DataFrame
    requests_without_price: int


def focus_rows(
    rows: pl.LazyFrame, *, timezone: str = "UTC", prices: Iterable[Price] = (), as_of: datetime | None = None
) -> Focus:
    """Add usage up as charges of FOCUS 1.2, day by day.

    Args:
        rows: Usage, a row per request, or sums of it with the column ``requests``. ``is_open``, ``is_correction``,
            ``list_cost``, ``kind`` and ``key_id`` may be missing.
        timezone: The time zone of days and months, by its IANA name.
        prices: The prices that the usage may name by ``price_id``. A cost by token is divided between input and output
            with its price from here; another cost needs no price.
        as_of: The present: the settlement of a month that has ended by then is a correction. None is now.

    Returns:
        ``charges`` has the columns of ``SCHEMA``, sorted by day, then by text. BilledCost adds up to the confirmed
        cost of the usage, and x_CostUpperBound to the most that it may have cost, currency by currency.

    Raises:
        ConfigurationError: The time zone is not known on this machine. Never retried.
        StorageError: The usage cannot be read. Never retried.
    """
    check_timezone("day", timezone)
    usage = _complete(rows, timezone)
    is_priced, is_listed = pl.col("cost").is_not_null(), pl.col("list_cost").is_not_null()
    sums = (
        usage.filter(is_priced)
        .with_columns(
            listed_cost=pl.when(is_listed).then(pl.col("cost")),
            listed_characters=pl.when(is_listed).then(pl.col("characters_billed")),
        )
        .group_by(*_KEY, "is_settlement", "is_correction")
        .agg(pl.col(*_AMOUNTS).cast(_MONEY).sum(), pl.col(*_COUNTS).sum())
    )
    unpriced = usage.select(pl.when(is_priced).then("without_cost").otherwise("requests").sum())
    groups, left_out = collect_usage([sums, unpriced])
    by_id = {price.price_id: price for price in prices}
    return Focus(_charges(groups, timezone, by_id, as_of or datetime.now(UTC)), left_out.item())


def catalog_prices(catalog: Catalog) -> list[Price]:
    """Return all prices of a catalog, with a user's own."""
    cards = [card.prices for card in catalog.cards.values()]
    return [price for prices in (*cards, *catalog.prices.values()) for price in prices]


def _complete(rows: pl.LazyFrame, timezone: str) -> pl.LazyFrame:
    """Return usage with its day, and with all columns that a charge is made of."""
    is_settlement = pl.col("outcome") == "settled"
    absent = {
        "requests": pl.when(is_settlement).then(0).otherwise(1),
        "without_cost": pl.lit(0),
        "is_open": pl.lit(value=False),
        "is_correction": pl.lit(value=False),
        "list_cost": pl.lit(None, _MONEY),
        "kind": pl.lit(None, pl.String),
        "key_id": pl.lit(None, pl.String),
    }
    existing = rows.collect_schema().names()
    return rows.with_columns(**{name: value for name, value in absent.items() if name not in existing}).with_columns(
        day=pl.col("started_at").dt.convert_time_zone(timezone).dt.date(),
        is_settlement=is_settlement,
        requests=pl.when(pl.col("is_open")).then(0).otherwise("requests").cast(pl.Int64),
        kind=pl.col("kind").fill_null("speech"),
        tags=pl.col("tags").cast(TAG_TYPE),
    )


def _charges(groups: pl.DataFrame, timezone: str, prices: Mapping[str, Price], as_of: datetime) -> pl.DataFrame:
    periods = _periods(groups["day"].unique(), timezone)
    has_ended = pl.col("BillingPeriodEnd") <= as_of
    is_correction = pl.col("is_correction") | (pl.col("is_settlement") & has_ended)
    charges = (
        groups.join(periods, on="day")
        .with_columns(
            ChargeClass=pl.when(is_correction).then(pl.lit("Correction")),
            tags=pl.col("tags").map_elements(_json, return_dtype=pl.String),
        )
        .group_by(*_KEY, "ChargeClass", *periods.columns[1:])
        .agg(pl.col(*_AMOUNTS, *_COUNTS).sum())
        .join(_unit_prices(groups, prices), on=("day", *_PRICED), nulls_equal=True)
        .with_columns(ConsumedQuantity=_count())
        .with_columns(PricingQuantity=pl.col("ConsumedQuantity") / pl.col("units_per_price"))
        .with_columns(ContractedCost=_cost_at("ContractedUnitPrice"), ListCost=_cost_at("ListUnitPrice"))
        .with_columns(BilledCost=_share_of("cost"), x_CostUpperBound=_share_of("cost_upper_bound"))
        .filter(pl.any_horizontal(pl.col("BilledCost", "x_CostUpperBound", "ConsumedQuantity", "ListCost") != 0))
    )
    texts = [name for name, kind in SCHEMA.items() if kind == pl.String]
    return (
        charges.with_columns(**_dimensions())
        .select(pl.col(name).cast(kind) for name, kind in SCHEMA.items())
        .sort("ChargePeriodStart", *texts, nulls_last=True)
    )


def _periods(days: Iterable[Any], timezone: str) -> pl.DataFrame:
    """Return each day's charge period, which is the day, and its billing period, which is the month."""
    rows = []
    for day in days:
        noon = datetime.combine(day, time(12), ZoneInfo(timezone))
        charge, billing = period_of("day", timezone, noon, ""), period_of("month", timezone, noon, "")
        rows.append((day, charge.start, charge.end, billing.start, billing.end))
    names = ("ChargePeriodStart", "ChargePeriodEnd", "BillingPeriodStart", "BillingPeriodEnd")
    return pl.DataFrame(rows, {"day": pl.Date(), **dict.fromkeys(names, _INSTANT)}, orient="row")


class _Meter(NamedTuple):
    """What a price counts, and what ``units_per_price`` of it cost at the service and by the maker's list.

    ``input_price`` is that of input tokens, for both kinds of tokens; 0 for characters.
    """

    SkuMeter: str
    ConsumedUnit: str
    units_per_price: int
    input_price: Decimal
    ContractedUnitPrice: Decimal
    ListUnitPrice: Decimal


def _unit_prices(groups: pl.DataFrame, prices: Mapping[str, Price]) -> pl.DataFrame:
    """Return the meters of each day and price, with their unit prices."""
    of_requests = {_key_of(sums): sums for sums in _sums(groups.filter(~pl.col("is_settlement")), _PRICED)}
    with localcontext(_ARITHMETIC):
        rows = [
            (*(sums[name] for name in ("day", *_PRICED)), *meter)
            for sums in _sums(groups, ("day", *_PRICED))
            for meter in _meters(sums, of_requests.get(_key_of(sums), sums), prices.get(sums["price_id"]))
        ]
    kinds = (pl.String(), pl.String(), pl.Int64(), _UNIT_PRICE, _UNIT_PRICE, _UNIT_PRICE)
    keys = {name: groups.schema[name] for name in ("day", *_PRICED)}
    return pl.DataFrame(rows, {**keys, **dict(zip(_Meter._fields, kinds, strict=True))}, orient="row")


def _sums(groups: pl.DataFrame, by: Iterable[str]) -> Iterator[dict[str, Any]]:
    return groups.group_by(*by).agg(pl.col(*_AMOUNTS, *_COUNTS).sum()).iter_rows(named=True)


def _key_of(sums: Mapping[str, Any]) -> tuple[str | None, ...]:
    return tuple(sums[name] for name in _PRICED)


def _meters(day: Mapping[str, Any], all_days: Mapping[str, Any], price: Price | None) -> list[_Meter]:
    """Return the meters of a price, from its sums on one day and on all days, and from itself if it is known."""
    has_list_price = day["price_basis"] != "list"  # apart from its own
    if price is None or price.per_10k_characters is not None:
        unit_price = 10_000 * _character_price(all_days) if price is None else price.per_10k_characters or ZERO
        listed = _ratio(day["list_cost"], day["listed_characters"]) if has_list_price else None
        list_price = unit_price if listed is None else 10_000 * listed
        return [_Meter("Characters", "Characters", 10_000, ZERO, *_rounded(unit_price, list_price))]
    # The list price of each kind of token is not in the usage: both are taken to have the same discount.
    share = (_ratio(day["list_cost"], day["listed_cost"]) if has_list_price else None) or Decimal(1)
    by_input, by_output = price.per_1m_input_tokens or ZERO, price.per_1m_output_tokens or ZERO
    return [
        _Meter("Input Tokens", "Tokens", 1_000_000, by_input, *_rounded(by_input, by_input * share)),
        _Meter("Output Tokens", "Tokens", 1_000_000, by_input, *_rounded(by_output, by_output * share)),
    ]


def _character_price(sums: Mapping[str, Any]) -> Decimal:
    """Return the price of a character that the costs imply; 0 if no character was charged, or may have been."""
    confirmed = _ratio(sums["cost"], sums["characters_billed"])
    possible = _ratio(sums["cost_upper_bound"], sums["characters_upper_bound"])
    return (possible if confirmed is None else confirmed) or ZERO


def _ratio(cost: Decimal, count: int | Decimal) -> Decimal | None:
    """Return the cost of one; None without a count, and for what corrections have brought below 0."""
    return cost / count if count > 0 and cost >= 0 else None


def _rounded(*unit_prices: Decimal) -> Iterator[Decimal]:
    return (unit_price.quantize(NANO) for unit_price in unit_prices)


def _count() -> pl.Expr:
    """Return what each row's meter counted."""
    meter = pl.col("SkuMeter")
    tokens = pl.when(meter == "Input Tokens").then("input_tokens").when(meter == "Output Tokens").then("output_tokens")
    return tokens.otherwise("characters_billed").cast(pl.Decimal(38, 6))


def _cost_at(unit_price: str) -> pl.Expr:
    """Return the exact product of a unit price and the quantity."""
    return pl.col(unit_price).cast(pl.Decimal(38, 15)) * pl.col("PricingQuantity")


def _share_of(amount: str) -> pl.Expr:
    """Return a row's share of an amount: input tokens have their price, and the other meter has the rest."""
    input_quantity = pl.col("input_tokens").cast(pl.Decimal(38, 6)) / pl.lit(1_000_000)
    of_input = (pl.col("input_price").cast(pl.Decimal(38, 15)) * input_quantity).cast(_MONEY)
    return pl.when(pl.col("SkuMeter") == "Input Tokens").then(of_input).otherwise(pl.col(amount) - of_input)


def _dimensions() -> dict[str, pl.Expr]:
    """Return the columns that follow from others, row by row."""
    provider = pl.col("service").replace(_PROVIDERS)
    publisher = pl.coalesce(
        *(pl.when(pl.col("model").str.starts_with(start)).then(pl.lit(name)) for start, name in _PUBLISHERS.items()),
        provider,
    )
    unit = pl.format("{} {}", "units_per_price", "ConsumedUnit")
    sku = pl.format("{}/{}", "model", pl.col("SkuMeter").str.to_lowercase().str.replace(" ", "-"))
    account = pl.when(pl.col("account") != "").then("account")
    key = pl.when(pl.col("key_id") != "none").then("key_id")
    return {
        "BillingAccountId": pl.coalesce(account, key, provider),
        "BillingAccountName": account,
        "BillingCurrency": pl.col("currency"),
        "ChargeCategory": pl.lit("Usage"),
        "ChargeDescription": _description(unit),
        "ChargeFrequency": pl.lit("Usage-Based"),
        "EffectiveCost": pl.col("BilledCost"),
        "InvoiceId": pl.lit(None, pl.String),  # the usage does not know the invoices of its charges
        "InvoiceIssuerName": provider,
        "PricingCategory": pl.lit("Standard"),
        "PricingUnit": unit,
        "ProviderName": provider,
        "PublisherName": publisher,
        "ServiceCategory": pl.lit("AI and Machine Learning"),
        "ServiceName": pl.col("kind").replace(_SERVICE_NAMES),
        "ServiceSubcategory": pl.col("kind").replace_strict(_SUBCATEGORIES, default="Other (AI and Machine Learning)"),
        "SkuId": sku,
        "SkuPriceDetails": pl.struct(x_Model=pl.col("model")).struct.json_encode(),
        "SkuPriceId": sku,
        "Tags": pl.col("tags"),
        "x_KeyId": pl.col("key_id"),
        "x_PriceBasis": pl.col("price_basis"),
        "x_PriceId": pl.col("price_id"),
    }


def _description(unit: pl.Expr) -> pl.Expr:
    """Return for example: ``qwen3-tts-flash: characters at 0.8 CNY per 10000 Characters``."""
    price = pl.col("ContractedUnitPrice").cast(pl.String).str.strip_chars_end("0").str.strip_chars_end(".")
    meter = pl.col("SkuMeter").str.to_lowercase()
    charge = pl.format("{}: {} at {} {} per {}", "model", meter, price, "currency", unit)
    return pl.when(pl.col("ChargeClass").is_null()).then(charge).otherwise(pl.format("Correction of {}", charge))


def _json(tags: Iterable[Mapping[str, str]]) -> str | None:
    """Return tags as a JSON object with sorted keys; None without tags."""
    values = {tag["key"]: tag["value"] for tag in tags}
    return orjson.dumps(values, option=orjson.OPT_SORT_KEYS).decode() if values else None

"""Polars expressions over texts: character counts and prices for whole columns."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Context, Decimal

import polars as pl

from tts_pipeline.catalog import AnyCatalog, Catalog, Service, load_catalog
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.log import logger
from tts_pipeline.money import price_at
from tts_pipeline.text import HAN

_MONEY = pl.Decimal(18, 9)
_EXACT = Context(prec=60)


def billed_characters(column: str | pl.Expr, billing: str = "han_double") -> pl.Expr:
    """Count the characters that a service bills for each text of a column.

    Equal to ``text.billed_characters`` on every text; elementwise, so it works in a lazy frame, streamed, and in any
    context.

    Args:
        column: A name, or an expression of strings.
        billing: As on a model's card: ``han_double`` counts a Han character (also kanji and hanja) twice and anything
            else once, white space and punctuation included; ``characters`` and ``tokens`` count each code point once.

    Returns:
        An expression of UInt32 under the column's name; null where the text is null.

    Example:
        >>> import polars as pl
        >>> import tts_pipeline as tts
        >>> frame = pl.DataFrame({"text": ["Hello.", "你好。", None]})
        >>> frame.select(tts.billed_characters("text"))["text"].to_list()
        [6, 5, None]
    """
    characters = _expression(column).str.len_chars()
    return characters + han_characters(column).fill_null(0) if billing == "han_double" else characters


def han_characters(column: str | pl.Expr) -> pl.Expr:
    """Count the Han characters of each text of a column; null where the text has only ASCII, or is null."""
    text = _expression(column)
    # What is null costs nothing: a column of ASCII is counted 5 times faster for it.
    beyond_ascii = pl.when(text.str.len_bytes() > text.str.len_chars()).then(text)
    return beyond_ascii.str.count_matches(HAN)


def estimate_cost(
    column: str | pl.Expr, model: str, *, service: Service | None = None, catalog: AnyCatalog | None = None
) -> pl.Expr:
    """Estimate what speech for each text of a column costs, each bought once, at today's price (UTC).

    Elementwise, so it works in a lazy frame, streamed, and in any context. ``estimate`` says more of a whole frame:
    repeated texts, time, models that are paid by the token.

    Args:
        column: A name, or an expression of strings.
        model: As sent.
        service: Whose price; None is that of the model's maker. Needs no key.
        catalog: Services, cards and prices, or the TOML file of your own; None is the built-in catalog.

    Returns:
        An expression of Decimal(18, 9) under the column's name, in the currency of the model's price. Null where the
        text is null, and everywhere, with a warning, for a model without a price.

    Raises:
        ConfigurationError: No such model there, or it is not paid by the character.

    Example:
        >>> import polars as pl
        >>> import tts_pipeline as tts
        >>> frame = pl.DataFrame({"text": ["Good morning.", "早上好。"]})
        >>> costs = frame.select(tts.estimate_cost("text", "qwen3-tts-flash"))["text"]
        >>> [f"{cost:f}" for cost in costs]
        ['0.001040000', '0.000560000']
    """
    catalog = load_catalog(catalog)
    card = catalog.card(service or _maker_of(model, catalog), model)
    price = price_at(card.prices, datetime.now(UTC).date())
    if price is None:
        logger.warning("%s on %s has no price today: its cost is null, not 0", model, card.service)
        return pl.when(False).then(_expression(column).str.len_chars().cast(_MONEY))
    if price.per_10k_characters is None:
        raise ConfigurationError(
            f"{model} on {card.service} is paid by the token, of which a text alone does not tell",
            hint="tts_pipeline.estimate(frame, service, model=...) reckons with the length of the audio",
        )
    per_character = _EXACT.divide(price.per_10k_characters, Decimal(10_000))
    characters = billed_characters(column, card.billing).cast(pl.Decimal(38, 0))
    return (characters * pl.lit(per_character)).round(9, mode="half_to_even").cast(_MONEY)


def _maker_of(model: str, catalog: Catalog) -> Service:
    offering = [service for service in catalog.services.values() if (service.name, model) in catalog.cards]
    makers = [service for service in offering if service.maker] or offering
    if not makers:
        raise ConfigurationError(
            f"no service has a model {model!r}", hint="tts-pipeline models lists them; or give service="
        )
    return makers[0]


def _expression(column: str | pl.Expr) -> pl.Expr:
    return pl.col(column) if isinstance(column, str) else column

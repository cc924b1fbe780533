"""Count the characters of a column of texts and estimate their cost, as Polars expressions."""

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

    The count equals ``text.billed_characters`` for every text. The expression is elementwise: it works in a lazy frame,
    streamed, and in any context.

    Args:
        column: A column's name, or an expression of strings.
        billing: The rule on the model's card: ``han_double`` counts a Han character (also kanji and hanja) twice and
            any other character once, white space and punctuation included; ``characters`` and ``tokens`` count each
            code point once.

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
    # Nulls are skipped: this makes the count of an ASCII column 5 times as fast.
    beyond_ascii = pl.when(text.str.len_bytes() > text.str.len_chars()).then(text)
    return beyond_ascii.str.count_matches(HAN)


def estimate_cost(
    column: str | pl.Expr, model: str, *, service: Service | None = None, catalog: AnyCatalog | None = None
) -> pl.Expr:
    """Estimate the cost of speech for each text of a column, each bought once, at today's price (UTC).

    The expression is elementwise: it works in a lazy frame, streamed, and in any context. ``estimate`` covers a whole
    frame: repeated texts, time, and models that are paid by the token.

    Args:
        column: A column's name, or an expression of strings.
        model: The model's name, as sent.
        service: The service whose price counts; it needs no key. None is the model's maker.
        catalog: Services, cards and prices, or the TOML file of your own; None is the built-in catalog.

    Returns:
        An expression of Decimal(18, 9) under the column's name, in the currency of the model's price. Null where the
        text is null, and everywhere, with a warning, for a model without a price.

    Raises:
        ConfigurationError: The service has no such model, or the model is not paid by the character. Never retried.

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
    price = price_at(card.prices, datetime.now(UTC))
    if price is None:
        logger.warning("%s on %s has no price today: its cost is null, not 0", model, card.service)
        return pl.when(False).then(_expression(column).str.len_chars().cast(_MONEY))
    if price.per_10k_characters is None:
        raise ConfigurationError(
            f"{model} on {card.service} is paid by the token: its cost cannot be computed from a text alone",
            hint="call tts_pipeline.estimate(frame, service, model=...), which also estimates the length of the audio",
        )
    per_character = _EXACT.divide(price.per_10k_characters, Decimal(10_000))
    characters = billed_characters(column, card.billing).cast(pl.Decimal(38, 0))
    return (characters * pl.lit(per_character)).round(9, mode="half_to_even").cast(_MONEY)


def _maker_of(model: str, catalog: Catalog) -> Service:
    offering = [service for service in catalog.services.values() if (service.name, model) in catalog.cards]
    makers = [service for service in offering if service.maker] or offering
    if not makers:
        raise ConfigurationError(
            f"no service has a model {model!r}", hint="list the models by `tts-pipeline models`, or give `service`"
        )
    return makers[0]


def _expression(column: str | pl.Expr) -> pl.Expr:
    return pl.col(column) if isinstance(column, str) else column

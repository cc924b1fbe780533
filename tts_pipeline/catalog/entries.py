"""Parse services, prices and parameters from a catalog file."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, cast

from tts_pipeline.card import Parameter, ParameterType
from tts_pipeline.catalog.service import Service
from tts_pipeline.catalog.toml_table import TomlTable
from tts_pipeline.catalog.value import coerce, has_type
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.models import ParameterValue, Price
from tts_pipeline.periods import read_timezone

DIALECTS = ("openai", "dashscope")
"""The forms of requests that ``wire.request`` builds."""

ANY_SERVICE = "*"
"""The service of a card that applies to any service."""

LOCAL = "local"
"""The local service, which has no URL until it is started."""

_TYPES = ("string", "number", "integer", "boolean", "object", "array")
_NUMBERS = ("number", "integer")
_VARIABLE_NAME = re.compile(r"[A-Z_][A-Z0-9_]*")
_CURRENCY = re.compile(r"[A-Z]{3}")
_MAX_PRICE = 10**9
"""No price in any currency is higher; the cost of a request at this price fits the tables."""

_BY_CHARACTER = "per_10k_characters"
_BY_TOKEN = ("per_1m_input_tokens", "per_1m_output_tokens")


def read_service(name: str, table: TomlTable) -> Service:
    """Read ``[services.NAME]``; an error names the file and the setting, never a value, which may be an API key."""
    if not name or "/" in name or name == ANY_SERVICE:
        raise table.error("", f"must have a name without a slash, other than {ANY_SERVICE!r}")
    auth = table.one_of("auth", ("bearer", "none")) or "bearer"
    variable = table.text("key_variable")
    if auth == "bearer" and not _VARIABLE_NAME.fullmatch(variable or ""):
        why = "must be the name of an environment variable in capitals"
        raise table.error("key_variable", why, 'a key is never written into a file; auth = "none" needs none')
    ca_file = table.text("ca_file")
    texts = {name: table.text(name) for name in ("account", "source", "key_header", "key_prefix", "proxy")}
    fields: dict[str, Any] = {
        "base_url": table.text(table.require("base_url")) or "",
        "dialect": table.one_of("dialect", DIALECTS) or "openai",
        "auth": auth,
        "key_variable": variable,
        "maker": table.boolean("maker", default=False),
        "query": table.text_table("query"),
        "headers": table.text_table("headers"),
        # A relative path is relative to the catalog.
        "ca_file": None if ca_file is None else str(Path(table.file).parent / Path(ca_file).expanduser()),
        **{name: text for name, text in texts.items() if text is not None},
    }
    table.refuse_unknown_keys()
    try:
        service = Service(name=name, **fields)
    except ConfigurationError as error:
        raise ConfigurationError(f"{table.file}: {error.message}", hint=error.hint) from None
    if not service.base_url and name != LOCAL:
        raise table.error("base_url", "must be the service's URL")
    return service


def read_price(price_id: str, table: TomlTable, basis: Literal["list", "user"], timezone: str = "UTC") -> Price:
    """Read ``[prices.ID]``; ``basis`` and ``timezone`` are the defaults for a table without them."""
    currency = table.text(table.require("currency")) or ""
    if not _CURRENCY.fullmatch(currency):
        raise table.error("currency", "must be three capitals, such as CNY")
    price = Price(
        price_id=price_id,
        currency=currency,
        basis=cast("Literal['list', 'user']", table.one_of("basis", ("list", "user")) or basis),
        per_10k_characters=_read_amount(table, _BY_CHARACTER),
        per_1m_input_tokens=_read_amount(table, _BY_TOKEN[0]),
        per_1m_output_tokens=_read_amount(table, _BY_TOKEN[1]),
        effective_from=table.day("effective_from"),
        effective_until=table.day("effective_until"),
        source=table.text("source") or "",
        timezone=timezone if (own := table.text("timezone")) is None else own,
    )
    table.refuse_unknown_keys()
    try:
        read_timezone(price.timezone)
    except ConfigurationError as error:
        raise table.error("timezone", f"is not one: {error.message}", error.hint or "") from None
    price_keys = [key for key in (_BY_CHARACTER, *_BY_TOKEN) if key in table]
    if price_keys not in ([_BY_CHARACTER], list(_BY_TOKEN)):
        raise table.error(_BY_CHARACTER, f"must be given alone, or {_BY_TOKEN[0]} and {_BY_TOKEN[1]} together")
    if price.effective_from and price.effective_until and price.effective_until <= price.effective_from:
        raise table.error("effective_until", "must be after effective_from: it is the first day without this price")
    return price


def read_parameter(name: str, table: TomlTable) -> Parameter:
    """Read ``[cards.parameters.NAME]``."""
    kind = cast(ParameterType, table.one_of(table.require("type"), _TYPES))
    parameter = Parameter(
        name=name,
        type=kind,
        required=table.boolean("required", default=False),
        choices=_read_choices(table, kind),
        labels=table.text_table("labels"),
        minimum=_read_bound(table, "minimum", kind),
        maximum=_read_bound(table, "maximum", kind),
        step=_read_bound(table, "step", kind),
        in_body=table.boolean("in_body", default=True),
        description=table.text("description") or "",
    )
    table.refuse_unknown_keys()
    _check_range(table, parameter)
    for label in parameter.labels:
        if label not in (parameter.choices or ()):
            raise table.error(f"labels.{label}", "is a label for a value that is not among the choices")
    return parameter


def _read_amount(table: TomlTable, key: str) -> Decimal | None:
    amount = table.decimal(key)
    if amount is not None and amount < 0:
        raise table.error(key, "must not be negative")
    if amount is not None and amount > _MAX_PRICE:
        raise table.error(key, f"must be {_MAX_PRICE:,} at most", "the name of the key states the unit")
    return amount


def _read_choices(table: TomlTable, kind: ParameterType) -> tuple[ParameterValue, ...] | None:
    values = table.array("choices")
    if values is None:
        return None
    if not all(has_type(kind, choice) for choice in values):
        raise table.error("choices", f"must be an array of values of the type {kind}")
    choices = tuple(choice for choice in (coerce(kind, choice) for choice in values) if choice is not None)
    if any(choice in choices[:index] for index, choice in enumerate(choices)):
        raise table.error("choices", "must be an array without repetitions")
    return choices


def _read_bound(table: TomlTable, key: str, kind: ParameterType) -> Decimal | None:
    bound = table.decimal(key)
    if bound is not None and kind not in _NUMBERS:
        raise table.error(key, f"is for numbers; the type is {kind}")
    return bound


def _check_range(table: TomlTable, parameter: Parameter) -> None:
    low, high, step = parameter.minimum, parameter.maximum, parameter.step
    if low is not None and high is not None and high < low:
        raise table.error("maximum", "must not be below minimum")
    if step is not None and (step <= 0 or low is None):
        raise table.error("step", "must be above 0 and needs a minimum to count from")

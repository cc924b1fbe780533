"""Services, prices and parameters as they stand in a catalog file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, cast

from tts_pipeline.catalog.service import Service
from tts_pipeline.catalog.table import Table
from tts_pipeline.catalog.value import has_type, typed
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.models import Parameter, ParameterType, ParameterValue, Price

DIALECTS = ("openai", "dashscope")
"""How requests can be built."""

ANY_SERVICE = "*"
"""Stands in a card for any service."""

LOCAL = "local"
"""The service that has no URL until it is started."""

_TYPES = ("string", "number", "integer", "boolean", "object", "array")
_NUMBERS = ("number", "integer")
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
_CURRENCY = re.compile(r"[A-Z]{3}")
_MOST_MONEY = 10**9
"""No price in any currency is higher; what a request costs at it fits the tables."""

_BY_CHARACTER = "per_10k_characters"
_BY_TOKEN = ("per_1m_input_tokens", "per_1m_output_tokens")


def read_service(name: str, table: Table) -> Service:
    """Read ``[services.NAME]``.

    Raises:
        ConfigurationError: A mistake in it; names file and key, never a value that may be a service's key.
    """
    if not name or "/" in name or name == ANY_SERVICE:
        raise table.mistake("", f"must have a name without a slash, other than {ANY_SERVICE!r}")
    auth = table.one_of("auth", ("bearer", "none")) or "bearer"
    variable = table.text("key_variable")
    if auth == "bearer" and not _VARIABLE.fullmatch(variable or ""):
        why = "must be the name of an environment variable in capitals"
        raise table.mistake("key_variable", why, 'a key is never written into a file; auth = "none" needs none')
    given = {name: table.text(name) for name in ("account", "source", "key_header", "key_prefix", "proxy")}
    fields = {
        "base_url": table.text(table.required("base_url")) or "",
        "dialect": table.one_of("dialect", DIALECTS) or "openai",
        "auth": auth,
        "key_variable": variable,
        "maker": table.switch("maker", default=False),
        "query": table.words("query"),
        "headers": table.words("headers"),
        "ca_file": _file(table, "ca_file"),
        **{name: text for name, text in given.items() if text is not None},
    }
    table.finish()
    service = _service(name, fields, table)
    if not service.base_url and name != LOCAL:
        raise table.mistake("base_url", "must be the service's URL")
    return service


def _file(table: Table, key: str) -> str | None:
    """Read a file's name; a relative one is relative to the catalog."""
    given = table.text(key)
    return None if given is None else str(Path(table.file).parent / Path(given).expanduser())


def _service(name: str, fields: dict[str, Any], table: Table) -> Service:
    try:
        return Service(name=name, **fields)
    except ConfigurationError as error:
        raise ConfigurationError(f"{table.file}: {error.message}", hint=error.hint) from None


def read_price(price_id: str, table: Table, basis: Literal["list", "user"]) -> Price:
    """Read ``[prices.ID]``; ``basis`` holds when the table does not say.

    Raises:
        ConfigurationError: A mistake in it; names file and key.
    """
    currency = table.text(table.required("currency")) or ""
    if not _CURRENCY.fullmatch(currency):
        raise table.mistake("currency", "must be three capitals, as CNY")
    price = Price(
        price_id=price_id,
        currency=currency,
        basis=cast("Literal['list', 'user']", table.one_of("basis", ("list", "user")) or basis),
        per_10k_characters=_money(table, _BY_CHARACTER),
        per_1m_input_tokens=_money(table, _BY_TOKEN[0]),
        per_1m_output_tokens=_money(table, _BY_TOKEN[1]),
        effective_from=table.day("effective_from"),
        effective_until=table.day("effective_until"),
        source=table.text("source") or "",
    )
    table.finish()
    given = [key for key in (_BY_CHARACTER, *_BY_TOKEN) if key in table]
    if given not in ([_BY_CHARACTER], list(_BY_TOKEN)):
        raise table.mistake(_BY_CHARACTER, f"must be given alone, or {_BY_TOKEN[0]} and {_BY_TOKEN[1]} together")
    if price.effective_from and price.effective_until and price.effective_until <= price.effective_from:
        raise table.mistake("effective_until", "must be after effective_from: it is the first day without this price")
    return price


def read_parameter(name: str, table: Table) -> Parameter:
    """Read ``[cards.parameters.NAME]``.

    Raises:
        ConfigurationError: A mistake in it; names file and key.
    """
    kind = cast(ParameterType, table.one_of(table.required("type"), _TYPES))
    parameter = Parameter(
        name=name,
        type=kind,
        required=table.switch("required", default=False),
        choices=_choices(table, kind),
        labels=table.words("labels"),
        minimum=_bound(table, "minimum", kind),
        maximum=_bound(table, "maximum", kind),
        step=_bound(table, "step", kind),
        in_body=table.switch("in_body", default=True),
        description=table.text("description") or "",
    )
    table.finish()
    _check_range(table, parameter)
    for label in parameter.labels:
        if label not in (parameter.choices or ()):
            raise table.mistake(f"labels.{label}", "is the label of something that is not among the choices")
    return parameter


def _money(table: Table, key: str) -> Decimal | None:
    amount = table.decimal(key)
    if amount is not None and amount < 0:
        raise table.mistake(key, "must not be negative")
    if amount is not None and amount > _MOST_MONEY:
        raise table.mistake(key, f"must be {_MOST_MONEY:,} at most", "its unit is in its name")
    return amount


def _choices(table: Table, kind: ParameterType) -> tuple[ParameterValue, ...] | None:
    given = table.array("choices")
    if given is None:
        return None
    if not all(has_type(kind, choice) for choice in given):
        raise table.mistake("choices", f"must be an array of values of the type {kind}")
    choices = tuple(choice for choice in (typed(kind, choice) for choice in given) if choice is not None)
    return _distinct(table, choices)


def _distinct(table: Table, choices: Sequence[ParameterValue]) -> tuple[ParameterValue, ...]:
    if any(choice in choices[:place] for place, choice in enumerate(choices)):
        raise table.mistake("choices", "must be an array without repetitions")
    return tuple(choices)


def _bound(table: Table, key: str, kind: ParameterType) -> Decimal | None:
    bound = table.decimal(key)
    if bound is not None and kind not in _NUMBERS:
        raise table.mistake(key, f"is for numbers; the type is {kind}")
    return bound


def _check_range(table: Table, parameter: Parameter) -> None:
    low, high, step = parameter.minimum, parameter.maximum, parameter.step
    if low is not None and high is not None and high < low:
        raise table.mistake("maximum", "must not be below minimum")
    if step is not None and (step <= 0 or low is None):
        raise table.mistake("step", "must be above 0 and needs a minimum to count from")

"""Read a layout: the description of a vendor's invoice file, as TOML."""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Literal, get_args

import polars as pl

from tts_pipeline.catalog.toml_table import TomlTable, parse_toml, read_toml
from tts_pipeline.errors import ConfigurationError, did_you_mean
from tts_pipeline.periods import read_timezone

Level = Literal["request", "day", "month"]
LEVELS: tuple[Level, ...] = get_args(Level)

COLUMNS = (
    "request_id",
    "time",
    "end",
    "day",
    "month",
    "model",
    "account",
    "quantity",
    "unit",
    "amount",
    "tax",
    "credit",
    "currency",
)
"""What a layout can name a column for."""

ROW_KINDS = ("keep", "skip", "credit", "rounding")

_UNIT = re.compile(r"(\d+) (characters|tokens)")


@dataclass(frozen=True, slots=True)
class Unit:
    """What one unit of a quantity is: ``factor`` characters or tokens."""

    factor: int
    measure: Literal["characters", "tokens"]


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How much an invoice may differ from the usage by rounding alone.

    Args:
        money: For each line, in its currency.
        share: Of the cost.
        time_s: Seconds between our time of a request and the invoice's.
    """

    money: Decimal = Decimal(0)
    share: Decimal = Decimal(0)
    time_s: int = 900


@dataclass(frozen=True, slots=True)
class Layout:
    """How to read an invoice, and what to compare it with.

    Args:
        name: For messages.
        level: What a line without a request id covers: one request, a day or a month.
        columns: The file's names of each of ``COLUMNS`` that it has; the first one in the file's header is used.
        timezone: IANA name; times without an offset, days and months are of this zone.
        encoding: A codec of Python, such as ``utf-8-sig``, ``gb18030`` or ``utf-16``.
        delimiter: Between cells, one ASCII character.
        decimal: The decimal mark.
        thousands: The mark between groups of three digits; empty if there is none.
        time_formats: Formats of strftime; empty tries the usual ones.
        currency: ISO 4217, where no column has it.
        currencies: The file's words for currencies.
        unit: The unit of quantities, where no column has it.
        units: The file's words for units; None is a unit that is not compared.
        model_pattern: A regular expression; its first group is the model. None takes the whole cell.
        models: The file's names of our models.
        accounts: Our account label or key id by the file's account; empty leaves accounts uncompared.
        services: Only the usage of these services is compared; empty compares all.
        rows: Regular expressions by kind of row and column: ``keep`` (compare only these rows), ``skip``, ``credit``,
            ``rounding``.
        tolerance: What counts as rounding.
    """

    name: str
    level: Level
    columns: Mapping[str, tuple[str, ...]]
    timezone: str = "UTC"
    encoding: str = "utf-8-sig"
    delimiter: str = ","
    decimal: str = "."
    thousands: str = ","
    time_formats: tuple[str, ...] = ()
    currency: str | None = None
    currencies: Mapping[str, str] = field(default_factory=dict)
    unit: Unit | None = None
    units: Mapping[str, Unit | None] = field(default_factory=dict)
    model_pattern: str | None = None
    models: Mapping[str, str] = field(default_factory=dict)
    accounts: Mapping[str, str] = field(default_factory=dict)
    services: tuple[str, ...] = ()
    rows: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    tolerance: Tolerance = field(default_factory=Tolerance)


def built_in_layouts() -> list[str]:
    """Return the names of the layouts that come with the package."""
    return sorted(file.name.removesuffix(".toml") for file in _folder().iterdir() if file.name.endswith(".toml"))


def find_layout(name: str) -> Layout:
    """Return the layout of a file, or the built-in one of this name, with or without ``.toml``.

    Raises:
        ConfigurationError: There is no such layout, or it has a mistake; the message names file and key.
    """
    path, known = Path(name), built_in_layouts()
    if path.is_file():
        return _parse(read_toml(path), path.stem)
    if (short := name.removesuffix(".toml")) in known:
        return _built_in(short)
    hint = f"{did_you_mean(short, known)}Known: {', '.join(known)}; or give a file of your own (docs/reconcile.md)"
    raise ConfigurationError(f"there is no layout {name!r}", hint=hint)


def parse_layout(content: str, name: str) -> Layout:
    """Parse the TOML of a layout.

    Raises:
        ConfigurationError: It has a mistake; the message names file and key.
    """
    return _parse(parse_toml(content, name), name)


def _folder() -> Path:
    return Path(str(files("tts_pipeline.reconcile").joinpath("layouts")))


def _built_in(name: str) -> Layout:
    return _parse(read_toml(_folder() / f"{name}.toml"), name)


_BLANK = Layout(name="", level="day", columns={})


def _parse(table: TomlTable, name: str) -> Layout:
    base_name = table.one_of("extends", built_in_layouts()) if "extends" in table else None
    base = _built_in(base_name) if base_name else _BLANK
    level = table.one_of("level", LEVELS)
    if level is None and base_name is None:
        raise table.error("level", "is missing", f"one of {', '.join(LEVELS)}")
    delimiter = _mark(table, "delimiter", base.delimiter)
    layout = replace(
        base,
        name=name,
        level=next((known for known in LEVELS if known == level), base.level),
        columns={**base.columns, **_columns(table)},
        timezone=_timezone(table, base.timezone),
        encoding=_encoding(table, base.encoding),
        delimiter=delimiter,
        decimal=_mark(table, "decimal", base.decimal),
        thousands=_mark(table, "thousands", base.thousands, may_be_empty=True),
        time_formats=table.text_array("time_formats") or base.time_formats,
        currency=table.text("currency") or base.currency,
        currencies={**base.currencies, **table.text_table("currencies")},
        unit=_unit(table, "unit") if "unit" in table else base.unit,
        units={**base.units, **_units(table)},
        model_pattern=_pattern(table, "model_pattern", groups=1) or base.model_pattern,
        models={**base.models, **table.text_table("models")},
        accounts={**base.accounts, **table.text_table("accounts")},
        services=base.services if (services := table.text_array("services")) is None else services,
        rows={**base.rows, **_rows(table)},
        tolerance=_tolerance(table, base.tolerance),
    )
    table.refuse_unknown_keys()
    _check(table, layout)
    return layout


def _check(table: TomlTable, layout: Layout) -> None:
    if "amount" not in layout.columns:
        raise table.error("columns.amount", "is missing", "name the column of the amounts")
    if not {"time", "day", "month"} & layout.columns.keys():
        raise table.error("columns", "has no time, day or month", "name the column that says when a line was used")
    if layout.currency is None and "currency" not in layout.columns:
        raise table.error("currency", "is missing", 'say currency = "CNY", or name its column')
    if layout.level == "request" and "request_id" not in layout.columns:
        raise table.error("columns.request_id", "is missing", "lines of level request have one")
    if layout.decimal == layout.thousands:
        raise table.error("thousands", "is the decimal mark, too")


def _columns(table: TomlTable) -> dict[str, tuple[str, ...]]:
    columns = table.table("columns")
    if columns is None:
        return {}
    names: dict[str, tuple[str, ...]] = {}
    for key in columns.names():
        if key not in COLUMNS:
            hint = f"{did_you_mean(key, COLUMNS)}known here: {', '.join(COLUMNS)}"
            raise columns.error(key, "is not a known key", hint)
        names[key] = _one_or_more(columns, key)
    return names


def _one_or_more(table: TomlTable, key: str) -> tuple[str, ...]:
    try:
        return table.text_array(key) or ()
    except ConfigurationError:
        return (table.text(key) or "",)


def _timezone(table: TomlTable, default: str) -> str:
    name = table.text("timezone")
    if name is None:
        return default
    try:
        read_timezone(name)
    except ConfigurationError as error:
        raise table.error("timezone", "is not a time zone", error.hint or "") from None
    return name


def _encoding(table: TomlTable, default: str) -> str:
    name = table.text("encoding")
    if name is None:
        return default
    try:
        codecs.lookup(name)
    except LookupError:
        raise table.error("encoding", "is not an encoding", "such as utf-8-sig, gb18030 or utf-16") from None
    return name


def _mark(table: TomlTable, key: str, default: str, *, may_be_empty: bool = False) -> str:
    mark = table.text(key)
    if mark is None:
        return default
    if len(mark) != 1 and not (may_be_empty and mark == ""):
        raise table.error(key, "must be one character")
    if not mark.isascii() or mark.isalnum():
        raise table.error(key, "must be an ASCII sign, such as a comma")
    return mark


def _unit(table: TomlTable, key: str) -> Unit | None:
    text = table.text(key) or ""
    if text == "other":
        return None
    found = _UNIT.fullmatch(text)
    if found is None or not int(found[1]):
        raise table.error(key, "is not a unit", "such as '1 characters', '10000 characters', '1000 tokens' or 'other'")
    return Unit(int(found[1]), "characters" if found[2] == "characters" else "tokens")


def _units(table: TomlTable) -> dict[str, Unit | None]:
    units = table.table("units")
    return {name: _unit(units, name) for name in units.names()} if units else {}


def _rows(table: TomlTable) -> dict[str, dict[str, str]]:
    rows = table.table("rows")
    if rows is None:
        return {}
    for kind in rows.names():
        if kind not in ROW_KINDS:
            raise rows.error(kind, "is not a known key", f"known here: {', '.join(ROW_KINDS)}")
    patterns: dict[str, dict[str, str]] = {}
    for kind in rows.names():
        columns = rows.table(kind)
        patterns[kind] = {name: _pattern(columns, name) or "" for name in columns.names()} if columns else {}
    return patterns


def _pattern(table: TomlTable, key: str, groups: int = 0) -> str | None:
    pattern = table.text(key)
    if pattern is None:
        return None
    try:
        pl.Series([""]).str.contains(pattern)
    except pl.exceptions.ComputeError:
        raise table.error(key, "is not a regular expression") from None
    if re.compile(pattern).groups < groups:
        raise table.error(key, "has no group", "put what to take between parentheses")
    return pattern


def _tolerance(table: TomlTable, default: Tolerance) -> Tolerance:
    tolerance = table.table("tolerance")
    if tolerance is None:
        return default
    found = Tolerance(
        money=_not_negative(tolerance, "money", default.money),
        share=_not_negative(tolerance, "share", default.share),
        time_s=int(_not_negative(tolerance, "time_s", Decimal(default.time_s))),
    )
    tolerance.refuse_unknown_keys()
    return found


def _not_negative(table: TomlTable, key: str, default: Decimal) -> Decimal:
    number = table.decimal(key)
    if number is not None and number < 0:
        raise table.error(key, "must not be negative")
    return default if number is None else number

"""Read a vendor's invoice file into its normal form: one row per line, in our words and units."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice

import polars as pl

from tts_pipeline.errors import ConfigurationError, did_you_mean, printable
from tts_pipeline.reconcile.cells import as_instants, cleaned, instants, local_times, months, numbers
from tts_pipeline.reconcile.layout import Layout, Unit

MONEY = pl.Decimal(38, 9)
"""The type of amounts, at the scale of the usage tables."""

INSTANT = pl.Datetime("us", "UTC")

LINES = pl.Schema(
    {
        "line": pl.Int64(),
        "level": pl.String(),
        "charge": pl.String(),
        "request_id": pl.String(),
        "start": INSTANT,
        "end": INSTANT,
        "model": pl.String(),
        "account": pl.String(),
        "quantity_characters": pl.Int64(),
        "quantity_tokens": pl.Int64(),
        "amount": MONEY,
        "currency": pl.String(),
    }
)
"""The normal form of an invoice."""

_HEADER_LINES = 100
"""The first lines of a file among which its header is."""

_TOTAL = r"(?i)^(?:合计|总计|小计|汇总|grand total|subtotal|total|sum)\s*[:：]?$"


@dataclass(frozen=True, slots=True)
class Invoice:
    """An invoice in its normal form.

    ``lines`` has a row for each line that is compared: ``line`` (in the file, from 1; null for what its amounts have
    beyond 9 decimals), ``level`` (request, day or month), ``charge`` (usage, credit or rounding), ``request_id``,
    ``start`` and ``end`` (UTC, not including ``end``), ``model``, ``account``, ``quantity_characters`` and
    ``quantity_tokens``, ``amount`` (9 decimals), ``currency``. ``notes`` say what is not compared.
    """

    name: str
    lines: pl.DataFrame
    notes: list[str] = field(default_factory=list)


def read_invoice(content: bytes, layout: Layout, name: str) -> Invoice:
    """Read an invoice.

    Blank lines, repeated headers and lines of totals are left out.

    Args:
        content: The file: text with one line per charge, cells between delimiters.
        layout: What its columns mean.
        name: The file's name, for messages.

    Raises:
        ConfigurationError: A column is missing or a cell cannot be read; the message names line and column.
    """
    return _Reader(_decode(content, layout, name), layout, name).read()


def _decode(content: bytes, layout: Layout, name: str) -> str:
    if content[:2] == b"PK":
        raise ConfigurationError(
            f"{name} is a ZIP archive or a spreadsheet", hint="unpack it, or save its sheet as CSV, and give that file"
        )
    try:
        text = content.decode(layout.encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(
            f"{name}, line {line:,}: the bytes are not {layout.encoding}",
            hint='say its encoding in the layout, such as encoding = "gb18030"',
        ) from None
    return text if "\n" in text else text.replace("\r", "\n")  # some spreadsheets end lines so


class _Reader:
    """One reading of a file."""

    def __init__(self, text: str, layout: Layout, name: str) -> None:
        self.layout, self.name, self.notes = layout, name, list[str]()
        self.header_line, self.header = self._find_header(text)
        self.columns = self._find_columns()
        self.rows = self._table(text)

    def read(self) -> Invoice:
        """Return the lines in their normal form."""
        self._drop_totals()
        self._drop_empty()
        self._keep_compared()
        amount = self._amount()
        rows = self.rows.select(
            "line",
            level=pl.when(self._has("request_id")).then(pl.lit("request")).otherwise(pl.lit(self._coarse_level())),
            charge=self._charge(),
            request_id=self._text("request_id"),
            model=self._model(),
            account=self._text("account"),
            currency=self._currency(),
        )
        lines = pl.concat([rows, self._period(), self._quantities()], how="horizontal")
        exact = pl.DataFrame({"exact": amount, "amount": amount.cast(MONEY)})
        lines = pl.concat([lines, exact], how="horizontal")
        return Invoice(self.name, _with_remainder(lines).select(LINES.names()).cast(LINES), self.notes)

    def _find_header(self, text: str) -> tuple[int, list[str]]:
        """Return the line of the header, from 1, and its names."""
        amounts, first = self.layout.columns["amount"], list[str]()
        head = "".join(islice(io.StringIO(text, newline=""), _HEADER_LINES))
        reader = csv.reader(io.StringIO(head, newline=""), delimiter=self.layout.delimiter)
        line = 1
        try:
            for cells in reader:
                names = [_header_name(cell) for cell in cells]
                first = first or [name for name in names if name]
                if any(name in names for name in amounts):
                    return line, _unique(names)
                line = reader.line_num + 1
        except csv.Error:
            pass
        if not first:
            raise ConfigurationError(f"{self.name} is empty")
        hint = f"{did_you_mean(amounts[0], first)}Its first line has: {', '.join(first[:20])}; check the delimiter, too"
        raise ConfigurationError(f"{self.name} has no column {amounts[0]!r}", hint=printable(hint))

    def _find_columns(self) -> dict[str, str]:
        columns = {}
        for key, names in self.layout.columns.items():
            if (name := next((name for name in names if _header_name(name) in self.header), None)) is not None:
                columns[key] = _header_name(name)
            elif key not in {"time", "end", "day", "month"}:
                raise self._missing(names[0])
        if not {"time", "day", "month"} & columns.keys():
            raise self._missing(
                next(self.layout.columns[key][0] for key in ("time", "day", "month") if key in self.layout.columns)
            )
        return columns

    def _missing(self, name: str) -> ConfigurationError:
        hint = f"{did_you_mean(name, self.header)}Its columns: {', '.join(self.header)}"
        return ConfigurationError(f"{self.name}, line {self.header_line}: no column {name!r}", hint=printable(hint))

    def _table(self, text: str) -> pl.DataFrame:
        """Return the used columns below the header as clean text, each row with its line."""
        position = sum(len(line) for line in islice(io.StringIO(text, newline=""), self.header_line - 1))
        body = text[position:].encode()
        patterns = [name for columns in self.layout.rows.values() for name in columns]
        used = [name for name in self.header if name in {*self.columns.values(), *map(_header_name, patterns)}]
        try:
            table = pl.read_csv(
                body, has_header=False, infer_schema=False, separator=self.layout.delimiter, raise_if_empty=False
            )
        except pl.exceptions.ComputeError:
            raise self._malformed(text) from None
        table.columns = self.header[: table.width]
        breaks = pl.sum_horizontal(pl.all().str.count_matches("\n", literal=True).fill_null(0))
        height = body.count(b"\n") + 1
        lines = pl.int_range(pl.len(), dtype=pl.Int64)
        if table.height < height - 1:
            lines = lines + breaks.cum_sum().shift(1, fill_value=0).cast(pl.Int64)
        numbered = table.select(*used, line=lines + self.header_line, first=self.header[0]).slice(1)
        return numbered.with_columns(cleaned(numbered[name]) for name in (*used, "first"))

    def _malformed(self, text: str) -> ConfigurationError:
        """Return the error for a file that Polars cannot split into cells: the first line with too many, or a quote."""
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=self.layout.delimiter, strict=True)
        try:
            for cells in reader:
                if reader.line_num > self.header_line and len(cells) > len(self.header):
                    return ConfigurationError(
                        f"{self.name}, line {reader.line_num:,}: {len(cells)} cells, but the header has "
                        f"{len(self.header)}",
                        hint="a cell with a delimiter in it needs quotes around it; export the file anew",
                    )
        except csv.Error as error:
            return ConfigurationError(f"{self.name}, line {reader.line_num:,}: {error}", hint="a quote is not closed")
        return ConfigurationError(f"{self.name} cannot be read as CSV", hint="check its delimiter and its quotes")

    def _drop_empty(self) -> None:
        """Drop blank lines, days without cost, and headers that were repeated when files were joined."""
        amount = pl.col(self.columns["amount"])
        told = [
            pl.col(self.columns[key]).is_not_null()
            for key in ("request_id", "model", "quantity", "account")
            if key in self.columns
        ]
        is_empty = amount.is_null() & ~pl.any_horizontal(*told, pl.lit(value=False))
        is_header = (amount == self.columns["amount"]).fill_null(value=False)
        self.rows = self.rows.filter(~(is_empty | is_header))

    def _drop_totals(self) -> None:
        """Drop lines of totals, and compare the last one with its lines."""
        times = next(self.columns[key] for key in ("time", "day", "month") if key in self.columns)
        undated = self.rows.filter(~pl.col(times).str.contains(r"\d").fill_null(value=False))
        is_total = pl.any_horizontal(pl.exclude("line").str.contains(_TOTAL).fill_null(value=False))
        totals = undated.filter(is_total)
        if not totals.height:
            return
        self.rows = self.rows.join(totals, on="line", how="anti")
        amounts = numbers(self.rows[self.columns["amount"]], self.layout)
        line, total = totals["line"][-1], numbers(totals[self.columns["amount"]], self.layout)[-1]
        if total is not None and total != amounts.sum():
            self.notes.append(
                f"line {line:,} says {_plain(total)} in total, but the lines add up to {_plain(amounts.sum())}: "
                "a line may be missing"
            )

    def _keep_compared(self) -> None:
        """Drop the rows that the layout skips, and those that it does not keep."""
        skip, keep = self._matches("skip"), self._matches("keep")
        if skip is not None:
            self.rows = self.rows.filter(~skip)
        if keep is None:
            return
        others = self.rows.filter(~keep)
        self.rows = self.rows.filter(keep)
        if others.height:
            total = numbers(others[self.columns["amount"]], self.layout).sum()
            what = "1 line" if others.height == 1 else f"{others.height:,} lines"
            is_are = "is" if others.height == 1 else "are"
            self.notes.append(f"{what} of other products, {_plain(total)}, {is_are} not compared")

    def _matches(self, kind: str) -> pl.Expr | None:
        """Return whether a row is of a kind, by any of its patterns; None if the file has none of their columns."""
        patterns = {_header_name(name): pattern for name, pattern in self.layout.rows.get(kind, {}).items()}
        cells = {name: pl.col(name).fill_null("") for name in patterns if name in self.header}
        found = [cell.str.contains(patterns[name]) for name, cell in cells.items()]
        if patterns and not found and kind == "keep":
            raise self._missing(next(iter(patterns)))
        return pl.any_horizontal(*found) if found else None

    def _charge(self) -> pl.Expr:
        charge = pl.lit("usage")
        for kind in ("credit", "rounding"):
            if (matches := self._matches(kind)) is not None:
                charge = pl.when(matches).then(pl.lit(kind)).otherwise(charge)
        return charge

    def _has(self, key: str) -> pl.Expr:
        return pl.col(self.columns[key]).is_not_null() if key in self.columns else pl.lit(value=False)

    def _coarse_level(self) -> str:
        """Return what a line without a request id covers; a file may have months only."""
        has_days = self.layout.level == "request" or bool({"time", "day"} & self.columns.keys())
        return "month" if self.layout.level == "month" or not has_days else "day"

    def _text(self, key: str) -> pl.Expr:
        return pl.col(self.columns[key]) if key in self.columns else pl.lit(None, dtype=pl.String)

    def _model(self) -> pl.Expr:
        cell = self._text("model")
        if self.layout.model_pattern:
            cell = pl.coalesce(cell.str.extract(self.layout.model_pattern, 1), cell)
        return cell.replace(dict(self.layout.models)) if self.layout.models else cell

    def _amount(self) -> pl.Series:
        amount = self._numbers("amount", is_required=True)
        for key, sign in (("tax", 1), ("credit", -1)):
            if key in self.columns:
                other = self._numbers(key).fill_null(Decimal(0))
                amount = amount + other if sign > 0 else amount - other
        return amount

    def _numbers(self, key: str, *, is_required: bool = False) -> pl.Series:
        texts = self.rows[self.columns[key]]
        if is_required:
            self._refuse(key, texts.is_null(), "is empty")
        values = numbers(texts, self.layout)
        marks = f"decimal mark {self.layout.decimal!r}, thousands {self.layout.thousands!r}"
        self._refuse(key, values.is_null() & texts.is_not_null(), "is not a number", f"the layout says {marks}")
        return values

    def _currency(self) -> pl.Expr:
        cell = self._text("currency").str.to_uppercase()
        known = {name.upper(): currency for name, currency in self.layout.currencies.items()}
        cell = cell.replace(known) if known else cell
        if self.layout.currency:
            cell = cell.fill_null(self.layout.currency)
        bad = self.rows.select(bad=(cell.str.contains("^[A-Z]{3}$").fill_null(value=False)).not_())["bad"]
        if "currency" in self.columns:
            self._refuse("currency", bad, "is not a currency", "name it in [currencies] of the layout")
        return cell

    def _period(self) -> pl.DataFrame:
        """Return the start and the end of each line, by the finest column that it has."""
        starts, ends, layout = list[pl.Expr](), list[pl.Expr](), self.layout
        frames: dict[str, pl.Series] = {}
        for key, parse in (("time", instants), ("end", instants), ("day", instants), ("month", months)):
            if key in self.columns:
                texts = self.rows[self.columns[key]]
                frames[key] = parse(texts, layout)
                self._refuse(
                    key,
                    frames[key].is_null() & texts.is_not_null(),
                    "is not a time",
                    "give its format in the layout, such as time_formats = ['%d.%m.%Y']",
                )
        table = pl.DataFrame(frames, schema=dict.fromkeys(frames, INSTANT))
        for key, every in (("time", None), ("day", "1d"), ("month", "1mo")):
            if key in frames:
                start, end = (
                    pl.col(key),
                    pl.col("end") if "end" in frames else pl.col(key) + pl.duration(microseconds=1),
                )
                if every is not None:
                    first = local_times(key, layout.timezone).dt.truncate(every)
                    start, end = (as_instants(at, layout.timezone) for at in (first, first.dt.offset_by(every)))
                starts.append(start)
                ends.append(pl.when(pl.col(key).is_not_null()).then(end))
        period = table.select(start=pl.coalesce(starts), end=pl.coalesce(ends))
        finest = next(key for key in ("time", "day", "month") if key in frames)
        self._refuse(finest, period["start"].is_null(), "is empty")
        return period

    def _quantities(self) -> pl.DataFrame:
        nothing = pl.DataFrame(
            {"quantity_characters": [None] * self.rows.height, "quantity_tokens": [None] * self.rows.height},
            schema={"quantity_characters": pl.Int64, "quantity_tokens": pl.Int64},
        )
        if "quantity" not in self.columns:
            return nothing
        quantity = self._numbers("quantity")
        units: dict[str | None, Unit | None] = {None: self.layout.unit}
        words = self.rows.select("line", unit=self._text("unit"))["unit"]
        units.update(self.layout.units)
        if "unit" in self.columns:
            is_known = words.is_in([name for name in units if name is not None]) | words.is_null()
            self._refuse("unit", ~is_known, "is not a unit", "name it in [units] of the layout")
        table = pl.DataFrame({"quantity": quantity, "unit": words})
        for measure in ("characters", "tokens"):
            factors = [(name, unit.factor) for name, unit in units.items() if unit and unit.measure == measure]
            factor = pl.lit(None, dtype=pl.Int64)
            for name, value in factors:
                is_unit = pl.col("unit").is_null() if name is None else pl.col("unit") == name
                factor = pl.when(is_unit).then(pl.lit(value, dtype=pl.Int64)).otherwise(factor)
            count = (pl.col("quantity").cast(MONEY) * factor).round(0).cast(pl.Int64)
            table = table.with_columns(count.alias(f"quantity_{measure}"))
        return table.select(nothing.columns)

    def _refuse(self, key: str, is_bad: pl.Series, problem: str, hint: str | None = None) -> None:
        """Raise an error for the first cell of a column that is bad."""
        bad = self.rows.filter(is_bad)
        if not bad.height:
            return
        column = self.columns[key]
        value = bad[column][0]
        what = "" if value is None else f" {str(value)[:40]!r}"
        more = f"; so are {bad.height - 1:,} more" if bad.height > 1 else ""
        raise ConfigurationError(
            printable(f"{self.name}, line {bad['line'][0]:,}, column {column!r}:{what} {problem}{more}"), hint=hint
        )


def _with_remainder(lines: pl.DataFrame) -> pl.DataFrame:
    """Add a rounding line for what the amounts have beyond 9 decimals, so that the sums are those of the file."""
    remainder = lines.group_by("currency", maintain_order=True).agg(
        pl.lit("day").alias("level"),
        pl.lit("rounding").alias("charge"),
        pl.col("start").min(),
        pl.col("end").max(),
        amount=pl.col("exact").sum().cast(MONEY) - pl.col("amount").sum(),
    )
    return pl.concat([lines, remainder.filter(pl.col("amount") != 0)], how="diagonal")


def _header_name(cell: str) -> str:
    return cell.strip(" \t\r\n\ufeff\u00a0")


def _unique(names: Sequence[str]) -> list[str]:
    """Return the names with numbers where they are empty or repeated."""
    seen = set[str]()
    unique = []
    for number, name in enumerate(names, start=1):
        unique.append(name if name and name not in seen else f"{name} ({number})")
        seen.add(name)
    return unique


def _plain(amount: object) -> str:
    return f"{amount.normalize():,f}" if isinstance(amount, Decimal) and amount else "0"

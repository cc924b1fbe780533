"""Compute the ledger's bill for the page: of a month, or of its whole time."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl

from tts_pipeline.browse.bill import bill_figures, chart_step
from tts_pipeline.browse.bill_groups import Grouping, GroupMemory
from tts_pipeline.browse.months import ALL, Selection, frozen_timezone, month_choices, month_of, timezone_choices
from tts_pipeline.browse.open_usage import run_facts
from tts_pipeline.ledger import Ledger, LedgerContents
from tts_pipeline.ledger.layout import opened_at_us
from tts_pipeline.ledger.manifest import Manifest
from tts_pipeline.ledger.scan import scan_ledger, scan_sums
from tts_pipeline.periods import instant
from tts_pipeline.report.bill import collect_usage
from tts_pipeline.report.facts import KEYS, add_up, facts_of, facts_of_sums

_SETTLED = ("characters_billed", "cost", "cost_upper_bound")


class LedgerBill:
    """The bill of a ledger, by month. Thread-safe; every method blocks.

    Args:
        ledger: The ledger.
        timezone: The time zone of months unless the page asks for another; None is that of the frozen months.
    """

    def __init__(self, ledger: Ledger, timezone: str | None = None) -> None:
        self._ledger = ledger
        self._timezone = timezone
        self._memory = GroupMemory()

    def figures(
        self, month: str | None = None, timezone: str | None = None, now: datetime | None = None
    ) -> dict[str, Any]:
        """Add up a month (None: the current one) or ``ALL`` time. A second or two; less when files are remembered.

        Returns:
            The figures of ``bill_figures``; ``month`` and ``timezone``, and the ``months`` and ``timezones`` to choose
            from; ``open``, the runs without an end that began before the month's end; ``frozen``, when the month was
            frozen and its rows then, or None; ``reconciliation`` by currency; ``settlements``, the sums of each file of
            settlements, by currency.

        Raises:
            ConfigurationError: The month does not exist, or the time zone is unknown.
            StorageError: The ledger cannot be read, or is damaged.
        """
        now = datetime.now(UTC) if now is None else now
        whole = self._ledger.contents()
        manifests = [month.manifest for month in whole.months]
        zone = timezone or self._timezone or frozen_timezone(manifests)
        selection = Selection(month or month_of(now, zone), zone)
        period = selection.period
        groups, settlements = self._ledger.query(
            lambda contents: self._read(contents, selection), period.since_us, period.until_us
        )
        step = timedelta(days=1) if selection.month != ALL else max(chart_step(*_span(groups)), timedelta(days=1))
        frozen = next(
            (one for one in manifests if (one.start_us, one.end_us) == (period.since_us, period.until_us)), None
        )
        runs = self._ledger.open_runs()
        figures = bill_figures(groups, step)
        return {
            **figures,
            "month": selection.month,
            "timezone": zone,
            "months": month_choices(_first(whole), now, zone, manifests),
            "timezones": timezone_choices(
                [self._timezone] if self._timezone else [], (one.timezone for one in manifests), [zone]
            ),
            "open": [run_facts(run) for run in runs if period.until_us is None or run.started_at_us < period.until_us],
            "frozen": None
            if frozen is None
            else {"frozen_at": instant(frozen.frozen_at_us).isoformat(timespec="seconds"), "rows": frozen.rows},
            "reconciliation": _reconciliation(figures, frozen),
            "settlements": settlements,
        }

    def _read(self, contents: LedgerContents, selection: Selection) -> tuple[pl.DataFrame, list[dict[str, Any]]]:
        grouping = Grouping(selection.timezone)
        months = {(month.manifest.compaction, month.replaced): month for month in contents.months}
        files: set[Hashable] = {*months, *contents.files, *contents.settlements}

        def read(names: Collection[Hashable]) -> pl.DataFrame:
            some = replace(
                contents,
                months=tuple(month for key, month in months.items() if key in names),
                files=tuple(file for file in contents.files if file in names),
                settlements=tuple(path for path in contents.settlements if path in names),
            )
            sums = scan_sums(some, KEYS)
            return grouping.group(facts_of(scan_ledger(some)) if sums is None else facts_of_sums(sums))

        groups = self._memory.groups((selection, contents.frozen), files, read)
        return groups, list(_settlements(contents))


def _settlements(contents: LedgerContents) -> Iterator[dict[str, Any]]:
    """Yield the sums of each file of settlements that has any in the period, by currency."""
    frames = [
        add_up(
            scan_ledger(replace(contents, files=(), months=(), settlements=(path,))).with_columns(rows=pl.lit(1)),
            {"currency": pl.col("currency")},
            ("rows", *_SETTLED),
        )
        for path in contents.settlements
    ]
    for path, sums in zip(contents.settlements, collect_usage(frames) if frames else (), strict=True):
        name = path.rpartition("/")[2].removesuffix(".parquet")
        yield from ({"name": name, **row} for row in sums.sort("currency").iter_rows(named=True))


def _span(groups: pl.DataFrame) -> tuple[datetime | None, datetime | None]:
    first, last = groups.select(first=pl.col("start").min(), last=pl.col("start").max()).row(0)
    return first, last


def _first(contents: LedgerContents) -> datetime | None:
    """Return about when the first usage was sent, by the names of files; None if they do not tell."""
    opened = [opened_at_us(file.name) for file in contents.files]
    known = [at for at in [*opened, *(month.manifest.start_us for month in contents.months)] if at is not None]
    return instant(min(known)) if known else None


def _reconciliation(figures: Mapping[str, Any], frozen: Manifest | None) -> list[dict[str, Any]]:
    """Return, by currency, the way from the cost of the requests to the cost now, and what is still unknown."""
    unknown = {row["currency"]: row["requests"] for row in figures["unknown"]}
    frozen_costs = {} if frozen is None else {currency or None: sums.cost for currency, sums in frozen.totals.items()}
    return [
        {
            "currency": total["currency"],
            "frozen_cost": frozen_costs.get(total["currency"]),
            "requests_cost": _minus(total["cost"], total["settled_cost"]),
            **{name: total[name] for name in ("corrections", "correction_cost", "settled_cost", "cost")},
            "unknown": unknown.get(total["currency"], 0),
            "still_possible": _minus(total["cost_upper_bound"], total["cost"]),
        }
        for total in figures["totals"]
    ]


def _minus(amount: Decimal | None, part: Decimal | None) -> Decimal | None:
    return None if amount is None else amount - (part or 0)

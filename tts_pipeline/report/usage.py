"""Read the usage of datasets or of the ledger as one lazy frame, and add it up to a bill."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from tts_pipeline.dataset.reader import DatasetLike
from tts_pipeline.report.bill import Bill, LedgerLike, collect_usage, query_bill, scan_rows
from tts_pipeline.report.facts import KEYS, facts_of, facts_of_sums
from tts_pipeline.report.figures import SAVINGS, group_facts, sum_groups
from tts_pipeline.report.keys import Key, check_key_tags, read_keys
from tts_pipeline.report.period import When, read_period
from tts_pipeline.report.savings import ORIGIN, as_facts
from tts_pipeline.report.where import Where, read_where
from tts_pipeline.schema import usage_schema

USAGE_COLUMNS = (*usage_schema().names, "dataset", "is_correction", "is_settlement")
"""The columns of ``usage``."""


def usage(  # noqa: PLR0913 (a public entry point: which rows)
    datasets: Sequence[DatasetLike] | None = None,
    *,
    ledger: LedgerLike | None = None,
    since: When | None = None,
    until: When | None = None,
    timezone: str = "UTC",
    where: str | None = None,
) -> pl.LazyFrame:
    """Return the usage of datasets, or of the ledger, one row per request that was sent.

    For example, failures by their code::

        import polars as pl
        import tts_pipeline as tts

        tts.usage(["dataset"]).filter(pl.col("outcome") == "failed").group_by("error_code").len().collect()

    The rows include the usage of rebuilds, also of an unfinished one. Requests of parts whose process runs or was
    killed are not published yet, see ``open_parts``. Files of a local dataset are read when the frame is collected,
    files at a URL are fetched now. A frame of the ledger fails if a month is frozen before it is collected: call
    ``usage`` again.

    Args:
        datasets: Folders or fsspec URLs; usage counts once, also of a dataset that is given by two paths or has been
            copied. None reads the ledger, which has the usage of all jobs and calls.
        ledger: The folder or URL of the ledger; None is that of ``TTS_LEDGER``, else the user's own.
        since: The first day, such as ``2026-11-01``, or instant of the period; None has no beginning.
        until: The first day or instant after the period; None has no end.
        timezone: The time zone of these days, by its IANA name.
        where: A condition in SQL over the columns, in which ``tag:KEY`` is a column, such as ``tag:team = 'radio'``;
            None is all rows.

    Returns:
        The columns of ``schemas/usage.json``, then ``dataset``: its absolute path, or its URL; ``is_correction``:
        whether the row came after its month was frozen; ``is_settlement``: whether it is no request, but settles
        others. Rows by file name.

    Raises:
        ConfigurationError: A path holds no dataset, there is no ledger, or the period or the condition is wrong. Never
            retried.
        StorageError: A dataset or the ledger cannot be read. Never retried.
    """
    condition = None if where is None else read_where(where)
    rows = scan_rows(datasets, ledger, read_period(since=since, until=until, timezone=timezone))
    if condition is not None:
        condition.check_tags(rows)
        rows = condition.select(rows)
    return rows.select(USAGE_COLUMNS)


def usage_report(  # noqa: PLR0913 (a public entry point: what to add up, and how)
    datasets: Sequence[DatasetLike] | None = None,
    by: Sequence[str] = (),
    *,
    ledger: LedgerLike | None = None,
    month: str | None = None,
    since: When | None = None,
    until: When | None = None,
    timezone: str = "UTC",
    where: str | None = None,
) -> pl.DataFrame:
    """Add up the usage of datasets, or of the ledger.

    Args:
        datasets: As for ``usage``.
        ledger: As for ``usage``.
        by: The columns to group by: ``month``, ``day`` and ``hour`` of sending, ``model``, ``voice``, ``service``,
            ``account``, ``key_id``, ``dataset``, ``door``, ``kind``, ``outcome``, ``error_code``, ``price_basis``,
            ``invocation_id``, or ``tag:KEY``; what lacks the tag is a row of its own, with null.
        month: A month such as ``2026-11``, in place of ``since`` and ``until``.
        since: As for ``usage``.
        until: As for ``usage``.
        timezone: The time zone of months, days and hours, by its IANA name.
        where: As for ``usage``.

    Returns:
        A row per group and currency, sorted by both. Money is confirmed unless the column says otherwise, and null if
        no request of the row has a known cost. Columns: those of ``by``, then

        - ``requests``, and of these ``succeeded``, ``discarded``, ``failed`` and ``unknown``; ``retries`` (requests
          that were not the first of their segment);
        - ``characters_billed`` (confirmed), ``characters_upper_bound``; ``cost`` and ``cost_upper_bound``;
          ``requests_without_cost``;
        - ``open_parts``, whose process runs or was killed: their requests are not published yet, and the upper bounds
          include all that they may have spent;
        - ``implausible``: requests whose reported usage cannot be true, and ``cost_in_question``, their part of
          ``cost_upper_bound``, null without such requests; ``mismatches``: requests with reported characters that are
          not those that we count;
        - ``list_cost``: the confirmed usage at the maker's list price; ``effective_rate``: the cost of the same
          requests divided by it, so that 0.8 is 20 % below the list price;
        - ``wasted``, the sum of ``wasted_failed`` and ``wasted_unknown`` (the most that failed and unknown requests may
          have cost, before settlements, without open parts), ``wasted_retaken`` (paid audio that a better answer
          replaced) and ``wasted_discarded`` (other paid audio that was not kept);
        - ``saved_rows``: rows whose audio was reused, and ``saved``: what it would have cost at the price of the time;
          null by ``outcome``, ``error_code`` or ``price_basis``, which only requests have; a dataset does not know the
          tags, the account and the door of reused rows, a ledger not their voices: those are null then;
        - ``audio_hours``: hours of audio of the succeeded requests, as far as their lengths are known;
          ``cost_per_hour`` (null if a length is not known) and ``cost_per_10k_characters``: the cost, waste included,
          for an hour of audio and for 10,000 billed characters;
        - ``corrections``: requests that came after their month was frozen, and ``correction_cost``, their cost;
          ``settled_cost``: what settlements of invoices added to the cost;
        - ``currency``, null without a price.

    Raises:
        ConfigurationError: As for ``usage``, a name in ``by`` is unknown, or no request has one of its tags. Never
            retried.
        StorageError: As for ``usage``.
    """
    period = read_period(month=month, since=since, until=until, timezone=timezone)
    return query_bill(datasets, ledger, period, lambda bill: sum_bill(bill, by, timezone, where))


def sum_bill(
    bill: Bill, by: Sequence[str] = (), timezone: str = "UTC", where: str | None = None, *, checks_tags: bool = True
) -> pl.DataFrame:
    """Add up a bill to the rows of ``usage_report``. Blocking.

    With ``checks_tags`` False, a tag in ``by`` that no request has is a column of nulls.

    Raises:
        ConfigurationError: A name in ``by`` is unknown, the condition is wrong, or no request has one of the tags.
        StorageError: As for ``usage``.
    """
    keys, condition = read_keys(by, timezone), None if where is None else read_where(where)
    groups = _group(bill, keys, condition)
    if checks_tags:
        check_key_tags(groups, keys)
    frame = groups.lazy()
    if condition is not None and _is_of_groups(condition):
        condition.check_tags(frame)
        frame = condition.select(frame)
    (report,) = collect_usage([sum_groups(frame, {key.name: key.value for key in keys})])
    return report


def savings_by_origin(bill: Bill, where: str | None = None) -> pl.DataFrame:
    """Return what reuse saved by who paid first. Blocking.

    Returns:
        ``from``: the place as it was given to ``reuse``, "" for equal rows of one job; ``rows``, ``characters``,
        ``cost`` (null without a price), ``currency``; the largest cost first.
    """
    facts = _selected_savings(bill, None if where is None else read_where(where))
    amount = pl.when(pl.col("saved").count() > 0).then(pl.col("saved").sum()).alias("saved")
    counts = pl.col("saved_rows", "saved_characters").sum()
    sums = facts.group_by(pl.col(ORIGIN).alias("from"), "currency").agg(counts, amount)
    frame = sums.select("from", "saved_rows", "saved_characters", "saved", "currency")
    renamed = frame.rename({"saved_rows": "rows", "saved_characters": "characters", "saved": "cost"})
    (table,) = collect_usage(
        [renamed.sort("currency", "cost", "from", descending=[False, True, False], nulls_last=True)]
    )
    return table


def _group(bill: Bill, keys: Sequence[Key], condition: Where | None) -> pl.DataFrame:
    """Group the requests and the savings of a bill by all that the keys and the condition need."""
    columns = {key.column: key.expression for key in keys}
    if condition is not None and _is_of_groups(condition):
        columns |= {name: pl.col(name) for name in (*condition.columns, "tags")}
    facts = _facts(bill, condition)
    savings = group_facts(_selected_savings(bill, condition), columns, SAVINGS)
    requests, saved = collect_usage([group_facts(facts, columns), savings])
    if any(key.is_of_requests for key in keys):
        return requests
    return pl.concat([requests, saved], how="diagonal_relaxed")


def _facts(bill: Bill, condition: Where | None) -> pl.LazyFrame:
    """Return the facts of the rows that meet a condition, or of sums of such rows."""
    early = None if condition is None or _is_of_groups(condition) else condition
    sums = bill.sums() if bill.sums is not None and (early is None or early.is_of_groups) else None
    if sums is not None:
        return facts_of_sums(sums if early is None else early.select(sums))
    if early is None:
        return facts_of(bill.rows)
    early.check_tags(bill.rows)
    return facts_of(early.select(bill.rows))


def _selected_savings(bill: Bill, condition: Where | None) -> pl.LazyFrame:
    """Return the savings that meet a condition; what asks for more than their keys, none of them meets."""
    facts = as_facts(bill.savings)
    if condition is None:
        return facts
    return condition.select(facts) if set(KEYS).issuperset(condition.columns) else facts.clear()


def _is_of_groups(condition: Where) -> bool:
    """Return whether a condition is met by groups: it is about tags, which are taken apart once for each group."""
    return bool(condition.tags) and condition.is_of_groups

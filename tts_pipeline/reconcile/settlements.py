"""Turn what an invoice says of the usage into rows that are added to it."""

from __future__ import annotations

import hashlib
from typing import Any

import polars as pl
import pyarrow as pa

from tts_pipeline.reconcile.attempts import NANO, SETTLED, SETTLED_PREFIX, bucket_of, is_within, nano
from tts_pipeline.reconcile.invoice import INSTANT, MONEY
from tts_pipeline.reconcile.result import Basis, Reconciliation, money
from tts_pipeline.schema import table_of, usage_schema

TAGS = pl.List(pl.Struct({"key": pl.String, "value": pl.String}))
"""Tags are a list of entries in Polars 1, and a map in Polars 2, which casts to the same list."""

_DELTA = ("cost", "bound", "characters", "characters_bound")
"""The figures of a settlement: what is added to those of the usage."""


def settlements(reconciliation: Reconciliation, invoice: str) -> pa.Table:
    """Return rows of the usage schema that make the sums of the usage those of the invoice.

    Each row has the outcome ``settled`` and, in ``error_code``, the kind of its difference. Its amounts and characters
    are differences, and may be negative. The row of an attempt has the attempt's time, model, account and tags; a
    difference of a whole day is spread over the accounts and tags of the day, by their cost. What has no attempt has
    the invoice's account and no tags.

    Args:
        reconciliation: With it, usage that includes earlier settlements: only what still differs is returned.
        invoice: A name, part of the ids of rows without an attempt.

    Returns:
        The rows in a fixed order; none if nothing differs.
    """
    basis = reconciliation.basis
    deltas = pl.concat([_of_attempts(basis), _of_lines(basis, invoice), *_of_buckets(basis, invoice)], how="diagonal")
    deltas = deltas.filter(pl.any_horizontal(pl.col(*_DELTA) != 0))
    return _to_usage(deltas.with_columns(pl.col("is_shared").fill_null(value=False)), basis)


def settlement_name(rows: pa.Table, reconciliation: Reconciliation, invoice: str) -> str:
    """Return a name for settlements: the same for the same rows after the same earlier settlements."""
    earlier = reconciliation.basis.usage.filter(pl.col("outcome") == SETTLED).select(
        pl.len(), pl.col("cost").cast(MONEY).sum(), pl.col("cost_upper_bound").cast(MONEY).sum().alias("bound")
    )
    digest = hashlib.sha256(repr(earlier.collect().rows()).encode())
    for column in ("attempt_id", "started_at", "cost", "cost_upper_bound", "currency"):
        digest.update(repr(rows.column(column).to_pylist()).encode())
    return f"{_safe(invoice)}-{digest.hexdigest()[:16]}"


def _safe(text: str) -> str:
    """Return a text as a part of a file's name."""
    return "".join(sign if sign.isascii() and (sign.isalnum() or sign in "._-") else "_" for sign in text)[:80].lstrip(
        "."
    )


def _nano(name: str) -> pl.Expr:
    return pl.col(name).to_physical().cast(NANO)


def _of_attempts(basis: Basis) -> pl.DataFrame:
    """Return the settlements of attempts that were compared alone."""
    alone = basis.differences.filter(pl.col("bucket").is_null(), pl.col("attempt_id").is_not_null())
    found = alone.group_by("attempt_id", "currency", maintain_order=True).agg(
        _nano("difference").sum(),
        _nano("theirs").sum(),
        pl.col("line").is_not_null().any().alias("has_theirs"),
        pl.col("kind", "request_id").last(),
        pl.when(pl.col("measure") == "characters").then("theirs_quantity").max().alias("charged"),
        pl.col("starts_at").first(),
    )
    rows = basis.attempts.join(found, on=["attempt_id", "currency"], suffix="_theirs")
    cost_after = pl.col("cost") + pl.col("difference")
    counted = (pl.col("characters_bound").cast(NANO) * cost_after // pl.col("bound").cast(NANO)).cast(pl.Int64)
    after = (
        pl.when(pl.col("charged").is_not_null())
        .then("charged")
        .when(~pl.col("has_theirs"))
        .then(0)
        .when((pl.col("characters") == 0) & (cost_after > 0) & (pl.col("bound") > 0))
        .then(pl.min_horizontal(counted, "characters_bound"))
        .otherwise("characters")
    )
    return rows.select(
        copies="attempt_id",
        attempt_id=SETTLED_PREFIX + pl.col("attempt_id"),
        request_id=pl.coalesce("request_id_theirs", "request_id"),
        currency="currency",
        kind="kind",
        started_at=_within(basis, "starts_at"),
        cost="difference",
        bound=cost_after - pl.col("bound"),
        characters=after - pl.col("characters"),
        characters_bound=after - pl.col("characters_bound"),
    )


def _within(basis: Basis, name: str) -> pl.Expr:
    """Return a column of times, moved into the period, whose sum the invoice is."""
    last = pl.lit(basis.period.end, INSTANT) - pl.duration(microseconds=1)
    return pl.col(name).clip(pl.lit(basis.period.start, INSTANT), last)


def _of_lines(basis: Basis, invoice: str) -> pl.DataFrame:
    """Return the settlements of charged requests that are none of ours."""
    lines = basis.differences.filter(pl.col("bucket").is_null(), pl.col("attempt_id").is_null())
    quantity = pl.when(pl.col("measure") == "characters").then("theirs_quantity").fill_null(0)
    return lines.select(
        "copies",
        attempt_id=pl.format(
            "{}{}-{}-{}",
            pl.lit(SETTLED_PREFIX),
            pl.lit(_safe(invoice)),
            pl.coalesce("request_id", pl.lit("")),
            "currency",
        ),
        request_id="request_id",
        currency="currency",
        kind="kind",
        started_at=_within(basis, "starts_at"),
        cost=_nano("difference"),
        bound=_nano("difference"),
        characters=quantity,
        characters_bound=quantity,
        model="model",
        account="account",
        is_shared=pl.lit(value=False),
    )


def _of_buckets(basis: Basis, invoice: str) -> list[pl.DataFrame]:
    """Return the settlements of days and months: of their open attempts, and of the rest by account and tags."""
    differences = basis.differences.filter(pl.col("bucket").is_not_null())
    if not differences.height:
        return []
    attempts = basis.attempts.filter(pl.col("bucket").is_not_null())
    gap = pl.when(pl.col("measure") == "characters").then(
        pl.col("theirs_quantity").fill_null(0) - pl.col("ours_quantity").fill_null(0)
    )
    differences = differences.with_columns(nano=_nano("difference"), gap=gap)
    settled = differences.filter(pl.col("step").is_in(["unpriced", "unknown", "failed"]))
    rest = differences.filter(~pl.col("step").is_in(["unpriced", "unknown", "failed"]))
    return [_of_open_attempts(attempts, settled), _of_rests(basis, attempts, rest, settled, invoice)]


def _of_open_attempts(attempts: pl.DataFrame, settled: pl.DataFrame) -> pl.DataFrame:
    """Return the share of each attempt with an unknown outcome or price in what its day was charged for these."""
    step = pl.when(pl.col("outcome").is_in(["unknown", "failed"])).then("outcome").otherwise(pl.lit("unpriced"))
    weight = pl.when("is_unbounded").then(pl.col("counted").cast(NANO)).otherwise(pl.col("bound") - pl.col("cost"))
    is_open = pl.col("is_unbounded") | (pl.col("bound") != pl.col("cost"))
    rows = attempts.filter(is_open).with_columns(step=step, weight=pl.max_horizontal(weight, 0).cast(NANO))
    totals = settled.group_by("bucket", "step").agg(pl.col("nano").sum())
    gaps = settled.group_by("bucket").agg(pl.col("gap").max())
    rows = (
        rows.join(totals, on=["bucket", "step"], how="left")
        .join(gaps, on="bucket", how="left")
        .with_columns(pl.col("nano").fill_null(0))
        .sort("bucket", "step", "start", "attempt_id")
        .with_columns(share=_share("nano", ["bucket", "step"]))
    )
    room = (pl.col("characters_bound") - pl.col("characters")).sum().over("bucket")
    limit = pl.max_horizontal(pl.col("bound") - pl.col("cost"), 1).cast(NANO)
    counted = (pl.col("characters_bound").cast(NANO) * pl.min_horizontal("share", limit) // limit).cast(pl.Int64)
    rows = rows.with_columns(weight="share", gap=pl.min_horizontal("gap", room))
    characters = (
        pl.when(pl.col("gap").is_not_null())
        .then(_share("gap", ["bucket"]).cast(pl.Int64))
        .when(pl.col("characters") == 0)
        .then(counted)
        .otherwise(0)
    )
    return rows.select(
        copies="attempt_id",
        attempt_id=SETTLED_PREFIX + pl.col("attempt_id"),
        request_id="request_id",
        currency="currency",
        kind=pl.lit("settled"),
        started_at="start",
        cost="share",
        bound=pl.col("share") - (pl.col("bound") - pl.col("cost")),
        characters=characters,
        characters_bound=characters + pl.col("characters") - pl.col("characters_bound"),
    )


def _share(total: str, keys: list[str]) -> pl.Expr:
    """Return each row's share of a total of its group, by ``weight``; the shares add up to the total exactly."""
    until = pl.col("weight").cum_sum().over(keys)
    whole = pl.max_horizontal(pl.col("weight").sum().over(keys), 1).cast(NANO)
    upper = pl.col(total).cast(NANO) * until // whole
    lower = pl.col(total).cast(NANO) * (until - pl.col("weight")) // whole
    return upper - lower


def _of_rests(
    basis: Basis, attempts: pl.DataFrame, rest: pl.DataFrame, settled: pl.DataFrame, invoice: str
) -> pl.DataFrame:
    """Return what a day was charged beyond its open attempts, for each account and tags of the day by its cost."""
    groups = _groups(basis, rest.filter(pl.col("nano") != 0)["bucket"])
    # What the open attempts got of the characters stays theirs.
    taken = (
        _of_open_attempts(attempts, settled)
        .join(attempts.select("attempt_id", "bucket"), left_on="copies", right_on="attempt_id")
        .group_by("bucket")
        .agg(taken=pl.col("characters").sum())
    )
    wanted = (
        rest.filter(pl.col("nano") != 0)
        .join(taken, on="bucket", how="left")
        .with_columns(gap=(pl.col("gap") - pl.col("taken").fill_null(0)).fill_null(0))
    )
    spread = wanted.join(groups, on="bucket", how="left", suffix="_group").with_columns(
        pl.col("weight").fill_null(1).cast(NANO)
    )
    order = pl.int_range(pl.len()).over("bucket", "kind")
    name = pl.format(
        "{}{}-{}-{}-{}-{}-{}-{}",
        pl.lit(SETTLED_PREFIX),
        pl.lit(_safe(invoice)),
        "day",
        pl.coalesce("model", pl.lit("all")),
        pl.coalesce("account", pl.lit("all")),
        "currency",
        "kind",
        order,
    )
    characters = _share("gap", ["bucket", "kind"]).cast(pl.Int64)
    return spread.with_columns(share=_share("nano", ["bucket", "kind"]), characters=characters).select(
        copies="attempt_id_group",
        attempt_id=name,
        request_id=pl.lit(None, dtype=pl.String),
        currency="currency",
        kind="kind",
        started_at=_within(basis, "starts_at"),
        cost="share",
        bound="share",
        characters="characters",
        characters_bound="characters",
        model="model",
        account="account",
        is_shared=pl.lit(value=True),
    )


def _groups(basis: Basis, numbers: pl.Series) -> pl.DataFrame:
    """Return the accounts and tags of days: an attempt of each, and their cost, or 1, as ``weight``."""
    days = basis.buckets.filter(pl.col("bucket").is_in(numbers.unique().implode()))
    level = pl.lit("month" if basis.layout.level == "month" else "day")
    words = (
        pl.col("tags")
        .cast(TAGS)
        .list.eval(pl.format("{}={}", pl.element().struct.field("key"), pl.element().struct.field("value")))
        .list.sort()
        .list.join("\n")
    )
    keys = ["bucket", "service", "account", "key_id", "own_model", "words"]
    found = (
        basis.usage.filter(pl.col("outcome") != SETTLED, is_within("started_at", basis.period))
        .select(
            *("attempt_id", "service", "account", "key_id", "label", "foreign"),
            words=words,
            own_model="model",
            level=level,
            day=bucket_of("started_at", level, basis.layout),
            model=pl.col("model") if basis.has_models else pl.lit(None, dtype=pl.String),
            currency=pl.coalesce("currency", pl.lit(days["currency"].mode().sort().first(), dtype=pl.String)),
            weight=nano("cost"),
        )
        .join(days.lazy(), on=["level", "day", "model", "currency", "label", "foreign"], nulls_equal=True)
        .group_by(keys)
        .agg(pl.col("attempt_id").min(), pl.col("weight").sum())
        .collect(engine="streaming")
    )
    has_cost = pl.col("weight").sum().over("bucket") > 0
    return found.sort(keys, nulls_last=True).with_columns(
        weight=pl.when(has_cost).then("weight").otherwise(1).cast(NANO)
    )


def _to_usage(deltas: pl.DataFrame, basis: Basis) -> pa.Table:
    """Return deltas as rows of the usage schema, and ``dataset_id``, with what is known of the attempts they copy."""
    rows = deltas.join(_copied(deltas, basis), on="copies", how="left", suffix="_copied").sort(
        "started_at", "attempt_id", "currency", "kind"
    )
    is_copy = pl.col("copies").is_not_null()
    has_cost, has_models = pl.col("currency").is_not_null(), pl.lit(basis.has_models)
    values: dict[str, pl.Expr] = {
        **{name: pl.col(name) for name in ("attempt_id", "request_id", "started_at", "currency", "key_id", "door")},
        **{name: pl.when(~pl.col("is_shared")).then(name) for name in _OWN},
        "invocation_id": pl.col("invocation_id").fill_null(SETTLED),
        "journal_id": pl.col("journal_id").fill_null(SETTLED),
        "account": pl.when(is_copy).then("account_copied").otherwise("account"),
        "service": pl.col("service").fill_null(_usual_service(basis)),
        "model": pl.coalesce(pl.when(~pl.col("is_shared") | ~has_models).then("model_copied"), "model", pl.lit("")),
        "outcome": pl.lit(SETTLED),
        "error_code": pl.col("kind"),
        "characters_counted": pl.lit(0),
        "characters_billed": pl.col("characters"),
        "characters_upper_bound": pl.col("characters_bound"),
        "cost": pl.when(has_cost).then(money("cost")),
        "cost_upper_bound": pl.when(has_cost).then(money("bound")),
        "kind": pl.col("bought"),
    }
    table = rows.select(value.alias(name) for name, value in values.items())
    schema = usage_schema()
    columns: dict[str, Any] = {
        field.name: table[field.name].to_arrow().cast(field.type)
        if field.name in table.columns
        else [None] * len(table)
        for field in schema
        if field.name != "tags"
    }
    tags = rows["tags"].to_list()
    columns["tags"] = [[(tag["key"], tag["value"]) for tag in row or ()] for row in tags]
    return table_of(columns, schema).append_column("dataset_id", rows["dataset_id"].to_arrow().cast(pa.string()))


_OWN = ("utterance_id", "take", "segment", "voice", "price_id", "price_basis")
"""What a settlement has of its attempt, unless it is the share of an account and its tags in a whole day."""


_SHARED = ("key_id", "door", "invocation_id", "journal_id", "account", "service", "model")
"""What a share has, too; its figures, and its number among the attempts, are a settlement's own."""


def _copied(deltas: pl.DataFrame, basis: Basis) -> pl.DataFrame:
    """Return the rows that deltas copy, one for each attempt: the attempt itself, else its first settlement."""
    known = basis.usage.collect_schema().names()
    columns = {name: pl.col(name) for name in (*_OWN, *_SHARED)}
    columns |= {"bought": pl.col("kind"), "tags": pl.col("tags").cast(TAGS), "dataset_id": pl.col("dataset_id")}
    absent = [name for name, source in columns.items() if source.meta.output_name() not in known]
    return (
        basis.usage.with_columns(copies=pl.col("attempt_id").str.strip_prefix(SETTLED_PREFIX))
        .join(deltas.lazy().select("copies").drop_nulls().unique(), on="copies", how="semi")
        .select(
            "copies",
            "outcome",
            **{name: value for name, value in columns.items() if name not in absent},
            **{name: pl.lit(None, dtype=pl.String) for name in absent},
        )
        .collect()
        .sort(pl.col("outcome") == SETTLED, maintain_order=True)
        .unique("copies", keep="first", maintain_order=True)
        .drop("outcome")
    )


def _usual_service(basis: Basis) -> str:
    """Return the service of settlements that copy no attempt."""
    if basis.layout.services:
        return basis.layout.services[0]
    usual: str | None = basis.usage.select(pl.col("service").drop_nulls().mode().sort().first()).collect().item()
    return usual or SETTLED

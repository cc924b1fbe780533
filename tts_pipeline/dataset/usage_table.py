"""Build the usage table of a journal, column by column."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from functools import partial
from operator import attrgetter
from typing import Any

import pyarrow as pa
from msgspec import Struct

from tts_pipeline.attempt import RETAKEN, Attempt, Outcome, Settlement
from tts_pipeline.dataset.claims import Claim, claim_of
from tts_pipeline.dataset.price_rows import with_prices
from tts_pipeline.models import Price, Usage, UtteranceKey
from tts_pipeline.money import confirmed_if_unknown, cost_of, price_at
from tts_pipeline.periods import instant
from tts_pipeline.schema import repeat, table_of, to_array, to_table, usage_schema
from tts_pipeline.wal.records import JournalHeader
from tts_pipeline.wal.replay import Replay

SegmentKey = tuple[str, int, int]
"""The utterance, take and index of a segment."""

SPEECH_KIND = "speech"
"""What is bought, in the column ``kind``."""
_ATTEMPT_COLUMNS = {
    **{name: name for name in ("attempt_id", "utterance_id", "take", "segment", "voice")},
    **{name: name for name in ("characters_counted", "price_id")},
    "attempt": "number",
    "started_at": "started_at_us",
}
"""Columns with the field of an ``Attempt`` that each holds."""

_SETTLEMENT_COLUMNS = {
    **{name: name for name in ("latency_ms", "http_status", "outcome", "request_id", "implausible")},
    **{name: name for name in ("characters_billed", "characters_upper_bound", "cost", "cost_upper_bound")},
    **{name: f"usage.{name}" for name in ("characters_reported", "input_tokens", "output_tokens", "total_tokens")},
    "finished_at": "finished_at_us",
}
"""Columns with the field of a ``Settlement`` that each holds."""


class _UnknownSettlement(Struct, frozen=True, kw_only=True):
    """The fields of a ``Settlement`` for an attempt without one, as the usage table shows it."""

    outcome: str = Outcome.UNKNOWN
    finished_at_us: None = None
    latency_ms: None = None
    http_status: None = None
    error_code: None = None
    request_id: None = None
    usage: Usage = Usage()
    characters_billed: int = 0
    characters_upper_bound: int
    cost: Decimal | None
    cost_upper_bound: Decimal | None
    implausible: None = None


def _unknown_settlement(attempt: Attempt) -> _UnknownSettlement:
    """Return the settlement of an attempt whose outcome is unknown: nothing is confirmed, and it may have cost all."""
    return _UnknownSettlement(
        characters_upper_bound=attempt.characters_upper_bound,
        cost=confirmed_if_unknown(attempt.cost_upper_bound),
        cost_upper_bound=attempt.cost_upper_bound,
    )


def usage_table(replay: Replay, tags: Mapping[UtteranceKey, Mapping[str, str]]) -> pa.Table:
    """Return the usage of a journal, one row for each attempt in order, and one for its unaccounted spend.

    The prices of the attempts are in the table's metadata. Tags by utterance are added to the tags of the job.
    """
    tables = [_attempt_table(replay, tags)] if replay.attempts else []
    spend = replay.unaccounted
    if spend is not None and not spend.is_nothing:
        bound = spend.currency, spend.characters_upper_bound, spend.cost_upper_bound
        claim = claim_of(replay.header, spend.claimed_at_us, *bound)
        tables.append(to_table([claim_usage(claim)], usage_schema()))
    return with_prices(pa.concat_tables(tables), replay.header.prices)


def _attempt_table(replay: Replay, tags: Mapping[UtteranceKey, Mapping[str, str]]) -> pa.Table:
    header, prices, schema = replay.header, replay.header.prices, usage_schema()
    pairs = list(replay.attempts.values())
    attempts = [attempt for attempt, _ in pairs]
    settlements = [settlement or _unknown_settlement(attempt) for attempt, settlement in pairs]
    attempt_prices = [prices.get(attempt.price_id or "") for attempt in attempts]
    columns = {
        **_columns_of(attempts, _ATTEMPT_COLUMNS),
        **_columns_of(settlements, _SETTLEMENT_COLUMNS),
        "error_code": list(map(partial(_error_code, _kept_segments(pairs)), attempts, settlements)),
        "price_basis": [price and price.basis for price in attempt_prices],
        "currency": [price and price.currency for price in attempt_prices],
        "tags": _tag_column(header.tags, attempts, tags),
        "list_cost": list(map(partial(_list_cost, header.list_prices), attempts, settlements, attempt_prices)),
        "audio_ms": [replay.audio_ms.get(attempt.attempt_id) for attempt in attempts],
        **{name: repeat(value, schema.field(name), len(attempts)) for name, value in _constants(header).items()},
    }
    return table_of(columns, schema)


def _kept_segments(pairs: Sequence[tuple[Attempt, Settlement | None]]) -> set[SegmentKey]:
    """Return the segments whose audio was kept."""
    return {_segment_of(attempt) for attempt, settled in pairs if settled and settled.outcome == Outcome.SUCCEEDED}


def _segment_of(attempt: Attempt) -> SegmentKey:
    return attempt.utterance_id, attempt.take, attempt.segment


def _error_code(
    kept: Collection[SegmentKey], attempt: Attempt, settlement: Settlement | _UnknownSettlement
) -> str | None:
    """Return the code of a failure; a discarded answer has one if another answer for its segment was kept."""
    is_retaken = settlement.outcome == Outcome.DISCARDED and _segment_of(attempt) in kept
    return RETAKEN if is_retaken else settlement.error_code


def _constants(header: JournalHeader | Claim) -> dict[str, str | None]:
    """Return the columns that are the same in all rows; an empty one of an earlier version is null."""
    names = ("invocation_id", "journal_id", "account", "service", "model")
    return {
        **{name: getattr(header, name) for name in names},
        "kind": SPEECH_KIND,
        "door": header.door or None,
        "key_id": header.key_id or None,
    }


def _list_cost(
    list_prices: Sequence[Price], attempt: Attempt, settlement: Settlement | _UnknownSettlement, price: Price | None
) -> Decimal | None:
    """Return the confirmed usage at the list price of the time; None without one in the price's currency."""
    list_price = price_at(list_prices, instant(attempt.started_at_us))
    if list_price is None or price is None or list_price.currency != price.currency:
        return None
    if list_price.price_id == price.price_id or not settlement.cost:
        return settlement.cost
    return cost_of(list_price, characters=settlement.characters_billed, usage=settlement.usage)


def _columns_of(values: Sequence[Any], fields: Mapping[str, str]) -> dict[str, list[Any]]:
    return {column: list(map(attrgetter(name), values)) for column, name in fields.items()}


def _tag_column(
    job_tags: Mapping[str, str], attempts: Sequence[Attempt], row_tags: Mapping[UtteranceKey, Mapping[str, str]]
) -> pa.Array:
    field = usage_schema().field("tags")
    if not row_tags:
        return repeat(list(job_tags.items()), field, len(attempts))
    keys = [(attempt.utterance_id, attempt.take) for attempt in attempts]
    return to_array([list({**job_tags, **row_tags.get(key, {})}.items()) for key in keys], field)


def claim_usage(claim: Claim) -> dict[str, Any]:
    """Return the usage row for the whole amount of a claim whose journal is unknown."""
    return {
        **_constants(claim),
        "attempt_id": f"claim-{claim.journal_id}",
        "started_at": claim.opened_at_us,
        "outcome": "unknown",
        "characters_counted": claim.characters_upper_bound,
        "characters_billed": 0,
        "characters_upper_bound": claim.characters_upper_bound,
        "cost": confirmed_if_unknown(claim.cost_upper_bound),
        "cost_upper_bound": claim.cost_upper_bound,
        "currency": claim.currency,
        "tags": list(claim.tags.items()),
    }

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tests.builders import FLASH_PRICE, NOW_US, settlement_of
from tts_pipeline.attempt import Attempt, Outcome, Settlement
from tts_pipeline.dataset.invocation import Invocation
from tts_pipeline.dataset.usage_table import usage_table
from tts_pipeline.models import Usage, UtteranceKey
from tts_pipeline.periods import instant
from tts_pipeline.wal.records import UnaccountedSpend
from tts_pipeline.wal.replay import Replay

ATTEMPT = Attempt("a1", "u", 2, 1, 3, "Cherry", NOW_US, 10, 12, FLASH_PRICE.price_id, Decimal("0.000960000"))
PRICES = {FLASH_PRICE.price_id: FLASH_PRICE}


def _rows(
    *pairs: tuple[Attempt, Settlement | None],
    lost: UnaccountedSpend | None = None,
    tags: Mapping[UtteranceKey, Mapping[str, str]] | None = None,
) -> list[dict[str, Any]]:
    invocation = Invocation("i", "local", "m", None, PRICES, {"team": "b", "job": "n"}, "fingerprint")
    replay = Replay(invocation.journal_header(0, "j"), unaccounted=lost)
    for attempt, settlement in pairs:
        replay.attempts[attempt.attempt_id] = attempt, settlement
    rows: list[dict[str, Any]] = usage_table(replay, tags or {}).to_pylist()
    return rows


@pytest.mark.parametrize(
    ("settlement", "expected"),
    [
        (
            None,
            {"outcome": "unknown", "characters_billed": 0, "characters_upper_bound": 12, "cost": Decimal(0)}
            | dict.fromkeys(("finished_at", "latency_ms", "http_status", "request_id", "input_tokens", "implausible")),
        ),
        (settlement_of(ATTEMPT), {"outcome": "succeeded", "characters_billed": 10, "characters_reported": 10}),
        (
            settlement_of(ATTEMPT, Outcome.DISCARDED, characters_billed=10, usage=Usage(10, 1, 2, 3)),
            {"outcome": "discarded", "characters_billed": 10, "input_tokens": 1, "total_tokens": 3},
        ),
        (
            settlement_of(ATTEMPT, Outcome.FAILED, characters_upper_bound=10),
            {"outcome": "failed", "characters_billed": 0, "characters_upper_bound": 10, "http_status": 400},
        ),
    ],
)
def test_an_attempt_becomes_its_row_of_usage(settlement: Any, expected: dict[str, Any]) -> None:
    """With what is the same for every outcome, and what the outcome decides."""
    (row,) = _rows((ATTEMPT, settlement))
    assert expected.items() <= row.items()
    same = {"attempt_id": "a1", "utterance_id": "u", "take": 2, "segment": 1, "attempt": 3, "price_basis": "list"}
    assert same.items() <= row.items()
    assert (row["currency"], row["service"], row["account"]) == ("CNY", "local", None)
    assert int(row["started_at"].timestamp() * 1_000_000) == NOW_US


def test_an_attempt_without_a_price_costs_nobody_knows_what() -> None:
    """Null, never 0; also its upper bound and its currency."""
    unpriced = Attempt("a1", "u", 0, 0, 1, None, NOW_US, 10, 12, None, None)
    (row,) = _rows((unpriced, None))
    for name in ("cost", "cost_upper_bound", "currency", "price_id", "price_basis", "voice", "finished_at"):
        assert row[name] is None


def test_each_row_holds_the_values_of_its_own_attempt() -> None:
    """The columns keep the order of the attempts, among them one without an end, and a lost end comes last."""
    attempts = [Attempt(f"a{n}", f"u{n}", 0, 0, 1, None, n, n, n, None, None) for n in range(3)]
    ends = [settlement_of(attempts[0], characters_billed=0), None, settlement_of(attempts[2], characters_billed=2)]
    rows = _rows(*zip(attempts, ends, strict=True), lost=UnaccountedSpend(5, 9, None, None))
    columns = ("attempt_id", "utterance_id", "outcome", "request_id", "characters_billed", "characters_upper_bound")
    assert [tuple(row[name] for name in columns) for row in rows] == [
        ("a0", "u0", "succeeded", "q-a0", 0, 0),
        ("a1", "u1", "unknown", None, 0, 1),
        ("a2", "u2", "succeeded", "q-a2", 2, 2),
        ("claim-j", None, "unknown", None, 0, 9),
    ]


def test_tags_of_a_row_are_added_to_those_of_the_job() -> None:
    """A row's tag replaces the job's tag of that name; the other rows have the job's tags."""
    other = Attempt("a2", "v", 0, 0, 1, None, NOW_US, 10, 12, None, None)
    job_tags = [("team", "b"), ("job", "n")]
    assert [row["tags"] for row in _rows((ATTEMPT, None), (other, None))] == [job_tags, job_tags]
    rows = _rows((ATTEMPT, None), (other, None), tags={("u", 2): {"team": "c", "x": "y"}})
    assert [row["tags"] for row in rows] == [[("team", "c"), ("job", "n"), ("x", "y")], job_tags]


def test_the_list_price_is_kept_beside_a_contract() -> None:
    """That of the time; it counts what is confirmed, and not what is in another currency, or has no price."""
    contract = replace(FLASH_PRICE, price_id="contract", basis="user", per_10k_characters=Decimal("0.5"))
    dollars = replace(contract, price_id="dollars", currency="USD")
    begun = instant(NOW_US).date()
    list_prices = [
        replace(FLASH_PRICE, price_id="before", per_10k_characters=Decimal(7), effective_until=begun),
        replace(FLASH_PRICE, effective_from=begun),
    ]
    invocation = Invocation(
        "i", "local", "m", None, {each.price_id: each for each in (contract, dollars)}, {}, "f", list_prices=list_prices
    )
    replay = Replay(invocation.journal_header(0, "j"))
    for number, price_id in enumerate(["contract", "dollars", None]):
        attempt = msgspec.structs.replace(ATTEMPT, attempt_id=f"a{number}", price_id=price_id)
        cost = None if price_id is None else Decimal("0.0005")
        replay.attempts[attempt.attempt_id] = attempt, settlement_of(attempt, cost=cost)
    replay.attempts["unknown"] = msgspec.structs.replace(ATTEMPT, attempt_id="unknown", price_id="contract"), None
    rows = usage_table(replay, {}).to_pylist()
    assert [row["list_cost"] for row in rows] == [Decimal("0.0008"), None, None, Decimal(0)]
    assert [row["cost"] for row in rows] == [Decimal("0.0005"), Decimal("0.0005"), None, Decimal(0)]


def test_a_row_says_where_its_request_came_from() -> None:
    """The door and the key, also for a claim; what an earlier version wrote has neither."""
    invocation = Invocation("i", "local", "m", None, PRICES, {}, "f", door="synthesize", key_id="0123abcd")
    lost = UnaccountedSpend(NOW_US, 5, Decimal(1), "CNY")
    for header, door, key in (
        (invocation.journal_header(0, "j"), "synthesize", "0123abcd"),
        (replace(invocation, door="", key_id="").journal_header(0, "j"), None, None),
    ):
        replay = Replay(header, unaccounted=lost, audio_ms={"a1": 1_500})
        replay.attempts[ATTEMPT.attempt_id] = ATTEMPT, settlement_of(ATTEMPT)
        rows = usage_table(replay, {}).to_pylist()
        assert [(row["kind"], row["door"], row["key_id"]) for row in rows] == 2 * [("speech", door, key)]
        assert [row["audio_ms"] for row in rows] == [1_500, None]


def test_a_discarded_answer_says_whether_another_one_was_kept() -> None:
    """Money for a better take is not money for nothing: of two answers of a segment, one was kept; of one, none."""
    first, second = (msgspec.structs.replace(ATTEMPT, attempt_id=name) for name in ("first", "second"))
    lonely = msgspec.structs.replace(ATTEMPT, attempt_id="lonely", segment=7)
    rows = _rows(
        (first, settlement_of(first, Outcome.DISCARDED)),
        (second, settlement_of(second)),
        (lonely, settlement_of(lonely, Outcome.DISCARDED)),
    )
    assert [row["error_code"] == "Retaken" for row in rows] == [True, False, False]

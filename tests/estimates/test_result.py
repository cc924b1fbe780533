"""The estimate as people and programs read it."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal

import pytest

from tts_pipeline.estimates.result import Estimate, VoiceTotals, duration

ESTIMATE = Estimate(
    rows=12_345,
    rows_there=2_000,
    rows_rejected_before=7,
    rows_without_text=3,
    rows_too_long=0,
    reused_rows=500,
    repeated_rows=45,
    segments=12_400,
    characters_billed=1_000_000,
    cost=Decimal("80.000000000"),
    segments_at_most=37_200,
    characters_at_most=3_000_000,
    cost_at_most=Decimal("240.000000000"),
    currency="CNY",
    price_id="list-2026",
    price_basis="list",
    audio_hours=12.5,
    audio_bytes=2_160_000_000,
    spoken=(VoiceTotals("en", "Cherry", 12_000, 12.0), VoiceTotals(None, None, 342, 0.5)),
    requests_per_minute=180.0,
    characters_per_minute=None,
    latency_s=None,
    latency_source=None,
    elapsed_s=4_140.0,
    limited_by="requests_per_minute",
    answer_within_s=5.333,
    notes=("one thing",),
)


def test_people_read_a_table() -> None:
    """Every figure with its unit, the notes last."""
    assert str(ESTIMATE) == "\n".join(
        [
            "rows        12,345",
            "there       2,000 rows that the destination has, not bought again",
            "rejected    7 rows rejected before, not tried again without `retry_rejects`",
            "refused     3 rows that cost nothing and become rejects: 3 without text",
            "reused      500 rows whose audio was bought before, not bought again",
            "repeated    45 duplicate rows, bought once",
            "requests    12,400",
            "characters  1,000,000 billed",
            "cost        80.0000 CNY (the maker's list price, list-2026)",
            "at most     37,200 requests, 3,000,000 characters, 240.0000 CNY, if all audio is bad and bought 3 times "
            "(see `quality`)",
            "audio       about 12.50 hours, 2.16 GB as 24 kHz 16-bit WAV",
            "            en, Cherry: 12,000 rows, about 12.00 hours",
            "            language not given, voice not given: 342 rows, about 0.50 hours",
            "time        1 h 9 min at 180 requests a minute, if answers take 5.33 s at most",
            "note        one thing",
        ]
    )


def test_what_is_not_known_is_said() -> None:
    """With the way out."""
    unknown = replace(
        ESTIMATE, cost=None, currency=None, price_id=None, price_basis=None, elapsed_s=None, limited_by=None
    )
    assert "cost        null: no price" in str(unknown)
    assert "time        unknown: give `requests_per_minute` or `latency_s`, or a pilot with `reuse`" in str(unknown)
    assert "null: not known" in str(replace(ESTIMATE, cost=None))
    by_characters = replace(ESTIMATE, limited_by="characters_per_minute", characters_per_minute=60_000.0)
    assert "at 60,000 characters a minute" in str(by_characters)


def test_the_time_is_said_with_what_rules_it() -> None:
    """A rate, the answers of the service, or one long text; with where that was measured."""
    estimate = replace(ESTIMATE, latency_s=6.5, latency_source="80 requests of pilot")
    assert "time        1 h 9 min at 180 requests a minute\n" in str(estimate)
    slow = str(replace(estimate, limited_by="latency"))
    assert "1 h 9 min at 6.5 s an answer (measured in 80 requests of pilot): a higher `max_concurrency`" in slow
    assert "the longest text takes that long" in str(replace(estimate, limited_by="longest_text"))
    assert "6.5 s an answer (given)" in str(replace(estimate, limited_by="latency", latency_source=None))
    assert "about 12.00 hours, as measured" in str(replace(ESTIMATE, spoken=(VoiceTotals("en", "a", 1, 12.0, True),)))


def test_many_voices_are_not_all_told() -> None:
    """Programs get all of them."""
    many = replace(ESTIMATE, spoken=tuple(VoiceTotals("en", f"v{number}", 1, 0.1) for number in range(50)))
    assert "and 38 more" in str(many)
    assert len(many.to_json()["spoken"]) == 50


def test_programs_read_plain_values() -> None:
    """Money as text, every field by its name, null for what is not known."""
    values = json.loads(json.dumps(ESTIMATE.to_json()))
    assert values["cost"] == "80.000000000"
    assert values["spoken"][0] == {
        "language": "en",
        "voice": "Cherry",
        "rows": 12_000,
        "audio_hours": 12.0,
        "is_measured": False,
    }
    assert (values["characters_per_minute"], values["notes"]) == (None, ["one thing"])
    assert values.keys() == set(Estimate.__dataclass_fields__)
    assert replace(ESTIMATE, cost=None).to_json()["cost"] is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (8.46, "8.5 s"),
        (59.99, "60.0 s"),
        (60, "1 min 0 s"),
        (3_599, "59 min 59 s"),
        (3_600, "1 h 0 min"),
        (172_799, "47 h 59 min"),
        (172_800, "2 days 0 h"),
        (3_248_000, "37 days 14 h"),
    ],
)
def test_times_are_said_in_two_units(seconds: float, text: str) -> None:
    """As people say them."""
    assert duration(seconds) == text

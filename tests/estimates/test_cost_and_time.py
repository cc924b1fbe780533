"""What counts come to in money and time."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from tests.builders import NOW, STUDIO, STUDIO_PRICE, narrator
from tts_pipeline.card import Card, Endpoint
from tts_pipeline.config import BudgetCap, Limits
from tts_pipeline.estimates.cost_and_time import cap_notes, estimate_notes, estimate_time, expected_cost
from tts_pipeline.estimates.measurements import Latency
from tts_pipeline.estimates.result import VoiceTotals
from tts_pipeline.estimates.tally import Counts
from tts_pipeline.models import Price
from tts_pipeline.money import Cost

COUNTS = Counts(
    rows=130,
    rows_without_text=20,
    rows_too_long=10,
    repeated_rows=50,
    segments=60,
    characters_billed=9_000,
    spoken=(VoiceTotals("en", "anna", 60, 0.5), VoiceTotals(None, None, 40, 1.5)),
    long_texts=7,
    cut_texts=7,
)
BY_TOKEN = Price("tokens", "EUR", "user", per_1m_input_tokens=Decimal(1), per_1m_output_tokens=Decimal(10))


def _notes(model: Card, limits: Limits = Limits(), service: Endpoint = STUDIO, counts: Counts = COUNTS) -> str:
    return "; ".join(estimate_notes(counts, model, service, estimate_time(counts, model, limits), NOW))


@pytest.mark.parametrize(
    ("limits", "own", "elapsed_s", "limited_by"),
    [
        (Limits(requests_per_minute=30), None, 120, "requests_per_minute"),
        (Limits(characters_per_minute=3_000), None, 180, "characters_per_minute"),
        (Limits(requests_per_minute=30, characters_per_minute=3_000), None, 180, "characters_per_minute"),
        (Limits(requests_per_minute=10, characters_per_minute=3_000), None, 360, "requests_per_minute"),
        (Limits(), 120, 30, "requests_per_minute"),
        (Limits(requests_per_minute=60), 120, 60, "requests_per_minute"),
        (Limits(), None, None, None),
    ],
)
def test_the_slower_rate_says_how_long_it_takes(
    limits: Limits, own: int | None, elapsed_s: float | None, limited_by: str | None
) -> None:
    """The card's own rate counts as given, and a given one goes before it; without any the time is not known."""
    pace = estimate_time(COUNTS, narrator(requests_per_minute=own), limits)
    assert (pace.elapsed_s, pace.limited_by) == (elapsed_s, limited_by)


def test_slots_must_be_free_in_time() -> None:
    """16 in flight at 30 a minute: an answer may take 32 s."""
    assert estimate_time(COUNTS, narrator(), Limits(max_concurrency=16, requests_per_minute=30)).answer_within_s == 32
    assert estimate_time(COUNTS, narrator(), Limits()).answer_within_s is None
    assert (
        estimate_time(replace(COUNTS, segments=0), narrator(), Limits(requests_per_minute=30)).answer_within_s is None
    )


@pytest.mark.parametrize(
    ("latency", "limits", "elapsed_s", "limited_by"),
    [
        (Latency(2.0), Limits(max_concurrency=4), 30, "latency"),
        (Latency(2.0), Limits(max_concurrency=4, requests_per_minute=60), 60, "requests_per_minute"),
        (Latency(2.0), Limits(max_concurrency=4, requests_per_minute=600), 30, "latency"),
        (Latency(1.0, 0.02), Limits(max_concurrency=60), 30, "longest_text"),
        (Latency(1.0, 0.02), Limits(max_concurrency=1), 240, "latency"),
        (Latency(2.0), Limits(max_concurrency=1_000), 20, "longest_text"),
    ],
)
def test_answers_say_how_long_it_takes_where_rates_do_not(
    latency: Latency, limits: Limits, elapsed_s: float, limited_by: str
) -> None:
    """As many at a time as are in flight; and never less than a text of 10 segments takes, one after another."""
    pace = estimate_time(replace(COUNTS, longest=(10, 1_000)), narrator(), limits, latency)
    assert pace.elapsed_s == pytest.approx(elapsed_s)
    assert pace.limited_by == limited_by
    assert pace.latency_s == pytest.approx(latency.seconds(60, 9_000) / 60)
    nothing = estimate_time(replace(COUNTS, segments=0, characters_billed=0), narrator(), limits, latency)
    assert nothing.elapsed_s == 0


def test_a_cap_that_is_reached_is_told() -> None:
    """With what earlier runs spent; one that is not reached is not worth a word."""
    cost, earlier = Decimal(2), Cost(characters_upper_bound=1_500)
    earlier.add(Cost(cost=Decimal(1), cost_upper_bound=Decimal(1), currency="EUR"))

    def notes(spent: Cost = earlier, **cap: Any) -> str:
        return "; ".join(cap_notes(COUNTS, cost, BudgetCap(**cap), spent))

    assert notes() == ""
    assert notes(max_cost=Decimal(3), currency="EUR", max_characters=10_500) == ""
    assert "the run stops at `max_cost` 2.9 EUR: with earlier runs this comes to 3.0000" in notes(
        max_cost=Decimal("2.9"), currency="EUR"
    )
    assert "`max_characters` 10,499: with earlier runs this comes to 10,500" in notes(max_characters=10_499)
    assert notes(Cost(), max_cost=Decimal(2), currency="EUR") == ""


def test_the_local_service_cannot_rehearse_japanese() -> None:
    """Which is said where there is any, and where it is the local one."""
    japanese, local = replace(COUNTS, japanese_rows=1), replace(STUDIO, name="local", maker=False)
    assert "cannot rehearse Japanese" in _notes(narrator(), service=local, counts=japanese)
    assert "Japanese" not in _notes(narrator(), service=local)
    assert "Japanese" not in _notes(narrator(), counts=japanese)


def test_by_character_the_cost_is_exact() -> None:
    """2 EUR for 10,000."""
    assert expected_cost(STUDIO_PRICE, COUNTS, narrator()) == Decimal("1.800000000")
    assert expected_cost(None, COUNTS, narrator()) is None


def test_by_token_it_follows_the_audio_of_what_is_bought() -> None:
    """2 hours of 100 rows, half of them bought: 3,600 s of 50 tokens, and one for each character."""
    model = narrator(billing="tokens", output_tokens_per_second=50)
    assert expected_cost(BY_TOKEN, COUNTS, model) == Decimal("1.809000000")
    short = replace(COUNTS, spoken=())
    assert expected_cost(BY_TOKEN, short, model) == Decimal("0.039000000"), "50 tokens each at least"
    assert expected_cost(BY_TOKEN, COUNTS, narrator(billing="tokens")) is None


def test_a_list_price_is_only_the_makers() -> None:
    """A gateway may charge otherwise, and nobody charges for the local service."""
    assert _notes(narrator()) == ""
    gateway = replace(STUDIO, name="gateway", maker=False)
    assert "gateway may charge otherwise" in _notes(narrator(), service=gateway)
    assert "nobody charges" in _notes(narrator(), service=replace(STUDIO, name="local", maker=False))
    own = narrator(prices=(replace(STUDIO_PRICE, basis="user"),))
    assert _notes(own, service=gateway) == ""


def test_without_a_price_the_cost_is_null_with_a_warning() -> None:
    """Never 0."""
    assert "the cost is null, which is not 0" in _notes(narrator(prices=()))
    assert "the cost is null" in _notes(narrator(prices=(BY_TOKEN,), billing="tokens"))
    assert "as rough" in _notes(narrator(prices=(BY_TOKEN,), billing="tokens", output_tokens_per_second=50))


@pytest.mark.parametrize(
    ("until", "limits", "note"),
    [
        (date(2026, 3, 11), Limits(requests_per_minute=1), "while the job runs; then next holds"),
        (date(2026, 3, 12), Limits(requests_per_minute=1), None),
        (date(2026, 4, 1), Limits(requests_per_minute=1 / 1_440), "while the job runs"),
        (date(2026, 4, 1), Limits(), "ends before 2026-04-01; then next holds"),
    ],
)
def test_a_price_that_ends_meanwhile_is_told(until: date, limits: Limits, note: str | None) -> None:
    """Or one that ends at all, when it is not known how long it takes."""
    following = replace(STUDIO_PRICE, price_id="next", effective_from=until)
    notes = _notes(narrator(prices=(replace(STUDIO_PRICE, effective_until=until), following)), limits)
    assert notes == "" if note is None else note in notes


def test_a_price_that_nothing_follows_is_told() -> None:
    """From then on the cost is not known."""
    notes = _notes(narrator(prices=(replace(STUDIO_PRICE, effective_until=date(2026, 3, 11)),)))
    assert "no price is known from then on" in notes


def test_what_was_not_cut_is_told() -> None:
    """An estimate of an estimate."""
    notes = _notes(narrator(input_limit=600), counts=replace(COUNTS, long_texts=30_000, cut_texts=20_000))
    assert "30,000 texts are over the limit of 600 characters" in notes
    assert "the first 20,000 of them were cut" in notes

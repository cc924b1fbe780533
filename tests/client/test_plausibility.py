"""A service's reports are checked before they are believed."""

from __future__ import annotations

import logging
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.builders import PRICE, token_price_of
from tests.client.test_meter import ManualClock, attempt_of
from tts_pipeline.card import Card
from tts_pipeline.client.meter import AttemptResult, Meter
from tts_pipeline.client.plausibility import MAX_COUNT, Figure, check_count, check_tokens
from tts_pipeline.errors import TransientError
from tts_pipeline.models import Usage
from tts_pipeline.wire.usage import InvalidUsage

CARD = Card("s", "m", billing="characters", prices=(PRICE,))
TOKENS = token_price_of(2)
BY_TOKEN = Card("s", "m", billing="tokens", output_tokens_per_second=50, prices=(TOKENS,))
TEXT = "x" * 400
TRUE = Usage(input_tokens=100, output_tokens=1_500, total_tokens=1_600)
"""For that text, and 30 seconds of audio."""


@pytest.mark.parametrize(
    ("reported", "counted", "figure"),
    [
        (None, 100, Figure(100, 100)),
        (100, 100, Figure(100, 100)),
        (400, 100, Figure(400, 400)),
        (401, 100, Figure(100, 401, is_plausible=False)),
        (25, 100, Figure(25, 25)),
        (24, 100, Figure(100, 100, is_plausible=False)),
        (0, 100, Figure(100, 100, is_plausible=False)),
        (0, 1, Figure(1, 1, is_plausible=False)),
        (1, 1, Figure(1, 1)),
        (4, 1, Figure(4, 4)),
        (10, 1, Figure(1, 10, is_plausible=False)),
        (1, 5, Figure(5, 5, is_plausible=False)),
        (2, 5, Figure(2, 2)),
        (2**53, 12, Figure(12, MAX_COUNT, is_plausible=False)),
    ],
)
def test_a_count_is_believed_from_a_quarter_to_four_times_ours(
    reported: int | None, counted: int, figure: Figure
) -> None:
    """Both ends included, for short texts too; beyond, ours is confirmed and the larger one possible."""
    assert check_count(reported, counted) == figure


@given(st.none() | st.integers(0, 2**53), st.integers(1, 10_000))
def test_the_bill_holds_whichever_count_is_true(reported: int | None, counted: int) -> None:
    """Confirmed never exceeds possible, and both our count and the report are covered, up to the billing maximum."""
    figure = check_count(reported, counted)
    assert 0 < figure.confirmed <= figure.at_most
    assert min(reported or 0, MAX_COUNT) <= figure.at_most
    assert figure.is_plausible == (reported is None or counted / 4 <= reported <= counted * 4)


@pytest.mark.parametrize(
    ("usage", "confirmed", "at_most", "is_plausible"),
    [
        (TRUE, (100, 1_500), (100, 1_500), True),
        (replace(TRUE, output_tokens=6_000, total_tokens=None), (100, 6_000), (100, 6_000), True),
        (replace(TRUE, output_tokens=6_001, total_tokens=None), (100, 1_500), (100, 6_001), False),
        (replace(TRUE, output_tokens=374, total_tokens=None), (100, 1_500), (100, 1_500), False),
        (Usage(0, 0, 0, 0), (25, 1_500), (400, 1_500), False),
        (Usage(None, 100, 0, 100), (100, 1_500), (100, 1_500), False),
        (Usage(None, 0, 1_500, 1_500), (25, 1_500), (400, 1_500), False),
        (Usage(None, 100, None, None), (100, 1_500), (100, 1_500), False),
        (Usage(None, None, 1_500, None), (25, 1_500), (400, 1_500), False),
        (Usage(None, 25, 1_500, 1_525), (25, 1_500), (25, 1_500), True),
        (Usage(None, 24, 1_500, 1_524), (25, 1_500), (400, 1_500), False),
        (Usage(None, 464, 1_500, 1_964), (464, 1_500), (464, 1_500), True),
        (Usage(None, 465, 1_500, 1_965), (25, 1_500), (465, 1_500), False),
        (replace(TRUE, total_tokens=9_000), (25, 1_500), (400, 8_900), False),
        (replace(TRUE, total_tokens=0), (25, 1_500), (400, 1_500), False),
    ],
)
def test_tokens_are_held_against_the_text_and_the_audio(
    usage: Usage, confirmed: tuple[int, int], at_most: tuple[int, int], is_plausible: bool
) -> None:
    """50 a second of audio, one for 1 to 16 bytes of text; a missing half or a wrong total is implausible."""
    figures = check_tokens(usage, 400, 1_500, 1_500)
    assert figures is not None
    assert figures.confirmed == Usage(None, *confirmed)
    assert figures.at_most == Usage(None, *at_most)
    assert figures.is_plausible == is_plausible


def test_no_report_of_tokens_is_not_a_report_of_none() -> None:
    """Consumption is then unknown. Without a figure on the card, only a report of 0 is implausible."""
    assert check_tokens(Usage(characters_reported=7), 400, 1_500, 1_500) is None
    for audio, is_plausible in ((7, True), (100_000, True), (0, False)):
        figures = check_tokens(Usage(None, 100, audio), 400, None, 1_500)
        assert figures is not None
        assert figures.is_plausible == is_plausible


def _costs(card: Card, usage: Usage) -> tuple[Decimal | None, Decimal | None, bool]:
    meter = Meter(card, ManualClock().clock)
    settlement = meter.settle_success(
        AttemptResult(attempt_of(meter, TEXT), 5, usage=usage, text=TEXT, audio_ms=30_000)
    )
    assert settlement.usage == usage, "stored as reported"
    return settlement.cost, settlement.cost_upper_bound, settlement.implausible


@pytest.mark.parametrize(
    ("card", "usage", "cost", "at_most", "implausible"),
    [
        (CARD, Usage(400, 0, 0, 0), "0.04", "0.04", False),
        (CARD, Usage(0), "0.04", "0.04", True),
        (CARD, Usage(400_000), "0.04", "40", True),
        (BY_TOKEN, TRUE, "0.0152", "0.0152", False),
        (BY_TOKEN, Usage(None, 0, 0, 0), "0.01505", "0.0158", True),
        (BY_TOKEN, Usage(400, 0, 0, 0), "0.01505", "0.0158", True),
        (BY_TOKEN, replace(TRUE, output_tokens=1_500_000, total_tokens=None), "0.0152", "15.0002", True),
    ],
)
def test_what_cannot_be_true_costs_what_we_count_and_possibly_what_is_reported(
    card: Card, usage: Usage, cost: str, at_most: str, implausible: bool
) -> None:
    """By character, if tokens do not count, and by token; spoken text never costs 0."""
    assert _costs(card, usage) == (Decimal(cost), Decimal(at_most), implausible)


def test_it_is_said_once_with_both_figures(caplog: pytest.LogCaptureFixture) -> None:
    """However many answers report it; plausible reports cause no warning."""
    with caplog.at_level(logging.WARNING):
        _costs(CARD, Usage(400))
        meter = Meter(CARD, ManualClock().clock)
        for _ in range(3):
            meter.settle_success(AttemptResult(attempt_of(meter, TEXT), 5, usage=Usage(400_000)))
        _costs(BY_TOKEN, Usage(None, 7, None))
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 2
    assert "reports 400,000 characters where we count 400, which cannot be true" in warnings[0]
    assert "reports 7 + no tokens of text and audio where we count 25 + 1,500" in warnings[1]


def test_what_cannot_be_true_may_be_charged_again() -> None:
    """So later attempts reserve it: in characters, in tokens of text and of audio, for every outcome."""
    meter = Meter(CARD, ManualClock().clock)
    meter.settle_success(AttemptResult(attempt_of(meter, TEXT), 5, usage=Usage(400_000)))
    assert attempt_of(meter, "abc").characters_upper_bound == 3_000
    failing = Meter(CARD, ManualClock().clock)
    settlement = failing.settle_failure(
        AttemptResult(attempt_of(failing, TEXT), 5, usage=Usage(400_000)),
        TransientError("", code="NoAudio", http_status=200),
    )
    assert (settlement.characters_billed, settlement.characters_upper_bound, settlement.implausible) == (
        0,
        400_000,
        True,
    )
    assert attempt_of(failing, "abc").characters_upper_bound == 3_000
    by_token = Meter(BY_TOKEN, ManualClock().clock)
    usage = Usage(None, 400_000, 1_500_000)
    settlement = by_token.settle_success(
        AttemptResult(attempt_of(by_token, TEXT), 5, usage=usage, text=TEXT, audio_ms=30_000)
    )
    assert attempt_of(by_token, TEXT).cost_upper_bound == settlement.cost_upper_bound


def test_a_failure_that_reports_nothing_is_no_contradiction() -> None:
    """0 is then plausible; its possible cost stays on the bill: by token, the reservation."""
    for card in (CARD, BY_TOKEN):
        meter = Meter(card, ManualClock().clock)
        attempt = attempt_of(meter, TEXT)
        error = TransientError("", code="NoAudio", http_status=200)
        settlement = meter.settle_failure(AttemptResult(attempt, 5, usage=Usage(0, 0, 0, 0)), error)
        assert (settlement.cost, settlement.implausible) == (Decimal(0), False)
        assert settlement.cost_upper_bound == attempt.cost_upper_bound


def test_a_number_that_is_no_count_is_not_believed() -> None:
    """A negative number or a fraction: our count is the bill, in characters and in tokens, with a mark."""
    assert _costs(CARD, InvalidUsage()) == (Decimal("0.04"), Decimal("0.04"), True)
    assert _costs(BY_TOKEN, InvalidUsage()) == (Decimal("0.01505"), Decimal("0.0158"), True)

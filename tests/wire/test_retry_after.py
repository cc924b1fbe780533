"""How long a service asks to wait, in whichever header or field it says so."""

from __future__ import annotations

import pytest

from tts_pipeline.wire.failure import classify
from tts_pipeline.wire.retry_after import retry_after_s

DATE = "Wed, 21 Oct 2026 07:28:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": DATE}, None),
        ({"retry-after": DATE, "date": "Wed, 21 Oct 2026 07:27:50 GMT"}, 10.0),
        ({"retry-after": "Wed, 21 Oct 2020 07:28:00 GMT", "date": DATE}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "Wed, 99 Oct 99999 99:99:99 GMT"}, None),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    """Seconds or a date; a date against the answer's own clock; never negative, never nonsense."""
    assert retry_after_s(headers) == seconds


def test_a_date_without_a_clock_says_nothing() -> None:
    """Without ``Date`` there is nothing to measure against."""
    assert classify(429, {"retry-after": DATE}, b"").retry_after_s is None
    assert classify(429, {"retry-after": "3"}, b"").retry_after_s == 3.0

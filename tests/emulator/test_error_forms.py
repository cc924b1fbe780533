from __future__ import annotations

import json

import pytest

from tts_pipeline.emulator.error_forms import _FORMS, refuse
from tts_pipeline.emulator.request import RefusalError
from tts_pipeline.emulator.rules import FORMS, Rule

BUSY = RefusalError(429, "Throttling.RateQuota", "Too fast.", {"Retry-After": "3"})


def test_every_form_can_be_had() -> None:
    """What a rule may name is what can be answered."""
    assert set(_FORMS) == set(FORMS)


@pytest.mark.parametrize(
    ("form", "status", "expected"),
    [
        ("flat", 429, {"request_id": "r", "code": "Throttling.RateQuota", "message": "Too fast."}),
        (
            "nested",
            429,
            {
                "error": {
                    "message": "Too fast.",
                    "type": "invalid_request_error",
                    "param": None,
                    "code": "Throttling.RateQuota",
                }
            },
        ),
        ("text", 429, {"error": "Too fast."}),
        (
            "inside_200",
            200,
            {
                "status_code": 429,
                "request_id": "r",
                "code": "Throttling.RateQuota",
                "message": "Too fast.",
                "output": None,
                "usage": None,
            },
        ),
        (
            "flattened",
            400,
            {"code": "BadRequest", "message": "<429> Throttling.RateQuota: Too fast.", "request_id": "r"},
        ),
    ],
)
def test_json_forms(form: str, status: int, expected: dict[str, object]) -> None:
    """One error, five ways; the headers go with each."""
    delivery = refuse(BUSY, "r", Rule("throttle", form=form))
    assert (delivery.status, json.loads(delivery.body)) == (status, expected)
    assert delivery.headers == {"Retry-After": "3"}


def test_an_error_in_a_stream() -> None:
    """The HTTP status is 200; the true one is in a comment."""
    delivery = refuse(BUSY, "r", Rule("throttle", form="sse"))
    assert (delivery.status, delivery.content_type) == (200, "text/event-stream")
    assert delivery.body.startswith(b"id:1\nevent:error\n:HTTP_STATUS/429\ndata:{")
    assert delivery.body.endswith(b"}\n\n")


def test_a_page_and_a_body_of_ones_own() -> None:
    """What a proxy says is HTML; anything else can be given."""
    page = refuse(BUSY, "r", Rule("error", form="html"))
    assert page.content_type is not None
    assert page.content_type.startswith("text/html")
    assert b"429" in page.body
    own = refuse(BUSY, "r", Rule("error", body="odd", content_type="text/plain"))
    assert (own.body, own.content_type, own.status) == (b"odd", "text/plain", 429)

"""The table of codes: complete, without contradictions, and careful with codes inside messages."""

from __future__ import annotations

import pytest

from tts_pipeline.errors import FatalError, PermanentError, TransientError
from tts_pipeline.wire.failure_codes import (
    GENERIC_CODES,
    QUOTA_CODES,
    RULE_BY_CODE,
    find_code,
    is_known,
    normalize_code,
    rule_for,
)


def test_every_code_is_written_normally_once() -> None:
    """Look-ups are by the normal form, so no rule is unreachable and generic codes are known ones or gateways' own."""
    assert all(normalize_code(code) == code for code in (*RULE_BY_CODE, *GENERIC_CODES, *QUOTA_CODES))


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        ("InternalError.Algo.Something", 400, TransientError),
        ("InvalidParameter.Something.Else", 500, PermanentError),
        ("AccessDenied.Anything", 500, FatalError),
        ("Nothing.Known", 500, TransientError),
        ("Nothing.Known", 400, PermanentError),
        (None, 200, TransientError),
    ],
)
def test_a_code_is_judged_by_its_family_then_by_its_status(code: str | None, status: int, error: type) -> None:
    """A dotted code that is not listed is what its first parts are; an unknown one is what its status is."""
    assert rule_for(code, status).error is error
    assert code is None or is_known(code) is not code.startswith("Nothing")


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("<429> Throttling.RateQuota: Requests rate limit exceeded", "Throttling.RateQuota"),
        ("<400> InternalError.Algo.InvalidParameter: Range", "InternalError.Algo.InvalidParameter"),
        ('{"code":"Arrearage","message":"x"}', "Arrearage"),
        ("(Throttling)", "Throttling"),
        ("<h1>Throttling</h1>", "Throttling"),
        ("Arrearage", "Arrearage"),
        ("code: limit_requests", "limit_requests"),
        ("Throttling of requests began", None),
        ("Arrearage is not a voice", None),
        ("MyInvalidApiKeyFactory", None),
        ("requests throttling triggered", None),
        ("", None),
    ],
)
def test_codes_inside_messages(message: str, code: str | None) -> None:
    """A code is taken where it stands as one; a plain word counts only before a delimiter."""
    assert find_code(message) == code

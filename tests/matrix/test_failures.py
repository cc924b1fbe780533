"""Every failure that the local service knows, through the client: its class, its attempts and the bill."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.matrix.trial import (
    AS_JSON,
    AS_STREAM,
    BOTH,
    TEXT,
    Parameters,
    Rule,
    run_trial,
)
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.emulator.rules import FORMS, VENDOR_FORMS
from tts_pipeline.emulator.shapes import NEEDS_URL
from tts_pipeline.emulator.tone import tone
from tts_pipeline.errors import (
    FatalError,
    PermanentError,
    ServiceError,
    StoppedError,
    SuspectError,
    TransientError,
)

URL_SHAPES = sorted(NEEDS_URL - {"ali_sse"})
"""``ali_sse`` carries its audio and needs no fetch."""
_FETCHES: Mapping[str, tuple[Rule, str | None]] = {
    "slow": ({"fetch": "slow", "fetch_delay_s": 0.05}, None),
    "expired": ({"lifetime_s": 0}, "LostUrl"),
    "missing": ({"fetch": "missing"}, "LostUrl"),
    "cut": ({"fetch": "cut"}, "LostUrl"),
    "refused": ({"url": "http://127.0.0.1:9/a.wav"}, "LostUrl"),
    "metadata": ({"url": "http://169.254.169.254/latest/meta-data"}, "RefusedUrl"),
    "to metadata": ({"fetch": "redirect", "location": "http://169.254.169.254/"}, "RefusedUrl"),
    "file": ({"url": "file:///etc/passwd"}, "RefusedUrl"),
    "to a file": ({"fetch": "redirect", "location": "file:///etc/passwd"}, "RefusedUrl"),
}


@BOTH
@pytest.mark.parametrize(("rule", "code"), _FETCHES.values(), ids=_FETCHES)
@pytest.mark.parametrize("shape", URL_SHAPES)
def test_a_fetch_that_goes_wrong(
    tone_service: LocalService, shape: str, rule: Rule, code: str | None, parameters: Parameters
) -> None:
    """A lost URL is a new attempt, and the bill shows both; one that must not be visited is a reject, and billed."""
    if shape == "unknown_url" and rule.get("url", "").startswith("file:"):
        return  # under a name that nobody told, it is no link
    trial = run_trial(tone_service, parameters, {"what": "shape", "shape": shape, "first": 1, **rule})
    if code == "RefusedUrl":
        assert type(trial.result) is PermanentError
        assert (trial.result.code, trial.bill["charged"]) == ("RefusedUrl", 1)
        assert trial.settlements[0].characters_upper_bound == len(TEXT)
        return
    assert trial.speech.audio.data == tone(TEXT)
    assert trial.codes == ([None] if code is None else [code, None])
    assert trial.bill["charged"] == len(trial.codes)


def _expected(status: int, code: str) -> type[ServiceError]:
    if code in ("InvalidApiKey", "insufficient_balance", "AccessDenied", "Arrearage", "ModelNotFound"):
        return FatalError
    return TransientError if status >= 500 else PermanentError


_ERRORS = [
    (401, "InvalidApiKey"),
    (402, "insufficient_balance"),
    (403, "AccessDenied"),
    (400, "Arrearage"),
    (404, "ModelNotFound"),
    (400, "InvalidParameter"),
    (400, "DataInspectionFailed"),
    (413, "RequestTooLarge"),
    (422, "InvalidParameter"),
    (500, "InternalError"),
    (500, "ModelServingError"),
    (502, "BadGateway"),
    (503, "ServiceUnavailable"),
    (504, "RequestTimeOut"),
]
_BY_STATUS_ALONE = {403: SuspectError, 404: SuspectError, 400: PermanentError}
"""What ``{"error": "text"}`` can mean where the status does not decide: there is no code in it."""
_INSIDE_200 = ("inside_200", "sse", "base_resp", "response_error")


@pytest.mark.parametrize(
    ("form", "parameters"),
    # What other makers answer does not depend on what was asked for.
    [(form, mode) for form in FORMS for mode in ((AS_JSON,) if form in VENDOR_FORMS else (AS_JSON, AS_STREAM))],
)
@pytest.mark.parametrize(("status", "code"), _ERRORS)
def test_every_failure_is_of_its_class_in_every_form(
    tone_service: LocalService, status: int, code: str, form: str, parameters: Parameters
) -> None:
    """Flat, nested, as text, inside a 200, in a stream, as a page, in makers' words; charged or not, the bill holds.

    A bad key, an empty account and a refused model are never charged, and never on the bill, also inside a 200.
    """
    expected = _expected(status, code)
    if form == "text":
        expected = _BY_STATUS_ALONE.get(status, expected)
    may_be_charged = form in _INSIDE_200 or (form != "flattened" and status >= 500)
    may_be_charged &= expected is not FatalError
    for charge in {False, may_be_charged}:
        rule = {"what": "error", "status": status, "code": code, "message": "Not today.", "form": form}
        trial = run_trial(tone_service, parameters, {**rule, "charge": charge})
        assert isinstance(trial.result, expected), repr(trial.result)
        assert isinstance(trial.result, SuspectError) == (expected is SuspectError)
        tries = 2 if expected is TransientError else 1
        if trial.result.http_status != 413:  # what is too large by its status is tried in halves
            assert len(trial.settlements) == tries
        assert trial.bill["charged"] == charge * len(trial.settlements)
        if not may_be_charged:
            assert {settlement.characters_upper_bound for settlement in trial.settlements} == {0}


@BOTH
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "after", [{}, {"retry_after_s": 7}, {"retry_after_s": 7, "retry_after_date": True}], ids=["", "seconds", "date"]
)
def test_a_429_is_waited_out_in_every_form(
    tone_service: LocalService, form: str, after: Rule, parameters: Parameters
) -> None:
    """More often than a row has attempts, and the row is said in the end; a 429 costs nothing."""
    trial = run_trial(tone_service, parameters, {"what": "throttle", "form": form, "first": 4, **after})
    assert trial.speech.audio.data == tone(TEXT)
    assert len(trial.codes) == 5
    assert trial.speech.characters_billed == trial.bill["characters"] == len(TEXT)


@pytest.mark.parametrize("form", FORMS)
def test_a_429_for_too_long_stops_in_every_form(tone_service: LocalService, form: str) -> None:
    """The run would wait for hours."""
    trial = run_trial(tone_service, AS_JSON, {"what": "throttle", "form": form, "retry_after_s": 7_200})
    assert isinstance(trial.result, StoppedError)
    assert "a pause of 7200 s, until 20" in trial.result.message


@BOTH
@pytest.mark.parametrize("form", FORMS)
def test_a_refused_text_is_a_reject_in_every_form(
    tone_service: LocalService, form: str, parameters: Parameters
) -> None:
    """It is this text's alone."""
    trial = run_trial(tone_service, parameters, {"what": "refuse", "form": form})
    assert type(trial.result) is PermanentError
    assert len(trial.codes) == 1

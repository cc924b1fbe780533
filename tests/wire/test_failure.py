"""Failures: a table of what services and gateways really send, and the class that each must become."""

from __future__ import annotations

import orjson
import pytest

from tts_pipeline.errors import (
    FatalError,
    PermanentError,
    ServiceError,
    SuspectError,
    ThrottledError,
    TransientError,
    UnreadableError,
)
from tts_pipeline.wire.failure import classify, classify_payload, malformed_error, missing_audio_error
from tts_pipeline.wire.response import Response

HTML = b"<html><head><title>403 Forbidden</title></head><body><h1>Forbidden</h1>nginx</body></html>"


def flat(code: str, message: str = "m") -> bytes:
    return orjson.dumps({"request_id": "req-1", "code": code, "message": message})


def nested(code: str | None, message: str = "m", kind: str | None = None) -> bytes:
    return orjson.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}})


def event(status: int, code: str, message: str = "m") -> bytes:
    return b"id:1\nevent:error\n:HTTP_STATUS/%d\ndata:%b\n\n" % (status, flat(code, message))


CASES: list[tuple[int, bytes, type[ServiceError], str]] = [
    # Throttled: the run pauses, whatever the form
    (429, flat("Throttling"), ThrottledError, "Throttling"),
    (429, flat("Throttling.RateQuota"), ThrottledError, "Throttling.RateQuota"),
    (429, flat("Throttling.BurstRate"), ThrottledError, "Throttling.BurstRate"),
    (429, flat("Throttling.SomethingNew"), ThrottledError, "Throttling.SomethingNew"),
    (429, flat("Throttling.AllocationQuota", "Allocated quota exceeded"), ThrottledError, "Throttling.AllocationQuota"),
    (429, nested("insufficient_quota", "You exceeded your current quota"), ThrottledError, "insufficient_quota"),
    (429, nested("limit_requests"), ThrottledError, "limit_requests"),
    (
        429,
        nested("rate_limit_exceeded", "Limit 3 / min for input tokens: limit 9 tokens"),
        ThrottledError,
        "rate_limit_exceeded",
    ),
    (429, b"", ThrottledError, "HTTP429"),
    (429, HTML, ThrottledError, "HTTP429"),
    # Transient, so retried
    (500, flat("InternalError"), TransientError, "InternalError"),
    (500, nested("internal_error"), TransientError, "internal_error"),
    (500, flat("InternalError.Algo", "inference internal error."), TransientError, "InternalError.Algo"),
    (500, flat("RequestTimeOut"), TransientError, "RequestTimeOut"),
    (503, flat("ModelServingError", "Too many requests."), TransientError, "ModelServingError"),
    (503, nested("model_not_found", "No available channel for model x"), TransientError, "model_not_found"),
    (408, b"", TransientError, "HTTP408"),
    (502, b"<html><h1>Bad Gateway</h1></html>", TransientError, "HTTP502"),
    (504, b"", TransientError, "HTTP504"),
    (529, b"overloaded", TransientError, "HTTP529"),
    # Permanent: the row's own
    (400, flat("InvalidParameter"), PermanentError, "InvalidParameter"),
    (400, nested("invalid_parameter_error"), PermanentError, "invalid_parameter_error"),
    (400, flat("InvalidParameter", "<400> InternalError.Algo.InvalidParameter: x"), PermanentError, "InvalidParameter"),
    (400, flat("DataInspectionFailed"), PermanentError, "DataInspectionFailed"),
    (400, nested("data_inspection_failed"), PermanentError, "data_inspection_failed"),
    (500, flat("InternalError.Algo.DataInspectionFailed"), PermanentError, "InternalError.Algo.DataInspectionFailed"),
    (400, b"what?", PermanentError, "HTTP400"),
    (413, HTML, PermanentError, "HTTP413"),
    (422, b'{"detail":[{"loc":["body","voice"],"msg":"field required"}]}', PermanentError, "HTTP422"),
    (418, b"", PermanentError, "HTTP418"),
    # Suspect: fatal only when two rows meet it in succession
    (403, HTML, SuspectError, "HTTP403"),
    (403, b'{"error": "forbidden"}', SuspectError, "HTTP403"),
    (403, flat("SomethingNew"), SuspectError, "SomethingNew"),
    (404, b"404 page not found", SuspectError, "HTTP404"),
    (405, b"", SuspectError, "HTTP405"),
    # Fatal: no row can succeed
    (401, flat("InvalidApiKey"), FatalError, "InvalidApiKey"),
    (401, nested("invalid_api_key"), FatalError, "invalid_api_key"),
    (401, b"", FatalError, "HTTP401"),
    (401, HTML, FatalError, "HTTP401"),
    (402, b"", FatalError, "HTTP402"),
    (403, flat("AccessDenied"), FatalError, "AccessDenied"),
    (403, flat("AccessDenied.Unpurchased"), FatalError, "AccessDenied.Unpurchased"),
    (403, flat("Model.AccessDenied"), FatalError, "Model.AccessDenied"),
    (403, nested("access_denied"), FatalError, "access_denied"),
    (403, nested("insufficient_user_quota", kind="new_api_error"), FatalError, "insufficient_user_quota"),
    (403, nested("insufficient_quota"), FatalError, "insufficient_quota"),
    (403, flat("AllocationQuota.FreeTierOnly"), FatalError, "AllocationQuota.FreeTierOnly"),
    (404, flat("ModelNotFound"), FatalError, "ModelNotFound"),
    (404, nested("model_not_found", kind="invalid_request_error"), FatalError, "model_not_found"),
    (400, flat("Arrearage"), FatalError, "Arrearage"),
    (429, flat("PrepaidBillOverdue"), FatalError, "PrepaidBillOverdue"),
    (429, flat("PostpaidBillOverdue"), FatalError, "PostpaidBillOverdue"),
    (
        400,
        flat("Throttling.AllocationQuota", "Free allocated quota exceeded."),
        FatalError,
        "Throttling.AllocationQuota",
    ),
    (429, nested("insufficient_quota", "Free allocated quota exceeded."), FatalError, "insufficient_quota"),
    (403, b'{"message": "free quota exhausted"}', FatalError, "HTTP403"),
    # A code for any failure gives way to a status that says more
    (
        429,
        nested(None, "Service tier capacity exceeded", kind="invalid_request_error"),
        ThrottledError,
        "invalid_request_error",
    ),
    (404, nested(None, "Invalid URL", kind="invalid_request_error"), SuspectError, "invalid_request_error"),
    (401, nested("internal_error"), FatalError, "internal_error"),
    # Flattened by a gateway: the message carries the code, the status, or both
    (
        400,
        nested("bad_response_status_code", "<429> Throttling.RateQuota: slow"),
        ThrottledError,
        "Throttling.RateQuota",
    ),
    (400, nested(None, "Throttling: Requests throttling triggered."), ThrottledError, "Throttling"),
    (400, nested("400", "InvalidApiKey: no"), FatalError, "InvalidApiKey"),
    (400, nested("invalid_request_error", "code=Arrearage, message=in arrears"), FatalError, "Arrearage"),
    (500, b'{"error":"status_code=401 {\\"code\\":\\"InvalidApiKey\\"}"}', FatalError, "InvalidApiKey"),
    (
        400,
        nested(None, "Error code: 429 - {'error': {'code': 'limit_burst_rate'}}"),
        ThrottledError,
        "limit_burst_rate",
    ),
    (400, nested("upstream_error", "upstream said status code: 503"), TransientError, "upstream_error"),
    (
        500,
        nested(None, "<400> InternalError.Algo.InvalidParameter: bad"),
        PermanentError,
        "InternalError.Algo.InvalidParameter",
    ),
    (400, flat("BadRequest", "<500> InternalError: later"), TransientError, "BadRequest"),
    (400, flat("BadRequest", "<502> BadGateway: later"), TransientError, "BadRequest"),
    (400, flat("BadRequest", "<403> Somewhere: no"), SuspectError, "BadRequest"),
    (400, b"<html><title>400 Arrearage</title></html>", FatalError, "Arrearage"),
    (400, flat("InvalidParameter", "Arrearage is not a voice"), PermanentError, "InvalidParameter"),
    # Inside a 200, and inside server-sent events, also when those are labelled JSON under a 400
    (200, flat("Arrearage"), FatalError, "Arrearage"),
    (200, b'{"status_code": 429, "message": "m"}', ThrottledError, "HTTP429"),
    (200, event(400, "InvalidParameter"), PermanentError, "InvalidParameter"),
    (400, event(400, "Arrearage"), FatalError, "Arrearage"),
    (400, event(429, "Throttling"), ThrottledError, "Throttling"),
]


@pytest.mark.parametrize(("status", "body", "error", "code"), CASES)
def test_forms_and_classes(status: int, body: bytes, error: type[ServiceError], code: str) -> None:
    """What the caller does about it decides the class; the code is the service's own where it has one."""
    failure = classify(status, {}, body)
    assert (type(failure), failure.code) == (error, code)
    assert failure.http_status == status


@pytest.mark.parametrize(
    ("pascal", "snake"),
    [
        ("InvalidApiKey", "invalid_api_key"),
        ("ModelNotFound", "model_not_found"),
        ("AccessDenied", "access_denied"),
        ("DataInspectionFailed", "data_inspection_failed"),
        ("InvalidParameter", "invalid_parameter"),
        ("InternalError", "internal_error"),
        ("LimitRequests", "limit_requests"),
    ],
)
def test_both_spellings_are_one_code(pascal: str, snake: str) -> None:
    """A gateway's snake case means the same as the maker's own spelling, at any status."""
    for status in (200, 400, 418, 500):
        assert type(classify(status, {}, flat(pascal))) is type(classify(status, {}, nested(snake)))


@pytest.mark.parametrize("status", [200, 400, 401, 402, 403, 404, 408, 413, 422, 429, 500, 502, 503, 504])
def test_what_may_have_been_billed(status: int) -> None:
    """Surely nothing was charged for these client errors, nor inside a 200 for a key, an account or a rate."""
    free = status in {400, 401, 402, 403, 404, 413, 422, 429}
    assert classify(status, {}, b"").may_be_billed is not free
    assert classify(status, {}, flat("InternalError")).may_be_billed is not free
    for code in ("Throttling", "Arrearage", "InvalidApiKey", "ModelNotFound"):
        assert classify(status, {}, flat(code)).may_be_billed is not (free or status == 200)


def test_what_brought_something_may_be_billed() -> None:
    """Whatever it says: audio that came before it or with it, or characters that it reports."""
    assert classify_payload({"code": "Throttling"}, 200, {}, has_audio=True).may_be_billed
    assert classify_payload({"code": "Throttling", "usage": {"characters": 3}}, 200, {}).may_be_billed
    assert classify_payload({"code": "Throttling", "audio": {"url": "http://a/b"}}, 200, {}).may_be_billed


def test_what_is_known_of_the_request_is_kept() -> None:
    """Request id, charged characters, status and message go with the error."""
    body = orjson.dumps({"request_id": "b", "code": "InternalError", "message": "so sorry", "usage": {"characters": 9}})
    failure = classify(500, {"x-request-id": "h"}, body)
    assert (failure.request_id, failure.characters_reported, failure.message) == ("b", 9, "so sorry")
    assert classify(500, {"x-request-id": "h"}, b"").request_id == "h"
    assert classify(503, {}, b"").message == "HTTP 503 Service Unavailable"
    assert classify(599, {}, b"").message == "HTTP 599"


def test_html_is_shown_as_its_title() -> None:
    """A proxy's page is one readable line."""
    assert classify(403, {}, HTML).message == "403 Forbidden"


@pytest.mark.parametrize("status", [401, 402, 403, 404, 413, 429])
def test_a_hint_says_what_to_do(status: int) -> None:
    """Where the reader can do something, the error ends with it."""
    assert classify(status, {}, b"").hint


@pytest.mark.parametrize(
    ("status", "body", "limit"),
    [
        (400, flat("InvalidParameter", "Range of input length should be [1, 600]"), 600),
        (
            500,
            flat(
                "InternalError.Algo",
                "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 512]",
            ),
            512,
        ),
        (422, b'{"detail":[{"type":"string_too_long","msg":"String should have at most 4096 characters"}]}', 4096),
        (400, nested(None, "The input text exceeds the maximum length of 1000 characters"), 1000),
        (413, b"input must be at most 300 tokens", 300),
        (400, flat("InvalidParameter", "Range of max_tokens should be [1, 32768]"), None),
        (400, flat("InvalidParameter", "Range of input length should be [0, 0]"), None),
        (429, nested("rate_limit_exceeded", "input tokens at most 300 tokens"), None),
    ],
)
def test_a_told_input_limit_is_learnt(status: int, body: bytes, limit: int | None) -> None:
    """A text refused as too long is permanent whatever the code, and the service's own number goes with it."""
    failure = classify(status, {}, body)
    assert failure.input_limit == limit
    assert limit is None or type(failure) is PermanentError


def test_a_parsed_object_takes_the_events_status() -> None:
    """The class follows the event's status, the bill the HTTP status."""
    failure = classify_payload({"message": "m"}, 200, {}, event_status=403)
    assert (type(failure), failure.code, failure.may_be_billed, failure.http_status) == (
        SuspectError,
        "HTTP403",
        True,
        200,
    )


def test_our_own_codes() -> None:
    """Answers that should have been successes: transient where another may be whole, permanent where it cannot help."""
    reply = Response(200, {"x-request-id": "h"}, b"")
    errors = [
        malformed_error("CutStream", "cut", reply),
        missing_audio_error("none", reply, is_unreadable=False),
        missing_audio_error("what", reply, is_unreadable=True, request_id="b"),
    ]
    assert [(type(error), error.code, error.request_id, error.may_be_billed) for error in errors] == [
        (TransientError, "CutStream", "h", True),
        (TransientError, "NoAudio", "h", True),
        (UnreadableError, "UnreadableAudio", "b", True),
    ]

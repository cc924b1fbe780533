"""Failures as their makers really send them: classed by what the caller must do, and billed only where they may be."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tts_pipeline.errors import FatalError, PermanentError, ServiceError, SuspectError, ThrottledError, TransientError
from tts_pipeline.wire import vendor_codes
from tts_pipeline.wire.failure import classify
from tts_pipeline.wire.failure_body import is_failure
from tts_pipeline.wire.failure_codes import RULES, rule_for
from tts_pipeline.wire.response import Response
from tts_pipeline.wire.retry_after import parse_duration_s, rate_limit_reset_s
from tts_pipeline.wire.shapes import parse_response

PLAN = "You exceeded your current quota, please check your plan and billing details."


def minimax(number: int, message: str = "m") -> dict[str, Any]:
    return {"data": None, "trace_id": "t", "base_resp": {"status_code": number, "status_msg": message}}


def google(code: int, status: str, message: str = "m", **detail: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "status": status, "details": [detail] if detail else []}}


def openai(code: str | None, message: str, kind: str = "insufficient_quota") -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def eleven(status: str, **more: Any) -> dict[str, Any]:
    return {"detail": {"status": status, "message": "m", **more}}


def tencent(code: str) -> dict[str, Any]:
    return {"Response": {"Error": {"Code": code, "Message": "m"}, "RequestId": "r"}}


CASES: list[tuple[int, dict[str, Any], type[ServiceError], str]] = [
    # MiniMax: everything inside a 200
    (200, minimax(1004, "login fail"), FatalError, "1004"),
    (200, minimax(2049), FatalError, "2049"),
    (200, minimax(1008, "insufficient balance"), FatalError, "1008"),
    (200, minimax(2056), FatalError, "2056"),
    *((200, minimax(number), ThrottledError, str(number)) for number in (1002, 1039, 1041)),
    *((200, minimax(number), TransientError, str(number)) for number in (1000, 1001, 1013, 1024, 1033, 4711)),
    *((200, minimax(number), PermanentError, str(number)) for number in (2013, 1026, 1027, 1042, 2054)),
    # Google, Gemini, and what speaks gRPC's words
    (400, google(400, "INVALID_ARGUMENT", reason="API_KEY_INVALID"), FatalError, "API_KEY_INVALID"),
    (400, google(400, "INVALID_ARGUMENT", "API key not valid. Please pass a"), FatalError, "INVALID_ARGUMENT"),
    (400, google(400, "INVALID_ARGUMENT", "Voice 'x' does not exist."), PermanentError, "INVALID_ARGUMENT"),
    (401, google(401, "UNAUTHENTICATED"), FatalError, "UNAUTHENTICATED"),
    (403, google(403, "PERMISSION_DENIED", reason="SERVICE_DISABLED"), FatalError, "SERVICE_DISABLED"),
    (429, google(429, "RESOURCE_EXHAUSTED", PLAN), ThrottledError, "RESOURCE_EXHAUSTED"),
    (
        429,
        google(429, "RESOURCE_EXHAUSTED", PLAN, violations=[{"quotaId": "GenerateRequestsPerDayPerModel"}]),
        FatalError,
        "RESOURCE_EXHAUSTED",
    ),
    (503, google(503, "UNAVAILABLE"), TransientError, "UNAVAILABLE"),
    (504, google(504, "DEADLINE_EXCEEDED"), TransientError, "DEADLINE_EXCEEDED"),
    (200, google(429, "RESOURCE_EXHAUSTED"), ThrottledError, "RESOURCE_EXHAUSTED"),
    # OpenAI's empty account, and the same words for Alibaba's tokens of a minute
    (429, openai("insufficient_quota", PLAN), FatalError, "insufficient_quota"),
    (429, openai(None, PLAN), FatalError, "insufficient_quota"),
    (429, openai("billing_hard_limit_reached", "m"), FatalError, "billing_hard_limit_reached"),
    (429, openai("rate_limit_exceeded", "m", "requests"), ThrottledError, "rate_limit_exceeded"),
    (429, {**openai("insufficient_quota", PLAN), "request_id": "r"}, ThrottledError, "insufficient_quota"),
    (429, {"code": "insufficient_quota", "message": PLAN, "request_id": "r"}, ThrottledError, "insufficient_quota"),
    (
        429,
        openai("insufficient_quota", PLAN + " See https://help.aliyun.com/zh/model-studio/error-code#token-limit"),
        ThrottledError,
        "insufficient_quota",
    ),
    (401, openai("invalid_api_key", "m", "invalid_request_error"), FatalError, "invalid_api_key"),
    # Moonshot, Groq, Hume
    (429, openai(None, "m", "exceeded_current_quota_error"), FatalError, "exceeded_current_quota_error"),
    (429, openai(None, "m", "rate_limit_reached_error"), ThrottledError, "rate_limit_reached_error"),
    (400, openai("model_terms_required", "m", "invalid_request_error"), FatalError, "model_terms_required"),
    (400, {"code": "E0300", "slug": "out_of_credits", "message": "m"}, FatalError, "E0300"),
    # Azure: its gateway, and its models
    (401, {"error": {"code": "401", "message": "Access denied due to invalid key"}}, FatalError, "HTTP401"),
    (429, {"statusCode": 429, "message": "Rate limit is exceeded. Try again in 7 seconds."}, ThrottledError, "HTTP429"),
    (403, {"statusCode": 403, "message": "Out of call volume quota. Quota will be replenished"}, FatalError, "HTTP403"),
    (404, {"error": {"code": "DeploymentNotFound", "message": "m"}}, FatalError, "DeploymentNotFound"),
    # ElevenLabs: a key and a quota are both 401; old and new form
    (401, eleven("invalid_api_key"), FatalError, "invalid_api_key"),
    (401, eleven("quota_exceeded"), FatalError, "quota_exceeded"),
    (429, eleven("too_many_concurrent_requests"), ThrottledError, "too_many_concurrent_requests"),
    (429, eleven("system_busy"), ThrottledError, "system_busy"),
    (400, eleven("voice_not_found"), PermanentError, "voice_not_found"),
    (404, eleven("voice_not_found"), PermanentError, "voice_not_found"),
    (400, eleven("max_character_limit_exceeded"), PermanentError, "max_character_limit_exceeded"),
    (429, {"detail": {"type": "x", "code": "system_busy"}}, ThrottledError, "system_busy"),
    # Deepgram, Cartesia, OpenRouter, Fish Audio, SiliconFlow, BigModel
    (401, {"err_code": "INVALID_AUTH", "err_msg": "m", "request_id": "r"}, FatalError, "INVALID_AUTH"),
    (402, {"err_code": "ASR_PAYMENT_REQUIRED", "err_msg": "m"}, FatalError, "ASR_PAYMENT_REQUIRED"),
    (403, {"err_code": "INSUFFICIENT_PERMISSIONS", "err_msg": "m"}, FatalError, "INSUFFICIENT_PERMISSIONS"),
    (429, {"error_code": "concurrency_limited", "message": "m"}, ThrottledError, "concurrency_limited"),
    (402, {"error_code": "quota_exceeded", "message": "m"}, FatalError, "quota_exceeded"),
    (200, {"error": {"code": 402, "message": "credits", "metadata": {}}}, FatalError, "HTTP402"),
    (200, {"error": {"code": 502, "message": "provider"}}, TransientError, "HTTP502"),
    (402, {"status": 402, "message": "Invalid api key or insufficient balance"}, FatalError, "HTTP402"),
    (403, {"code": 30001, "message": "balance", "data": None}, FatalError, "30001"),
    (400, {"code": 20012, "message": "Model does not exist", "data": None}, FatalError, "20012"),
    (429, {"error": {"code": "1113", "message": "m"}}, FatalError, "1113"),
    (429, {"error": {"code": "1302", "message": "m"}}, ThrottledError, "1302"),
    # Amazon, with the type in the body
    (400, {"__type": "com.amazon.coral.availability#ThrottlingException"}, ThrottledError, "ThrottlingException"),
    (400, {"__type": "UnrecognizedClientException", "message": "m"}, FatalError, "UnrecognizedClientException"),
    # Volcengine: one number for three meanings, told apart by its words
    (200, {"reqid": "r", "code": 3003, "message": "m"}, ThrottledError, "3003"),
    (200, {"reqid": "r", "code": 3001, "message": "m"}, PermanentError, "3001"),
    (200, {"reqid": "r", "code": 3001, "message": "quota exceeded for types: concurrency"}, ThrottledError, "3001"),
    (200, {"reqid": "r", "code": 3001, "message": "quota exceeded for types: xx_lifetime"}, FatalError, "3001"),
    (200, {"reqid": "r", "code": 3005, "message": "busy"}, TransientError, "3005"),
    (200, {"reqid": "r", "code": 3010, "message": "long"}, PermanentError, "3010"),
    # Tencent Cloud: everything inside a 200
    (200, tencent("AuthFailure.SignatureFailure"), FatalError, "AuthFailure.SignatureFailure"),
    (200, tencent("UnsupportedOperation.PkgExhausted"), FatalError, "UnsupportedOperation.PkgExhausted"),
    (200, tencent("RequestLimitExceeded.UinLimitExceeded"), ThrottledError, "RequestLimitExceeded.UinLimitExceeded"),
    (200, tencent("InternalError.NoResource"), TransientError, "InternalError.NoResource"),
    (200, tencent("InvalidParameterValue.VoiceType"), PermanentError, "InvalidParameterValue.VoiceType"),
    (200, tencent("SomethingNew"), TransientError, "SomethingNew"),
    # Baidu, iFlytek, Huawei, Alibaba's speech gateway
    (200, {"err_no": 502, "err_msg": "authentication failed."}, FatalError, "502"),
    (200, {"err_no": 501, "err_msg": "m"}, PermanentError, "501"),
    (200, {"err_no": 503, "err_msg": "m"}, TransientError, "503"),
    (200, {"error_code": 110, "error_msg": "Access token invalid"}, FatalError, "110"),
    (200, {"error_code": 17, "error_msg": "Open api daily request limit reached"}, FatalError, "17"),
    (200, {"error_code": 18, "error_msg": "Open api qps request limit reached"}, ThrottledError, "18"),
    (200, {"header": {"code": 10313, "message": "m", "sid": "s"}}, FatalError, "10313"),
    (200, {"code": 11202, "message": "m", "sid": "s"}, ThrottledError, "11202"),
    (200, {"code": "10105", "desc": "illegal access", "sid": "s"}, FatalError, "10105"),
    (429, {"error_code": "APIG.0308", "error_msg": "m"}, ThrottledError, "APIG.0308"),
    (400, {"task_id": "t", "status": 40000005, "message": "Gateway:TOO_MANY_REQUESTS"}, ThrottledError, "40000005"),
    (200, {"task_id": "t", "status": 40000001, "message": "token"}, FatalError, "40000001"),
    # What names nothing that we know goes by its status, as before
    (403, {"message": "Forbidden"}, SuspectError, "HTTP403"),
    (400, {"message": "We heard 'invalid api key' in your text"}, PermanentError, "HTTP400"),
    (400, {"message": "Incorrect API key provided: xyz"}, FatalError, "HTTP400"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "payload", "error", "code"), CASES)
def test_each_maker_is_understood(status: int, payload: dict[str, Any], error: type[ServiceError], code: str) -> None:
    """Its class is what to do about it; a key, an account and a rate cost nothing, also inside a 200."""
    body = orjson.dumps(payload)
    failure = classify(status, {}, body)
    assert (type(failure), failure.code, failure.http_status) == (error, code, status)
    if issubclass(error, FatalError | ThrottledError):
        assert not failure.may_be_billed
    if status == 200:
        with pytest.raises(error):
            parse_response(Response(200, {"content-type": "application/json"}, body))


@pytest.mark.parametrize("kind", ["ThrottlingException", "ThrottlingException:http://internal.amazon.com/coral/"])
def test_amazons_type_stands_in_a_header(kind: str) -> None:
    """Under an HTTP 400, with nothing telling in the body."""
    assert type(classify(400, {"x-amzn-errortype": kind}, b'{"message":"Rate exceeded"}')) is ThrottledError
    failure = classify(400, {"x-amzn-errortype": "TextLengthExceededException"}, b"{}")
    assert (type(failure), failure.code) == (PermanentError, "TextLengthExceededException")


@pytest.mark.parametrize(
    "payload",
    [
        *({name: value} for name in ("code", "status_code", "err_no", "error_code") for value in (0, "0")),
        *({name: 200} for name in ("code", "status_code", "status")),
        *({"code": word} for word in ("", "ok", "OK", "Success", "success", None, 1000, 20000000)),
        *({"error": nothing} for nothing in (None, "", False, 0, "0", "ok", "none", {"code": 0, "message": ""})),
        *({"status": word} for word in ("ok", "success", "completed", 1, 2)),
        {"base_resp": {"status_code": 0, "status_msg": "success"}},
        {"base_resp": None},
        {"reqid": "r", "code": 3000, "message": "Success", "sequence": -1},
        {"header": {"code": 0, "message": "success"}},
        {"sid": "s", "code": 0},
        {"task_id": "t", "status": 20000000},
        {"task_id": "t", "status": "succeeded"},
        {"Response": {"Audio": "x", "RequestId": "r"}},
        {"type": "audio", "category": "speech"},
    ],
)
def test_a_success_is_none(payload: dict[str, Any]) -> None:
    """However it says so: it is read as audio, never as a failure."""
    audio = {"audio": {"url": "https://a/b.wav"}}
    assert not is_failure({**payload, **audio})


@pytest.mark.parametrize(
    ("headers", "payload", "wait_s"),
    [
        ({}, {"message": "Rate limit is exceeded. Try again in 7 seconds."}, 7.0),
        ({}, {"error": {"message": "Rate limit reached. Please try again in 1.2s. Visit"}}, 1.2),
        ({}, {"error": {"message": "Please try again in 6m0s."}}, 360.0),
        ({}, {"error": {"message": "Please try again in 120ms."}}, 0.12),
        ({}, {"error": {"message": "Please retry after 26 seconds."}}, 26.0),
        ({}, {"error": {"message": "m\nPlease retry in 38.922534355s."}}, 38.922534355),
        ({}, google(429, "RESOURCE_EXHAUSTED", retryDelay="7s"), 7.0),
        ({}, {"detail": "m", "retry_after": 3}, 3.0),
        ({}, {"error": {"metadata": {"retry_after_seconds": 4.5}}}, 4.5),
        ({}, {"retry_after_ms": "1500"}, 1.5),
        ({"retry-after": "9"}, {"message": "Try again in 7 seconds."}, 9.0),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"}, {}, 360.0),
        ({"x-ratelimit-remaining-tokens": "5", "x-ratelimit-reset-tokens": "6m0s"}, {}, None),
        ({"ratelimit-reset": "12"}, {}, 12.0),
        ({"x-ratelimit-reset": "1792567660"}, {}, 60.0),
        ({"x-ratelimit-reset": "1792567660000"}, {}, 60.0),
        ({}, {"message": "Try again in a while, or in 2026."}, None),
        ({}, {"retry_after": -1, "message": "m"}, None),
        ({}, {"retry_after": "soon"}, None),
    ],
)
def test_a_wait_is_told_in_many_places(headers: dict[str, str], payload: dict[str, Any], wait_s: float | None) -> None:
    """In headers, in fields, in words; the header counts first, and nonsense not at all."""
    dated = {"date": "Wed, 21 Oct 2026 07:26:40 GMT", **headers}
    assert classify(429, dated, orjson.dumps(payload)).retry_after_s == pytest.approx(wait_s)


def test_a_reset_is_no_wait_of_another_failure() -> None:
    """Services tell their limits with every answer: only a rate waits for them."""
    assert classify(500, {"ratelimit-reset": "3000"}, b"").retry_after_s is None
    assert rate_limit_reset_s({}) is None
    assert [parse_duration_s(text) for text in ("", "s", "1x", "1 h 2 min", "9" * 40 + "s")] == [
        None,
        None,
        None,
        3_720.0,
        None,
    ]


def test_every_code_of_the_table_means_what_it_stands_under() -> None:
    """No code stands under two meanings, whatever its spelling; every meaning has a rule."""
    for meaning, codes in vendor_codes.WORD_CODES.items():
        assert all(rule_for(code, 418) is RULES[meaning] for code in codes), meaning
    numbers = {meaning for form in vendor_codes.NUMERIC_SCHEMES for meaning in form.meanings}
    assert numbers | {meaning for _, meaning in vendor_codes.MESSAGE_PATTERNS} <= set(RULES)
    for form in vendor_codes.NUMERIC_SCHEMES:
        listed = [number for numbers in form.meanings.values() for number in numbers]
        assert len(listed) == len(set(listed))
        assert not form.success.intersection(listed)

"""Render errors in every form seen in the wild. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from tts_pipeline.emulator.delivery import Delivery, json_delivery
from tts_pipeline.emulator.event_streams import ali_frame
from tts_pipeline.emulator.request import RefusalError
from tts_pipeline.emulator.rules import NO_FAULT, Rule


def refuse(refusal: RefusalError, request_id: str, rule: Rule = NO_FAULT) -> Delivery:
    """Return the answer to a refused request, in the rule's form."""
    if rule.body is not None:
        delivery = Delivery(refusal.status, rule.body.encode(), rule.content_type)
    else:
        delivery = _FORMS[rule.form](refusal, request_id)
    return replace(delivery, headers={**delivery.headers, **refusal.headers})


def _nested(refusal: RefusalError, _request_id: str) -> Delivery:
    kind = "invalid_request_error" if refusal.status < 500 else "server_error"
    error = {"message": refusal.message, "type": kind, "param": None, "code": refusal.code}
    return json_delivery({"error": error}, refusal.status)


def _inside_200(refusal: RefusalError, request_id: str) -> Delivery:
    body = {"status_code": refusal.status, **_fields(refusal, request_id), "output": None, "usage": None}
    return json_delivery(body)


def _flattened(refusal: RefusalError, request_id: str) -> Delivery:
    message = f"<{refusal.status}> {refusal.code}: {refusal.message}"
    return json_delivery({"code": "BadRequest", "message": message, "request_id": request_id}, 400)


def _sse(refusal: RefusalError, request_id: str) -> Delivery:
    frame = ali_frame(1, _fields(refusal, request_id), event="error", status=refusal.status)
    return Delivery(200, frame, "text/event-stream", framing="chunks")


def _html(refusal: RefusalError, _request_id: str) -> Delivery:
    title = f"{refusal.status} {refusal.code}"
    page = f"<html><head><title>{title}</title></head><body><h1>{title}</h1>{refusal.message}</body></html>"
    return Delivery(refusal.status, page.encode(), "text/html; charset=utf-8")


_MEANINGS = {
    "InvalidApiKey": "key",
    "insufficient_balance": "balance",
    "Arrearage": "balance",
    "AccessDenied": "access",
    "ModelNotFound": "access",
    "Throttling.RateQuota": "rate",
    "DataInspectionFailed": "text",
}
_VENDOR_CODES: Mapping[str, tuple[int, str, str, str]] = {
    # meaning: MiniMax's number, Tencent's code, Amazon's type, Google's status and reason
    "key": (1004, "AuthFailure.SecretIdNotFound", "UnrecognizedClientException", "INVALID_ARGUMENT API_KEY_INVALID"),
    "balance": (1008, "UnsupportedOperation.PkgExhausted", "OptInRequired", "PERMISSION_DENIED BILLING_DISABLED"),
    "access": (2061, "UnauthorizedOperation", "AccessDeniedException", "PERMISSION_DENIED SERVICE_DISABLED"),
    "rate": (1002, "RequestLimitExceeded", "ThrottlingException", "RESOURCE_EXHAUSTED RATE_LIMIT_EXCEEDED"),
    "text": (1026, "InvalidParameterValue.InvalidText", "InvalidSsmlException", "INVALID_ARGUMENT"),
    "later": (1033, "InternalError.NoResource", "ServiceFailureException", "UNAVAILABLE"),
    "parameter": (2013, "InvalidParameterValue", "ValidationException", "INVALID_ARGUMENT"),
}


def _vendor_code(refusal: RefusalError, maker: int) -> Any:
    other = "later" if refusal.status >= 500 else "parameter"
    return _VENDOR_CODES[_MEANINGS.get(refusal.code, other)][maker]


def _base_resp(refusal: RefusalError, request_id: str) -> Delivery:
    status = {"status_code": _vendor_code(refusal, 0), "status_msg": refusal.message}
    return json_delivery({"data": None, "trace_id": request_id, "base_resp": status})


def _response_error(refusal: RefusalError, request_id: str) -> Delivery:
    error = {"Code": _vendor_code(refusal, 1), "Message": refusal.message}
    return json_delivery({"Response": {"Error": error, "RequestId": request_id}})


def _typed_400(refusal: RefusalError, _request_id: str) -> Delivery:
    kind = f"{_vendor_code(refusal, 2)}:http://internal.amazon.com/coral/com.amazon.coral.availability/"
    delivery = json_delivery({"message": refusal.message}, refusal.status if refusal.status >= 500 else 400)
    return replace(delivery, headers={"x-amzn-ErrorType": kind})


def _rpc_status(refusal: RefusalError, _request_id: str) -> Delivery:
    status, _, reason = _vendor_code(refusal, 3).partition(" ")
    http_status = {"INVALID_ARGUMENT": 400, "PERMISSION_DENIED": 403, "RESOURCE_EXHAUSTED": 429}.get(status, 503)
    details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason}] if reason else []
    error = {"code": http_status, "message": refusal.message, "status": status, "details": details}
    return json_delivery({"error": error}, http_status)


def _fields(refusal: RefusalError, request_id: str) -> dict[str, str]:
    return {"request_id": request_id, "code": refusal.code, "message": refusal.message}


_FORMS: Mapping[str, Callable[[RefusalError, str], Delivery]] = {
    "flat": lambda refusal, request_id: json_delivery(_fields(refusal, request_id), refusal.status),
    "nested": _nested,
    "text": lambda refusal, _: json_delivery({"error": refusal.message}, refusal.status),
    "inside_200": _inside_200,
    "flattened": _flattened,
    "sse": _sse,
    "html": _html,
    "base_resp": _base_resp,
    "response_error": _response_error,
    "typed_400": _typed_400,
    "rpc_status": _rpc_status,
}
"""Each form by its name in a rule."""

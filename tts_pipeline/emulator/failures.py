"""What an error looks like on the wire, in every form met in the wild. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import orjson

from tts_pipeline.emulator.asked import RefusalError
from tts_pipeline.emulator.delivery import Delivery
from tts_pipeline.emulator.rules import ALL_WELL, Rule
from tts_pipeline.emulator.streams import ali_frame


def refuse(refusal: RefusalError, request_id: str, rule: Rule = ALL_WELL) -> Delivery:
    """Return the answer to a request that is refused, in the rule's form."""
    if rule.body is not None:
        delivery = Delivery(refusal.status, rule.body.encode(), rule.content_type)
    else:
        delivery = _FORMED[rule.form](refusal, request_id)
    return replace(delivery, headers=refusal.headers)


def _flat(refusal: RefusalError, request_id: str) -> Delivery:
    return _json(refusal.status, _said(refusal, request_id))


def _nested(refusal: RefusalError, _request_id: str) -> Delivery:
    kind = "invalid_request_error" if refusal.status < 500 else "server_error"
    error = {"message": refusal.message, "type": kind, "param": None, "code": refusal.code}
    return _json(refusal.status, {"error": error})


def _text(refusal: RefusalError, _request_id: str) -> Delivery:
    return _json(refusal.status, {"error": refusal.message})


def _inside_200(refusal: RefusalError, request_id: str) -> Delivery:
    said = {"status_code": refusal.status, **_said(refusal, request_id), "output": None, "usage": None}
    return _json(200, said)


def _flattened(refusal: RefusalError, request_id: str) -> Delivery:
    message = f"<{refusal.status}> {refusal.code}: {refusal.message}"
    return _json(400, {"code": "BadRequest", "message": message, "request_id": request_id})


def _sse(refusal: RefusalError, request_id: str) -> Delivery:
    frame = ali_frame(1, _said(refusal, request_id), event="error", status=refusal.status)
    return Delivery(200, frame, "text/event-stream", framing="chunks")


def _html(refusal: RefusalError, _request_id: str) -> Delivery:
    title = f"{refusal.status} {refusal.code}"
    page = f"<html><head><title>{title}</title></head><body><h1>{title}</h1>{refusal.message}</body></html>"
    return Delivery(refusal.status, page.encode(), "text/html; charset=utf-8")


def _said(refusal: RefusalError, request_id: str) -> dict[str, str]:
    return {"request_id": request_id, "code": refusal.code, "message": refusal.message}


def _json(status: int, value: Mapping[str, object]) -> Delivery:
    return Delivery(status, orjson.dumps(value))


_FORMED: Mapping[str, Callable[[RefusalError, str], Delivery]] = {
    "flat": _flat,
    "nested": _nested,
    "text": _text,
    "inside_200": _inside_200,
    "flattened": _flattened,
    "sse": _sse,
    "html": _html,
}
"""Each form by its name in a rule."""

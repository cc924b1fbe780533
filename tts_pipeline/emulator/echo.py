"""Echo a request's key in an answer, in every encoding seen in the wild. Pure."""

from __future__ import annotations

import base64
import html
from collections.abc import Callable, Mapping
from dataclasses import replace
from urllib.parse import quote

import orjson

from tts_pipeline.emulator.delivery import Delivery
from tts_pipeline.emulator.request import RefusalError

_CUT = 20
"""Characters that remain of a cut key."""


def encode_echo(authorization: str, writing: str) -> str:
    """Return the echo of an ``Authorization`` header's key, in one of ``ECHO_ENCODINGS``."""
    return _ENCODERS[writing](authorization.partition(" ")[2])


def echo_in_refusal(refusal: RefusalError, echo: str) -> RefusalError:
    """Return a refusal with the echo in its code and its message, once more at the end of the part that is shown."""
    padding = "." * (280 - len(refusal.message))
    headers = {**refusal.headers, **_headers(echo)}
    return RefusalError(refusal.status, echo, f"{refusal.message} {echo} {padding} {echo}", headers)


def echo_in_answer(delivery: Delivery, request_id: str, echo: str) -> Delivery:
    """Return a right answer with the echo in place of its request id."""
    name = b'"request_id":'
    body = delivery.body.replace(name + orjson.dumps(request_id), name + orjson.dumps(echo))
    return replace(delivery, body=body, headers={**delivery.headers, **_headers(echo)})


def _headers(echo: str) -> Mapping[str, str]:
    """Return the header of the request id with the echo; no header if none can carry it."""
    return {"X-Request-Id": echo} if echo.isascii() and echo.isprintable() else {}


_ENCODERS: Mapping[str, Callable[[str], str]] = {
    "plain": str,
    "quoted": "'{}'".format,
    "upper": str.upper,
    "backwards": lambda key: key[::-1],
    "cut": lambda key: key[:_CUT],
    "split": lambda key: f"{key[:5]}\n{key[5:9]}\u200b{key[9:]}",
    "percent": lambda key: quote(quote(key, safe=""), safe=""),
    "json": lambda key: "".join(f"\\u{ord(character):04x}" for character in key),
    "html": lambda key: html.escape(key[:4]) + f"<b>{html.escape(key[4:])}</b>",
    "hex": lambda key: key.encode().hex(),
    "basic": lambda key: base64.b64encode(f"user:{key}".encode()).decode(),
    "bearer": lambda key: base64.urlsafe_b64encode(f"Bearer {key}".encode()).decode(),
}

ECHO_ENCODINGS = tuple(_ENCODERS)

"""Extract the audio from a body of several parts (``multipart/form-data``, ``multipart/mixed``)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from msgspec.structs import replace

from tts_pipeline.audio.identify import identify
from tts_pipeline.wire.response import Response

_BOUNDARY = re.compile(r'multipart/[^;]{1,40};.{0,200}?boundary="?([^";,\s]{1,70})', re.IGNORECASE)
_MAX_PARTS = 100


def is_multipart(response: Response) -> bool:
    """Return whether a body has several parts, by its content type and its first bytes."""
    match = _BOUNDARY.match(response.content_type or "")
    return match is not None and response.body.lstrip()[:2] == b"--"


def audio_part(response: Response) -> Response | None:
    """Return the part with the audio as a separate answer: by its bytes, by its content type, or because it is JSON."""
    parts = list(_parts(response))
    candidates = (
        *(part for part in parts if identify(part.body) is not None),
        *(part for part in parts if (part.content_type or "").lower().startswith("audio/")),
        *(part for part in parts if part.body.lstrip()[:1] in (b"{", b"[")),
    )
    return candidates[0] if candidates else None


def _parts(response: Response) -> Iterator[Response]:
    match = _BOUNDARY.match(response.content_type or "")
    if match is None:
        return
    delimiter = b"--" + match[1].encode("latin-1", "replace")
    body = response.body.lstrip()
    for piece in (b"\r\n" + body).split(b"\r\n" + delimiter, _MAX_PARTS)[1:]:
        head, blank_line, content = piece.partition(b"\r\n\r\n")
        if blank_line:
            yield replace(response, headers=dict(response.headers) | _headers(head), body=content)


def _headers(head: bytes) -> dict[str, str]:
    lines = (line.decode("latin-1").partition(":") for line in head.split(b"\r\n"))
    return {"content-type": ""} | {name.strip().lower(): value.strip() for name, _, value in lines if value}

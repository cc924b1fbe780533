"""Take the audio out of a body of several parts (``multipart/form-data``, ``multipart/mixed``)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tts_pipeline.audio.identify import identify
from tts_pipeline.wire.reading import Reply

_BOUNDARY = re.compile(r'multipart/[^;]{1,40};.{0,200}?boundary="?([^";,\s]{1,70})', re.IGNORECASE)
_MOST_PARTS = 100


def is_multipart(reply: Reply) -> bool:
    """Whether a body is of several parts, by its content type and its first bytes."""
    found = _BOUNDARY.match(reply.content_type or "")
    return found is not None and reply.body.lstrip()[:2] == b"--"


def audio_part(reply: Reply) -> Reply | None:
    """Return the part with the audio as an answer of its own: by its bytes, by its label, or the one that is JSON."""
    parts = list(_parts(reply))
    for suits in (_is_audio, _is_labelled, _is_json):
        for part in parts:
            if suits(part):
                return part
    return None


def _parts(reply: Reply) -> Iterator[Reply]:
    found = _BOUNDARY.match(reply.content_type or "")
    if found is None:
        return
    mark = b"--" + found[1].encode("latin-1", "replace")
    body = reply.body.lstrip()
    for piece in (b"\r\n" + body).split(b"\r\n" + mark, _MOST_PARTS)[1:]:
        head, blank, content = piece.partition(b"\r\n\r\n")
        if blank:
            yield reply._replace(headers=dict(reply.headers) | _headers(head), body=content)


def _headers(head: bytes) -> dict[str, str]:
    lines = (line.decode("latin-1").partition(":") for line in head.split(b"\r\n"))
    return {"content-type": ""} | {name.strip().lower(): value.strip() for name, _, value in lines if value}


def _is_audio(part: Reply) -> bool:
    return identify(part.body) is not None


def _is_labelled(part: Reply) -> bool:
    return (part.content_type or "").lower().startswith("audio/")


def _is_json(part: Reply) -> bool:
    return part.body.lstrip()[:1] in (b"{", b"[")

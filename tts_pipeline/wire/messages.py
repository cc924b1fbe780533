"""Clean a service's message for display and storage: short, printable, without markup or keys."""

from __future__ import annotations

import re

MAX_CHARACTERS = 300
_MAX_INPUT_CHARACTERS = 20_000

_TITLE = re.compile(r"<title[^>]{0,200}>(.{0,500}?)</title", re.IGNORECASE | re.DOTALL)
_HEADING = re.compile(r"<h1[^>]{0,200}>(.{0,500}?)</h1", re.IGNORECASE | re.DOTALL)
_HIDDEN = re.compile(r"<(script|style)\b.*?(?:</\1\s*>|\Z)", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<[/!a-zA-Z][^<>]{0,500}>")
_UNPRINTABLE = re.compile(
    r"[\x00-\x20\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]+"
)

REDACTED = "[redacted]"
_SECRETS = (
    re.compile(r"(\bbearer\s+)[^\s\"',;}]+", re.IGNORECASE),
    re.compile(r"()\bsk-[^\s\"',;})\]]+", re.IGNORECASE),
    # key=..., "api_key": "...", token provided: ...
    re.compile(
        r"(\b(?:api[\s_-]?key|access[\s_-]?key(?:[\s_-]?id)?|access[\s_-]?token|token|secret|authorization|password"
        r"|signature)\b(?:\s+provided)?[\"']?\s*[:=]\s*[\"']?)(?!bearer\b|\[redacted)[^\s\"',;}&]+",
        re.IGNORECASE,
    ),
    # Any long mixed run of letters and digits; a request id has dashes and does not match.
    re.compile(r"()\b(?=[A-Za-z_]*\d)(?=\d*[A-Za-z_])[A-Za-z0-9_]{32,}\b"),
)


def clean_message(message: str) -> str:
    """Return a message as one printable line of at most 300 characters: HTML as its title, keys redacted."""
    text = message[:_MAX_INPUT_CHARACTERS]
    if "<" in text:
        text = _without_markup(text)
    text = _UNPRINTABLE.sub(" ", text).strip()
    for secret in _SECRETS:
        text = secret.sub(rf"\g<1>{REDACTED}", text)
    return text if len(text) <= MAX_CHARACTERS else text[: MAX_CHARACTERS - 1].rstrip() + "…"


def _without_markup(text: str) -> str:
    import html  # compiles a pattern, which takes 2 ms: most runs see no markup

    for pattern in (_TITLE, _HEADING):
        match = pattern.search(text)
        if match and match[1].strip():
            return html.unescape(_TAG.sub(" ", match[1]))
    if _TAG.search(text):
        return html.unescape(_TAG.sub(" ", _HIDDEN.sub(" ", text)))
    return text

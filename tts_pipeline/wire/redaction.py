"""Remove a secret from a service's answer by its value, however it is encoded.

A key need not begin with ``sk-``. A service, or a proxy before it, may echo it in a message, a code, a request id or a
header: plain, escaped for a URL, JSON or HTML, as hex or base64 (also of ``user:key``), broken by line breaks, markup
or invisible characters, in other case, backwards, or cut.
"""

from __future__ import annotations

import base64
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import TypeVar

from msgspec.structs import replace

from tts_pipeline.errors import ServiceError
from tts_pipeline.models import Word
from tts_pipeline.wire.messages import REDACTED
from tts_pipeline.wire.response import Response

_SHORT_CHARACTERS = 6
"""A shorter secret is redacted only as a separate word: ``test`` is part of other words."""

_MIN_CHARACTERS = 3
"""A shorter secret is ignored."""

_FRAGMENT_CHARACTERS = 12
"""A fragment of a secret is redacted from this many characters on: messages are cut anywhere."""

_MAX_CHARACTERS = 128
"""Characters of a secret that are searched for in every encoding. A longer secret (a token of a few kilobytes) is
redacted by its beginning, with all that follows it without a space."""

_MAX_BODY_BYTES = 1_000_000
"""A longer body is not redacted as a whole: the parts of it that are read are redacted afterwards."""

_GAP = r"(?:[\s\x00-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]|<[^<>]{0,80}>|\\[nrt]){0,4}"
"""Possible text between two characters of a secret: invisible characters, and those that ``clean_message`` removes."""

_SUSPICIOUS = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff<>%&\\]")
"""A gap or an escape character; a request id has neither."""

Text = TypeVar("Text", str, str | None)


class Redactor:
    """Replaces secrets in texts; built once for a service. Pure; takes a few microseconds for a request id.

    Empty and very short secrets are ignored.
    """

    def __init__(self, secrets: Iterable[str | None] = ()) -> None:
        usable = {secret for secret in secrets if secret and len(secret) >= _MIN_CHARACTERS}
        # The longest first: a secret may be part of another, as a key is of "Bearer key".
        self._secrets = sorted(usable, key=len, reverse=True)
        literals = [literal for secret in self._secrets for literal in _literals(secret)]
        self._literals = [literal.lower() for literal in literals]
        self._min_characters = min(map(len, literals), default=sys.maxsize)

    def redact(self, text: Text) -> Text:
        """Return a text without secrets; None stays None."""
        if not text or len(text) < self._min_characters:
            return text
        if not _SUSPICIOUS.search(text) and not any(map(text.lower().__contains__, self._literals)):
            return text
        return self._long.sub(REDACTED, self._short.sub(REDACTED, text))

    def redact_response(self, response: Response) -> Response:
        """Return a failing answer without secrets in its headers and its body; the same object without secrets."""
        headers = {name: self.redact(value) for name, value in response.headers.items()}
        body = response.body
        if self._secrets and len(body) <= _MAX_BODY_BYTES:
            # Short secrets stay until the message is parsed: a field's name may equal one.
            body = self._long.sub(REDACTED, body.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
        is_clean = body == response.body and headers == response.headers
        return response if is_clean else replace(response, headers=headers, body=body)

    def redact_error(self, error: ServiceError) -> None:
        """Remove secrets from every field of an error."""
        error.message, error.code = self.redact(error.message), self.redact(error.code)
        error.hint, error.request_id = self.redact(error.hint), self.redact(error.request_id)
        error.args = (error.message,)

    def is_secret_in(self, words: Iterable[Word], text: str) -> bool:
        """Return whether timed words, alone or together, spell a secret that their text does not."""
        joined = "".join(word.text for word in words)
        return self.redact(joined) != joined and self.redact(source := "".join(text.split())) == source

    @cached_property
    def _long(self) -> re.Pattern[str]:
        return _any_of(
            pattern for secret in self._secrets if len(secret) >= _SHORT_CHARACTERS for pattern in _patterns_of(secret)
        )

    @cached_property
    def _short(self) -> re.Pattern[str]:
        return _any_of(
            rf"(?<!\w){re.escape(secret)}(?!\w)" for secret in self._secrets if len(secret) < _SHORT_CHARACTERS
        )


def _any_of(patterns: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(patterns) or "(?!)", re.IGNORECASE)


def _patterns_of(secret: str) -> Iterator[str]:
    """Yield patterns of a secret: of the whole in any writing, then of its fragments with the text after them."""
    yield _GAP.join(map(_character_pattern, secret[:_MAX_CHARACTERS])) + (
        "" if len(secret) <= _MAX_CHARACTERS else r"[^\s\"'<>]*"
    )
    yield f"(?:{'|'.join(map(re.escape, _literals(secret)))})" + r"[^\s\"'<>,;&]*"


def _literals(secret: str) -> list[str]:
    """Return strings such that any text with a secret, or with a large part of it, contains at least one of them."""
    if len(secret) < _SHORT_CHARACTERS:
        return [secret]
    head = secret[:_MAX_CHARACTERS]
    pieces = [
        head[start : start + _FRAGMENT_CHARACTERS] for start in range(max(1, len(head) - _FRAGMENT_CHARACTERS + 1))
    ]
    return list(dict.fromkeys([*pieces, head[::-1], head.encode().hex(), *_in_base64(head)]))


def _character_pattern(character: str) -> str:
    """Return the pattern of one character: plain, or escaped for a URL (also twice), JSON or HTML."""
    code = ord(character)
    escaped = [rf"%(?:25)*{code:02x}", rf"\\+u00{code:02x}", rf"\\+x{code:02x}", f"&#0*{code};", f"&#x0*{code:x};"]
    if character in _ENTITIES:
        escaped.append(_ENTITIES[character])
    plain = rf"\\*{re.escape(character)}" if character in "\"'\\/" else re.escape(character)
    return f"(?:{'|'.join([plain, *escaped])})"


_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;"}


def _in_base64(secret: str) -> Iterator[str]:
    """Yield strings such that base64 of any text with the secret contains one of them, by its offset modulo 3."""
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + secret.encode()).decode().rstrip("=")
        inner = encoded[(0, 2, 3)[shift] : -1]  # the characters at both ends hold bits of the text beside the secret
        yield inner
        yield inner.translate(str.maketrans("+/", "-_"))

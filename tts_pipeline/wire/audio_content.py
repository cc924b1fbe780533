"""Find the audio in one JSON object of an answer, as text or behind a URL."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote_to_bytes, urlsplit

from tts_pipeline.wire.text_decoder import decode_text

Decode = Callable[[str], bytes]

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{1,30}:/")
_OBJECT_STORE = ".aliyuncs.com"
_HOLDERS = ("output", "data", "result", "response", "Response", "payload", None)
"""Names of the objects that are searched for audio, first to last; None is the object itself."""

# Alibaba's and OpenAI's, then those of ElevenLabs and Google (also in Protobuf's own spelling); MiniMax's data.audio.
_DATA_NAMES = (
    *("data", "audio_base64", "b64_json", "audio", "audioContent", "audio_content", "audio_data", "audioData"),
    *("audioBase64", "audio_b64", "audio_hex", "Audio"),
)
_URL_NAMES = ("url", "audio_url", "audioUrl")
_MEDIA_TYPE_NAMES = frozenset({"mimeType", "mime_type", "content_type", "contentType", "media_type"})


class AudioContent(NamedTuple):
    """The audio of an answer: either ``data``, decoded, or ``url``, absolute, is set.

    The URL is ``https`` on Alibaba's object store, whatever the answer says; ``expires_at`` is in seconds since 1970
    UTC. The content type is that of a data URI, or of the object that holds the data.
    """

    data: bytes | None = None
    url: str | None = None
    expires_at: int | None = None
    content_type: str | None = None

    def __repr__(self) -> str:
        """Show the URL, or the size of the data."""
        return f"AudioContent({self.url!r})" if self.data is None else f"AudioContent({len(self.data)} bytes)"


def find_audio(payload: Mapping[str, Any], decode: Decode = decode_text) -> AudioContent | None:
    """Return the audio of one JSON object; None without audio. Data that can be decoded goes before a URL.

    One ``TextDecoder`` decodes all objects of a stream.

    Raises:
        ValueError: The object has data that cannot be decoded, and no URL to fall back on.
    """
    decode_error: ValueError | None = None
    for holder in _audio_holders(payload):
        data = _first_text(holder, _DATA_NAMES)
        if data is not None:
            try:
                return audio_from_text(data, holder, decode)
            except ValueError as error:
                decode_error = error
        url = _first_text(holder, _URL_NAMES)
        if url is not None:
            return audio_from_text(url, holder, decode)
    if decode_error is not None:
        raise decode_error
    return None


def audio_from_text(text: str, holder: Mapping[str, Any] | None = None, decode: Decode = decode_text) -> AudioContent:
    """Return the audio that a string encodes as a data URI, a URL, base64 or hex.

    The object that holds the string supplies ``expires_at`` and the media type.

    Raises:
        ValueError: The string is none of these.
    """
    if text[:5].lower() == "data:":
        return _from_data_uri(text, decode)
    # Base64 has no colon, so the search ends after its first few characters.
    if _SCHEME.match(text):
        return audio_at_url(text.strip(), holder)
    return AudioContent(data=decode(text), content_type=media_type_of(holder) if holder else None)


def audio_at_url(url: str, holder: Mapping[str, Any] | None = None) -> AudioContent:
    """Return the audio behind a URL, which may be relative; never raises."""
    return AudioContent(url=with_https(url), expires_at=_expiry(url, holder or {}))


def _audio_holders(payload: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for name in _HOLDERS:
        if name is not None and name not in payload:
            continue
        outer = payload if name is None else payload[name]
        if isinstance(outer, dict):
            if "audio" in outer and isinstance(outer["audio"], dict):
                yield outer["audio"]
            yield outer


def _first_text(holder: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    for name in names:
        if name in holder and isinstance(text := holder[name], str) and text:
            return text
    return None


def media_type_of(holder: Mapping[str, Any]) -> str | None:
    """Return the media type that an object states for its audio (Gemini's ``inlineData``); None without one."""
    if _MEDIA_TYPE_NAMES.isdisjoint(holder):  # true for nearly every answer
        return None
    for name in sorted(_MEDIA_TYPE_NAMES):
        media_type = holder.get(name)
        if isinstance(media_type, str) and media_type[:6].lower() == "audio/":
            return media_type[:200]
    return None


def _from_data_uri(text: str, decode: Decode) -> AudioContent:
    head, comma, content = text[5:].partition(",")
    if not comma:
        raise ValueError("a data URI without data")
    media_type, *options = head.split(";")
    is_base64 = any(option.strip().lower() == "base64" for option in options)
    data = decode(content) if is_base64 else unquote_to_bytes(content)
    type_fields = (media_type, *(option for option in options if option.strip().lower() != "base64"))
    return AudioContent(data=data, content_type=";".join(type_fields) if media_type else None)


def with_https(url: str) -> str:
    """Return a URL, with ``https`` for a plain http link to Alibaba's object store, which serves both."""
    if _OBJECT_STORE not in url.lower():
        return url
    try:
        parts = urlsplit(url)
        is_plain_http = parts.scheme.lower() == "http" and parts.port in (None, 80)
        if is_plain_http and (parts.hostname or "").endswith(_OBJECT_STORE):
            return parts._replace(scheme="https", netloc=parts.netloc.removesuffix(":80")).geturl()
    except ValueError:
        pass  # the fetch refuses an address that cannot be parsed
    return url


def _expiry(url: str, holder: Mapping[str, Any]) -> int | None:
    expires_at = holder.get("expires_at")
    if type(expires_at) is int and 0 < expires_at < 2**53:
        return expires_at
    if "Expires" not in url:
        return None
    try:
        query_value = parse_qs(urlsplit(url).query).get("Expires", [""])[0]
    except ValueError:
        return None
    return int(query_value) if re.fullmatch(r"[0-9]{9,12}", query_value) else None

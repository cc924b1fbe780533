"""Read one JSON object of an answer, whoever wrote it: where the audio is, in base64 or behind a URL."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote_to_bytes, urlsplit

from tts_pipeline.wire.encoding import decode

Decode = Callable[[str], bytes]

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{1,30}:/")
_OBJECT_STORE = ".aliyuncs.com"
_HOLDERS = ("output", "data", "result", "response", "Response", "payload", None)
"""Where the audio is looked for, first to last; None is the object itself."""

# Alibaba's and OpenAI's, then those of ElevenLabs and Google (also in Protobuf's own spelling); MiniMax's data.audio.
_DATA_NAMES = (
    *("data", "audio_base64", "b64_json", "audio", "audioContent", "audio_content", "audio_data", "audioData"),
    *("audioBase64", "audio_b64", "audio_hex", "Audio"),
)
_URL_NAMES = ("url", "audio_url", "audioUrl")
_MEDIA_TYPE_NAMES = frozenset({"mimeType", "mime_type", "content_type", "contentType", "media_type"})


class Sound(NamedTuple):
    """Where an answer has its audio: exactly one of ``data`` and ``url`` is set.

    Args:
        data: Decoded bytes.
        url: Absolute; ``https`` on Alibaba's object store, whatever was said.
        expires_at: When the URL stops working, seconds since 1970 UTC; None when not said.
        content_type: What a data URI, or the object that the data is in, calls it; None otherwise.
    """

    data: bytes | None = None
    url: str | None = None
    expires_at: int | None = None
    content_type: str | None = None

    def __repr__(self) -> str:
        """Show where it is, or how much of it there is."""
        return f"Sound({self.url!r})" if self.data is None else f"Sound({len(self.data)} bytes)"


def sound_in(payload: Mapping[str, Any], decode: Decode = decode) -> Sound | None:
    """Return the audio of one JSON object; None where it has none. Data goes before a URL when it can be decoded.

    Args:
        payload: The object.
        decode: Turns a string into bytes; one ``Decoder`` for all objects of a stream.

    Raises:
        ValueError: There is data that cannot be decoded, and no URL to fall back on.
    """
    broken: ValueError | None = None
    for holder in _audio_holders(payload):
        data = _first_text(holder, _DATA_NAMES)
        if data is not None:
            try:
                return sound_from(data, holder, decode)
            except ValueError as error:
                broken = error
        url = _first_text(holder, _URL_NAMES)
        if url is not None:
            return sound_from(url, holder, decode)
    if broken is not None:
        raise broken
    return None


def sound_from(text: str, holder: Mapping[str, Any] | None = None, decode: Decode = decode) -> Sound:
    """Return what a string stands for: a data URI, a URL, base64 or hex.

    Args:
        text: Not empty.
        holder: The object the string is in, for its ``expires_at`` and its media type; None without.
        decode: Turns a string into bytes.

    Raises:
        ValueError: It is none of these.
    """
    if text[:5].lower() == "data:":
        return _from_data_uri(text, decode)
    # Base64 has no colon, so this is decided in its first few characters.
    if _SCHEME.match(text):
        return sound_at(text.strip(), holder)
    return Sound(data=decode(text), content_type=media_type_in(holder) if holder else None)


def sound_at(url: str, holder: Mapping[str, Any] | None = None) -> Sound:
    """Return the audio behind a URL, which may be relative; never raises."""
    return Sound(url=secured(url), expires_at=_expiry(url, holder or {}))


def _audio_holders(payload: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for name in _HOLDERS:
        outer = payload if name is None else payload.get(name)
        if isinstance(outer, dict):
            audio = outer.get("audio")
            if isinstance(audio, dict):
                yield audio
            yield outer


def _first_text(holder: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    for name in names:
        text = holder.get(name)
        if isinstance(text, str) and text:
            return text
    return None


def media_type_in(holder: Mapping[str, Any]) -> str | None:
    """Return the media type that an object tells of the audio in it (Gemini's ``inlineData``); None without one."""
    if _MEDIA_TYPE_NAMES.isdisjoint(holder):  # nearly every answer's
        return None
    for name in sorted(_MEDIA_TYPE_NAMES):
        told = holder.get(name)
        if isinstance(told, str) and told[:6].lower() == "audio/":
            return told[:200]
    return None


def _from_data_uri(text: str, decode: Decode) -> Sound:
    head, comma, content = text[5:].partition(",")
    if not comma:
        raise ValueError("a data URI without data")
    media_type, *options = head.split(";")
    is_base64 = any(option.strip().lower() == "base64" for option in options)
    data = decode(content) if is_base64 else unquote_to_bytes(content)
    told = (media_type, *(option for option in options if option.strip().lower() != "base64"))
    return Sound(data=data, content_type=";".join(told) if media_type else None)


def secured(url: str) -> str:
    """Return a URL with ``https`` where it is a plain http link to Alibaba's object store, which answers on both."""
    if _OBJECT_STORE not in url.lower():
        return url
    try:
        parts = urlsplit(url)
        plain = parts.scheme.lower() == "http" and parts.port in (None, 80)
        if plain and (parts.hostname or "").endswith(_OBJECT_STORE):
            return parts._replace(scheme="https", netloc=parts.netloc.removesuffix(":80")).geturl()
    except ValueError:
        pass  # an address that cannot be parsed is refused where it is fetched
    return url


def _expiry(url: str, holder: Mapping[str, Any]) -> int | None:
    told = holder.get("expires_at")
    if type(told) is int and 0 < told < 2**53:
        return told
    if "Expires" not in url:
        return None
    try:
        in_query = parse_qs(urlsplit(url).query).get("Expires", [""])[0]
    except ValueError:
        return None
    return int(in_query) if re.fullmatch(r"[0-9]{9,12}", in_query) else None

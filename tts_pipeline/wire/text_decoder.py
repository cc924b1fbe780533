"""Decode audio that is written as text: base64 in all its variants, and hex."""

from __future__ import annotations

import re
from urllib.parse import unquote

import pybase64

MIN_TEXT_CHARACTERS = 64
"""A shorter string (48 bytes in base64) is taken for a word or an id, unless other facts show that it is audio."""

_HEAD_CHARACTERS = 8_192
"""Enough for two frames of MP3, which identify it."""

_ENCODED_TEXT = re.compile(r"[A-Za-z0-9+/=_%\\\s-]*")

# Base64 ends this search in its first characters, unless it begins with silence.
HEX_PATTERN = r"\s*(?:0x)?(?:[0-9a-f\r\n]+|[A-F\r\n]*[0-9][0-9A-F\r\n]*)\s*"
_HEX = re.compile(HEX_PATTERN)
# Also those of a string that was escaped twice.
_LINE_ENDS = re.compile(r"[\r\n][ \t]*|\\[rn]")
_PADDED = re.compile(r"[^=]+={0,2}")


class TextDecoder:
    """Decodes the strings of one answer; the first long string decides whether all are hex, a short one cannot."""

    def __init__(self) -> None:
        self._is_hex: bool | None = None

    def __call__(self, text: str) -> bytes:
        """Return the bytes that a string encodes; raise ValueError if it is neither base64 nor hex."""
        if self._is_hex is None and len(text) >= MIN_TEXT_CHARACTERS:
            self._is_hex = is_hex(text)
        return bytes.fromhex(text.strip().removeprefix("0x")) if self._is_hex else decode_base64(text)


def decode_text(text: str) -> bytes:
    """Return the bytes that a single string encodes; raise ValueError if it is neither base64 nor hex."""
    return TextDecoder()(text)


def decode_head(text: str) -> bytes:
    """Return the first few thousand bytes that a single string encodes."""
    head = _join_lines(text[:_HEAD_CHARACTERS])
    return decode_text(head[: len(head) // 4 * 4])


def is_hex(text: str) -> bool:
    """Return whether a string of ``MIN_TEXT_CHARACTERS`` or more is hex, as MiniMax's ``data.audio`` is (2026-11).

    Every hex string is also base64 by its characters. Base64 of sound consists of hex digits by chance once in 10^29.
    Base64 of digital silence is a run of the letter A, where hex has digits or lower case.
    """
    return _HEX.fullmatch(text) is not None


def decode_base64(text: str) -> bytes:
    """Return the bytes of base64: standard or URL-safe, padded or not, with line ends, percent-encoded.

    Raises:
        ValueError: The text is none of these, or mixes both alphabets.
    """
    try:
        return pybase64.b64decode(text, validate=True)
    except ValueError:
        if not text.isascii():
            raise
        return _decode_variant(_join_lines(text))


def _join_lines(text: str) -> str:
    if not _ENCODED_TEXT.fullmatch(text[:_HEAD_CHARACTERS]):  # before a large text is copied in vain
        raise ValueError("neither base64 nor hex")
    return _LINE_ENDS.sub("", unquote(text).strip()).replace("\\/", "/")


def _decode_variant(text: str) -> bytes:
    is_url_safe = "-" in text or "_" in text
    if is_url_safe and ("+" in text or "/" in text):
        raise ValueError("base64 of two alphabets")
    # Several encoded pieces in one string: each ends with its own padding.
    pieces = _PADDED.findall(text) if "=" in text.rstrip("=") else [text]
    return b"".join(_decode_piece(piece, is_url_safe) for piece in pieces)


def _decode_piece(piece: str, is_url_safe: bool) -> bytes:
    if "=" not in piece:
        piece += "=" * (-len(piece) % 4)
    return pybase64.b64decode(piece, b"-_" if is_url_safe else None, validate=True)

"""Wrap headerless PCM as WAV, with the rate, size and byte order that the service states."""

from __future__ import annotations

from typing import NamedTuple

from tts_pipeline.audio.clip_limits import check_rate_and_channels, malformed_error
from tts_pipeline.audio.wav import wav_header
from tts_pipeline.errors import UnreadableError

_TAGS = {"signed": 1, "unsigned": 1, "float": 3, "alaw": 6, "mulaw": 7}
_SIZES = {"signed": (8, 16, 24, 32), "unsigned": (8,), "float": (32, 64), "alaw": (8,), "mulaw": (8,)}
_TEXT_BYTES = 4_096
_MIN_TEXT_BYTES = 16
CONTROL_BYTES = bytes(code for code in (*range(0x20), 0x7F) if code not in b"\t\n\r")
_SIGN = bytes(code ^ 0x80 for code in range(256))


class PcmFormat(NamedTuple):
    """The form of headerless samples: rate of each channel, interleaved channels, bits of one sample.

    The coding is ``signed``, ``unsigned``, ``float``, ``mulaw`` or ``alaw``.
    """

    sample_rate_hz: int
    channels: int = 1
    bits: int = 16
    coding: str = "signed"
    is_big_endian: bool = False


def wrap_as_wav(data: bytes, pcm_format: PcmFormat) -> tuple[bytes, int]:
    """Return samples as a WAV that every player reads, and their number in each channel.

    Raises:
        TransientError: ``MalformedAudio``: the data ends within a sample, so it was cut. Retried; may have been billed.
        UnreadableError: ``UnreadableAudio``: the data is text; ``UnsupportedAudio``, ``ImplausibleAudio``: samples
            cannot have this format. Never retried; may have been billed.
    """
    check_rate_and_channels("PCM", pcm_format.sample_rate_hz, pcm_format.channels)
    if pcm_format.bits not in _SIZES[pcm_format.coding]:
        message = f"samples of {pcm_format.bits} bits cannot be {pcm_format.coding}"
        raise UnreadableError(message, code="UnsupportedAudio", hint="request another encoding, such as wav")
    if _is_text(data):
        message = f"the service sent {len(data)} bytes of text in place of samples"
        raise UnreadableError(message, code="UnreadableAudio", hint="look at the service's answer to this request")
    block = pcm_format.bits // 8 * pcm_format.channels
    if len(data) % block:
        raise malformed_error("the PCM ends within a sample: it was cut")
    head = wav_header(
        len(data), (_TAGS[pcm_format.coding], pcm_format.sample_rate_hz, pcm_format.channels, pcm_format.bits)
    )
    return head + _little_endian(data, pcm_format), len(data) // block


def _little_endian(data: bytes, pcm_format: PcmFormat) -> bytes:
    width = pcm_format.bits // 8
    if width == 1:  # 8-bit samples of a WAV are unsigned
        data = data.translate(_SIGN) if pcm_format.coding == "signed" else data
        return data + bytes(len(data) % 2)
    if not pcm_format.is_big_endian:
        return data
    swapped = bytearray(len(data))
    for index in range(width):
        swapped[index::width] = data[width - 1 - index :: width]
    return bytes(swapped)


def _is_text(data: bytes) -> bool:
    """Return whether the first bytes are text: JSON, a page, base64, hex. Speech has zeros and other control bytes."""
    head = data[:_TEXT_BYTES]
    if len(head) < _MIN_TEXT_BYTES or head.translate(None, CONTROL_BYTES) != head:
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return len(data) > _TEXT_BYTES and error.start > _TEXT_BYTES - 4
    return True

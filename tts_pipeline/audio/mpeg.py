"""Walk the frames of MPEG audio (MP3) and ADTS (AAC): headers tell each frame's length, so a cut one shows.

Header layouts: ISO/IEC 11172-3 and 13818-3 (MP3), ISO/IEC 13818-7 (ADTS); the Xing/Info and LAME tags as documented at
http://gabriel.mp3-tech.org/mp3infotag.html.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

_V1_KBPS = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_V2_KBPS = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
# By the two version bits: 2.5, (reserved), 2, 1.
_MP3_RATES_HZ = ((11025, 12000, 8000), (), (22050, 24000, 16000), (44100, 48000, 32000))
_ADTS_RATES_HZ = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
_SYNC = b"\xff"
_TRAILERS = (b"TAG", b"APETAGEX", b"LYRICSBEGIN")
_SEARCH_BYTES = 65_536
"""How far frames are looked for behind bytes that are none."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame's header."""

    length_bytes: int
    samples: int
    sample_rate_hz: int
    channels: int


@dataclass(frozen=True, slots=True)
class Walk:
    """What walking all frames found.

    Args:
        samples: Per channel, without the encoder's delay and padding where the file tells them.
        sample_rate_hz: Of the first frame.
        channels: Of the first frame.
        is_cut: The last frame is not whole, or fewer frames are there than the file says.
    """

    samples: int
    sample_rate_hz: int
    channels: int
    is_cut: bool


FrameReader = Callable[[bytes, int], Frame | None]


def read_mp3_frame(data: bytes, at: int) -> Frame | None:
    """Return the Layer III frame whose header is at a place; None where there is none, or a free-format one."""
    if at + 4 > len(data) or data[at] != 0xFF:
        return None
    return _mp3_frame(data[at + 1], data[at + 2], data[at + 3] >> 6)


# A file has a handful of different headers, so this halves the time of a walk.
@lru_cache(maxsize=1024)
def _mp3_frame(second: int, third: int, mode: int) -> Frame | None:
    version, rate, bitrate = second >> 3 & 3, third >> 2 & 3, third >> 4
    if second & 0xE6 != 0xE2 or version == 1 or rate == 3 or not 0 < bitrate < 15:
        return None
    kbps, samples = (_V1_KBPS[bitrate], 1152) if version == 3 else (_V2_KBPS[bitrate], 576)
    sample_rate_hz = _MP3_RATES_HZ[version][rate]
    length = samples * kbps * 125 // sample_rate_hz + (third >> 1 & 1)
    return Frame(length, samples, sample_rate_hz, 1 if mode == 3 else 2)


def read_adts_frame(data: bytes, at: int) -> Frame | None:
    """Return the ADTS frame whose header is at a place; None where there is none."""
    if at + 7 > len(data) or data[at] != 0xFF or data[at + 1] & 0xF6 != 0xF0:
        return None
    third, fourth = data[at + 2], data[at + 3]
    rate = third >> 2 & 0xF
    length = (fourth & 3) << 11 | data[at + 4] << 3 | data[at + 5] >> 5
    if rate >= len(_ADTS_RATES_HZ) or length < 7:
        return None
    channels = (third & 1) << 2 | fourth >> 6
    return Frame(length, 1024 * ((data[at + 6] & 3) + 1), _ADTS_RATES_HZ[rate], channels or 2)


def starts_with_frames(data: bytes, at: int, read: FrameReader) -> bool:
    """Whether a frame begins here that is followed by a second one of its kind, or by the end of the data.

    One header alone proves little: in random samples one place in about 2,000 looks like one.
    """
    first = read(data, at)
    if first is None:
        return False
    after = at + first.length_bytes
    if after == len(data):
        return True
    second = read(data, after)
    return second is not None and second.sample_rate_hz == first.sample_rate_hz


def id3_length(data: bytes, at: int = 0) -> int:
    """Return the length of the ID3v2 tag at a place, 0 where there is none."""
    if data[at : at + 3] != b"ID3" or len(data) < at + 10:
        return 0
    size = 0
    for byte in data[at + 6 : at + 10]:
        size = size << 7 | byte & 0x7F
    return 10 + size + (10 if data[at + 5] & 0x10 else 0)


def walk(data: bytes, read: FrameReader) -> Walk | None:
    """Walk all frames; None when there is not one whole frame of sound.

    Bytes that are no frame are stepped over where frames go on behind them, as decoders do; tags at the end are none.
    """
    start = _first_frame(data, id3_length(data), read)
    first = None if start is None else read(data, start)
    if start is None or first is None:
        return None
    samples, frames, is_cut = _count(data, start, read)
    tag = _read_tag(data[start : start + first.length_bytes])
    if tag:
        samples -= first.samples + tag.delay_samples + tag.padding_samples
        is_cut = is_cut or frames - 1 < tag.frames
    if samples <= 0:
        return None
    return Walk(samples, first.sample_rate_hz, first.channels, is_cut)


def _count(data: bytes, start: int, read: FrameReader) -> tuple[int, int, bool]:
    """Return the samples and frames from a place on, and whether the last frame is not whole."""
    samples, frames, place = 0, 0, start
    while place < len(data):
        frame = read(data, place)
        if frame is not None:
            if place + frame.length_bytes > len(data):
                return samples, frames, True
            samples, frames, place = samples + frame.samples, frames + 1, place + frame.length_bytes
            continue
        further = _next_frame(data, place, read)
        if further is None:
            return samples, frames, _is_torn_header(data, place)
        place = further
    return samples, frames, False


def _next_frame(data: bytes, at: int, read: FrameReader) -> int | None:
    tag = id3_length(data, at)
    if tag:
        return at + tag
    return None if data.startswith(_TRAILERS, at) else _first_frame(data, at + 1, read)


def _first_frame(data: bytes, start: int, read: FrameReader) -> int | None:
    end = start + _SEARCH_BYTES
    at = data.find(_SYNC, start, end)
    while at >= 0:
        if starts_with_frames(data, at, read):
            return at
        at = data.find(_SYNC, at + 1, end)
    return None


def _is_torn_header(data: bytes, at: int) -> bool:
    return data[at] == 0xFF and len(data) - at < 7


@dataclass(frozen=True, slots=True)
class _Tag:
    frames: int
    delay_samples: int
    padding_samples: int


def _read_tag(frame: bytes) -> _Tag | None:
    """Return what an encoder wrote into its first frame, which carries no sound itself; None where it is sound."""
    at = max(frame.find(b"Xing", 4, 48), frame.find(b"Info", 4, 48))
    if at < 0:
        return _Tag(int.from_bytes(frame[50:54]), 0, 0) if frame[36:40] == b"VBRI" else None
    flags = int.from_bytes(frame[at + 4 : at + 8])
    frames = int.from_bytes(frame[at + 8 : at + 12]) if flags & 1 else 0
    lame = at + 8 + 4 * (flags & 1) + 4 * (flags >> 1 & 1) + 100 * (flags >> 2 & 1) + 4 * (flags >> 3 & 1)
    if not frame[lame : lame + 4].isalnum() or len(frame) < lame + 24:
        return _Tag(frames, 0, 0)
    packed = int.from_bytes(frame[lame + 21 : lame + 24])
    return _Tag(frames, packed >> 12, packed & 0xFFF)

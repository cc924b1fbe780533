"""A few bytes that decode to hours, and headers that say what no speech is: refused, in bounded memory, bought once."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache

import numpy as np
import pytest
import soundfile

from tests.builders import wrap_pcm
from tests.sounds import adts_file, measure_bytes, page_checksum, sample
from tts_pipeline.audio.clip_limits import check_length
from tts_pipeline.audio.convert import convert
from tts_pipeline.audio.measure import make_playable
from tts_pipeline.audio.quality import UNDECODABLE, assess
from tts_pipeline.config import MAX_CLIP_S, AudioSettings
from tts_pipeline.errors import ServiceError, UnreadableError
from tts_pipeline.models import Audio

RATE_HZ = 8_000


@cache
def silence(kind: str, seconds: float) -> bytes:
    """Return a file of nothing, which costs hardly a byte."""
    file = io.BytesIO()
    block = np.zeros(60 * RATE_HZ, np.int16)
    with soundfile.SoundFile(file, "w", RATE_HZ, 1, format=kind) as out:
        for _ in range(int(seconds // 60)):
            out.write(block)
    return file.getvalue()


def ogg_that_lies() -> bytes:
    """Return an Ogg file whose last page says that it ends in years."""
    data = bytearray(sample("ogg vorbis", seconds=0.3))
    last = data.rindex(b"OggS")
    data[last + 6 : last + 14] = (1 << 40).to_bytes(8, "little")
    data[last + 22 : last + 26] = bytes(4)
    data[last + 22 : last + 26] = page_checksum(bytes(data[last:])).to_bytes(4, "little")
    return bytes(data)


def flac_that_says(samples: int) -> bytes:
    data = sample("flac", seconds=0.3)
    return data[:18] + (int.from_bytes(data[18:26]) >> 36 << 36 | samples).to_bytes(8) + data[26:]


SILENT_FRAME = bytes((0xFF, 0xE3, 0x18, 0xC0)).ljust(72, b"\0")
"""72 ms at 8 kbit/s."""

AT_24_KHZ, AT_8_KHZ = b"\xff\xf1\x58", b"\xff\xf1\x6c"
TOO_LONG: Mapping[str, Callable[[], bytes]] = {
    "flac": lambda: silence("FLAC", MAX_CLIP_S + 60),
    "flac that lies": lambda: flac_that_says(1 << 35),
    "wav": lambda: wrap_pcm(bytes(int(MAX_CLIP_S + 1) * 2 * RATE_HZ), RATE_HZ),
    "two wavs": lambda: wrap_pcm(bytes(int(MAX_CLIP_S - 600) * 2 * RATE_HZ), RATE_HZ) * 2,
    "mp3": lambda: SILENT_FRAME * int(MAX_CLIP_S / 0.072 + 2),
    "aac": lambda: adts_file(int(MAX_CLIP_S * RATE_HZ / 1_024) + 2, payload_bytes=1).replace(AT_24_KHZ, AT_8_KHZ),
}


@pytest.mark.parametrize("kind", TOO_LONG)
def test_a_clip_that_is_too_long_is_refused(kind: str) -> None:
    """By its header or while it is decoded, whichever says so first, without the memory that it would take."""
    data = TOO_LONG[kind]()
    tracemalloc.start()
    with pytest.raises(UnreadableError) as exc_info:
        measure_bytes(data)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert exc_info.value.code == "ClipTooLong"
    assert peak_bytes < 2 * len(data) + 20_000_000


@pytest.mark.parametrize(
    "body",
    [
        *(b"\xff" * 300_000, sample("mp3") + b"\xff\xfb" * 150_000, sample("mp3") + b"Info" * 75_000),
        *(sample("flac") + b"\xff\xf8" * 150_000, sample("ogg vorbis") + b"OggS\0\2" * 50_000),
        *(b"RIFFxxxxWAVE" * 25_000, b"fLaC\0\0\0\x22" * 40_000, (SILENT_FRAME * 3 + b"\xff" * 6_000) * 50),
    ],
)
def test_hostile_repetition_is_measured_at_once(body: bytes) -> None:
    """Marks of files, again and again: an end, with audio or an error."""
    with suppress(ServiceError):
        measure_bytes(body)


def test_at_higher_rates_a_clip_has_no_more_samples() -> None:
    """Else a header that says 192,000 Hz would take four times the work."""
    with pytest.raises(UnreadableError):
        check_length("wav", int(MAX_CLIP_S * 48_000) + 1, 192_000)
    check_length("wav", int(MAX_CLIP_S * 48_000), 192_000)
    check_length("wav", int(MAX_CLIP_S * 8_000), 8_000)


def test_a_clip_within_the_bound_costs_the_memory_of_a_block() -> None:
    """Measured, listened to and converted piece by piece."""
    data = silence("FLAC", MAX_CLIP_S)
    tracemalloc.start()
    audio, _ = make_playable(data, complete=True)
    flags = assess(audio, "Hello.", "en")
    other = convert(audio, AudioSettings("flac", 16_000))
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "silent" in flags
    assert audio.duration_ms == other.duration_ms == MAX_CLIP_S * 1_000
    assert peak_bytes < 40_000_000  # as 32-bit numbers they would be 58 million bytes, and 115 at the other rate


def test_an_ogg_is_as_long_as_it_decodes() -> None:
    """Whatever its last page says."""
    assert measure_bytes(ogg_that_lies())[0].duration_ms == pytest.approx(300, abs=10)


def test_what_is_said_of_a_clip_is_not_believed_when_it_is_decoded() -> None:
    """A dataset or a reuse store may say a second of what lasts for hours, or that it is a WAV."""
    bomb = Audio(silence("FLAC", MAX_CLIP_S + 60), "wav", RATE_HZ, 1, 1_000)
    assert assess(bomb, "Hello.", "en") == (UNDECODABLE,)
    with pytest.raises(UnreadableError) as exc_info:
        convert(bomb, AudioSettings("flac"), max_s=60)
    assert exc_info.value.code == "ClipTooLong"


def test_what_was_joined_may_be_longer_than_one_answer() -> None:
    """Whoever reads it back says how long it may be."""
    joined = Audio(silence("FLAC", 120), "flac", RATE_HZ, 1, 120_000)
    assert convert(joined, AudioSettings("wav"), max_s=120).duration_ms == 120_000

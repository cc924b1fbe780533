"""Files that follow each other in one body: all of their sound is kept, and a duration is what decoding gives."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence

import pytest
import soundfile

from tests.builders import wrap_pcm
from tests.sounds import MEASURED, adts_file, decode, measure_bytes, page_checksum, sample
from tts_pipeline.audio.clip_limits import frames_to_ms
from tts_pipeline.audio.mpeg import read_mp3_frame
from tts_pipeline.errors import UnreadableError
from tts_pipeline.models import Audio

SECONDS = 0.25


def decoded_ms(audio: Audio) -> int:
    """Return how long libsndfile finds a file to be when it is decoded to the end."""
    with soundfile.SoundFile(io.BytesIO(audio.data)) as file:
        frames = sum(len(block) for block in file.blocks(4_096, dtype="int16"))
        return frames_to_ms(frames, int(file.samplerate))


def tagless(data: bytes) -> bytes:
    """Return an MP3 without the frame that says how many there are: what is cut out of a stream."""
    first = read_mp3_frame(data, 0)
    assert first is not None
    return data[first.length_bytes :]


HEADS = {
    "nothing": b"",
    "blanks": b"\r\n",
    "zeros": bytes(700),
    "a tag": b"ID3\x04\0\0\0\0\0\x0a" + b"\0" * 10,
    "an old tag": b"TAG" + bytes(125),
}


@pytest.mark.parametrize("between", HEADS)
@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("name", MEASURED)
def test_files_one_after_the_other_become_one(name: str, count: int, between: str) -> None:
    """Whatever the codec, and whatever a gateway left between them: none of the sound is lost."""
    data = sample(name, seconds=SECONDS)
    alone, _ = measure_bytes(data)
    audio, flags = measure_bytes(HEADS[between].join([data] * count))
    assert (audio.format, audio.sample_rate_hz, audio.channels, flags) == (
        alone.format,
        alone.sample_rate_hz,
        alone.channels,
        (),
    )
    assert abs(audio.duration_ms - count * alone.duration_ms) <= 1
    assert abs(audio.duration_ms - decoded_ms(audio)) <= 1


FOREIGN = {
    "a head": b"HTTP/1.1 200 OK\r\nContent-Type: audio/wav\r\nContent-Length: 24044\r\n\r\n",
    "a part": b"\r\n--frontier-0123456789abcdef\r\nContent-Type: audio/wav\r\n\r\n",
    "a page": b"<html><head><title>Bad Gateway</title></head></html>",
}


@pytest.mark.parametrize("between", FOREIGN)
@pytest.mark.parametrize("name", MEASURED)
def test_what_follows_something_else_is_not_taken(name: str, between: str) -> None:
    """The sound behind a head of another answer may be another row's: all of it is refused."""
    data = sample(name, seconds=SECONDS)
    with pytest.raises(UnreadableError, match="which sound is the speech"):
        measure_bytes(data + FOREIGN[between] + data)


@pytest.mark.parametrize("tail", [b"TAG" + bytes(125), b"\r\n", bytes(30)])
@pytest.mark.parametrize("name", MEASURED)
def test_a_tail_is_no_sound(name: str, tail: bytes) -> None:
    """An old tag, a line end, padding: the duration is that of the file alone."""
    data = sample(name, seconds=SECONDS)
    audio, _ = measure_bytes(data + tail)
    assert audio.duration_ms == measure_bytes(data)[0].duration_ms == decoded_ms(audio)


@pytest.mark.parametrize("names", [("wav", "mp3"), ("mp3", "wav"), ("flac", "ogg opus", "wav"), ("ogg vorbis", "flac")])
def test_files_of_several_formats_become_one_of_the_first(names: Sequence[str]) -> None:
    """At the first one's rate, too, which the others need not have."""
    rates_hz = (24_000, 48_000, 16_000)
    files = [sample(name, seconds=SECONDS, sample_rate_hz=rates_hz[place]) for place, name in enumerate(names)]
    audio, _ = measure_bytes(b"".join(files))
    assert audio.format == names[0].split()[0]
    assert abs(audio.duration_ms - 250 * len(names)) <= 1
    assert abs(audio.duration_ms - decoded_ms(audio)) <= 1


def test_two_wavs_of_16_bits_keep_their_very_samples() -> None:
    """Also where the headers of a stream's chunks have no lengths, and where the first chunk is a header alone."""
    data = sample("wav", seconds=SECONDS)
    endless = data[:4] + b"\xff" * 4 + data[8:40] + b"\xff" * 4 + data[44:]
    expected = wrap_pcm(data[44:] * 2, 24_000)
    for body in (data + data, endless + endless, endless + data, data[:44] + data + data, data + b"\r\n" + data):
        assert measure_bytes(body)[0].data == expected


def test_an_mp3_without_a_length_is_decoded_to_its_end() -> None:
    """Decoders guess it from the bit rate of the first frames; ours are told."""
    data = tagless(sample("mp3", seconds=1.0))
    for body in (data, data + data, data + b"x" * 3_000 + data):
        audio, _ = measure_bytes(body)
        assert frames_to_ms(decode(audio).frames, 24_000) == decoded_ms(audio) == audio.duration_ms
        assert abs(audio.duration_ms - 1_056 * body.count(data)) <= 1


def test_a_tag_belongs_to_the_file_behind_it() -> None:
    """It is no file of its own."""
    tag = b"ID3\x04\0\0\0\0\0\x0a" + b"\0" * 10
    for name in ("flac", "mp3"):
        data = sample(name, seconds=SECONDS)
        assert measure_bytes(tag + data)[0].duration_ms == 250
        assert abs(measure_bytes((tag + data) * 2)[0].duration_ms - 500) <= 1


def test_an_mp3_that_goes_on_behind_its_length_is_mended() -> None:
    """A tag of the first chunk, and frames without one behind: decoders would stop at what the tag says."""
    data = sample("mp3", seconds=SECONDS)
    audio, _ = measure_bytes(data + tagless(data))
    assert audio.duration_ms == decoded_ms(audio)
    assert audio.duration_ms > 2 * 250


@pytest.mark.parametrize("header_samples", [0, 1, 1_000])
def test_a_flac_is_as_long_as_its_frames(header_samples: int) -> None:
    """A header that was written before the end was known, or lies: mended, so that others decode all of it."""
    data = sample("flac", seconds=SECONDS)
    packed = int.from_bytes(data[18:26])
    audio, _ = measure_bytes(data[:18] + (packed >> 36 << 36 | header_samples).to_bytes(8) + data[26:])
    assert audio.data == data
    assert (audio.duration_ms, decoded_ms(audio)) == (250, 250)


def test_frames_of_several_rates_are_refused() -> None:
    """No decoder plays them right; not bought again."""
    slow = tagless(sample("mp3", sample_rate_hz=16_000, seconds=SECONDS))
    with pytest.raises(UnreadableError):
        measure_bytes(tagless(sample("mp3", seconds=SECONDS)) + slow)
    with pytest.raises(UnreadableError):
        measure_bytes(adts_file(5) + adts_file(5).replace(b"\xff\xf1\x58", b"\xff\xf1\x60"))


def test_an_ogg_of_several_streams_at_one_time_is_refused() -> None:
    """Which of them is the speech is not known."""
    data = sample("ogg vorbis", seconds=SECONDS)
    first_page = data[: 27 + data[26] + sum(data[27 : 27 + data[26]])]
    other = bytearray(first_page)
    other[14:18] = b"othr"
    other[22:26] = bytes(4)
    other[22:26] = page_checksum(bytes(other)).to_bytes(4, "little")
    with pytest.raises(UnreadableError):
        measure_bytes(first_page + bytes(other) + data[len(first_page) :])


def test_a_second_piece_of_sound_in_a_wav_is_refused() -> None:
    """Players take the first, and nobody says that there was another."""
    data = sample("wav", seconds=SECONDS)
    more = b"data" + struct.pack("<I", 4_800) + bytes(4_800)
    with pytest.raises(UnreadableError):
        measure_bytes(data[:4] + struct.pack("<I", len(data) + len(more) - 8) + data[8:] + more)

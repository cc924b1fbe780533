"""WAV headers that are right, lie, or belong to a cut file."""

from __future__ import annotations

import io
import struct

import pytest
import soundfile
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.builders import wrap_pcm
from tests.sounds import pcm, sample
from tts_pipeline.audio.wav import MalformedWavError, read_wav
from tts_pipeline.errors import UnreadableError

SAMPLES = pcm(0.1)
WAV = wrap_pcm(SAMPLES, 24_000)


def wav_with_sizes(riff: int, data: int, samples: bytes = SAMPLES) -> bytes:
    """Return a file whose two sizes say what is given."""
    return b"RIFF" + struct.pack("<I", riff) + WAV[8:40] + struct.pack("<I", data) + samples


def decode_wav(data: bytes) -> bytes:
    """Return the samples as libsndfile finds them."""
    samples: bytes = soundfile.read(io.BytesIO(data), dtype="int16")[0].tobytes()
    return samples


def test_wrapping_is_what_others_read() -> None:
    """libsndfile finds the samples, the rate and the channels."""
    assert decode_wav(WAV) == SAMPLES
    assert sample("wav", seconds=0.1) == WAV
    assert read_wav(wrap_pcm(SAMPLES, 8_000, 2)).channels == 2


def test_a_right_header_is_not_copied() -> None:
    """The very bytes are kept, with and without further chunks."""
    with_list = wav_with_sizes(36 + len(SAMPLES) + 12, len(SAMPLES)) + b"LIST\x04\0\0\0INFO"
    for data in (WAV, with_list, sample("wav float"), sample("wav extensible")):
        assert read_wav(data).data is data
        assert not read_wav(data).is_measured


@pytest.mark.parametrize(
    ("riff", "data"),
    [
        (0xFFFFFFFF, 0xFFFFFFFF),
        (0x7FFFFFFF, 0x7FFFFFBF),
        (0x7FFFFFBF + 36, 0x7FFFFFBF),
        (0, 0),
        (36, 0),
        (36 + 100, 100),
    ],
)
def test_a_lying_header_is_mended(riff: int, data: int) -> None:
    """Placeholders, zeros and the size of a first piece: the bytes are measured, and no cut would have shown."""
    wav = read_wav(wav_with_sizes(riff, data))
    assert (wav.data, wav.frames, wav.is_measured) == (WAV, len(SAMPLES) // 2, True)


def test_only_the_outer_size_lies() -> None:
    """The samples' own size proves them whole."""
    for riff in (0, 0xFFFFFFFF, 10**6):
        wav = read_wav(wav_with_sizes(riff, len(SAMPLES)))
        assert (wav.data, wav.is_measured) == (WAV, False)


def test_a_right_outer_size_proves_a_placeholder_whole() -> None:
    """One true size is enough, to mend and to notice a cut."""
    data = wav_with_sizes(36 + len(SAMPLES), 0xFFFFFFFF)
    assert (read_wav(data).data, read_wav(data).is_measured) == (WAV, False)
    with pytest.raises(MalformedWavError, match="cut"):
        read_wav(data[:-2])


def test_every_cut_of_a_true_file_is_noticed() -> None:
    """Whatever byte the connection ends at."""
    data = wrap_pcm(SAMPLES[:200], 24_000)
    for length in range(12, len(data)):
        with pytest.raises(MalformedWavError):
            read_wav(data[:length])


def test_trailing_chunks_are_no_samples() -> None:
    """They are left out where the header is mended, and a cut one does not make the samples any less whole."""
    chunk = b"LIST\x0a\0\0\0INFOabcdef"
    for tail in (chunk, chunk[:-3]):
        wav = read_wav(wav_with_sizes(0, len(SAMPLES)) + tail)
        assert (wav.data, wav.frames) == (WAV, len(SAMPLES) // 2)


def test_chunks_before_the_samples_and_odd_sizes() -> None:
    """Chunks are walked with their padding byte, whatever stands before the samples."""
    odd = b"note\x03\0\0\0abc\0"
    data = b"RIFF" + struct.pack("<I", 36 + len(odd) + len(SAMPLES)) + b"WAVE" + odd + WAV[12:]
    assert read_wav(data).data is data
    lying = data[:4] + b"\xff" * 4 + data[8:]
    assert read_wav(lying).data == WAV


@pytest.mark.parametrize("name", ["wav float", "wav mu-law", "wav adpcm", "wav extensible", "wav rf64"])
def test_other_encodings_are_measured_and_mended(name: str) -> None:
    """Placeholders in the header of any encoding: the mended file decodes to the same samples."""
    data = sample(name, seconds=0.5)
    at = data.index(b"data") + 4
    lying = b"RIFF" + b"\xff" * 4 + data[8:at] + b"\xff" * 4 + data[at + 4 :]
    truth = soundfile.info(io.BytesIO(data))
    mended = read_wav(lying if name != "wav rf64" else data)
    assert (mended.frames, mended.sample_rate_hz) == (truth.frames, truth.samplerate)
    assert decode_wav(mended.data) == decode_wav(data)


def test_big_endian_is_read_and_stays_so() -> None:
    """RIFX files keep their byte order."""
    file = io.BytesIO()
    soundfile.write(file, soundfile.read(io.BytesIO(WAV))[0], 24_000, format="WAV", subtype="PCM_16", endian="BIG")
    data = file.getvalue()
    lying = data[:4] + b"\xff" * 4 + data[8:]
    assert data[:4] == b"RIFX"
    assert read_wav(data).data is data
    assert decode_wav(read_wav(lying).data) == decode_wav(data) == SAMPLES


def test_half_a_sample_at_the_end_is_left_out() -> None:
    """Where only the bytes tell the length, the mended file ends with a whole sample."""
    assert read_wav(wav_with_sizes(0xFFFFFFFF, 0xFFFFFFFF) + b"\x01").data == WAV


@pytest.mark.parametrize(
    "data",
    [
        WAV[:44],
        wav_with_sizes(36, 0, b""),
        wav_with_sizes(0xFFFFFFFF, 0xFFFFFFFF, b""),
        wav_with_sizes(36 + 8, 0, b"") + b"LIST\0\0\0\0",
        b"RIFF\0\0\0\0WAVE",
        b"RIFF\0\0\0\0WAVEfmt \x04\0\0\0abcd",
    ],
)
def test_what_is_no_sound(data: bytes) -> None:
    """Only a header, no format."""
    with pytest.raises(MalformedWavError):
        read_wav(data)


@pytest.mark.parametrize(
    ("channels", "rate_hz"),
    [(0, 24_000), (65_535, 24_000), (9, 24_000), (1, 0), (1, 1), (1, 3_999), (1, 192_001), (1, 2**32 - 1)],
)
def test_a_form_that_no_speech_has_is_refused(channels: int, rate_hz: int) -> None:
    """By the header alone, whatever follows it, and not bought again."""
    head = struct.pack("<HHIIHH", 1, channels, rate_hz, 0, 2, 16)
    with pytest.raises(UnreadableError) as exc_info:
        read_wav(WAV[:20] + head + WAV[36:])
    assert exc_info.value.code == "ImplausibleAudio"


@pytest.mark.parametrize(("kind", "bits"), [(1, 0), (1, 64), (1, 65_535), (3, 16), (7, 16)])
def test_samples_of_a_size_that_cannot_be_are_refused(kind: int, bits: int) -> None:
    """By the header alone, and not bought again."""
    head = struct.pack("<HHIIHH", kind, 1, 24_000, 48_000, 2, bits)
    with pytest.raises(UnreadableError) as exc_info:
        read_wav(WAV[:20] + head + WAV[36:])
    assert exc_info.value.code == "UnsupportedAudio"


@given(st.binary(min_size=2, max_size=400), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_a_mended_file_is_right(samples: bytes, riff: int, data: int) -> None:
    """Whatever the sizes say, the result has true ones, or the file is refused."""
    assume(not samples.startswith(b"OggS"))  # libsndfile takes such a WAV for WavPack
    try:
        wav = read_wav(wav_with_sizes(riff, data, samples))
    except MalformedWavError:
        return
    again = read_wav(wav.data)
    assert again.data is wav.data
    assert again.frames == wav.frames == len(decode_wav(wav.data)) // 2

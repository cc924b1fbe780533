"""Received bytes become audio that plays, with what the bytes say of themselves, or an error."""

from __future__ import annotations

import io
import struct

import pytest
import soundfile
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.builders import wrap_pcm
from tests.sounds import FORMATS, MEASURED, adts_file, measure_bytes, page_checksum, pcm, sample
from tts_pipeline.audio.measure import UNVERIFIED_LENGTH
from tts_pipeline.errors import PermanentError, ServiceError, TransientError, UnreadableError
from tts_pipeline.models import Audio


@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize("name", MEASURED)
def test_every_format_is_measured(name: str, complete: bool) -> None:
    """Rate, channels and length as libsndfile finds them; the bytes are kept as they are."""
    data = sample(name, seconds=0.7)
    audio, flags = measure_bytes(data, complete=complete)
    truth = soundfile.info(io.BytesIO(data))
    assert (audio.format, audio.sample_rate_hz, audio.channels) == (
        name.split(maxsplit=1)[0],
        truth.samplerate,
        truth.channels,
    )
    assert audio.duration_ms == round(truth.frames * 1000 / truth.samplerate)
    assert flags == ()
    assert name == "wav rf64" or audio.data is data


def test_adts_is_measured() -> None:
    """AAC by its frames: 10 of 1,024 samples at 24 kHz."""
    audio, _ = measure_bytes(adts_file(10))
    assert (audio.format, audio.sample_rate_hz, audio.channels, audio.duration_ms) == ("aac", 24_000, 1, 427)


def test_pcm_is_wrapped_with_the_rate_that_was_asked_for() -> None:
    """Headerless samples become a WAV; their own format goes before the rate where there is one."""
    audio, flags = measure_bytes(pcm(0.5, 16_000), pcm_sample_rate_hz=16_000)
    assert (audio.data, audio.format, audio.sample_rate_hz, audio.channels) == (
        wrap_pcm(pcm(0.5, 16_000), 16_000), "wav", 16_000, 1,
    )  # fmt: skip
    assert (audio.duration_ms, flags) == (500, ())
    assert measure_bytes(sample("mp3"), pcm_sample_rate_hz=16_000)[0].format == "mp3"


def test_a_length_that_nothing_verifies_is_flagged() -> None:
    """PCM, and a WAV without sizes, may have been cut with the connection; a container that knows is not flagged."""
    streaming = wrap_pcm(pcm(0.1), 24_000)[:40] + b"\xff\xff\xff\xff" + pcm(0.1)
    streaming = streaming[:4] + b"\xff\xff\xff\xff" + streaming[8:]
    assert measure_bytes(pcm(0.1), pcm_sample_rate_hz=24_000, complete=False)[1] == (UNVERIFIED_LENGTH,)
    assert measure_bytes(streaming, complete=False)[1] == (UNVERIFIED_LENGTH,)
    assert measure_bytes(streaming)[1] == ()
    assert measure_bytes(streaming)[0].data == wrap_pcm(pcm(0.1), 24_000)
    assert measure_bytes(sample("wav"), complete=False)[1] == ()


def test_an_ogg_without_its_end() -> None:
    """A stream whose last page does not say so is whole when the connection was, else nobody knows."""
    data = sample("ogg vorbis", seconds=0.5)
    endless = bytearray(data)
    last = data.rindex(b"OggS")
    endless[last + 5] = 0
    endless[last + 22 : last + 26] = bytes(4)
    endless[last + 22 : last + 26] = page_checksum(bytes(endless[last:])).to_bytes(4, "little")
    assert measure_bytes(bytes(endless))[1] == ()
    assert measure_bytes(bytes(endless), complete=False)[1] == (UNVERIFIED_LENGTH,)


@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize("name", MEASURED)
def test_a_cut_file_is_refused(name: str, complete: bool) -> None:
    """Whether or not the connection looked whole, the container tells."""
    data = sample(name, seconds=0.7)
    with pytest.raises(TransientError) as exc_info:
        measure_bytes(data[: len(data) * 2 // 3 + 1], complete=complete)
    assert (exc_info.value.code, exc_info.value.may_be_billed) == ("MalformedAudio", True)


@pytest.mark.parametrize(
    ("data", "rate"),
    [
        (b"", None),
        (b"", 24_000),
        (b"RIFF\0\0\0\0WAVE", 24_000),
        (sample("wav")[:44], None),
        (b"\0\0\0", 24_000),
        (b"fLaC" + b"\0" * 50, None),
        (b"OggS" + b"\0" * 50, None),
        (b"ID3\x04\0\0\0\0\0\x0a" + b"\0" * 90, None),
    ],
)
def test_what_cannot_be_played_is_transient(data: bytes, rate: int | None) -> None:
    """Empty, only a header, half a sample, rubbish behind a magic number."""
    with pytest.raises(TransientError) as exc_info:
        measure_bytes(data, pcm_sample_rate_hz=rate)
    assert exc_info.value.code == "MalformedAudio"


@pytest.mark.parametrize("data", [b"no audio at all", b"\0\0\0", b"\r\n" * 99, b"<html></html>", b"RIF"])
def test_what_is_no_audio_is_not_bought_again(data: bytes) -> None:
    """Whole and of no known format, unless the connection may have cut it."""
    with pytest.raises(UnreadableError) as exc_info:
        measure_bytes(data)
    assert exc_info.value.code == "UnreadableAudio"
    with pytest.raises(TransientError):
        measure_bytes(data, complete=False)


@pytest.mark.parametrize("kind", [0, 2, 0x55, 0xFFFE])
def test_a_wav_of_a_codec_that_is_not_known_is_not_bought_again(kind: int) -> None:
    """Its sizes are right, so nothing was cut."""
    data = sample("wav", seconds=0.1)
    with pytest.raises(UnreadableError) as exc_info:
        measure_bytes(data[:20] + struct.pack("<H", kind) + data[22:])
    assert exc_info.value.code == "UnsupportedAudio"
    assert "0x" not in exc_info.value.message


@pytest.mark.parametrize("junk", [b"\r\n", b"\0", b"\0" * 9_999, b"\xef\xbb\xbf", b"\n\n\xef\xbb\xbf \0"])
@pytest.mark.parametrize("name", MEASURED)
def test_blanks_and_zeros_before_a_container_are_left_out(name: str, junk: bytes) -> None:
    """What a gateway put before a file is no part of it, also where headerless samples were asked for."""
    data = sample(name, seconds=0.1)
    assert measure_bytes(junk + data) == measure_bytes(data)
    assert measure_bytes(junk + data, pcm_sample_rate_hz=24_000) == measure_bytes(data)


@pytest.mark.parametrize("data", [b"\0\0\0\x20ftypM4A \0\0", b"\x1a\x45\xdf\xa3\0\0", b"#!AMR\n\0", sample("aiff")])
def test_a_format_that_cannot_be_measured_is_permanent(data: bytes) -> None:
    """The next attempt would bring the same format: the hint says which to ask for."""
    with pytest.raises(PermanentError) as exc_info:
        measure_bytes(data)
    assert exc_info.value.code == "UnsupportedAudio"
    assert "response_format" in str(exc_info.value)


def test_lengths_are_rounded_to_the_nearest_millisecond() -> None:
    """Half up, by integers: 12 samples at 24 kHz are half a millisecond."""
    assert measure_bytes(b"\0\0" * 12, pcm_sample_rate_hz=24_000)[0].duration_ms == 1
    assert measure_bytes(b"\0\0" * 11, pcm_sample_rate_hz=24_000)[0].duration_ms == 0


UNREADABLE = {"UnreadableAudio", "UnsupportedAudio", "ImplausibleAudio", "ClipTooLong"}

EXAMPLES = 5 * (settings.default.max_examples if settings.default else 100)
_HEADS = st.sampled_from(
    [sample(name, seconds=0.05) for name in FORMATS] + [adts_file(3), b"ID3\x04\0\0\0\0\0\x01", b""]
)


@st.composite
def damaged_files(draw: st.DrawFn) -> bytes:
    """Return a file with some bytes changed, cut off, or put behind."""
    data = bytearray(draw(_HEADS))
    for _ in range(draw(st.integers(0, 4)) if data else 0):
        data[draw(st.integers(0, min(len(data), 200) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, 6_000))]) + draw(st.binary(max_size=20))


def outcome_of(data: bytes, rate: int | None, complete: bool) -> tuple[Audio, tuple[str, ...]] | ServiceError:
    try:
        return measure_bytes(data, pcm_sample_rate_hz=rate, complete=complete)
    except ServiceError as error:
        return error


@settings(max_examples=EXAMPLES)
@given(damaged_files() | st.binary(max_size=200), st.sampled_from([None, 8_000, 24_000]), st.booleans())
@example(
    b"RIFF\xff\xff\xff\xffWAVEfmt " + struct.pack("<IHHIIHH", 16, 85, 1, 8_000, 0, 1, 0) + b"data\0\0\0\0ab", None, True
)
def test_any_bytes_are_audio_or_one_of_our_errors(data: bytes, rate: int | None, complete: bool) -> None:
    """Damaged files and noise of every format: measured audio, or a ServiceError, never another exception."""
    outcome = outcome_of(data, rate, complete)
    if isinstance(outcome, ServiceError):
        assert outcome.code in (UNREADABLE if isinstance(outcome, UnreadableError) else {"MalformedAudio"})
        return
    audio, flags = outcome
    assert audio.data
    assert audio.duration_ms >= 0
    assert audio.sample_rate_hz > 0
    assert set(flags) <= {UNVERIFIED_LENGTH}

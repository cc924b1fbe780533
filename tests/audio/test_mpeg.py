"""Frames of MP3 and ADTS: counted, and missed when they are missing."""

from __future__ import annotations

import io

import pytest
import soundfile

from tests.sounds import adts_file, sample
from tts_pipeline.audio.mpeg import id3_length, read_adts_frame, read_mp3_frame, scan_frames, starts_with_frames


@pytest.mark.parametrize(
    ("sample_rate_hz", "channels"), [(8_000, 1), (16_000, 1), (24_000, 1), (44_100, 2), (48_000, 2)]
)
def test_mp3_is_measured_as_decoders_do(sample_rate_hz: int, channels: int) -> None:
    """MPEG 1, 2 and 2.5, mono and stereo: samples without the encoder's delay and padding, as libsndfile counts."""
    data = sample("mp3", sample_rate_hz=sample_rate_hz, channels=channels, seconds=0.7)
    scan, truth = scan_frames(data, read_mp3_frame), soundfile.info(io.BytesIO(data))
    assert scan is not None
    assert (scan.samples, scan.sample_rate_hz, scan.channels) == (truth.frames, truth.samplerate, truth.channels)
    assert not scan.is_cut


def test_every_cut_of_an_mp3_is_noticed() -> None:
    """In the middle of a frame, or between two: the file says how many there are."""
    data = sample("mp3", seconds=0.3)
    for length in range(len(data) - 1):
        scan = scan_frames(data[:length], read_mp3_frame)
        assert scan is None or scan.is_cut, length


def test_a_stream_without_a_tag_is_cut_only_within_a_frame() -> None:
    """Without a count only half a frame, or half a header, proves it."""
    tagged = sample("mp3", seconds=0.3)
    first = read_mp3_frame(tagged, 0)
    assert first is not None
    data = tagged[first.length_bytes :]
    scan = scan_frames(data, read_mp3_frame)
    assert scan is not None
    assert not scan.is_cut
    for missing in (1, 100):
        cut = scan_frames(data[:-missing], read_mp3_frame)
        assert cut is not None
        assert cut.is_cut
    torn = scan_frames(data + b"\xff\xf3", read_mp3_frame)
    assert torn is not None
    assert torn.is_cut


@pytest.mark.parametrize("tail", [b"TAG" + b"\0" * 125, b"APETAGEX" + b"x" * 40, b"\0" * 500, b"garbage"])
def test_tails_are_no_frames(tail: bytes) -> None:
    """Tags, padding and rubbish behind the last frame neither count nor cut."""
    data = sample("mp3", seconds=0.3)
    assert scan_frames(data + tail, read_mp3_frame) == scan_frames(data, read_mp3_frame)


def test_rubbish_between_frames_is_stepped_over() -> None:
    """Decoders find the next frames, and so do we: pieces joined by a gateway keep their sound."""
    data = sample("mp3", seconds=0.3)
    once = scan_frames(data, read_mp3_frame)
    tag = b"ID3\x04\0\0\0\0\0\x0a" + b"\0" * 10
    for between in (b"", b"rubbish", tag):
        twice = scan_frames(data + between + data, read_mp3_frame)
        assert once is not None
        assert twice is not None
        assert twice.samples > 2 * once.samples
        assert not twice.is_cut


def test_adts() -> None:
    """1,024 samples a frame; half a frame is a cut."""
    data = adts_file(5)
    scan = scan_frames(data, read_adts_frame)
    assert scan is not None
    assert (scan.samples, scan.sample_rate_hz, scan.channels, scan.is_cut) == (5 * 1_024, 24_000, 1, False)
    cut = scan_frames(data[:-1], read_adts_frame)
    assert cut is not None
    assert cut.is_cut


def test_no_frames_is_none() -> None:
    """Silence of zeros, half of a first frame and a tag alone are no sound."""
    assert scan_frames(b"\0" * 1_000, read_mp3_frame) is None
    assert scan_frames(sample("mp3")[:60], read_mp3_frame) is None
    tag_only = sample("mp3")[: (read_mp3_frame(sample("mp3"), 0) or pytest.fail("no frame")).length_bytes]
    assert scan_frames(tag_only, read_mp3_frame) is None


def test_one_header_is_not_enough() -> None:
    """A second frame of the same rate, or the end of the data, must follow."""
    data = adts_file(2)
    assert starts_with_frames(data, 0, read_adts_frame)
    assert starts_with_frames(data[:100], 0, read_adts_frame)
    assert not starts_with_frames(data[:100] + b"\0" * 100, 0, read_adts_frame)


@pytest.mark.parametrize(
    "header", [b"\xff\xfb\xf0\x00", b"\xff\xfb\x00\x00", b"\xff\xeb\x90\x00", b"\xff\xfb\x9c\x00", b"\xff\xfd\x90\x00"]
)
def test_impossible_headers(header: bytes) -> None:
    """Reserved bit rates, rates and versions, free format and other layers are no Layer III frame."""
    assert read_mp3_frame(header, 0) is None


def test_id3_length() -> None:
    """Seven bits a byte, a footer where it says so, 0 without a tag."""
    assert id3_length(b"ID3\x04\0\0\0\0\x02\x01") == 10 + 257
    assert id3_length(b"ID3\x04\0\x10\0\0\0\x01") == 21
    assert id3_length(b"ID3") == 0

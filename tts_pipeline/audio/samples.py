"""Decode audio to samples, resample and mix them, and encode samples to audio.

All steps work block by block, because a few bytes of a compressed file can decode to hours.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from tts_pipeline.audio.clip_limits import (
    check_length,
    check_rate_and_channels,
    frames_to_ms,
    malformed_error,
    no_sound_error,
)
from tts_pipeline.audio.encodings import Encoding, encoding_of
from tts_pipeline.audio.flac import with_true_length
from tts_pipeline.audio.mpeg import read_mp3_frame, scan_frames, with_frame_count
from tts_pipeline.audio.wav import PLAIN_HEADER
from tts_pipeline.config import MAX_CLIP_S
from tts_pipeline.models import Audio

Samples = npt.NDArray[np.float32]
"""Samples from -1 to 1: a row for each frame, a column for each channel."""

BLOCK_FRAMES = 65_536
"""Frames written at a time: libvorbis puts all samples of a call on the stack and kills the process when it is full
(https://github.com/libsndfile/libsndfile/issues/1095)."""

UNKNOWN_FRAMES = 1 << 62
"""libsndfile reports a length near 2**63 for a header without a length."""

_READ_FRAMES = 16 * BLOCK_FRAMES
"""Frames read at a time: most clips are one block."""


class SampleStream(NamedTuple):
    """Audio that is decoded once, block by block; a block has frames x channels."""

    blocks: Iterator[Samples]
    sample_rate_hz: int
    channels: int

    def resampled(self, rate_hz: int) -> SampleStream:
        """Return the same sound at another sample rate; the same object if it already has that rate.

        soxr resamples at HQ (20 bits): its error is below that of rounding to 16 bits.
        """
        if rate_hz == self.sample_rate_hz:
            return self
        return SampleStream(_resample(self, rate_hz), rate_hz, self.channels)

    def with_channels(self, channels: int) -> SampleStream:
        """Return the same sound in another number of channels; the same object if it already has that number.

        Every new channel is the mean of the old ones, so that a voice in only one of them is not lost.
        """
        if channels == self.channels:
            return self
        return SampleStream((_mix(block, channels) for block in self.blocks), self.sample_rate_hz, channels)


def _resample(stream: SampleStream, rate_hz: int) -> Iterator[Samples]:
    resampler = soxr.ResampleStream(stream.sample_rate_hz, rate_hz, stream.channels, dtype="float32", quality="HQ")
    for block in stream.blocks:
        yield resampler.resample_chunk(block)
    yield resampler.resample_chunk(np.empty((0, stream.channels), np.float32), last=True)


def _mix(block: Samples, channels: int) -> Samples:
    mono = block.mean(axis=1, keepdims=True, dtype=np.float32)
    return np.repeat(mono, channels, axis=1)


class _LenientFile(io.BytesIO):
    """A file that tolerates seeks before its start, by damaged headers: the C caller cannot catch an exception."""

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.tell(), io.SEEK_END: len(self.getbuffer())}.get(whence, 0)
        return super().seek(max(0, base + offset))


@contextmanager
def open_sound_file(data: bytes, name: str) -> Iterator[soundfile.SoundFile]:
    """Open a file in memory.

    Raises:
        TransientError: ``MalformedAudio``: the file does not decode, now or during reading. Retried; may have been
            billed.
    """
    try:
        with soundfile.SoundFile(_LenientFile(data)) as file:
            yield file
    except soundfile.SoundFileError as error:
        raise malformed_error(f"the {name} cannot be decoded: {getattr(error, 'error_string', error)}") from None


@contextmanager
def open_stream(audio: Audio, max_s: float = MAX_CLIP_S) -> Iterator[SampleStream]:
    """Open audio for decoding block by block, in a ``with`` block; any block may raise an error.

    Samples beyond full scale, which lossy formats may have, are clipped, as every player does.

    Raises:
        TransientError: ``MalformedAudio``: the audio does not decode. Retried; may have been billed.
        PermanentError: ``UnsupportedAudio``: we cannot read the format. Never retried; may have been billed.
        UnreadableError: ``ImplausibleAudio``, ``ClipTooLong`` (see ``clip_limits``). Never retried; may have been
            billed.
    """
    encoding_of(audio.format)
    plain = _plain_wav(audio.data)
    if plain is not None:
        yield _limited(plain, audio.format, max_s)
        return
    with open_sound_file(make_decodable(audio), audio.format) as file:
        check_rate_and_channels(audio.format, file.samplerate, file.channels)
        if file.frames < UNKNOWN_FRAMES:
            check_length(audio.format, file.frames, file.samplerate, max_s)
        stream = SampleStream(_blocks(file), file.samplerate, file.channels)
        yield _limited(stream, audio.format, max_s)


def make_decodable(audio: Audio) -> bytes:
    """Return the file with a correct length, so that libsndfile decodes it to its end."""
    if audio.format != "mp3":
        return with_true_length(audio.data) if audio.format == "flac" else audio.data
    scan = scan_frames(audio.data, read_mp3_frame)
    is_right = scan is None or (scan.has_length and not scan.is_irregular)
    return audio.data if is_right else with_frame_count(audio.data)


def _plain_wav(data: bytes) -> SampleStream | None:
    """Read 16-bit PCM after the usual header of 44 bytes, in a tenth of the time; None for any other file."""
    if len(data) < PLAIN_HEADER.size:
        return None
    riff, _, wave, fmt, fmt_bytes, tag, channels, rate_hz, _, block, bits, chunk, size = PLAIN_HEADER.unpack_from(data)
    if (riff, wave, fmt, fmt_bytes, tag, bits, chunk) != (b"RIFF", b"WAVE", b"fmt ", 16, 1, 16, b"data"):
        return None
    if not channels or not rate_hz or block != 2 * channels or size % block or size > len(data) - PLAIN_HEADER.size:
        return None
    check_rate_and_channels("wav", rate_hz, channels)
    samples = np.frombuffer(data, "<i2", size // 2, PLAIN_HEADER.size).reshape(-1, channels)
    return SampleStream(_scale(samples), rate_hz, channels)


def _scale(samples: npt.NDArray[np.int16]) -> Iterator[Samples]:
    for start in range(0, len(samples), _READ_FRAMES):
        block = samples[start : start + _READ_FRAMES].astype(np.float32)
        block *= np.float32(1 / 32_768)
        yield block


def _blocks(file: soundfile.SoundFile) -> Iterator[Samples]:
    """Yield a file's blocks; reading all at once would trust the length in its header."""
    while len(block := file.read(_READ_FRAMES, dtype="float32", always_2d=True)):
        if not np.isfinite(block).all():
            raise malformed_error("the audio has samples that are not numbers")
        yield np.clip(block, -1, 1, out=block)


def _limited(stream: SampleStream, name: str, max_s: float) -> SampleStream:
    return SampleStream(_limit_length(stream, name, max_s), stream.sample_rate_hz, stream.channels)


def _limit_length(stream: SampleStream, name: str, max_s: float) -> Iterator[Samples]:
    frames = 0
    for block in stream.blocks:
        frames += len(block)
        check_length(name, frames, stream.sample_rate_hz, max_s)
        yield block


def encode(stream: SampleStream, encoding: Encoding) -> Audio:
    """Return a sound as a file; mix more channels than the encoding takes down to one.

    16-bit formats are rounded without dither: the error is 98 dB below full scale, under the noise of any voice, and
    samples that had 16 bits before stay exactly the same.

    Raises:
        TransientError: ``MalformedAudio``: the sound has no sample. Retried; may have been billed.
    """
    if stream.channels > encoding.max_channels:
        stream = stream.with_channels(1)
    data, frames = _write(stream, encoding)
    if not frames:
        raise no_sound_error(encoding.name)
    rate_hz = stream.sample_rate_hz
    return Audio(data, encoding.name, rate_hz, stream.channels, frames_to_ms(frames, rate_hz))


def _write(stream: SampleStream, encoding: Encoding) -> tuple[bytes, int]:
    file, frames = io.BytesIO(), 0
    options = {"format": encoding.container, "subtype": encoding.subtype, **(encoding.options or {})}
    with soundfile.SoundFile(file, "w", stream.sample_rate_hz, stream.channels, **options) as out:
        for block in stream.blocks:
            frames += len(block)
            for start in range(0, len(block), BLOCK_FRAMES):
                piece = block[start : start + BLOCK_FRAMES]
                out.write(_to_int16(piece) if encoding.options is None else piece)
    return file.getvalue(), frames


def _to_int16(samples: Samples) -> npt.NDArray[np.int16]:
    # libsndfile would multiply by 32,767, which changes samples that had 16 bits before.
    rounded: npt.NDArray[np.int16] = np.clip(np.rint(samples * np.float32(32_768)), -32_768, 32_767).astype(np.int16)
    return rounded

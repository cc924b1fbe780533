"""Sound as samples: out of a file and back into one; resampled, and brought to another number of channels."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from tts_pipeline.audio.encodings import Encoding, encoding_of
from tts_pipeline.errors import TransientError
from tts_pipeline.models import Audio

Samples = npt.NDArray[np.float32]
"""One row a moment, one column a channel; -1 to 1."""

_BLOCK_FRAMES = 65_536
"""Written at a time: libvorbis puts a whole call's samples on the stack and kills the process when it is full
(https://github.com/libsndfile/libsndfile/issues/1095)."""


class Sound(NamedTuple):
    """Decoded audio.

    Args:
        samples: Frames x channels. 32-bit floats hold every 16-bit and every 24-bit sample exactly.
        sample_rate_hz: Frames a second.
    """

    samples: Samples
    sample_rate_hz: int

    @property
    def frames(self) -> int:
        """Samples per channel."""
        return len(self.samples)

    @property
    def channels(self) -> int:
        """1 is mono."""
        return int(self.samples.shape[1])

    def resampled(self, rate_hz: int) -> Sound:
        """Return the same sound at another sample rate; itself where it has that rate.

        By soxr at HQ (20 bits): what it adds is below what rounding to 16 bits does.
        """
        if rate_hz == self.sample_rate_hz:
            return self
        return Sound(soxr.resample(self.samples, self.sample_rate_hz, rate_hz, quality="HQ"), rate_hz)

    def with_channels(self, channels: int) -> Sound:
        """Return the same sound in another number of channels; itself where it has that number.

        All are the mean of those there were: what a voice says in only one of them is not lost.
        """
        if channels == self.channels:
            return self
        mono = self.samples.mean(axis=1, keepdims=True, dtype=np.float32)
        return Sound(np.repeat(mono, channels, axis=1), self.sample_rate_hz)


class _LenientFile(io.BytesIO):
    """A file in which a damaged header may ask for a place before the start: C code calls this, and cannot catch."""

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.tell(), io.SEEK_END: len(self.getbuffer())}.get(whence, 0)
        return super().seek(max(0, base + offset))


@contextmanager
def opened(data: bytes, name: str) -> Iterator[soundfile.SoundFile]:
    """Open a file that is in memory.

    Raises:
        TransientError: ``MalformedAudio``: it cannot be decoded, now or while it is read. Retried; the attempt was
            answered, so it may have been billed.
    """
    try:
        with soundfile.SoundFile(_LenientFile(data)) as file:
            yield file
    except soundfile.SoundFileError as error:
        raise _malformed(f"the {name} cannot be decoded: {error}") from None


def decode(audio: Audio) -> Sound:
    """Return the samples of a file; none where it has a header only.

    Samples beyond full scale, which lossy formats may have, are cut off there as every player does.

    Raises:
        TransientError: ``MalformedAudio``: it does not decode. Retried; may have been billed.
        PermanentError: ``UnsupportedAudio``: a format that cannot be read here. Never retried; may have been billed.
    """
    encoding_of(audio.format)
    plain = _plain_wav(audio.data)
    if plain is not None:
        return plain
    with opened(audio.data, audio.format) as file:
        blocks = list(_blocks(file))
        samples = np.concatenate(blocks) if blocks else np.empty((0, file.channels), np.float32)
        if not np.isfinite(samples).all():
            raise _malformed(f"the {audio.format} has samples that are no numbers")
        return Sound(np.clip(samples, -1, 1, out=samples), file.samplerate)


_PLAIN = struct.Struct("<4sI4s4sIHHIIHH4sI")


def _plain_wav(data: bytes) -> Sound | None:
    """Read 16-bit PCM behind the usual header of 44 bytes, a tenth of the work; None for any other file."""
    if len(data) < _PLAIN.size:
        return None
    riff, _, wave, fmt, fmt_bytes, tag, channels, rate_hz, _, block, bits, chunk, size = _PLAIN.unpack_from(data)
    if (riff, wave, fmt, fmt_bytes, tag, bits, chunk) != (b"RIFF", b"WAVE", b"fmt ", 16, 1, 16, b"data"):
        return None
    if not channels or not rate_hz or block != 2 * channels or size % block or size > len(data) - _PLAIN.size:
        return None
    samples = np.frombuffer(data, "<i2", size // 2, _PLAIN.size).astype(np.float32)
    samples *= np.float32(1 / 32_768)
    return Sound(samples.reshape(-1, channels), rate_hz)


def decode_sounding(audio: Audio) -> Sound:
    """Return the samples of a file, of which there must be some.

    Raises:
        TransientError: ``MalformedAudio``: it does not decode, or has no sound. Retried; may have been billed.
        PermanentError: ``UnsupportedAudio``: a format that cannot be read here. Never retried; may have been billed.
    """
    sound = decode(audio)
    if not sound.frames:
        raise _malformed(f"the {audio.format} has a header and no sound")
    return sound


def _blocks(file: soundfile.SoundFile) -> Iterator[Samples]:
    """Read by blocks, because a header may promise any length."""
    while len(block := file.read(16 * _BLOCK_FRAMES, dtype="float32", always_2d=True)):
        yield block


def encode(sound: Sound, encoding: Encoding) -> Audio:
    """Return a sound as a file.

    16-bit formats are rounded without dither: the error is 98 dB below full scale and under any voice's own noise, and
    samples that were 16 bits before come back exactly.

    Args:
        sound: Of at least one sample, and of a rate that the encoding can carry.
        encoding: More channels than it takes are mixed down to one.
    """
    if sound.channels > encoding.max_channels:
        sound = sound.with_channels(1)
    rate_hz = sound.sample_rate_hz
    duration_ms = to_ms(sound.frames, rate_hz)
    return Audio(_written(sound, encoding), encoding.name, rate_hz, sound.channels, duration_ms)


def to_ms(frames: int, rate_hz: int) -> int:
    """Return how long so many frames last, in milliseconds, rounded half up."""
    return (frames * 1000 + rate_hz // 2) // rate_hz


def _written(sound: Sound, encoding: Encoding) -> bytes:
    file = io.BytesIO()
    form = {"format": encoding.container, "subtype": encoding.subtype, **(encoding.options or {})}
    with soundfile.SoundFile(file, "w", sound.sample_rate_hz, sound.channels, **form) as out:
        for start in range(0, sound.frames, _BLOCK_FRAMES):
            block = sound.samples[start : start + _BLOCK_FRAMES]
            out.write(_rounded(block) if encoding.options is None else block)
    return file.getvalue()


def _rounded(samples: Samples) -> npt.NDArray[np.int16]:
    # Not left to libsndfile: it multiplies by 32,767, which changes samples that were 16 bits before.
    rounded: npt.NDArray[np.int16] = np.clip(np.rint(samples * np.float32(32_768)), -32_768, 32_767).astype(np.int16)
    return rounded


def _malformed(message: str) -> TransientError:
    return TransientError(message, code="MalformedAudio")

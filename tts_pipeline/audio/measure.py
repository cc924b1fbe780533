"""Make received bytes playable and measure them: wrap PCM, mend WAV headers, and refuse what is empty, cut or noise."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tts_pipeline.audio.bounds import check_form, check_length
from tts_pipeline.audio.identify import located
from tts_pipeline.audio.mpeg import FrameReader, read_adts_frame, read_mp3_frame, walk
from tts_pipeline.audio.ogg import last_page
from tts_pipeline.audio.wav import MalformedWavError, read_wav, wrap_pcm
from tts_pipeline.errors import ServiceError, TransientError, UnreadableError
from tts_pipeline.models import Audio

if TYPE_CHECKING:
    from soundfile import SoundFile

UNVERIFIED_LENGTH = "unverified_length"
"""The flag of audio that ended with the connection in a container that cannot tell whether it is whole."""

_BLOCK_FRAMES = 65_536
_UNKNOWN_FRAMES = 1 << 62
"""libsndfile tells a length near 2**63 where a header has none."""

Playable = tuple[Audio, tuple[str, ...]]


def playable(data: bytes, *, pcm_sample_rate_hz: int | None, complete: bool) -> Playable:
    """Return received bytes as audio that plays, measured, and flags.

    Args:
        data: As received.
        pcm_sample_rate_hz: The rate that was asked for when headerless PCM (16-bit little-endian, mono) was; bytes of
            no known format are then wrapped as WAV. None when it was not: such bytes are refused.
        complete: False when the bytes ended with the connection, without a length or chunks. The container then
            decides whether they are whole; where it cannot (PCM, a header without sizes), the flag
            ``unverified_length`` says so.

    Returns:
        The audio (the very bytes given, unless they were wrapped or mended) and flags.

    Raises:
        TransientError: ``MalformedAudio``: empty, cut, or not decodable. Retried; the attempt was answered, so it may
            have been billed.
        UnreadableError: ``UnreadableAudio`` (whole, and of no known format), ``UnsupportedAudio`` (known, and cannot be
            measured here), ``ImplausibleAudio`` or ``ClipTooLong`` (see ``bounds``). Never retried; may have been
            billed.
    """
    if not data:
        raise _malformed("the audio is empty")
    data, name = located(data)
    if name is not None:
        return _MEASURES.get(name, _unsupported)(data, name, complete)
    if pcm_sample_rate_hz is None:
        raise _unknown(data, complete)
    return _from_pcm(data, pcm_sample_rate_hz, complete)


def _malformed(message: str) -> TransientError:
    return TransientError(message, code="MalformedAudio")


def _unknown(data: bytes, complete: bool) -> ServiceError:
    message = f"{len(data)} bytes are no audio of a known format"
    if not complete:  # the beginning of a file that was cut, perhaps
        return _malformed(message)
    return UnreadableError(message, code="UnreadableAudio", hint="look at what the service answers to this request")


def _unsupported(_: bytes, name: str, __: bool) -> Playable:
    raise UnreadableError(
        f"the service sent {name}, which cannot be measured",
        code="UnsupportedAudio",
        hint="ask for another encoding, such as response_format=mp3 or wav",
    )


def _audio(data: bytes, name: str, rate_hz: int, channels: int, frames: int) -> Audio:
    if frames <= 0:
        raise _malformed(f"the {name} has a header and no sound")
    check_form(name, rate_hz, channels)
    check_length(name, frames, rate_hz)
    return Audio(data, name, rate_hz, channels, (frames * 1000 + rate_hz // 2) // rate_hz)


def _from_pcm(data: bytes, rate_hz: int, complete: bool) -> Playable:
    if len(data) % 2:
        raise _malformed("the PCM ends within a sample: it was cut")
    audio = _audio(wrap_pcm(data, rate_hz), "wav", rate_hz, 1, len(data) // 2)
    return audio, () if complete else (UNVERIFIED_LENGTH,)


def _from_wav(data: bytes, name: str, complete: bool) -> Playable:
    try:
        wav = read_wav(data)
    except MalformedWavError as error:
        raise _malformed(str(error)) from None
    audio = _audio(wav.data, name, wav.sample_rate_hz, wav.channels, wav.frames)
    return audio, (UNVERIFIED_LENGTH,) if wav.is_measured and not complete else ()


_FRAME_READERS: Mapping[str, FrameReader] = {"mp3": read_mp3_frame, "aac": read_adts_frame}


def _from_frames(data: bytes, name: str, _: bool) -> Playable:
    found = walk(data, _FRAME_READERS[name])
    if found is None:
        raise _malformed(f"the {name} has no whole frame of sound")
    if found.is_cut:
        raise _malformed(f"the {name} is cut: frames are missing, or the last one is not whole")
    return _audio(data, name, found.sample_rate_hz, found.channels, found.samples), ()


def _from_ogg(data: bytes, name: str, complete: bool) -> Playable:
    # The pages tell where it ends, so nothing need be decoded: Opus takes 3 ms a second of sound.
    page = last_page(data)
    if page.is_cut:
        raise _malformed("the ogg is cut: its last page is not whole")
    with _opened(data, name) as sound:
        audio = _audio(data, name, sound.samplerate, sound.channels, sound.frames)
    return audio, () if page.is_last or complete else (UNVERIFIED_LENGTH,)


def _from_decoding(data: bytes, name: str, _: bool) -> Playable:
    """Decode it all, because a header only says how much sound there should be."""
    with _opened(data, name) as sound:
        told, frames = sound.frames, 0
        check_form(name, sound.samplerate, sound.channels)
        if told < _UNKNOWN_FRAMES:
            check_length(name, told, sound.samplerate)
        while block := len(sound.read(_BLOCK_FRAMES, dtype="int16")):
            frames += block
            check_length(name, frames, sound.samplerate)
        if frames < told < _UNKNOWN_FRAMES:
            raise _malformed(f"the {name} is cut: {frames} samples of {told}")
        return _audio(data, name, sound.samplerate, sound.channels, frames), ()


class _LenientFile(io.BytesIO):
    """A file in which a damaged header may ask for a place before the start: C code calls this, and cannot catch."""

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.tell(), io.SEEK_END: len(self.getbuffer())}.get(whence, 0)
        return super().seek(max(0, base + offset))


@contextmanager
def _opened(data: bytes, name: str) -> Iterator[SoundFile]:
    # Imported here: it brings in numpy, and most answers are WAV or MP3.
    import soundfile

    try:
        with soundfile.SoundFile(_LenientFile(data)) as sound:
            yield sound
    except soundfile.SoundFileError as error:
        raise _malformed(f"the {name} cannot be decoded: {error}") from None


_MEASURES: Mapping[str, Callable[[bytes, str, bool], Playable]] = {
    "wav": _from_wav,
    "mp3": _from_frames,
    "aac": _from_frames,
    "ogg": _from_ogg,
    "flac": _from_decoding,
}
# AIFF, AU and CAF are left out on purpose: libsndfile shortens a cut one without a word, and no service sends them.

"""Join the audio of several segments into one file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from tts_pipeline.audio.clip_limits import frames_to_ms, no_sound_error
from tts_pipeline.audio.convert import convert, target_format
from tts_pipeline.audio.encodings import encoding_of
from tts_pipeline.config import AudioSettings
from tts_pipeline.models import Audio

if TYPE_CHECKING:
    from tts_pipeline.audio.samples import Samples


def join(
    audios: Sequence[Audio], pause_ms: int, settings: AudioSettings = AudioSettings()
) -> tuple[Audio, tuple[int, ...]]:
    """Join pieces of audio with silence between them, in the format of the settings.

    Return the joined audio, and the start of each piece in milliseconds, for shifting timestamps. A single piece that
    already has the format is the same object.

    Each piece is decoded once, directly to the target rate, and the result is encoded once: a lossy format loses
    quality one more time, but not twice. The pieces may differ in format, rate and channels; the first decides all that
    the settings leave open. As WAV, the result has exactly the samples of the pieces and the pauses.

    Raises:
        TransientError: ``MalformedAudio``: a piece does not decode, or has no sound. Retried; may have been billed.
        PermanentError: ``UnsupportedAudio``: we cannot decode the format; ``ImplausibleAudio`` or ``ClipTooLong`` (see
            ``clip_limits``). Never retried; may have been billed.
    """
    if len(audios) == 1:
        return convert(audios[0], settings), (0,)
    # Imported here, because most utterances have one segment and never need it.
    from tts_pipeline.audio.samples import SampleStream, encode

    name, rate_hz = target_format(audios[0], settings)
    encoding, starts = encoding_of(name), list[int]()
    blocks = _join_blocks(audios, rate_hz, pause_ms, starts)
    result = encode(SampleStream(blocks, rate_hz, audios[0].channels), encoding)
    return result, tuple(frames_to_ms(frames, rate_hz) for frames in starts)


def _join_blocks(audios: Sequence[Audio], rate_hz: int, pause_ms: int, starts: list[int]) -> Iterator[Samples]:
    """Yield the samples of all pieces with silence between them; append the first frame of each piece to ``starts``."""
    import numpy as np

    from tts_pipeline.audio.samples import open_stream

    channels, frames = audios[0].channels, 0
    silence = np.zeros(((pause_ms * rate_hz + 500) // 1000, channels), np.float32)
    for audio in audios:
        if starts:
            yield silence
            frames += len(silence)
        starts.append(frames)
        with open_stream(audio) as stream:
            for block in stream.with_channels(channels).resampled(rate_hz).blocks:
                yield block
                frames += len(block)
        if frames == starts[-1]:
            raise no_sound_error(audio.format)

"""Make received audio playable and measure it: wrap PCM, correct headers, refuse empty or cut audio."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from tts_pipeline.audio.clip_limits import (
    check_length,
    check_rate_and_channels,
    frames_to_ms,
    malformed_error,
    no_sound_error,
)
from tts_pipeline.audio.concatenated import check_seam, split_files
from tts_pipeline.audio.flac import with_true_length
from tts_pipeline.audio.identify import locate_audio
from tts_pipeline.audio.join import join
from tts_pipeline.audio.mpeg import (
    FrameReader,
    FrameScan,
    read_adts_frame,
    read_mp3_frame,
    scan_frames,
    with_frame_count,
)
from tts_pipeline.audio.ogg import scan_pages
from tts_pipeline.audio.pcm import PcmFormat, wrap_as_wav
from tts_pipeline.audio.wav import MalformedWavError, Wav, read_canonical, read_wav
from tts_pipeline.config import MAX_CLIP_S
from tts_pipeline.errors import ServiceError, TransientError, UnreadableError
from tts_pipeline.models import Audio

UNVERIFIED_LENGTH = "unverified_length"
"""The flag of audio that ended with the connection in a container that does not show whether it is whole."""

_OTHER_ENCODING_HINT = "request another encoding, such as response_format=mp3 or wav"
FlaggedAudio = tuple[Audio, tuple[str, ...]]


class _Options(NamedTuple):
    """Whether the file was received whole, and its longest accepted duration."""

    complete: bool
    max_s: float


def make_playable(data: bytes, *, complete: bool, max_s: float = MAX_CLIP_S) -> FlaggedAudio:
    """Return received bytes as playable, measured audio, and flags; bytes that already play stay the same object.

    ``complete`` is False when the bytes ended with the connection, without a length or chunks. The container then
    shows whether they are whole; if it cannot (PCM, a header without sizes), the audio gets the flag
    ``unverified_length``. ``max_s`` is higher for audio that was joined from several answers.

    Raises:
        TransientError: ``MalformedAudio``: empty, cut, or not decodable. Retried; may have been billed.
        UnreadableError: ``UnreadableAudio`` (whole, in an unknown format), ``UnsupportedAudio`` (in a format that we
            cannot measure), ``ImplausibleAudio`` or ``ClipTooLong`` (see ``clip_limits``). Never retried; may have
            been billed.
    """
    if not data:
        raise malformed_error("the audio is empty")
    wav = read_canonical(data)
    if wav is not None:  # the usual file
        return audio_of(wav, max_s), ()
    data, name = locate_audio(data)
    if name is None:
        raise _unknown_format_error(data, complete)
    options = _Options(complete, max_s)
    scan = scan_frames(data, read_mp3_frame) if name == "mp3" else None
    if scan is not None and scan.is_all_of(data):
        return _audio_of_scan(data, name, scan, options)
    return _measure_files(split_files(data, name), options)


def audio_of(wav: Wav, max_s: float = MAX_CLIP_S) -> Audio:
    """Return a canonical WAV as audio.

    Raises:
        UnreadableError: ``ClipTooLong``, as ``make_playable``.
    """
    data, rate_hz, channels, frames, *_ = wav
    check_length("wav", frames, rate_hz, max_s)
    return Audio(data, "wav", rate_hz, channels, frames_to_ms(frames, rate_hz))


def _measure_files(files: Sequence[bytes], options: _Options) -> FlaggedAudio:
    """Measure a file; join consecutive files into one, in the format of the first."""
    results = []
    for number, file in enumerate(files, 1):
        content, name = locate_audio(file)
        file_options = options if number == len(files) else options._replace(complete=True)
        results.append(_MEASURE_BY_FORMAT.get(name or "", _refuse_format)(content, name or "", file_options))
        if number < len(files):
            check_seam(content, name or "")
    if len(results) == 1:
        return results[0]
    check_length("audio", sum(audio.duration_ms for audio, _ in results), 1_000, options.max_s)
    result, _ = join([audio for audio, _ in results], 0)
    return result, tuple(sorted({flag for _, flags in results for flag in flags}))


def _unknown_format_error(data: bytes, complete: bool) -> ServiceError:
    message = f"the {len(data)} bytes are not audio of a known format"
    if not complete:  # perhaps the beginning of a cut file
        return malformed_error(message)
    return UnreadableError(message, code="UnreadableAudio", hint="look at the service's answer to this request")


def _refuse_format(_: bytes, name: str, __: _Options) -> FlaggedAudio:
    raise UnreadableError(
        f"the service sent {name}, which this package cannot measure",
        code="UnsupportedAudio",
        hint=_OTHER_ENCODING_HINT,
    )


def _make_audio(
    data: bytes, name: str, rate_and_channels: tuple[int, int], frames: int, max_s: float = MAX_CLIP_S
) -> Audio:
    rate_hz, channels = rate_and_channels
    if frames <= 0:
        raise no_sound_error(name)
    check_rate_and_channels(name, rate_hz, channels)
    check_length(name, frames, rate_hz, max_s)
    return Audio(data, name, rate_hz, channels, frames_to_ms(frames, rate_hz))


def make_pcm_playable(data: bytes, pcm_format: PcmFormat, complete: bool) -> FlaggedAudio:
    """Return headerless samples as a WAV, and flags; raises as ``make_playable`` and ``pcm.wrap_as_wav`` do.

    ``complete`` is as for ``make_playable``; only the answer's length shows whether samples are whole.
    """
    wav, frames = wrap_as_wav(data, pcm_format)
    audio = _make_audio(wav, "wav", (pcm_format.sample_rate_hz, pcm_format.channels), frames)
    return audio, () if complete else (UNVERIFIED_LENGTH,)


def _measure_wav(data: bytes, name: str, options: _Options) -> FlaggedAudio:
    try:
        wav = read_wav(data)
    except MalformedWavError as error:
        raise malformed_error(str(error)) from None
    flags = (UNVERIFIED_LENGTH,) if wav.is_measured and not options.complete else ()
    if not wav.is_linear:
        return _measure_compressed_wav(wav.data, options), flags
    return _make_audio(wav.data, name, (wav.sample_rate_hz, wav.channels), wav.frames, options.max_s), flags


def _measure_compressed_wav(data: bytes, options: _Options) -> Audio:
    try:
        return _measure_decoded(data, "wav", options)[0]
    except TransientError as error:  # its sizes are right, so it was not cut: its codec is unknown
        raise UnreadableError(error.message, code="UnsupportedAudio", hint=_OTHER_ENCODING_HINT) from None


_FRAME_READERS: Mapping[str, FrameReader] = {"mp3": read_mp3_frame, "aac": read_adts_frame}


def _measure_frames(data: bytes, name: str, options: _Options) -> FlaggedAudio:
    scan = scan_frames(data, _FRAME_READERS[name])
    if scan is None:
        raise malformed_error(f"the {name} has no whole frame of sound")
    return _audio_of_scan(data, name, scan, options)


def _audio_of_scan(data: bytes, name: str, scan: FrameScan, options: _Options) -> FlaggedAudio:
    if scan.is_cut:
        raise malformed_error(f"the {name} is cut: frames are missing, or the last one is not whole")
    if scan.is_mixed:
        raise _several_sounds_error(name)
    if scan.is_irregular and name == "mp3":
        data = with_frame_count(data)
        scan = scan_frames(data, read_mp3_frame) or scan
    return _make_audio(data, name, (scan.sample_rate_hz, scan.channels), scan.samples, options.max_s), ()


def _measure_ogg(data: bytes, name: str, options: _Options) -> FlaggedAudio:
    scan = scan_pages(data)
    if scan.is_cut:
        raise malformed_error("the ogg is cut: its last page is not whole")
    if scan.is_multiplexed:
        raise _several_sounds_error(name)
    audio, _ = _measure_decoded(data[: scan.end], name, options)  # libsndfile refuses a file with data after it
    return audio, () if scan.is_last or options.complete else (UNVERIFIED_LENGTH,)


def _several_sounds_error(name: str) -> UnreadableError:
    return UnreadableError(
        f"the {name} holds several sounds, at different rates or at the same time: it is unknown which is the speech",
        code="UnsupportedAudio",
        hint=_OTHER_ENCODING_HINT,
    )


def _measure_flac(data: bytes, name: str, options: _Options) -> FlaggedAudio:
    return _measure_decoded(with_true_length(data), name, options)


def _measure_decoded(data: bytes, name: str, options: _Options) -> FlaggedAudio:
    """Measure audio by decoding all of it, because a header states only the intended length."""
    # Imported here, because it imports numpy and most answers are WAV or MP3.
    from tts_pipeline.audio.samples import BLOCK_FRAMES, UNKNOWN_FRAMES, open_sound_file

    with open_sound_file(data, name) as file:
        declared_frames, frames = file.frames, 0
        check_rate_and_channels(name, file.samplerate, file.channels)
        if declared_frames < UNKNOWN_FRAMES:
            check_length(name, declared_frames, file.samplerate, options.max_s)
        while block := len(file.read(BLOCK_FRAMES, dtype="int16")):
            frames += block
            check_length(name, frames, file.samplerate, options.max_s)
        if frames < declared_frames < UNKNOWN_FRAMES:
            raise malformed_error(f"the {name} is cut: {frames} samples of {declared_frames}")
        return _make_audio(data, name, (file.samplerate, file.channels), frames, options.max_s), ()


_MEASURE_BY_FORMAT: Mapping[str, Callable[[bytes, str, _Options], FlaggedAudio]] = {
    "wav": _measure_wav,
    "mp3": _measure_frames,
    "aac": _measure_frames,
    "ogg": _measure_ogg,
    "flac": _measure_flac,
}
# AIFF, AU and CAF are left out on purpose: libsndfile silently shortens a cut file, and no service sends them.

"""Make received bytes playable and measure them: wrap PCM, mend headers, join files, refuse what is empty or cut."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from tts_pipeline.audio.bounds import check_form, check_length
from tts_pipeline.audio.flac import with_true_length
from tts_pipeline.audio.identify import located
from tts_pipeline.audio.join import join
from tts_pipeline.audio.mpeg import FrameReader, Walk, read_adts_frame, read_mp3_frame, walk, with_length
from tts_pipeline.audio.ogg import last_page
from tts_pipeline.audio.pcm import PcmFormat, wrap
from tts_pipeline.audio.pieces import check_seam, pieces
from tts_pipeline.audio.wav import MalformedWavError, read_wav
from tts_pipeline.config import MAX_CLIP_S
from tts_pipeline.errors import ServiceError, TransientError, UnreadableError
from tts_pipeline.models import Audio

UNVERIFIED_LENGTH = "unverified_length"
"""The flag of audio that ended with the connection in a container that cannot tell whether it is whole."""

_ASK_FOR_ANOTHER = "ask for another encoding, such as response_format=mp3 or wav"
_BLOCK_FRAMES = 65_536
Playable = tuple[Audio, tuple[str, ...]]


class _Terms(NamedTuple):
    """Whether a file is known to be whole, and how long it may be."""

    complete: bool
    max_s: float


def playable(data: bytes, *, pcm_sample_rate_hz: int | None, complete: bool, max_s: float = MAX_CLIP_S) -> Playable:
    """Return received bytes as audio that plays, measured, and flags.

    Args:
        data: As received.
        pcm_sample_rate_hz: The rate that was asked for when headerless PCM (16-bit little-endian, mono) was; bytes of
            no known format are then wrapped as WAV. None when it was not: such bytes are refused.
        complete: False when the bytes ended with the connection, without a length or chunks. The container then
            decides whether they are whole; where it cannot (PCM, a header without sizes), the flag
            ``unverified_length`` says so.
        max_s: The longest clip: what was joined from several answers is longer than one.

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
        terms = _Terms(complete, max_s)
        found = walk(data, read_mp3_frame) if name == "mp3" else None
        if found is not None and found.is_all_of(data):
            return _walked(data, name, found, terms)
        return _measured(pieces(data, name), terms)
    if pcm_sample_rate_hz is None:
        raise _unknown(data, complete)
    return from_pcm(data, PcmFormat(pcm_sample_rate_hz), complete)


def _measured(files: Sequence[bytes], terms: _Terms) -> Playable:
    """Measure a file; several that follow each other become one, in the first one's format."""
    found = []
    for number, file in enumerate(files, 1):
        bare, name = located(file)
        one = terms._replace(complete=terms.complete or number < len(files))
        found.append(_MEASURES.get(name or "", _unsupported)(bare, name or "", one))
        if number < len(files):
            check_seam(bare, name or "")
    if len(found) == 1:
        return found[0]
    check_length("audio", sum(audio.duration_ms for audio, _ in found), 1_000, terms.max_s)
    whole, _ = join([audio for audio, _ in found], 0)
    return whole, tuple(sorted({flag for _, flags in found for flag in flags}))


def _malformed(message: str) -> TransientError:
    return TransientError(message, code="MalformedAudio")


def _unknown(data: bytes, complete: bool) -> ServiceError:
    message = f"{len(data)} bytes are no audio of a known format"
    if not complete:  # the beginning of a file that was cut, perhaps
        return _malformed(message)
    return UnreadableError(message, code="UnreadableAudio", hint="look at what the service answers to this request")


def _unsupported(_: bytes, name: str, __: _Terms) -> Playable:
    raise UnreadableError(
        f"the service sent {name}, which cannot be measured",
        code="UnsupportedAudio",
        hint=_ASK_FOR_ANOTHER,
    )


def _audio(data: bytes, name: str, form: tuple[int, int], frames: int, max_s: float = MAX_CLIP_S) -> Audio:
    rate_hz, channels = form
    if frames <= 0:
        raise _malformed(f"the {name} has a header and no sound")
    check_form(name, rate_hz, channels)
    check_length(name, frames, rate_hz, max_s)
    return Audio(data, name, rate_hz, channels, (frames * 1000 + rate_hz // 2) // rate_hz)


def from_pcm(data: bytes, form: PcmFormat, complete: bool) -> Playable:
    """Return headerless samples as a WAV, and flags.

    Args:
        data: As received.
        form: How they are to be read.
        complete: As for ``playable``; nothing but the answer's length tells whether samples are whole.

    Raises:
        ServiceError: As ``playable`` and ``pcm.wrap`` do.
    """
    whole, frames = wrap(data, form)
    audio = _audio(whole, "wav", (form.sample_rate_hz, form.channels), frames)
    return audio, () if complete else (UNVERIFIED_LENGTH,)


def _from_wav(data: bytes, name: str, terms: _Terms) -> Playable:
    try:
        wav = read_wav(data)
    except MalformedWavError as error:
        raise _malformed(str(error)) from None
    flags = (UNVERIFIED_LENGTH,) if wav.is_measured and not terms.complete else ()
    if not wav.is_linear:
        return _compressed_wav(wav.data, terms), flags
    return _audio(wav.data, name, (wav.sample_rate_hz, wav.channels), wav.frames, terms.max_s), flags


def _compressed_wav(data: bytes, terms: _Terms) -> Audio:
    """Measure a whole WAV of some codec."""
    try:
        return _from_decoding(data, "wav", terms)[0]
    except TransientError as error:  # its sizes are right, so it was not cut: its codec is not known
        raise UnreadableError(error.message, code="UnsupportedAudio", hint=_ASK_FOR_ANOTHER) from None


_FRAME_READERS: Mapping[str, FrameReader] = {"mp3": read_mp3_frame, "aac": read_adts_frame}


def _from_frames(data: bytes, name: str, terms: _Terms) -> Playable:
    found = walk(data, _FRAME_READERS[name])
    if found is None:
        raise _malformed(f"the {name} has no whole frame of sound")
    return _walked(data, name, found, terms)


def _walked(data: bytes, name: str, found: Walk, terms: _Terms) -> Playable:
    if found.is_cut:
        raise _malformed(f"the {name} is cut: frames are missing, or the last one is not whole")
    if found.is_mixed:
        raise _not_one(name)
    if found.is_odd and name == "mp3":
        data = with_length(data)
        found = walk(data, read_mp3_frame) or found
    return _audio(data, name, (found.sample_rate_hz, found.channels), found.samples, terms.max_s), ()


def _from_ogg(data: bytes, name: str, terms: _Terms) -> Playable:
    page = last_page(data)
    if page.is_cut:
        raise _malformed("the ogg is cut: its last page is not whole")
    if page.is_multiplexed:
        raise _not_one(name)
    audio, _ = _from_decoding(data[: page.end], name, terms)  # libsndfile refuses what has anything behind it
    return audio, () if page.is_last or terms.complete else (UNVERIFIED_LENGTH,)


def _not_one(name: str) -> UnreadableError:
    return UnreadableError(
        f"the {name} has several sounds in it, at different rates or at one time: which is the text's is not known",
        code="UnsupportedAudio",
        hint=_ASK_FOR_ANOTHER,
    )


def _from_flac(data: bytes, name: str, terms: _Terms) -> Playable:
    return _from_decoding(with_true_length(data), name, terms)


def _from_decoding(data: bytes, name: str, terms: _Terms) -> Playable:
    """Decode it all, because a header only says how much sound there should be."""
    # Imported here: it brings in numpy, and most answers are WAV or MP3.
    from tts_pipeline.audio.samples import UNKNOWN_FRAMES, opened

    with opened(data, name) as sound:
        told, frames = sound.frames, 0
        check_form(name, sound.samplerate, sound.channels)
        if told < UNKNOWN_FRAMES:
            check_length(name, told, sound.samplerate, terms.max_s)
        while block := len(sound.read(_BLOCK_FRAMES, dtype="int16")):
            frames += block
            check_length(name, frames, sound.samplerate, terms.max_s)
        if frames < told < UNKNOWN_FRAMES:
            raise _malformed(f"the {name} is cut: {frames} samples of {told}")
        return _audio(data, name, (sound.samplerate, sound.channels), frames, terms.max_s), ()


_MEASURES: Mapping[str, Callable[[bytes, str, _Terms], Playable]] = {
    "wav": _from_wav,
    "mp3": _from_frames,
    "aac": _from_frames,
    "ogg": _from_ogg,
    "flac": _from_flac,
}
# AIFF, AU and CAF are left out on purpose: libsndfile shortens a cut one without a word, and no service sends them.

"""Identify the format of audio by its first bytes, never by a label."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tts_pipeline.audio.mpeg import id3_length, read_adts_frame, read_mp3_frame, starts_with_frames
from tts_pipeline.errors import StorageError

# (offset, magic bytes, format), tried in order.
_MAGIC: Sequence[tuple[int, bytes, str]] = (
    (0, b"fLaC", "flac"),
    (0, b"OggS", "ogg"),
    (4, b"ftyp", "m4a"),
    (0, b"\x1a\x45\xdf\xa3", "webm"),
    (0, b"#!AMR", "amr"),
    (0, b"caff", "caf"),
    (8, b"AIFF", "aiff"),
    (8, b"AIFC", "aiff"),
    (0, b".snd", "au"),
)
KNOWN_FORMATS = frozenset({"wav", "mp3", "aac", "opus", *(name for _, _, name in _MAGIC)})
"""All format names of audio; ``opus`` comes from earlier versions."""

_WAV = (b"RIFF", b"RIFX", b"RF64", b"BW64")


_JUNK = b"\r\n\t \0\xef\xbb\xbf"
"""White space, zeros and a byte order mark, which gateways put before a body."""

_JUNK_BYTES = 65_536


def locate_audio(data: bytes) -> tuple[bytes, str | None]:
    """Return the data from the beginning of the audio on, without blanks and zeros before it, and the audio's format.

    For an unknown format, return the same object and None.
    """
    name = identify(data)
    if name is None and (offset := min(len(data), _JUNK_BYTES) - len(data[:_JUNK_BYTES].lstrip(_JUNK))):
        audio = data[offset:]
        name = identify(audio)
        return (audio, name) if name else (data, None)
    return data, name


def identify(data: bytes) -> str | None:
    """Return ``wav``, ``mp3``, ``flac``, ``ogg``, ``aac`` (ADTS), ``m4a``, ``webm``, ...; None for anything else.

    Headerless PCM is None. MP3 and AAC have no magic number: two frames in a row must agree, so that samples that look
    like a header by chance do not count.
    """
    if data[:4] in _WAV and data[8:12] == b"WAVE":
        return "wav"
    for offset, magic, name in _MAGIC:
        if data.startswith(magic, offset):
            return name
    return _identify_frames(data)


def check_audio_formats(names: Iterable[object], file_name: str) -> None:
    """Refuse names of audio formats from files, which become file names, that this package never writes."""
    for name in names:
        if name not in KNOWN_FORMATS:
            raise StorageError(
                f"{file_name} has audio of an unknown format: {str(name)[:40]!r}",
                hint="the file is damaged, or somebody else wrote it: restore it, or leave it out",
            )


def _identify_frames(data: bytes) -> str | None:
    tag = id3_length(data)
    if tag and data.startswith(b"fLaC", tag):
        return "flac"
    if starts_with_frames(data, tag, read_adts_frame):
        return "aac"
    if tag or starts_with_frames(data, tag, read_mp3_frame):
        return "mp3"
    return None

"""Split a body that holds several audio files in a row.

Streams with a file in each chunk make such bodies. Decoders play only the first file, and the rest is lost silently.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from tts_pipeline.audio.mpeg import id3_length, read_mp3_frame, scan_frames, tagged_starts
from tts_pipeline.audio.ogg import scan_pages
from tts_pipeline.audio.wav import end_of_wav, is_canonical
from tts_pipeline.errors import UnreadableError

_WAV = re.compile(rb"(?:RIFF|RIFX|RF64|BW64)....WAVE", re.DOTALL)
_FLAC = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")
_OGG = re.compile(rb"OggS\x00\x02")
# A word of each mark, which is found ten times as fast, and its offset in the mark.
_MARKS = ((b"WAVE", 8, _WAV), (b"fLaC", 0, _FLAC), (b"OggS\0\2", 0, _OGG))

_JUNK = b"\r\n\t \0"
_TAGS = (b"TAG", b"ID3", b"APETAGEX", b"LYRICSBEGIN")
_MIN_TEXT_BYTES = 24
_MAX_PADDING_BYTES = 64
_TEXT = re.compile(rb"[\t\r\n -~]*")
_TEXT_AT_END = re.compile(rb"[\t\r\n -~]{%d,}\0*\Z" % _MIN_TEXT_BYTES)


def split_files(data: bytes, name: str) -> Sequence[bytes]:
    """Return the files of a body, in order and unchanged; mostly a single one, which is the same object as ``data``.

    ``name`` is the format of the first; the others may have another one.
    """
    if name == "wav" and is_canonical(data):
        return (data,)
    tag = id3_length(data)  # the tag belongs to the file that begins after it
    offsets = sorted({0, *(offset for offset in _file_offsets(data, name) if offset > tag)})
    if len(offsets) == 1:
        return (data,)
    files = [data[offset:end] for offset, end in zip(offsets, [*offsets[1:], len(data)], strict=True)]
    return [file for file in files[:-1] if not _is_header_alone(file)] + files[-1:]


def _file_offsets(data: bytes, name: str) -> Iterator[int]:
    for word, offset, mark in _MARKS:
        if name != "ogg" or mark is not _OGG:  # each of several multiplexed streams has a mark
            word_offset = 0
            while (word_offset := data.find(word, word_offset + 1)) >= 0:
                if word_offset >= offset and mark.match(data, word_offset - offset):
                    yield word_offset - offset
    if name == "ogg":
        yield from scan_pages(data).stream_offsets
    yield from tagged_starts(data)


def _is_header_alone(file: bytes) -> bool:
    """Return whether a WAV ends where its samples would begin, like the first chunk of some streams."""
    return file[8:12] == b"WAVE" and 0 <= len(file) - 8 - file.find(b"data", 12) < 2


def check_seam(file: bytes, name: str) -> None:
    """Refuse data between a playable file and the next one, unless it is blanks, zeros or a tag.

    The head of another answer or part, a page, or a frame of another protocol may introduce the sound of another text.

    Raises:
        UnreadableError: ``UnsupportedAudio``. Never retried; may have been billed.
    """
    end = _end_of(file, name)
    if end is None:
        is_foreign = _TEXT_AT_END.search(_without_tag(file)[-_MAX_PADDING_BYTES:]) is not None
    else:
        trailing = file[end:].strip(_JUNK)
        is_text = len(trailing) >= _MIN_TEXT_BYTES and _TEXT.fullmatch(trailing) is not None
        is_foreign = not trailing.startswith(_TAGS) and (is_text or len(trailing) >= _MAX_PADDING_BYTES)
    if is_foreign:
        raise UnreadableError(
            f"other data follows the {name}, and then another file: it is unknown which sound is the speech",
            code="UnsupportedAudio",
            hint="listen to the service's audio",
        )


def _end_of(file: bytes, name: str) -> int | None:
    """Return the end of a file by its own sizes; None without sizes."""
    if name == "mp3":
        scan = scan_frames(file, read_mp3_frame)
        return scan.end if scan else None
    if name == "ogg":
        return scan_pages(file).end
    return end_of_wav(file) if name == "wav" else None


def _without_tag(file: bytes) -> bytes:
    """Cut off the tag at the end, which belongs to the next file, or is an old tag of this file."""
    tag_offset = file.rfind(b"ID3")
    if tag_offset > 0 and (length := id3_length(file, tag_offset)) and tag_offset + length >= len(file):
        return file[:tag_offset]
    return file[:-128] if file[-128:].startswith(b"TAG") else file

"""A body that is several files, one after the other: what becomes of a stream whose chunks are files each.

Decoders take the first one and leave the others: half of the sound is lost without a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from tts_pipeline.audio.mpeg import id3_length, tagged_starts
from tts_pipeline.audio.ogg import last_page
from tts_pipeline.audio.wav import is_canonical

_WAV = re.compile(rb"(?:RIFF|RIFX|RF64|BW64)....WAVE", re.DOTALL)
_FLAC = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")
_OGG = re.compile(rb"OggS\x00\x02")
# A word of each, which is found ten times as fast, and how far into the mark it is.
_MARKS = ((b"WAVE", 8, _WAV), (b"fLaC", 0, _FLAC), (b"OggS\0\2", 0, _OGG))


def pieces(data: bytes, name: str) -> Sequence[bytes]:
    """Return the files that a body consists of, in order, each as it stands there; mostly one, the very bytes given.

    Args:
        data: It begins with a file.
        name: That file's format.
    """
    if name == "wav" and is_canonical(data):
        return (data,)
    tag = id3_length(data)  # what begins behind a tag is the file that the tag is of
    begins = sorted({0, *(begin for begin in _begins(data, name) if begin > tag)})
    if len(begins) == 1:
        return (data,)
    files = [data[begin:end] for begin, end in zip(begins, [*begins[1:], len(data)], strict=True)]
    return [file for file in files[:-1] if not _is_header_alone(file)] + files[-1:]


def _begins(data: bytes, name: str) -> Iterator[int]:
    for word, offset, mark in _MARKS:
        if name != "ogg" or mark is not _OGG:  # of several streams that run at one time, each has its mark
            at = 0
            while (at := data.find(word, at + 1)) >= 0:
                if at >= offset and mark.match(data, at - offset):
                    yield at - offset
    if name == "ogg":
        yield from last_page(data).begins
    yield from tagged_starts(data)


def _is_header_alone(file: bytes) -> bool:
    """Whether a WAV ends where its samples would begin: the first chunk of some streams."""
    return file[8:12] == b"WAVE" and 0 <= len(file) - 8 - file.find(b"data", 12) < 2

"""The protocol between the server and a process that speaks: frames, each four bytes of length, then so many.

The length is big endian. A request is one frame, the JSON of an ``Asked``. An answer is two, the JSON
``{"words": [...] | null}`` or ``{"error": "..."}``, then the audio. Answers come in the order of the requests.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import asdict
from typing import BinaryIO

import orjson

from tts_pipeline.emulator.asked import Asked
from tts_pipeline.emulator.sound import SpeakingError, Spoken, TimedWord

LENGTH = struct.Struct(">I")


def pack(data: bytes) -> bytes:
    """Return one frame."""
    return LENGTH.pack(len(data)) + data


def frames(source: BinaryIO) -> Iterator[bytes]:
    """Yield the contents of frames until the source ends, also in the middle of one."""
    while len(head := source.read(LENGTH.size)) == LENGTH.size:
        (size,) = LENGTH.unpack(head)
        data = source.read(size)
        if len(data) < size:
            return
        yield data


def pack_request(asked: Asked) -> bytes:
    """Return the frame of a request."""
    return pack(orjson.dumps(asdict(asked)))


def unpack_request(data: bytes) -> Asked:
    """Return the request in a frame."""
    return Asked(**orjson.loads(data))


def pack_answer(spoken: Spoken) -> bytes:
    """Return the two frames of an answer."""
    return pack(orjson.dumps({"words": spoken.words})) + pack(spoken.audio)


def pack_error(error: SpeakingError) -> bytes:
    """Return the two frames of an answer that failed."""
    return pack(orjson.dumps({"error": str(error)})) + pack(b"")


def unpack_answer(head: bytes, audio: bytes) -> Spoken:
    """Return what two frames say.

    Raises:
        SpeakingError: The voice failed in the process.
    """
    said = orjson.loads(head)
    if "error" in said:
        raise SpeakingError(said["error"])
    words = said["words"]
    return Spoken(audio, None if words is None else tuple(TimedWord(**word) for word in words))

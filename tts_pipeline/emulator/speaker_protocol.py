"""The protocol with a speaking process: frames, each with its length in four bytes.

The length is big endian. A request is one frame, the JSON of an ``SpeechRequest``. An answer is two, the JSON
``{"words": [...] | null}`` or ``{"error": "..."}``, then the audio. Answers come in the order of the requests.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import asdict
from typing import BinaryIO

import orjson

from tts_pipeline.emulator.audio import SynthesisError, SynthesisResult, TimedWord
from tts_pipeline.emulator.request import SpeechRequest

LENGTH = struct.Struct(">I")


def pack_frame(data: bytes) -> bytes:
    """Return one frame."""
    return LENGTH.pack(len(data)) + data


def read_frames(source: BinaryIO) -> Iterator[bytes]:
    """Yield the contents of frames until the source ends, also in the middle of one."""
    while len(head := source.read(LENGTH.size)) == LENGTH.size:
        (size,) = LENGTH.unpack(head)
        data = source.read(size)
        if len(data) < size:
            return
        yield data


def pack_request(request: SpeechRequest) -> bytes:
    """Return the frame of a request."""
    return pack_frame(orjson.dumps(asdict(request)))


def unpack_request(data: bytes) -> SpeechRequest:
    """Return the request in a frame."""
    return SpeechRequest(**orjson.loads(data))


def pack_answer(result: SynthesisResult) -> bytes:
    """Return the two frames of an answer."""
    return pack_frame(orjson.dumps({"words": result.words})) + pack_frame(result.audio)


def pack_error(error: SynthesisError) -> bytes:
    """Return the two frames of an answer that failed."""
    return pack_frame(orjson.dumps({"error": str(error)})) + pack_frame(b"")


def unpack_answer(head: bytes, audio: bytes) -> SynthesisResult:
    """Return what two frames say.

    Raises:
        SynthesisError: The voice failed in the process.
    """
    message = orjson.loads(head)
    if "error" in message:
        raise SynthesisError(message["error"])
    words = message["words"]
    return SynthesisResult(audio, None if words is None else tuple(TimedWord(**word) for word in words))

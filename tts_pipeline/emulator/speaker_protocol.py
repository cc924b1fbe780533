"""Pack and unpack the frames to and from a speaking process.

A frame is the length in four bytes, big endian, then a pickled value: a ``SpeechRequest``, or its answer, a
``SynthesisResult`` or a ``SynthesisError``. Answers come in the order of the requests. Both ends are processes of the
local service, so no frame comes from elsewhere.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

LENGTH = struct.Struct(">I")


def pack_frame(value: object) -> bytes:
    """Return the frame of a value."""
    data = pickle.dumps(value)
    return LENGTH.pack(len(data)) + data


def unpack_frame(data: bytes) -> Any:
    """Return the value in a frame; ``data`` is without the length."""
    return pickle.loads(data)  # noqa: S301 (our own process wrote it)


def read_frames(source: BinaryIO) -> Iterator[Any]:
    """Yield the values of whole frames until the source ends; drop a frame that is cut."""
    while len(head := source.read(LENGTH.size)) == LENGTH.size:
        (size,) = LENGTH.unpack(head)
        data = source.read(size)
        if len(data) < size:
            return
        yield unpack_frame(data)

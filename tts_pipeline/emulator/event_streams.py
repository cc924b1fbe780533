"""Render answers as server-sent events, in the frames of Alibaba Cloud and OpenAI. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import pybase64

from tts_pipeline.emulator.audio import TimedWord
from tts_pipeline.emulator.timings import ali_words

_CHUNK_BYTES = 8_192
_END = b"\n\n"


def ali_stream(
    request_id: str, audio: bytes, url: str, usage: Mapping[str, Any], words: Sequence[TimedWord] | None
) -> bytes:
    """Return audio as Alibaba Cloud streams it.

    The status is in a comment, no space follows the colons, every chunk is encoded in base64 separately, each frame
    repeats and extends the words, and the last frame has no data but the URL, the reason and the usage. The second
    event spans two ``data:`` lines, as the standard allows.
    """
    chunks = _chunks(audio)
    frames = []
    for number, chunk in enumerate(chunks, 1):
        output: dict[str, Any] = {"audio": {"data": chunk, "id": f"audio_{request_id}"}, "finish_reason": "null"}
        if words is not None:
            words_so_far = words[: len(words) * number // len(chunks)]
            output["sentence"] = {"words": ali_words(words_so_far)}
        frames.append(ali_frame(number, {"output": output, "request_id": request_id}, split=number == 2))
    last: dict[str, Any] = {"audio": {"data": "", "url": url, "id": f"audio_{request_id}"}, "finish_reason": "stop"}
    if words is not None:
        last["sentence"] = {"words": ali_words(words)}
    payload = {"output": last, "usage": usage, "request_id": request_id}
    return b"".join([*frames, ali_frame(len(chunks) + 1, payload)])


def ali_frame(
    number: int, payload: dict[str, Any], *, event: str = "result", status: int = 200, split: bool = False
) -> bytes:
    """Return an Alibaba Cloud event, ``result`` or ``error``; ``split`` spreads its JSON over two ``data:`` lines."""
    data = orjson.dumps(payload)
    if split:
        # Split before the last member: a line may break only between two tokens.
        offset = data.rindex(b',"') + 1
        data = data[:offset] + b"\ndata:" + data[offset:]
    return b"id:%d\nevent:%b\n:HTTP_STATUS/%d\ndata:%b" % (number, event.encode(), status, data) + _END


def openai_stream(audio: bytes, usage: Mapping[str, Any]) -> bytes:
    """Return audio as OpenAI streams it: ``speech.audio.delta`` events, then ``speech.audio.done`` with the usage.

    OpenAI reports only tokens: for a model that is billed by character, the characters take the place of text tokens.
    """
    events: list[dict[str, Any]] = [{"type": "speech.audio.delta", "audio": chunk} for chunk in _chunks(audio)]
    tokens = {name: count for name, count in usage.items() if name != "characters"}
    if not any(tokens.values()) and "characters" in usage:
        tokens |= {"input_tokens": usage["characters"], "total_tokens": usage["characters"]}
    events.append({"type": "speech.audio.done", "usage": tokens})
    return b"".join(b"data: " + orjson.dumps(event) + _END for event in events)


def cut_stream(stream: bytes) -> bytes:
    """Return the first half of a stream's events; each stays whole."""
    events = stream.split(_END)[:-1]
    return b"".join(event + _END for event in events[: len(events) // 2])


def _chunks(audio: bytes) -> list[str]:
    starts = range(0, len(audio), _CHUNK_BYTES)
    return [pybase64.b64encode(audio[start : start + _CHUNK_BYTES]).decode() for start in starts]

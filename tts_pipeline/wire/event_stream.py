"""Parse server-sent events as services really send them (https://html.spec.whatwg.org/multipage/server-sent-events.html).

Beyond the standard: Alibaba puts the status into a *comment* (``:HTTP_STATUS/400``), and the last event may lack its
blank line: a whole last frame without it is common, and a cut frame shows in its JSON.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tts_pipeline.wire.json_documents import BYTE_ORDER_MARK, parse_json

_FIRST_BYTES = (b"data:", b"event:", b"id:", b"retry:", b":")
_STATUS_COMMENT = re.compile(rb":\s*HTTP_STATUS/(\d{3})")
DONE = "[DONE]"
"""The sentinel that OpenAI-style streams may end with; it is not JSON."""


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event: its name, the HTTP status of its comment, and its data.

    The name is ``message`` by default, as in the standard. ``data`` holds the lines in order, at least one.
    """

    name: str
    status: int | None
    data: tuple[bytes, ...]

    @property
    def is_done(self) -> bool:
        """Whether this is the ``[DONE]`` sentinel."""
        return self.data[0].strip() == DONE.encode()

    def payloads(self) -> list[object]:
        """Return the JSON of the event, mostly one value.

        Lines are joined as in the standard. If the result is not JSON, they are joined without line ends (a gateway
        split a long string), then parsed one by one (a gateway lost the blank lines between events).
        """
        for candidates in ((b"\n".join(self.data),), (b"".join(self.data),)):
            try:
                return [parse_json(candidate) for candidate in candidates]
            except ValueError:
                continue
        return [parse_json(line) for line in self.data]


def is_event_stream(body: bytes, content_type: str | None = None) -> bool:
    """Return whether an answer is an event stream, by its content type or by its first bytes."""
    if (content_type or "").lower().startswith("text/event-stream"):
        return True
    return body[:16].removeprefix(BYTE_ORDER_MARK).lstrip().startswith(_FIRST_BYTES)


def parse_events(body: bytes) -> Iterator[ServerSentEvent]:
    """Yield the events that carry data, in order, without ids, retry hints and comments other than the status."""
    name, status = "", None
    data: list[bytes] = []
    for line in (*body.removeprefix(BYTE_ORDER_MARK).splitlines(), b""):
        if not line:
            if data:
                yield ServerSentEvent(name or "message", status, tuple(data))
            name, status, data = "", None, []
            continue
        if line.startswith(b":"):
            match = _STATUS_COMMENT.match(line)
            status = int(match[1]) if match else status
            continue
        field, _, value = line.lstrip().partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value.decode("utf-8", "replace").strip()

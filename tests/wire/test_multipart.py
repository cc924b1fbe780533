"""Bodies of several parts."""

from __future__ import annotations

from tests.sounds import sample
from tts_pipeline.wire.response import Response
from tts_pipeline.wire.shapes import parse_response

SOUND = sample("wav", seconds=0.1)


def test_a_body_of_parts() -> None:
    """The audio is known by its bytes, then by its label."""
    head = b'--b1\r\nContent-Type: application/json\r\n\r\n{"a":1}\r\n--b1\r\nContent-Type: audio/x;rate=7\r\n\r\n'
    headers = {"content-type": 'multipart/mixed; boundary="b1"'}
    reading = parse_response(Response(200, headers, head + SOUND + b"\r\n--b1--\r\n"))
    assert (reading.data, reading.content_type) == (SOUND, "audio/x;rate=7")

"""Server-sent events as services send them: other line ends, no spaces, statuses in comments, split and cut frames."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts_pipeline.wire.event_stream import is_event_stream, parse_events

ALI = b'id:1\nevent:result\n:HTTP_STATUS/200\ndata:{"output":{"finish_reason":"null"}}\n\n'


def test_an_ali_frame_is_read() -> None:
    """No space after the colons; the status is in a comment."""
    (event,) = parse_events(ALI)
    assert (event.name, event.status) == ("result", 200)
    assert event.payloads() == [{"output": {"finish_reason": "null"}}]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_line_ends_do_not_matter(end: bytes) -> None:
    """LF, CRLF and CR all end lines, as the standard says."""
    events = list(parse_events((ALI + ALI).replace(b"\n", end)))
    assert [event.status for event in events] == [200, 200]


def test_one_space_after_the_colon_is_no_data() -> None:
    """One, as the standard says; any further one is."""
    assert [event.data for event in parse_events(b"data: a\n\ndata:  b\n\ndata\n\n")] == [(b"a",), (b" b",), (b"",)]


def test_several_data_lines_are_one_value() -> None:
    """Lines of data are joined before they are parsed."""
    (event,) = parse_events(b'data: {"a":\ndata: 1}\n\n')
    assert event.payloads() == [{"a": 1}]


def test_a_string_split_over_data_lines_is_healed() -> None:
    """A gateway that wraps long lines cuts within strings, where a line end would be no JSON."""
    (event,) = parse_events(b'data: {"a": "on\ndata:e"}\n\n')
    assert event.payloads() == [{"a": "one"}]


def test_lost_blank_lines_are_healed() -> None:
    """Values that stand one a line are several."""
    (event,) = parse_events(b'data: {"a": 1}\ndata: {"a": 2}\n')
    assert event.payloads() == [{"a": 1}, {"a": 2}]


def test_a_last_frame_needs_no_blank_line() -> None:
    """Services end the connection right after the last frame."""
    assert len(list(parse_events(ALI + ALI.rstrip(b"\n")))) == 2


def test_a_cut_frame_is_no_json() -> None:
    """What was cut in the middle of a frame shows as an error, not as a shorter value."""
    *_, event = parse_events(ALI + ALI[:-9])
    with pytest.raises(ValueError, match="unexpected"):
        event.payloads()


def test_name_status_and_data_are_each_events_own() -> None:
    """Nothing is carried over from the event before; comments and events without data are no events."""
    events = list(parse_events(b":keep-alive\n\nevent:error\n:HTTP_STATUS/429\ndata:{}\n\nid:7\n\ndata:[DONE]\n\n"))
    assert [(event.name, event.status, event.is_done) for event in events] == [
        ("error", 429, False),
        ("message", None, True),
    ]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (ALI, True),
        (b"\xef\xbb\xbfdata: {}\n\n", True),
        (b"\n\n: ping\n\n", True),
        (b'{"data": 1}', False),
        (b"RIFF\x00\x00", False),
        (b"", False),
    ],
)
def test_a_stream_is_known_by_its_first_bytes(body: bytes, expected: bool) -> None:
    """Whatever the content type says."""
    assert is_event_stream(body) is expected


@given(st.binary(max_size=400) | st.text("data:ev\n\r{}1 ", max_size=200).map(str.encode))
def test_any_bytes_are_some_events(body: bytes) -> None:
    """Parsing never fails; only reading an event's JSON may, with ValueError."""
    for event in parse_events(body):
        assert event.data
        with contextlib.suppress(ValueError):
            event.payloads()

"""What a failing answer says, in each of its forms, before anybody judges it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts_pipeline.wire.failure_body import (
    FailureBody,
    _names_failure,
    find_input_limit,
    is_failure,
    mentions_free_quota,
    parse_failure,
)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"request_id":"r","code":"C.D","message":"m"}', FailureBody(("C.D",), "m", None, "r")),
        (b'{"error":{"message":"m","type":"t","code":"c"}}', FailureBody(("c", "t"), "m")),
        (b'{"error":{"message":"m","code":429}}', FailureBody((), "m", 429)),
        (b'{"error":{"message":"m","code":"429"}}', FailureBody((), "m", 429)),
        (b'{"error":"text"}', FailureBody((), "text")),
        (b'{"detail":"text"}', FailureBody((), "text")),
        (b'{"detail":[1]}', FailureBody((), "[1]")),
        (b'{"status_code":503,"message":"m"}', FailureBody((), "m", 503)),
        (b'{"status":200,"message":"m"}', FailureBody((), "m")),
        (b'{"output":{"code":"c","message":"m"}}', FailureBody(("c",), "m")),
        (b'{"message":"<429> Throttling: x"}', FailureBody(("Throttling",), "<429> Throttling: x", 429)),
        (b'"text"', FailureBody((), "text")),
        (b"plain text", FailureBody((), "plain text")),
        (b"", FailureBody()),
        (b"event:error\n:HTTP_STATUS/500\ndata:{}\n\n", FailureBody((), "", 500)),
        (b'data:nothing\n\ndata:{"code":"c","message":"m"}\n\n', FailureBody(("c",), "m")),
    ],
)
def test_forms(body: bytes, expected: FailureBody) -> None:
    """Flat, nested, text, lists, statuses inside, events: the same few facts."""
    assert parse_failure(body) == expected


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ({"error": {"message": "m"}}, True),
        ({"error": "m"}, True),
        ({"status_code": 400}, True),
        ({"code": "Arrearage"}, True),
        ({"code": 500}, True),
        ({"code": "Success"}, False),
        ({"code": "", "error": None, "status_code": 200}, False),
        ({"code": 0, "error": {}}, False),
        ({"error": {"type": "", "message": "", "code": None}}, False),
        ({"error": {"code": "", "message": "m"}}, True),
        ({"error": "No error"}, False),
        ({"task_id": "t", "status": 2}, False),
        ({"task_id": "t", "status": 40000099}, True),
        ({"reqid": "r", "code": 1000}, False),
        ({}, False),
    ],
)
def test_a_failure_inside_a_200_is_told_from_a_success(payload: dict[str, object], expected: bool) -> None:
    """An error, a failing status or a known code; words for success are not failures."""
    assert is_failure(payload) is expected


_NAMES = st.sampled_from(
    [
        *(
            "error",
            "code",
            "status_code",
            "statusCode",
            "status",
            "message",
            "base_resp",
            "header",
            "err_no",
            "Response",
        ),
        *("error_code", "errorCode", "Code", "__type", "type", "sid", "reqid", "task_id", "output", "Error", "detail"),
    ]
)
_VALUES = st.recursive(
    st.sampled_from([None, "", 0, 200, 200.0, 400, True, False, 7, "429", "200", "ok", "Throttling", 1004, 50603]),
    lambda inner: st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=4,
)


@settings(max_examples=500)
@given(st.dictionaries(_NAMES, _VALUES, max_size=5))
def test_an_answer_of_plain_successes_is_searched_no_further(payload: dict[str, object]) -> None:
    """The names of failures and the words of success cover every maker's form."""
    assert is_failure(payload) == _names_failure(payload)


def test_the_free_quota_is_told_from_a_rate() -> None:
    """What no waiting gives back; a rate of a free plan passes."""
    assert mentions_free_quota("Free allocated quota exceeded.")
    assert mentions_free_quota("The free tier of the model has been exhausted.")
    assert not mentions_free_quota("Allocated quota exceeded, please increase your quota limit.")
    assert not mentions_free_quota("Rate limit of the free tier: 3 a minute")


@given(st.binary(max_size=300))
def test_any_body_says_something(body: bytes) -> None:
    """Reading a complaint never fails."""
    failure = parse_failure(body)
    find_input_limit(failure.message)
    assert all(failure.codes)

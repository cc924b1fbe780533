"""Requests: exactly the documented bytes, in a fixed order, and an identity that says what a purchase is."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import build_request
from tts_pipeline.card import Card, Endpoint, Parameter
from tts_pipeline.catalog.entries import DIALECTS
from tts_pipeline.errors import ConfigurationError, PermanentError
from tts_pipeline.models import Parameters
from tts_pipeline.wire.request import RequestBuilder

SERVICE = Endpoint(name="modelstream", base_url="https://api.example.com", api_key="sk-secret-secret")
CARD = Card(
    service="modelstream",
    model="qwen3-tts-flash",
    parameters={
        "voice": Parameter("voice", "string"),
        "response_format": Parameter("response_format", "string"),
        "speed": Parameter("speed", "number"),
        "optimize_instructions": Parameter("optimize_instructions", "boolean"),
        "stream": Parameter("stream", "boolean", in_body=False),
    },
)


def test_only_what_is_set_is_sent() -> None:
    """Without parameters the body holds the model and the text, and nothing of our own."""
    request = build_request(SERVICE, CARD, "Hi", {})
    assert request.body == b'{"model":"qwen3-tts-flash","input":"Hi"}'
    assert (request.method, request.url) == ("POST", "https://api.example.com/v1/audio/speech")
    assert request.headers == {"content-type": "application/json"}


def test_keys_are_in_a_fixed_order() -> None:
    """Voice first, then the card's order, then unknown names sorted, however the parameters were given."""
    given_in_disorder: Parameters = {
        **dict.fromkeys("zyxwvu", 1),
        "speed": 1.2,
        "response_format": "mp3",
        "voice": "Cherry",
    }
    body = build_request(SERVICE, CARD, "Hi", given_in_disorder).body
    assert list(orjson.loads(body)) == ["model", "input", "voice", "response_format", "speed", *"uvwxyz"]
    assert b'"speed":1.2' in body


def test_an_explicit_false_is_sent() -> None:
    """False is a setting, not the absence of one."""
    assert b'"optimize_instructions":false' in build_request(SERVICE, CARD, "Hi", {"optimize_instructions": False}).body


def test_stream_is_a_header_and_never_in_the_body() -> None:
    """The client's switch asks for events by a header, and only where the card knows it."""
    streamed = build_request(SERVICE, CARD, "Hi", {"stream": True})
    plain = build_request(SERVICE, CARD, "Hi", {"stream": False})
    unknown = build_request(SERVICE, replace(CARD, parameters={}, permissive=True), "Hi", {"stream": True})
    assert streamed.headers["x-dashscope-sse"] == "enable"
    assert "x-dashscope-sse" not in plain.headers
    assert "x-dashscope-sse" not in unknown.headers
    careless = replace(CARD, parameters={"stream": Parameter("stream", "boolean")})
    in_body = build_request(SERVICE, careless, "Hi", {"stream": True})
    assert all(b"stream" not in request.body for request in (streamed, plain, unknown, in_body))


@pytest.mark.parametrize(
    ("dialect", "base_url", "url"),
    [
        ("openai", "https://h", "https://h/v1/audio/speech"),
        ("openai", "https://h/", "https://h/v1/audio/speech"),
        ("openai", "https://h/v1", "https://h/v1/audio/speech"),
        ("openai", "http://127.0.0.1:8080/proxy/v1/", "http://127.0.0.1:8080/proxy/v1/audio/speech"),
        ("dashscope", "https://h", "https://h/api/v1/services/aigc/multimodal-generation/generation"),
        ("dashscope", "https://h/api/v1", "https://h/api/v1/services/aigc/multimodal-generation/generation"),
    ],
)
def test_a_base_url_may_carry_its_version(dialect: str, base_url: str, url: str) -> None:
    """With or without the version and a slash at the end, the address is the same."""
    service = replace(SERVICE, dialect=dialect, base_url=base_url)
    assert build_request(service, CARD, "Hi", {}).url == url


def test_dashscope_nests_the_text_and_the_rest() -> None:
    """The maker's own endpoint takes text, voice and language in ``input``, anything else in ``parameters``."""
    service = replace(SERVICE, dialect="dashscope")
    body = build_request(service, CARD, "Hi", {"voice": "Cherry", "language_type": "English", "speed": 2.0}).body
    assert orjson.loads(body) == {
        "model": "qwen3-tts-flash",
        "input": {"text": "Hi", "voice": "Cherry", "language_type": "English"},
        "parameters": {"speed": 2.0},
    }
    assert b"parameters" not in build_request(service, CARD, "Hi", {"voice": "Cherry"}).body


def test_the_key_is_nowhere() -> None:
    """A request can be logged: neither its parts nor its repr hold the service's key or the text."""
    request = build_request(SERVICE, CARD, "a private text", {})
    assert "sk-secret" not in repr(request) + repr(dict(request.headers)) + request.body.decode()
    assert "private" not in repr(request)


def test_the_request_key_is_what_is_bought() -> None:
    """The same request at another address, streamed, or with another key is the same purchase; nothing else is."""
    key = build_request(SERVICE, CARD, "Hi", {"speed": 1.2}).request_key
    moved = replace(SERVICE, base_url="http://127.0.0.1:4000", api_key="other")
    assert build_request(moved, CARD, "Hi", {"speed": 1.2, "stream": True}).request_key == key
    others = [
        build_request(replace(SERVICE, name="baze"), CARD, "Hi", {"speed": 1.2}),
        build_request(replace(SERVICE, dialect="dashscope"), CARD, "Hi", {"speed": 1.2}),
        build_request(SERVICE, replace(CARD, model="other"), "Hi", {"speed": 1.2}),
        build_request(SERVICE, CARD, "Hi!", {"speed": 1.2}),
        build_request(SERVICE, CARD, "Hi", {"speed": 1.3}),
        build_request(SERVICE, CARD, "Hi", {}),
    ]
    assert len({key, *(other.request_key for other in others)}) == 1 + len(others)
    assert len(key) == 64


@pytest.mark.parametrize("name", ["model", "input"])
def test_a_parameter_cannot_replace_the_text(name: str) -> None:
    """A parameter named like the model or the text would change what is bought behind the row's back."""
    with pytest.raises(ConfigurationError, match=name):
        build_request(SERVICE, CARD, "Hi", {name: "x"})


def test_an_unknown_dialect_is_a_setting_to_correct() -> None:
    """The error names the dialects there are."""
    with pytest.raises(ConfigurationError, match=DIALECTS[0]):
        build_request(replace(SERVICE, dialect="gopher"), CARD, "Hi", {})


def test_broken_unicode_is_a_reject_that_cost_nothing() -> None:
    """A lone surrogate has no UTF-8: the row is refused before anything is sent."""
    with pytest.raises(PermanentError) as exc_info:
        build_request(SERVICE, CARD, "\ud800", {})
    assert (exc_info.value.code, exc_info.value.may_be_billed) == ("UnencodableText", False)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_arrives_as_it_is(text: str) -> None:
    """What the service parses is the row's text, character by character."""
    assert orjson.loads(build_request(SERVICE, CARD, text, {}).body)["input"] == text


def test_a_service_may_need_a_query_and_headers() -> None:
    """They are sent with every request, and are part of what is bought; the header of the key is not."""
    plain = build_request(SERVICE, CARD, "Hi", {})
    query, headers = {"api-version": "2025 03"}, {"x-region": "eu"}
    service = replace(SERVICE, query=query, headers=headers)
    request = build_request(service, CARD, "Hi", {})
    assert request.url == "https://api.example.com/v1/audio/speech?api-version=2025+03"
    assert request.headers == {"x-region": "eu", "content-type": "application/json"}
    variants: list[dict[str, Any]] = [
        {"query": query},
        {"headers": headers},
        {"query": headers},
        {"query": query, "headers": headers},
    ]
    keys = {build_request(replace(SERVICE, **changes), CARD, "Hi", {}).request_key for changes in variants}
    assert len(keys | {plain.request_key}) == 5
    assert request.request_key in keys
    assert build_request(replace(SERVICE, key_header="api-key"), CARD, "Hi", {}).request_key == plain.request_key


def test_a_service_without_them_asks_for_what_it_always_did() -> None:
    """Datasets and reuse stores made before are found by this very hash."""
    request = build_request(SERVICE, CARD, "Hi", {})
    written = b"modelstream\0/v1/audio/speech\0" + request.body
    assert request.request_key == hashlib.sha256(written).hexdigest()


_VALUES = st.recursive(
    st.sampled_from([None, "", 0, 1, 1.0, True, False, "a", '"', "\\", "input", "大"]) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=3,
)
_PARAMETERS = st.dictionaries(
    st.sampled_from(["voice", "language_type", "stream", "speed", "z", "a"]), _VALUES, max_size=4
)


@given(st.sampled_from(sorted(DIALECTS)), st.lists(_PARAMETERS, min_size=2, max_size=4), st.text(max_size=5))
def test_a_builder_forgets_no_difference(dialect: str, parameter_sets: list[Any], text: str) -> None:
    """A request is the same from a new builder and from one that has built others: 1, 1.0 and true are three values."""
    service = replace(SERVICE, dialect=dialect)
    builder = RequestBuilder(service, CARD)
    for parameters in parameter_sets * 2:
        for content in (text, text[::-1]):
            try:
                expected = RequestBuilder(service, CARD).build(content, parameters)
            except PermanentError:
                with pytest.raises(PermanentError):
                    builder.build(content, parameters)
                continue
            assert builder.build(content, parameters) == expected
            body = orjson.loads(expected.body)
            assert orjson.dumps(body) == expected.body
            assert (body["input"] if dialect == "openai" else body["input"]["text"]) == content

"""A service's query, its headers and the header of its key: what can be sent, and where a key never stands."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tts_pipeline.catalog.entries import read_service
from tts_pipeline.catalog.keys import with_key
from tts_pipeline.catalog.service import Service
from tts_pipeline.catalog.service_headers import authorization_of
from tts_pipeline.catalog.toml_table import parse_toml
from tts_pipeline.errors import ConfigurationError

URL = "https://gateway.example"
KEY = "made-up-key-0123"


@pytest.mark.parametrize(
    ("changes", "sent"),
    [
        ({}, f"Bearer {KEY}"),
        ({"key_header": "AUTHORIZATION"}, f"Bearer {KEY}"),
        ({"key_header": "api-key"}, KEY),
        ({"key_prefix": "Token"}, f"Token {KEY}"),
        ({"key_prefix": ""}, KEY),
        ({"key_header": "x-api-key", "key_prefix": "Key"}, f"Key {KEY}"),
    ],
)
def test_a_key_goes_where_the_service_wants_it(changes: dict[str, Any], sent: str) -> None:
    """After Bearer in Authorization, alone in any other header, unless a prefix is named."""
    assert authorization_of(Service(base_url=URL, api_key=KEY, **changes)) == sent


def test_a_catalog_says_it() -> None:
    """Names of headers are the same in capitals; what is left out is as it always was."""
    content = f'''
        base_url = "{URL}"
        key_variable = "X_KEY"
        key_header = "api-key"
        query = {{ api-version = "2025-03-01" }}
        headers = {{ X-Region = "eu" }}
    '''
    service = read_service("mine", parse_toml(content, "a.toml"))
    assert (service.query, service.headers, service.key_header) == (
        {"api-version": "2025-03-01"},
        {"x-region": "eu"},
        "api-key",
    )
    plain = read_service("mine", parse_toml(f'base_url = "{URL}"\nauth = "none"', "a.toml"))
    assert plain == Service(name="mine", base_url=URL, auth="none")
    assert hash(service) == hash(pickle.loads(pickle.dumps(service)))


BAD: list[dict[str, Any]] = [
    *({"query": {name: "x"}} for name in ("key", "api_key", "apiKey", "token", "sig", "X-Amz-Signature", "password")),
    *({"query": {name: "x"}} for name in ("", "a\nb")),
    *({"query": {"a": value}} for value in ("x\ny", 1, None, "\ud800")),
    *(
        {"headers": {name: "x"}}
        for name in ("Authorization", "api-key", "Cookie", "X-Auth-Token", "Proxy-Authorization")
    ),
    *(
        {"headers": {name: "x"}}
        for name in ("Content-Type", "host", "Transfer-Encoding", "Content-Length", "Connection")
    ),
    *({"headers": {name: "x"}} for name in ("", "a b", "a:b", "a\r\nb", "é")),
    *({"headers": {"a": value}} for value in ("x\r\nHost: evil", " x", "é", 1, "x\x00")),
    {"headers": {"A": "1", "a": "2"}},
    {"headers": {"x-mine": "1"}, "key_header": "X-Mine"},
    *({"key_header": name} for name in ("", "a b", "host", "content-type", "a\nb")),
    {"key_prefix": "a\r\nb"},
]


@pytest.mark.parametrize("changes", BAD, ids=repr)
def test_what_cannot_be_sent_is_refused(changes: dict[str, Any]) -> None:
    """By its name, before anything is sent; a value is never shown."""
    with pytest.raises(ConfigurationError) as exc_info:
        Service(base_url=URL, name="mine", **changes)
    assert exc_info.value.message.startswith("service 'mine': ")
    assert exc_info.value.message.isprintable()


@pytest.mark.parametrize(
    "changes",
    [
        {"query": {"code": KEY}},
        {"query": {"user": f"me:{KEY}"}},
        {"query": {"user": f"a%20{KEY}"}},
        {"query": {KEY: "1"}},
        {"headers": {"x-user": f"Basic {KEY}"}},
        {"base_url": f"{URL}/{KEY}"},
        {"account": KEY},
    ],
    ids=repr,
)
def test_the_key_stands_nowhere_else(changes: dict[str, Any]) -> None:
    """Wherever it comes from: a caller, the environment, a connection."""
    fields = {"base_url": URL, "name": "mine", **changes}
    makers: list[Callable[[], Service]] = [
        lambda: Service(**fields, api_key=KEY),
        lambda: with_key(Service(**fields), {"TTS_API_KEY": KEY}),
        lambda: replace(Service(**fields), api_key=KEY),
    ]
    for make in makers:
        with pytest.raises(ConfigurationError, match="holds the service's key") as exc_info:
            make()
        assert KEY not in str(exc_info.value)


def test_a_mistake_in_a_catalog_names_the_file() -> None:
    """And the key of the file."""
    content = f'base_url = "{URL}"\nauth = "none"\nquery = {{ api_key = "made-up" }}'
    with pytest.raises(ConfigurationError, match=r"a\.toml: service 'mine': query\.api_key may be a key") as exc_info:
        read_service("mine", parse_toml(content, "a.toml"))
    assert "made-up" not in str(exc_info.value)


def test_a_query_in_a_url_is_pointed_to_its_place() -> None:
    """It may hold a key, and a service's name is stored."""
    with pytest.raises(ConfigurationError, match="`query` of the service") as exc_info:
        Service(base_url=f"{URL}/v1?api-version=1")
    assert "api-version=1" not in str(exc_info.value)

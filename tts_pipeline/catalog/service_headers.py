"""Check the query and headers of every request to a service, and build the header with its key."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote_plus

from tts_pipeline.card import Endpoint
from tts_pipeline.errors import ConfigurationError

_AUTHORIZATION = "authorization"
_BEARER = "Bearer"
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A header's name (RFC 9110, 5.6.2)."""

_RESERVED_HEADERS = frozenset(
    {
        *("content-type", "content-length", "content-encoding", "transfer-encoding", "accept-encoding", "host"),
        *("connection", "keep-alive", "upgrade", "expect", "te", "trailer", "range", "proxy-connection"),
    }
)
"""Headers that the client or the connection sets."""

_SECRET_NAME = re.compile(
    r"(key|token|secret|sig|signature|password|passwd|pwd|credentials?|auth|authorization|cookie|jwt)$"
)
_SHORTEST_KEY = 6
"""A shorter key may be part of a longer value by chance."""


def authorization_of(service: Endpoint) -> str | None:
    """Return the value of a service's ``key_header``; None without a key.

    Raises:
        ConfigurationError: The key has characters that a header cannot carry.
    """
    key = service.api_key
    if service.auth == "none" or key is None:
        return None
    if not key.isascii() or not key.isprintable():  # never show the value: it may be the key, apart from one character
        raise ConfigurationError(f"the key of service {service.name!r} has characters that no header can carry")
    default_prefix = _BEARER if service.key_header.lower() == _AUTHORIZATION else ""
    prefix = default_prefix if service.key_prefix is None else service.key_prefix
    return f"{prefix} {key}" if prefix else key


def refuse_bad_headers(service: Endpoint) -> None:
    """Refuse a query or a header that cannot be sent, that the client sets, or that holds a key; hide its value."""
    if reason := _header_problem(service.key_header, "", is_for_key=True):
        raise _setting_error(service, "key_header", "", reason)
    if not _is_printable(service.key_prefix or ""):
        raise _setting_error(service, "key_prefix", "", "must be printable ASCII")
    for name, value in service.query.items():
        if reason := _query_problem(name, value):
            raise _setting_error(service, "query", name, reason)
    for name, value in service.headers.items():
        if reason := _header_problem(name, value):
            raise _setting_error(service, "headers", name, reason)
        if name.lower() == service.key_header.lower():
            raise _setting_error(service, "headers", name, "is the header of the key")
    if len({name.lower() for name in service.headers}) < len(service.headers):
        raise _setting_error(service, "headers", "", "has a name twice: upper and lower case are the same")
    refuse_misplaced_key(service)


def refuse_misplaced_key(service: Endpoint) -> None:
    """Refuse a service whose key is in its URL, its query, another header or its label; never show the value."""
    for setting, value in _public_settings(service) if service.api_key else ():
        if any(_contains_key(text, service.api_key or "") for text in (value, unquote_plus(value))):
            raise ConfigurationError(
                f"{setting} of the service holds the service's key",
                hint="the key goes only into the header that key_header names",
            )


def _public_settings(service: Endpoint) -> Iterator[tuple[str, str]]:
    yield "base_url", service.base_url
    yield "account", service.account or ""
    for kind, values in (("query", service.query), ("headers", service.headers)):
        for name, value in values.items():
            yield kind, name
            yield f"{kind}.{name}", value


def _contains_key(value: str, key: str) -> bool:
    return value == key or (len(key) >= _SHORTEST_KEY and key in value)


def _query_problem(name: str, value: object) -> str | None:
    if not isinstance(value, str) or not name or not (name + value).isprintable():
        return "must be a name and a text without control characters"
    return "may be a key, which must never be in a URL: use key_header" if _is_secret(name) else None


def _header_problem(name: str, value: object, *, is_for_key: bool = False) -> str | None:
    if not _TOKEN.fullmatch(name):
        return "is not a valid header name"
    if not isinstance(value, str) or not _is_printable(value) or value != value.strip():
        return "must be printable ASCII, without space around it"
    if name.lower() in _RESERVED_HEADERS:
        return "is set by the client itself"
    if _is_secret(name) and not is_for_key:
        return "may hold a key, which is never written into a file: use key_header, and the key's variable"
    return None


def _is_secret(name: str) -> bool:
    return bool(_SECRET_NAME.search(re.sub(r"[^a-z0-9]", "", name.lower())))


def _is_printable(value: str) -> bool:
    return value.isascii() and (not value or value.isprintable())


def _setting_error(service: Endpoint, field: str, name: str, reason: str) -> ConfigurationError:
    setting = f"{field}.{name}" if name.isprintable() and name else field
    return ConfigurationError(f"service {service.name!r}: {setting} {reason}")

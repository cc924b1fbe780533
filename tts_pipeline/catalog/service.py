"""A service: its URL, its dialect and its key."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar
from urllib.parse import SplitResult, urlsplit

from tts_pipeline.card import PORTS, Endpoint
from tts_pipeline.catalog.route import route_of
from tts_pipeline.catalog.service_headers import refuse_bad_headers
from tts_pipeline.errors import ConfigurationError

_ENDINGS = ("/audio/speech", "/v1")


@dataclass(frozen=True, slots=True)
class Service(Endpoint):
    """An endpoint: where, in which dialect, with which key.

    ``Service(base_url="https://gateway.example", api_key=key)`` is a service of one's own, named by its URL;
    ``find_service("modelstream")`` is one of the catalog's, with its key from the environment.

    Args:
        name: The catalog's name; the URL when it is not given.
        key_variable: The environment variable that holds the key; None where the catalog names none.

    Raises:
        ConfigurationError: The URL is not one, the query or a header cannot be sent or holds a key, the proxy is none,
            or the key would travel over plain http off loopback.
    """

    name: str = field(default="", kw_only=True)
    named: ClassVar[Callable[..., Service]]  # set by ``catalog.catalog``, which stands above this module
    key_variable: str | None = field(default=None, kw_only=True, compare=False)

    def __post_init__(self) -> None:
        if self.base_url:  # the local service has none until it is started
            object.__setattr__(self, "base_url", normalise_url(self.base_url))
        if not self.name:
            object.__setattr__(self, "name", self.base_url)
        refuse_bad_headers(self)
        route_of(self, {})
        object.__setattr__(self, "headers", {name.lower(): value for name, value in self.headers.items()})
        if self.api_key is not None:
            refuse_plain_http(self)


def normalise_url(url: str) -> str:
    """Reduce a service's URL to the one form in which it is compared, stored and requested.

    ``/v1``, ``/v1/audio/speech``, a trailing slash and a default port go, and the host is in lower case.

    Raises:
        ConfigurationError: Not http or https, without a host, or with a user, a query or a fragment: a key may hide
            there, and a service's name is stored. The message does not repeat them.
    """
    parts = _split_url(url)
    host = (parts.hostname or "").lower()
    bracketed = f"[{host}]" if ":" in host else host
    port = "" if parts.port in {None, PORTS[parts.scheme]} else f":{parts.port}"
    path = parts.path.rstrip("/")
    for ending in _ENDINGS:
        path = path.removesuffix(ending).rstrip("/")
    return f"{parts.scheme}://{bracketed}{port}{path}"


def is_loopback(url: str) -> bool:
    """Say whether a URL's host is this machine: ``localhost``, 127.0.0.0/8 or ::1. Names are not resolved."""
    return is_loopback_host(urlsplit(url).hostname or "")


def is_loopback_host(host: str) -> bool:
    """Say whether only this machine reaches a host; of a name other than ``localhost`` that is not known."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def refuse_plain_http(service: Endpoint) -> None:
    """Refuse to send a key over plain http off loopback, where anybody on the way can read it."""
    is_plain_http = service.auth != "none" and service.base_url.lower().startswith("http:")
    if is_plain_http and not is_loopback(service.base_url):
        raise ConfigurationError(
            f"service {service.name!r}: a key is not sent over plain http",
            hint='use https; for a service without a key, say auth = "none" in a catalog of your own',
        )


def _split_url(url: str) -> SplitResult:
    try:
        parts = urlsplit(url.strip())
        is_valid = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        raise ConfigurationError("the service's URL is malformed") from None
    if parts.scheme not in PORTS or not is_valid:
        raise ConfigurationError("a service's URL must be http:// or https:// and a host, with port and path if needed")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ConfigurationError(
            f"the URL of the service at {parts.hostname} must have no user, query or fragment",
            hint="what every request needs in its query is `query` of the service, in a catalog or in Python; "
            "a key comes from the environment, not from a URL",
        )
    return parts

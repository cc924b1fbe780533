"""Build and check a service's value: its URL, its dialect and its key."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

from tts_pipeline.card import PORTS, Endpoint
from tts_pipeline.catalog.route import route_of
from tts_pipeline.catalog.service_headers import refuse_bad_headers
from tts_pipeline.deprecation import moved_methods
from tts_pipeline.errors import ConfigurationError

_ENDINGS = ("/audio/speech", "/v1")


@moved_methods(named="tts_pipeline.find_service")
@dataclass(frozen=True, slots=True)
class Service(Endpoint):
    """A service's address, dialect and key.

    ``Service(base_url="https://gateway.example", api_key=key)`` is a user's own service, named by its URL;
    ``find_service("modelstream")`` is a service of the catalog, with its key from the environment.

    Args:
        name: The catalog's name; the URL by default.
        key_variable: The environment variable that holds the key; None where the catalog names none.

    Raises:
        ConfigurationError: The URL or the proxy is not an address, the query or a header cannot be sent or holds a key,
            or the key would travel over plain http off loopback.
    """

    name: str = field(default="", kw_only=True)
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
    """Return a service's URL in the form that is compared, stored and requested.

    It has no ``/v1``, no ``/v1/audio/speech``, no trailing slash and no default port, and its host is in lower case.

    Raises:
        ConfigurationError: The URL is not http or https, has no host, or has a user, a query or a fragment: a key may
            be in these, and a service's name is stored. The message does not repeat them.
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
    """Return whether a URL's host is this machine: ``localhost``, 127.0.0.0/8 or ::1. Names are not resolved."""
    return is_loopback_host(urlsplit(url).hostname or "")


def is_loopback_host(host: str) -> bool:
    """Return whether only this machine reaches a host; False for any name other than ``localhost``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def refuse_plain_http(service: Endpoint) -> None:
    """Refuse to send a key over plain http off loopback, where anybody in between can read it."""
    is_plain_http = service.auth != "none" and service.base_url.lower().startswith("http:")
    if is_plain_http and not is_loopback(service.base_url):
        raise ConfigurationError(
            f"service {service.name!r}: a key is never sent over plain http",
            hint='use https; for a service without a key, set auth = "none" in a catalog of your own',
        )


def _split_url(url: str) -> SplitResult:
    try:
        parts = urlsplit(url.strip())
        is_valid = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        raise ConfigurationError("the service's URL is malformed") from None
    if parts.scheme not in PORTS or not is_valid:
        raise ConfigurationError(
            "the service's URL must begin with http:// or https:// and a host; a port and a path may follow"
        )
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ConfigurationError(
            f"the URL of the service at {parts.hostname} must have no user, query or fragment",
            hint="put the query of every request into `query` of the service, in a catalog or in Python; "
            "a key comes from the environment, not from a URL",
        )
    return parts

"""Determine the route to a service and its audio: trusted certificates and proxies. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import unquote, urlsplit

from tts_pipeline.card import PORTS, Endpoint
from tts_pipeline.errors import ConfigurationError

DIRECT = "none"
"""The ``proxy`` of a service that is connected directly, whatever the environment says."""

_CERT_FILE, _CERT_DIR = "SSL_CERT_FILE", "SSL_CERT_DIR"
"""OpenSSL's own variables, which replace its default authorities."""

_PROXY_HINT = "write it as http://proxy.example:3128; a SOCKS proxy cannot be used"


@dataclass(frozen=True, slots=True)
class Route:
    """The trusted certificates and the proxies on the way to a service.

    ``ca_file`` is trusted beside the public authorities; ``cert_file``, and ``cert_dir`` made by ``openssl rehash``, in
    their place. ``proxies`` is by scheme, ``http`` and ``https``; each proxy may hold a login. ``no_proxy_hosts`` are
    the entries of ``NO_PROXY``.
    """

    ca_file: str | None = None
    cert_file: str | None = None
    cert_dir: str | None = None
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)
    no_proxy_hosts: tuple[str, ...] = ()

    def proxy_for(self, url: str) -> str | None:
        """Return the proxy for a URL; None for a direct connection, which this machine itself always has."""
        if not self.proxies:
            return None
        parts = urlsplit(url)
        proxy = self.proxies.get(parts.scheme)
        port = parts.port or PORTS.get(parts.scheme)
        return None if proxy is None or _bypasses_proxy(self.no_proxy_hosts, parts.hostname or "", port) else proxy

    @property
    def proxy_hosts(self) -> frozenset[str]:
        """The hosts of the proxies."""
        return frozenset(urlsplit(proxy).hostname or "" for proxy in self.proxies.values())

    @property
    def passwords(self) -> frozenset[str]:
        """The proxies' passwords, both percent-encoded and decoded."""
        encoded = {urlsplit(proxy).password or "" for proxy in self.proxies.values()}
        return frozenset(encoded | {unquote(password) for password in encoded}) - {""}


def route_of(service: Endpoint, environ: Mapping[str, str]) -> Route:
    """Return the route to a service: by its own settings, else by the environment.

    Its ``ca_file`` is trusted beside the public authorities, or beside those of ``SSL_CERT_FILE`` and
    ``SSL_CERT_DIR``. Its ``proxy`` applies to its audio too, and overrides the environment's proxies and ``NO_PROXY``.
    ``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY`` and ``NO_PROXY`` also count in lower case, which goes first.

    Raises:
        ConfigurationError: A proxy is not an address; the message names its setting, never its login.
    """
    parts, own_proxy = urlsplit(service.base_url), service.proxy
    is_local = not parts.hostname or _is_this_machine(parts.hostname)
    if own_proxy is not None:
        proxies = {} if own_proxy == DIRECT else dict.fromkeys(PORTS, proxy_address(own_proxy, "proxy of the service"))
        no_proxy_hosts: tuple[str, ...] = ()
    else:
        proxies = dict(_proxies_in(environ, is_needed=not is_local))
        no_proxy_hosts = tuple((_variable(environ, "no_proxy") or "").replace(",", " ").lower().split())
    certificates = {} if is_local and parts.scheme != "https" else environ
    return Route(
        ca_file=service.ca_file,
        cert_file=certificates.get(_CERT_FILE) or None,
        cert_dir=certificates.get(_CERT_DIR) or None,
        proxies=proxies,
        no_proxy_hosts=no_proxy_hosts,
    )


def proxy_address(proxy: str, where: str) -> str:
    """Return a proxy's full address, with its scheme.

    Raises:
        ConfigurationError: It is not an address; the message has ``where`` (its setting), never the address, which may
            hold a login.
    """
    address = proxy.strip() if "://" in proxy else f"http://{proxy.strip()}"
    try:
        parts = urlsplit(address)
        is_valid = parts.scheme in PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_valid = False
    if not is_valid or not address.isprintable() or " " in address or parts.path not in ("", "/") or parts.query:
        raise ConfigurationError(f"{where} is not the address of a proxy", hint=_PROXY_HINT)
    return address


def _proxies_in(environ: Mapping[str, str], *, is_needed: bool) -> Iterator[tuple[str, str]]:
    for scheme in PORTS:
        name = next(
            (variable for variable in (f"{scheme}_proxy", "all_proxy") if _variable(environ, variable) is not None), ""
        )
        if not _variable(environ, name):
            continue
        try:
            yield scheme, proxy_address(_variable(environ, name) or "", name.upper())
        except ConfigurationError:
            if is_needed:
                raise


def _variable(environ: Mapping[str, str], name: str) -> str | None:
    """Return a variable, in lower case first; an empty variable means no proxy."""
    return environ.get(name, environ.get(name.upper()))


@lru_cache(maxsize=256)
def _bypasses_proxy(no_proxy_hosts: tuple[str, ...], host: str, port: int | None) -> bool:
    name = host.rstrip(".")
    return _is_this_machine(name) or any(_matches(entry, name, port) for entry in no_proxy_hosts)


def _is_this_machine(host: str) -> bool:
    """Return whether a host is this machine, by its name or address; no proxy leads there."""
    address = _address(host)
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    is_local = address is not None and (address.is_loopback or address.is_unspecified)
    return is_local or f".{host.rstrip('.')}".endswith(".localhost")


def _matches(entry: str, host: str, port: int | None) -> bool:
    """Return whether an entry of ``NO_PROXY`` (``*``, a name with its subdomains, an address, a network) has a host."""
    if entry == "*":
        return True
    if (address := _address(host)) is not None:
        with suppress(ValueError):  # a name, or an address with a port
            return address in ipaddress.ip_network(entry, strict=False)
    name, _, entry_port = entry.rpartition(":") if entry.rpartition(":")[2].isdigit() else (entry, "", "")
    name = name.strip("[]").removeprefix("*").strip(".")
    if entry_port and entry_port != str(port):
        return False
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None

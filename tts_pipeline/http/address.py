"""Check the address of an audio URL, so that no answer makes us read a private network."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Collection, Iterable
from enum import Enum, auto

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from tts_pipeline.http.errors import RefusedAddressError


class AddressScope(Enum):
    """The networks from which an address can be reached."""

    PUBLIC = auto()
    PRIVATE = auto()
    LOOPBACK = auto()
    SPECIAL = auto()
    """Link-local (cloud metadata), multicast, reserved, unspecified: never visited."""


_PRIVATE = tuple(
    map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"))
)
"""RFC 1918, RFC 6598 (shared, inside clouds) and RFC 4193; the standard library's ``is_private`` holds far more."""

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def scope_of(address: str) -> AddressScope:
    """Classify an IP address; an IPv4 address inside an IPv6 address is classified as IPv4."""
    parsed = ipaddress.ip_address(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        parsed = _embedded_ipv4(parsed) or parsed
    if parsed.is_loopback:
        return AddressScope.LOOPBACK
    if any(parsed in network for network in _PRIVATE):
        return AddressScope.PRIVATE
    return AddressScope.PUBLIC if parsed.is_global and not parsed.is_multicast else AddressScope.SPECIAL


def _embedded_ipv4(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour


def allowed_scopes(service_addresses: Iterable[str]) -> frozenset[AddressScope]:
    """Return the scopes that a service's URLs may lead to: the public scope, and the scope of the service itself.

    A loopback service may also name private addresses; a private service must not lead to this machine.
    """
    scopes = {scope_of(address) for address in service_addresses}
    if AddressScope.LOOPBACK in scopes:
        return frozenset({AddressScope.PUBLIC, AddressScope.PRIVATE, AddressScope.LOOPBACK})
    return frozenset({AddressScope.PUBLIC}) | (scopes & {AddressScope.PRIVATE})


_INTERNAL_NAME = re.compile(r"(^|\.)(localhost|local|internal|intranet|private|corp|home|lan|localdomain|home\.arpa)$")
_NUMERIC_LABEL = re.compile(r"(0x[0-9a-f]*|\d+)$", re.IGNORECASE)


def is_internal_name(host: str) -> bool:
    """Return whether a host name by itself is internal to a private network, or is an oddly spelled address.

    This check is for routes on which a proxy resolves names. Top-level names for private use: RFC 6761, 6762, 8375,
    ICANN's ``internal`` (2024), and the names that ICANN found in wide private use (2014).
    """
    name = host.lower().rstrip(".")
    return "." not in name or bool(_INTERNAL_NAME.search(name) or _NUMERIC_LABEL.match(name.rpartition(".")[2]))


class GuardedResolver(AbstractResolver):
    """Resolves host names, and returns only the addresses that may be visited.

    The connection uses the returned address, so a name that resolves differently a moment later gains nothing.

    A proxy may have any address: the user names proxies, answers do not.
    """

    def __init__(self, is_allowed: Callable[[str], bool], proxies: Collection[str] = ()) -> None:
        self._is_allowed = is_allowed
        self._proxies = proxies
        self._resolver = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Resolve a host name; raise ``RefusedAddressError`` when none of its addresses may be visited."""
        results = await self._resolver.resolve(host, port, family)
        allowed = [result for result in results if host in self._proxies or self._is_allowed(result["host"])]
        if not allowed:
            raise RefusedAddressError(0, "its name resolves to an address inside a private network")
        return allowed

    async def close(self) -> None:
        """Close the system's resolver."""
        await self._resolver.close()

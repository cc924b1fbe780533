"""The addresses that an audio URL may lead to."""

from __future__ import annotations

import asyncio

import pytest

from tts_pipeline.http.address import AddressScope, GuardedResolver, allowed_scopes, scope_of
from tts_pipeline.http.errors import RefusedAddressError


@pytest.mark.parametrize(
    ("address", "reach"),
    [
        ("8.8.8.8", AddressScope.PUBLIC),
        ("2606:4700::1111", AddressScope.PUBLIC),
        ("10.1.2.3", AddressScope.PRIVATE),
        ("172.31.255.255", AddressScope.PRIVATE),
        ("192.168.0.1", AddressScope.PRIVATE),
        ("100.64.0.1", AddressScope.PRIVATE),
        ("fd00::1", AddressScope.PRIVATE),
        ("127.0.0.1", AddressScope.LOOPBACK),
        ("127.255.255.254", AddressScope.LOOPBACK),
        ("::1", AddressScope.LOOPBACK),
        ("::ffff:127.0.0.1", AddressScope.LOOPBACK),
        ("::ffff:10.0.0.1", AddressScope.PRIVATE),
        ("64:ff9b::7f00:1", AddressScope.LOOPBACK),
        ("2002:7f00:1::", AddressScope.LOOPBACK),
        ("169.254.169.254", AddressScope.SPECIAL),
        ("::ffff:169.254.169.254", AddressScope.SPECIAL),
        ("fe80::1", AddressScope.SPECIAL),
        ("0.0.0.0", AddressScope.SPECIAL),
        ("::", AddressScope.SPECIAL),
        ("224.0.0.1", AddressScope.SPECIAL),
        ("ff02::1", AddressScope.SPECIAL),
        ("240.0.0.1", AddressScope.SPECIAL),
        ("255.255.255.255", AddressScope.SPECIAL),
        ("192.0.2.1", AddressScope.SPECIAL),
    ],
)
def test_addresses_are_classified(address: str, reach: AddressScope) -> None:
    """IPv4 addresses inside IPv6 addresses are classified too."""
    assert scope_of(address) is reach


@pytest.mark.parametrize(
    ("service", "allowed"),
    [
        (["8.8.8.8"], {AddressScope.PUBLIC}),
        ([], {AddressScope.PUBLIC}),
        (["10.0.0.1"], {AddressScope.PUBLIC, AddressScope.PRIVATE}),
        (["127.0.0.1", "::1"], {AddressScope.PUBLIC, AddressScope.PRIVATE, AddressScope.LOOPBACK}),
        (["169.254.0.1"], {AddressScope.PUBLIC}),
    ],
)
def test_a_service_may_lead_to_the_public_and_to_where_it_is(service: list[str], allowed: set[AddressScope]) -> None:
    """A private service must not lead to this machine, and no service to special addresses."""
    assert allowed_scopes(service) == allowed


def test_a_name_resolves_only_to_addresses_that_may_be_visited() -> None:
    """The connection uses the checked address: a name cannot mean another address a moment later."""

    async def main() -> None:
        results = await GuardedResolver(lambda _: True).resolve("localhost", 80)
        assert {scope_of(result["host"]) for result in results} == {AddressScope.LOOPBACK}
        with pytest.raises(RefusedAddressError):
            await GuardedResolver(lambda address: scope_of(address) is AddressScope.PUBLIC).resolve("localhost", 80)

    asyncio.run(main())

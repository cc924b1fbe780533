"""Which addresses an audio URL may lead to."""

from __future__ import annotations

import asyncio

import pytest

from tts_pipeline.client.address import GuardedResolver, Reach, reach_of, visitable
from tts_pipeline.client.translation import RefusedAddressError


@pytest.mark.parametrize(
    ("address", "reach"),
    [
        ("8.8.8.8", Reach.PUBLIC),
        ("2606:4700::1111", Reach.PUBLIC),
        ("10.1.2.3", Reach.PRIVATE),
        ("172.31.255.255", Reach.PRIVATE),
        ("192.168.0.1", Reach.PRIVATE),
        ("100.64.0.1", Reach.PRIVATE),
        ("fd00::1", Reach.PRIVATE),
        ("127.0.0.1", Reach.LOOPBACK),
        ("127.255.255.254", Reach.LOOPBACK),
        ("::1", Reach.LOOPBACK),
        ("::ffff:127.0.0.1", Reach.LOOPBACK),
        ("::ffff:10.0.0.1", Reach.PRIVATE),
        ("64:ff9b::7f00:1", Reach.LOOPBACK),
        ("2002:7f00:1::", Reach.LOOPBACK),
        ("169.254.169.254", Reach.SPECIAL),
        ("::ffff:169.254.169.254", Reach.SPECIAL),
        ("fe80::1", Reach.SPECIAL),
        ("0.0.0.0", Reach.SPECIAL),
        ("::", Reach.SPECIAL),
        ("224.0.0.1", Reach.SPECIAL),
        ("ff02::1", Reach.SPECIAL),
        ("240.0.0.1", Reach.SPECIAL),
        ("255.255.255.255", Reach.SPECIAL),
        ("192.0.2.1", Reach.SPECIAL),
    ],
)
def test_addresses_are_classified(address: str, reach: Reach) -> None:
    """Also IPv4 addresses that hide inside IPv6 ones."""
    assert reach_of(address) is reach


@pytest.mark.parametrize(
    ("service", "allowed"),
    [
        (["8.8.8.8"], {Reach.PUBLIC}),
        ([], {Reach.PUBLIC}),
        (["10.0.0.1"], {Reach.PUBLIC, Reach.PRIVATE}),
        (["127.0.0.1", "::1"], {Reach.PUBLIC, Reach.PRIVATE, Reach.LOOPBACK}),
        (["169.254.0.1"], {Reach.PUBLIC}),
    ],
)
def test_a_service_may_lead_to_the_public_and_to_where_it_is(service: list[str], allowed: set[Reach]) -> None:
    """A private service must not lead to this machine, and none to what is special."""
    assert visitable(service) == allowed


def test_a_name_resolves_only_to_addresses_that_may_be_visited() -> None:
    """The connection is made to what was judged: a name cannot mean something else a moment later."""

    async def main() -> None:
        found = await GuardedResolver(lambda _: True).resolve("localhost", 80)
        assert {reach_of(result["host"]) for result in found} == {Reach.LOOPBACK}
        with pytest.raises(RefusedAddressError):
            await GuardedResolver(lambda address: reach_of(address) is Reach.PUBLIC).resolve("localhost", 80)

    asyncio.run(main())

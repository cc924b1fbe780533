from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import FLASH_PRICE, NOW_US, settlement_of, token_price_of
from tts_pipeline.attempt import Attempt, Outcome
from tts_pipeline.dataset.claim_high_water import ClaimHighWater, ClaimStep
from tts_pipeline.dataset.claims import Claim, claim_name, read_claim
from tts_pipeline.errors import StorageError
from tts_pipeline.models import Price
from tts_pipeline.storage.local_store import LocalStore
from tts_pipeline.storage.store import Store

CLAIM = Claim("j", "i", NOW_US, 0, None, "CNY", "local", "m", None, {"team": "x"})
BY_TOKEN = token_price_of(160, 1_000)


class _MemoryStore(LocalStore):
    """A store that keeps only the claim."""

    data: bytes | None = None

    def write(self, name: str, data: bytes, *, durable: bool = True) -> None:
        self.data = data

    def read(self, name: str) -> bytes | None:
        return self.data


def _attempt(number: int, characters: int, cost: str | None) -> Attempt:
    return Attempt(
        *(f"a{number}", "r", 0, 0, number, "Cherry", NOW_US, characters, characters, "p"),
        cost_upper_bound=None if cost is None else Decimal(cost),
    )


def _claimed(store: Store) -> Claim:
    claim = read_claim(store, claim_name(0, "j"))
    assert claim is not None
    return claim


def _high_water(store: Store, prices: Sequence[Price], characters: int = 10) -> ClaimHighWater:
    high_water = ClaimHighWater(store, 0, CLAIM, ClaimStep(characters, prices))
    high_water.open()
    return high_water


@given(
    spent=st.lists(st.tuples(st.integers(0, 500), st.decimals("0", "9", places=9)), max_size=12),
    prices=st.sampled_from([[FLASH_PRICE], [BY_TOKEN], [FLASH_PRICE, BY_TOKEN]]),
)
def test_the_claim_is_never_below_what_may_be_spent(spent: list[tuple[int, Decimal]], prices: list[Price]) -> None:
    """This holds in characters and in money, for every price, whenever a request may be sent."""
    store = _MemoryStore(Path("nowhere"))
    high_water = _high_water(store, prices)

    async def spend() -> None:
        characters, cost = 0, Decimal(0)
        for number, (more, money) in enumerate(spent):
            attempt = _attempt(number, more, str(money))
            await high_water.reserve(attempt)
            characters, cost = characters + more, cost + money
            claim = _claimed(store)
            assert claim.characters_upper_bound >= characters
            assert (claim.cost_upper_bound or 0) >= cost
            if number % 3 == 0:
                high_water.settle(
                    attempt, settlement_of(attempt, Outcome.FAILED, cost=Decimal(0), cost_upper_bound=Decimal(0))
                )
                characters, cost = characters - more, cost - money

    asyncio.run(spend())


def test_attempts_that_are_reserved_while_a_claim_is_raised_are_covered_too() -> None:
    """They fit into the present claim; what was spent meanwhile may be less, and the raised claim is not lower."""
    other = _attempt(3, 5, "100")

    class _BusyStore(_MemoryStore):
        def write(self, name: str, data: bytes, *, durable: bool = True) -> None:
            super().write(name, data)
            if is_raising and high_water.try_reserve(other):
                bounds.append(_claimed(self).cost_upper_bound)

    bounds, is_raising = list[Decimal | None](), False
    high_water = _high_water(_BusyStore(Path("nowhere")), [BY_TOKEN])
    large = _attempt(1, 5, "100")
    asyncio.run(high_water.reserve(large))
    high_water.settle(large, settlement_of(large, cost=Decimal(1), cost_upper_bound=Decimal(1)))
    is_raising = True
    asyncio.run(high_water.reserve(_attempt(2, 11, "1")))
    (bound,) = bounds
    assert bound is not None
    assert bound >= 101


def test_the_first_claim_is_what_the_rows_are_counted_at(tmp_path: Path) -> None:
    """A price by characters gives its cost; a price by tokens does not; the claim names its invocation."""
    store = LocalStore(tmp_path)
    _high_water(store, [FLASH_PRICE], 10_000)
    assert replace(_claimed(store), host="", process=0) == replace(
        CLAIM, characters_upper_bound=10_000, cost_upper_bound=Decimal("0.800000000")
    )
    _high_water(store, [BY_TOKEN], 10_000)
    assert _claimed(store).characters_upper_bound == 10_000
    assert _claimed(store).cost_upper_bound == Decimal(0)
    _high_water(store, [])
    assert _claimed(store).cost_upper_bound is None


def test_a_price_by_token_is_claimed_by_what_was_spent_so_far(tmp_path: Path) -> None:
    """The next raise has as much headroom in money as in characters, so that raises are rare."""
    store = LocalStore(tmp_path)
    high_water = _high_water(store, [BY_TOKEN], 100)
    asyncio.run(high_water.reserve(_attempt(1, 50, "0.5")))
    claim = _claimed(store)
    assert (claim.characters_upper_bound, claim.cost_upper_bound) == (150, Decimal("1.5"))


def test_what_cannot_be_claimed_is_not_sent(tmp_path: Path) -> None:
    """The caller gets the error."""
    (tmp_path / "claims").write_bytes(b"")
    high_water = ClaimHighWater(LocalStore(tmp_path), 0, CLAIM, ClaimStep(10, [FLASH_PRICE]))
    with pytest.raises(StorageError):
        asyncio.run(high_water.reserve(_attempt(1, 50, "0.5")))


def test_a_lowered_claim_is_marked_once_nothing_of_it_can_come_back(tmp_path: Path) -> None:
    """While an attempt is in flight it is not; afterwards nothing fits into it, until it is raised again."""
    store = LocalStore(tmp_path)
    high_water = _high_water(store, [FLASH_PRICE], 100)
    attempt, other = _attempt(1, 40, "0"), _attempt(2, 10, "0")
    for each in (attempt, other):
        assert high_water.try_reserve(each)
    high_water.release(other)
    high_water.lower()
    assert (_claimed(store).characters_upper_bound, _claimed(store).is_waiting) == (40, False)
    high_water.settle(attempt, settlement_of(attempt, characters_upper_bound=30, cost_upper_bound=Decimal(0)))
    high_water.lower()
    assert (_claimed(store).characters_upper_bound, _claimed(store).is_waiting) == (30, True)
    assert not high_water.try_reserve(_attempt(3, 1, "0"))
    asyncio.run(high_water.reserve(_attempt(3, 1, "0")))
    assert (_claimed(store).characters_upper_bound, _claimed(store).is_waiting) == (131, False)

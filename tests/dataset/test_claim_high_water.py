from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import FLASH_PRICE, NOW_US, settlement_of, token_price_of
from tts_pipeline.attempt import Attempt, Outcome
from tts_pipeline.config import BudgetCap
from tts_pipeline.dataset.claim_high_water import BudgetPool, ClaimHighWater, ClaimStep
from tts_pipeline.dataset.claims import Claim, claim_name, read_claim
from tts_pipeline.errors import StoppedError, StorageError
from tts_pipeline.models import Price
from tts_pipeline.money import Cost
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


def test_others_are_counted_after_the_claim_is_written(tmp_path: Path) -> None:
    """Of two concurrent claims one sees the other; an attempt that does not fit is not sent, and the claim is kept."""
    store, others = LocalStore(tmp_path), [40]

    def count(own: Collection[str]) -> Cost:
        assert set(own) == {"j"}
        claims.append(_claimed(store).characters_upper_bound)
        return Cost(characters_upper_bound=others[0])

    claims: list[int] = []
    counts: list[Cost] = []
    high_water = ClaimHighWater(store, 0, CLAIM, ClaimStep(80, [FLASH_PRICE]))
    high_water.open(BudgetPool(BudgetCap(max_characters=100), count, counts.append))
    assert (claims, _claimed(store).characters_upper_bound) == ([80], 30), "half of what others leave"
    asyncio.run(high_water.reserve(_attempt(1, 45, "0")))
    assert (claims[-1], _claimed(store).characters_upper_bound) == (125, 52)
    others[0] = 60  # another process has raised its claim
    with pytest.raises(StoppedError, match="other runs have spent or claimed 60 of 100 characters"):
        asyncio.run(high_water.reserve(_attempt(2, 15, "0")))
    assert (claims[-1], _claimed(store).characters_upper_bound) == (140, 52)
    assert counts[-1].characters_upper_bound == 60


def test_parts_of_one_process_give_each_other_what_they_do_not_need(tmp_path: Path) -> None:
    """Each part can spend the whole cap."""
    pot = BudgetPool(BudgetCap(max_characters=100), lambda _: Cost(), lambda _: None)
    high_waters = [
        ClaimHighWater(LocalStore(tmp_path), part, replace(CLAIM, journal_id=str(part)), ClaimStep(80, [FLASH_PRICE]))
        for part in range(3)
    ]
    for high_water in high_waters:
        high_water.open(pot)
    for number in range(10):
        asyncio.run(high_waters[number % 2].reserve(_attempt(number, 10, "0")))
    with pytest.raises(StoppedError):
        asyncio.run(high_waters[2].reserve(_attempt(11, 1, "0")))
    assert [high_water.claim_bound.characters for high_water in high_waters] == [50, 50, 0]

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.dataset.samples import NOW_US, PRICE, settle
from tts_pipeline.dataset.claims import Claim, claim_name, read_claim
from tts_pipeline.dataset.cover import Cover
from tts_pipeline.dataset.store import LocalStore, Store
from tts_pipeline.errors import StorageError
from tts_pipeline.models import Attempt, Outcome, Price

CLAIM = Claim("j", "i", NOW_US, 0, None, "CNY", "local", "m", None, {"team": "x"})
BY_TOKEN = Price("t", "CNY", "list", per_1m_input_tokens=Decimal("160"), per_1m_output_tokens=Decimal(1_000))


class _MemoryStore(LocalStore):
    """Remembers the claim, and nothing else."""

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


def _cover(store: Store, prices: Sequence[Price], characters: int = 10) -> Cover:
    cover = Cover(store, 0, CLAIM, prices, characters)
    cover.begin()
    return cover


@given(
    spent=st.lists(st.tuples(st.integers(0, 500), st.decimals("0", "9", places=9)), max_size=12),
    prices=st.sampled_from([[PRICE], [BY_TOKEN], [PRICE, BY_TOKEN]]),
)
def test_the_claim_is_never_below_what_may_be_spent(spent: list[tuple[int, Decimal]], prices: list[Price]) -> None:
    """In characters and in money, by whatever price, at every moment when a request may be sent."""
    store = _MemoryStore(Path("nowhere"))
    cover = _cover(store, prices)

    async def spend() -> None:
        characters, cost = 0, Decimal(0)
        for number, (more, money) in enumerate(spent):
            attempt = _attempt(number, more, str(money))
            await cover.add(attempt)
            characters, cost = characters + more, cost + money
            claim = _claimed(store)
            assert claim.characters_upper_bound >= characters
            assert (claim.cost_upper_bound or 0) >= cost
            if number % 3 == 0:
                cover.settle(attempt, settle(attempt, Outcome.FAILED, cost=Decimal(0), cost_upper_bound=Decimal(0)))
                characters, cost = characters - more, cost - money

    asyncio.run(spend())


def test_the_first_claim_is_what_the_rows_are_counted_at(tmp_path: Path) -> None:
    """By characters that is money, too; by tokens nobody knows yet; it names who claims."""
    store = LocalStore(tmp_path)
    _cover(store, [PRICE], 10_000)
    assert replace(_claimed(store), host="", process=0) == replace(
        CLAIM, characters_upper_bound=10_000, cost_upper_bound=Decimal("0.800000000")
    )
    _cover(store, [BY_TOKEN], 10_000)
    assert _claimed(store).characters_upper_bound == 10_000
    assert _claimed(store).cost_upper_bound == Decimal(0)
    _cover(store, [])
    assert _claimed(store).cost_upper_bound is None


def test_a_price_by_token_is_claimed_by_what_was_spent_so_far(tmp_path: Path) -> None:
    """The next raise is as far ahead in money as in characters, so that there are few of them."""
    store = LocalStore(tmp_path)
    cover = _cover(store, [BY_TOKEN], 100)
    asyncio.run(cover.add(_attempt(1, 50, "0.5")))
    claim = _claimed(store)
    assert (claim.characters_upper_bound, claim.cost_upper_bound) == (150, Decimal("1.5"))


def test_what_cannot_be_claimed_is_not_sent(tmp_path: Path) -> None:
    """The error reaches whoever was about to send."""
    (tmp_path / "claims").write_bytes(b"")
    cover = Cover(LocalStore(tmp_path), 0, CLAIM, [PRICE], 10)
    with pytest.raises(StorageError):
        asyncio.run(cover.add(_attempt(1, 50, "0.5")))

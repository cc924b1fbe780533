"""Bills: what was sent for a job, and what its bill must tell, added up in another way than the package does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from tests.builders import FLASH_PRICE, cost_of, descriptor_of, price_of, settlement_of, token_price_of
from tests.datasets import Bench
from tts_pipeline.attempt import Attempt, Outcome, Settlement
from tts_pipeline.config import BudgetCap
from tts_pipeline.dataset.claims import claim_name, read_claim
from tts_pipeline.dataset.descriptor import Descriptor
from tts_pipeline.models import Price, Utterance
from tts_pipeline.money import Cost, SpendBound

PART_ROWS, PARTS = 2, 2
AMPLE, TIGHT = 10**6, 150
"""Characters that a cap allows."""

BY_CHARACTER, TWO_CURRENCIES = "by character", "two currencies"
PRICES: dict[str, Sequence[Price]] = {
    "none": [],
    BY_CHARACTER: [FLASH_PRICE],
    "by token": [token_price_of(price_id="tokens")],
    TWO_CURRENCIES: [FLASH_PRICE, price_of("0.8", "euro", "EUR")],
}
"""Prices by which a job buys, one after another; a price by token bounds no cost before the end of its attempt."""

OUTCOMES = {
    "succeeded": Outcome.SUCCEEDED,
    "discarded": Outcome.DISCARDED,
    "failed": Outcome.FAILED,
    "refused": Outcome.FAILED,
}
"""Of requests that are settled, by their ending; what is refused is surely not billed."""

_COUNTS = ("attempts", "unknown_attempts", "characters_billed", "characters_upper_bound", "implausible_attempts")
_MONEY = ("cost", "cost_upper_bound", "cost_in_question")

NOTHING = SpendBound()


@dataclass
class Sent:
    """What was sent under one journal.

    Args:
        part: The journal's part.
        currency: Of the price.
        attempts: By id, as far as the journal tells how they ended.
        forgotten: How others of them ended, which a power cut took.
        excess: What the service charged beyond its attempts' bounds since the last of them was written down.
        claim: What the bill has in place of the attempts, once the journal is lost.
    """

    part: int
    currency: str | None
    attempts: dict[str, tuple[Attempt, Settlement | None]] = field(default_factory=dict)
    forgotten: dict[str, Settlement] = field(default_factory=dict)
    excess: SpendBound = NOTHING
    claim: Cost | None = None

    @property
    def spent(self) -> SpendBound:
        """What these attempts may have cost, whatever the bill knows of them."""
        attempts = self.attempts.values()
        ends = [(attempt, end or self.forgotten.get(attempt.attempt_id)) for attempt, end in attempts]
        return cost_of_attempts(ends, self.currency).bound

    @property
    def bill(self) -> Cost:
        """What the bill must tell of this journal."""
        return cost_of_attempts(self.attempts.values(), self.currency) if self.claim is None else self.claim


def cost_of_attempts(pairs: Iterable[tuple[Attempt, Settlement | None]], currency: str | None) -> Cost:
    """Add attempts up that have one currency, or none."""
    attempts = list(pairs)
    ends: list[Attempt | Settlement] = [settlement or attempt for attempt, settlement in attempts]
    settled = [settlement for _, settlement in attempts if settlement is not None]
    bounded = [end for end in ends if end.cost_upper_bound is not None]
    implausible = [settlement for settlement in settled if settlement.implausible]
    return Cost(
        attempts=len(ends),
        unknown_attempts=len(ends) - len(settled),
        characters_billed=sum(settlement.characters_billed for settlement in settled),
        characters_upper_bound=sum(end.characters_upper_bound for end in ends),
        characters_without_price=sum(end.characters_upper_bound for end in ends if end.cost_upper_bound is None),
        cost=money_of([end.cost if isinstance(end, Settlement) else Decimal(0) for end in bounded]),
        cost_upper_bound=money_of([end.cost_upper_bound for end in bounded]),
        currency=currency if bounded else None,
        implausible_attempts=len(implausible),
        cost_in_question=money_of([settlement.cost_upper_bound for settlement in implausible]),
    )


def total_of(costs: Iterable[Cost]) -> Cost:
    """Add costs up. The first currency is the sum's; what was spent in another one has no price in it."""
    addends = list(costs)
    currency = next((cost.currency for cost in addends if cost.currency is not None), None)
    same_currency = [cost for cost in addends if cost.currency in {None, currency}]
    foreign = [cost for cost in addends if cost.currency not in {None, currency}]
    values: dict[str, Any] = {name: sum(getattr(cost, name) for cost in addends) for name in _COUNTS}
    values |= {name: money_of(getattr(cost, name) for cost in same_currency) for name in _MONEY}
    unpriced = sum(cost.characters_without_price for cost in same_currency)
    unpriced += sum(cost.characters_upper_bound for cost in foreign)
    return Cost(**values, characters_without_price=unpriced, currency=currency)


def money_of(amounts: Iterable[Decimal | None]) -> Decimal | None:
    """Add amounts up; None when none is known."""
    known = [amount for amount in amounts if amount is not None]
    return sum(known, Decimal(0)) if known else None


def excess_of(higher: SpendBound, lower: SpendBound) -> SpendBound:
    """Return by how much one bound is above another; nothing where it is below."""
    excess = higher.minus(lower)
    return SpendBound(max(excess.characters, 0), max(excess.cost, Decimal(0)))


@dataclass
class Job:
    """A job, and what was sent for it.

    Args:
        bench: The dataset, without a service.
        prices: The name of the prices.
        is_tight: Whether little may be spent.
        sent: By journal, in the order in which the journals were made.
        live: Journals that a process writes to.
        done: Parts that are committed.
        beyond: What the bill may tell beyond the cap: what the service charged beyond the bounds of its attempts, and
            what it did not charge of them, but a power cut or a lost disk took the word of that.
    """

    bench: Bench
    prices: str
    is_tight: bool
    sent: dict[str, Sent] = field(default_factory=dict)
    live: set[str] = field(default_factory=set)
    done: set[int] = field(default_factory=set)
    beyond: SpendBound = NOTHING

    def begin_session(self, index: int) -> None:
        """Buy at the price of a session from now on."""
        prices = PRICES[self.prices][: index + 1][-1:]
        self.bench.prices = {price.price_id: price for price in prices}

    @property
    def descriptor(self) -> Descriptor:
        """The dataset's."""
        return descriptor_of(self.bench.source.rows, PART_ROWS, {"model": "m", "service": "s"})

    @property
    def cap(self) -> BudgetCap:
        """What may be spent: in money where every request has a bound on its cost, else in characters."""
        characters = TIGHT if self.is_tight else AMPLE
        if self.prices == BY_CHARACTER:
            return BudgetCap(cost_of(characters), "CNY", AMPLE)
        return BudgetCap(max_characters=characters)

    @property
    def price(self) -> Price | None:
        """The price of today."""
        return next(iter(self.bench.prices.values()), None)

    @property
    def currency(self) -> str | None:
        """The currency of today's price."""
        return None if self.price is None else self.price.currency

    def bill(self, journal_ids: Iterable[str] | None = None) -> Cost:
        """Return what the bill must tell of some journals; None is all of them, part by part."""
        if journal_ids is None:
            return total_of(self.bill(self.journals_of(number)) for number in range(PARTS))
        return total_of(self.sent[journal_id].bill for journal_id in journal_ids)

    def journals_of(self, number: int) -> list[str]:
        """Return the journals of a part."""
        return [journal_id for journal_id, sent in self.sent.items() if sent.part == number]

    def claimed(self, journal_id: str) -> Cost | None:
        """Return all that the claim of a journal covers; None when there is no claim any more."""
        claim = read_claim(self.bench.store, claim_name(self.sent[journal_id].part, journal_id))
        if claim is None:
            return None
        cost = Cost(attempts=1, unknown_attempts=1, characters_upper_bound=claim.characters_upper_bound)
        if claim.cost_upper_bound is None:
            cost.characters_without_price = claim.characters_upper_bound
        else:
            cost.cost, cost.cost_upper_bound, cost.currency = Decimal(0), claim.cost_upper_bound, claim.currency
        return cost

    def attempt(self, utterance: Utterance, bound: int) -> Attempt:
        """Describe the next request for an utterance, of so many characters at most."""
        price = self.price
        return replace(
            self.bench.attempt(utterance, bound=bound),
            price_id=None if price is None else price.price_id,
            cost_upper_bound=None if price is None or price.per_10k_characters is None else cost_of(bound),
        )

    def settlement(self, attempt: Attempt, ending: str, quarters: int) -> Settlement:
        """Return how a request ended; the service reports so many quarters of our count."""
        counted, reported = attempt.characters_counted, attempt.characters_counted * quarters // 4
        is_plausible = counted <= 4 * reported <= 16 * counted
        billed, at_most = reported if is_plausible else counted, max(counted, reported)
        if is_plausible and ending != "failed":
            at_most = billed
        if ending in {"failed", "refused"}:
            billed, at_most = 0, 0 if ending == "refused" else at_most
        cost, cost_upper_bound = self._costs(billed, at_most, is_known=is_plausible or ending == "refused")
        return settlement_of(
            attempt,
            OUTCOMES[ending],
            characters_billed=billed,
            characters_upper_bound=at_most,
            cost=cost,
            cost_upper_bound=cost_upper_bound,
            implausible=not is_plausible and ending != "refused",
        )

    def _costs(self, billed: int, at_most: int, *, is_known: bool) -> tuple[Decimal | None, Decimal | None]:
        if self.price is None:
            return None, None
        if self.price.per_10k_characters is None and not is_known:  # no tokens are reported: nothing bounds the cost
            return None if billed else Decimal(0), None
        return cost_of(billed), cost_of(at_most)

    def check_cap(self) -> None:
        """Make sure that what is spent and what is claimed beside it are within the cap together."""
        total = self.bill(self.sent.keys() - self.live).bound
        for claimed in filter(None, map(self.claimed, self.live)):
            total = total.plus(claimed.bound)
        assert SpendBound.of_cap(self.cap).plus(self.beyond).covers(total), "cap"

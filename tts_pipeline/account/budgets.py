"""The budgets of an account store: their amounts, periods and conditions.

Each change counts ``revision`` up, by which a running job learns of it with its next heartbeat.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from tts_pipeline.account.amounts import Amount, nano_of
from tts_pipeline.account.database import Row, Transaction
from tts_pipeline.card import Card
from tts_pipeline.errors import ConfigurationError, did_you_mean
from tts_pipeline.money import price_at
from tts_pipeline.periods import PeriodKind, check_timezone, instant, microseconds


@dataclass(frozen=True, slots=True)
class Condition:
    """The attempts that a budget counts: all that is given must match; nothing given matches every attempt."""

    tags: Mapping[str, str] = field(default_factory=dict)
    service: str | None = None
    model: str | None = None

    def __str__(self) -> str:
        names = [("service", self.service), ("model", self.model), *self.tags.items()]
        return ", ".join(f"{name}={value}" for name, value in names if value is not None) or "every request"

    def matches(self, service: str, model: str, tags: Mapping[str, str]) -> bool:
        """Return whether an attempt with these tags at this service and model counts."""
        return (
            self.service in (None, service)
            and self.model in (None, model)
            and all(tags.get(key) == value for key, value in self.tags.items())
        )


@dataclass(frozen=True, slots=True)
class Terms:
    """A budget as people set it. ``timezone`` is None for the periods ``run`` and ``ever``."""

    name: str
    amount: Amount
    period: PeriodKind
    timezone: str | None = None
    condition: Condition = field(default_factory=Condition)

    @property
    def per(self) -> str:
        """The period, for people."""
        return self.period if self.timezone is None else f"{self.period} ({self.timezone})"


@dataclass(frozen=True, slots=True)
class Budget:
    """A budget of the store; one that was removed and set again is another one."""

    budget_id: str
    terms: Terms
    created_at: datetime


_COLUMNS = "budget_id, name, amount, currency, period, timezone, service, model, tags, created_wall_us"
_SELECT = f"SELECT {_COLUMNS} FROM tts_budget WHERE removed_wall_us IS NULL"


def revision(meta: Mapping[str, str]) -> int:
    """Return a number that is another one after each change of a budget, from what the store says of itself."""
    return int(meta["budget_revision"])


def list_budgets(transaction: Transaction) -> list[Budget]:
    """Return all budgets, by name."""
    return sorted(map(_budget, transaction.execute(_SELECT)), key=lambda budget: budget.terms.name)


def set_budget(transaction: Transaction, terms: Terms) -> Budget | None:
    """Add a budget, or change the amount and the condition of the one with this name, which keeps what was spent.

    The transaction has to be durable. Returns the budget as it was before; None for a new one.

    Raises:
        ConfigurationError: The time zone is missing or unknown, or the budget has another period, time zone or unit.
    """
    _check(terms)
    _change(transaction)
    budget = _find(transaction, terms.name)
    condition, amount = terms.condition, terms.amount
    values = (amount.value, condition.service, condition.model, _to_json(condition.tags))
    if budget is not None:
        _check_change(budget.terms, terms)
        transaction.execute(
            "UPDATE tts_budget SET amount = ?, service = ?, model = ?, tags = ? WHERE budget_id = ?",
            (*values, budget.budget_id),
        )
        return budget
    _insert(transaction, Budget(uuid.uuid4().hex, terms, instant(transaction.wall_us())))
    return None


def restore(transaction: Transaction, budgets: Iterable[Budget]) -> None:
    """Bring budgets back to a store that was lost, unless another one has the name by now.

    The transaction has to be durable.
    """
    _change(transaction)
    for budget in budgets:
        if _find(transaction, budget.terms.name) is None:
            _insert(transaction, budget)


def remove_budget(transaction: Transaction, name: str) -> Budget:
    """Remove a budget and return it; what was spent of it stays in the store. The transaction has to be durable.

    Raises:
        ConfigurationError: There is no such budget.
    """
    _change(transaction)
    budget = _find(transaction, name)
    if budget is None:
        names = [budget.terms.name for budget in list_budgets(transaction)]
        raise ConfigurationError(
            f"the account store has no budget {name!r}",
            hint=f"{did_you_mean(name, names)}See tts-pipeline budget list",
        )
    transaction.execute(
        "UPDATE tts_budget SET removed_wall_us = ? WHERE budget_id = ?", (transaction.wall_us(), budget.budget_id)
    )
    return budget


def matching(
    budgets: Iterable[Budget], service: str, model: str, tags: Mapping[str, str], tag_columns: Collection[str] = ()
) -> list[Budget]:
    """Return the budgets that count the attempts of a job, before anything is sent.

    Args:
        budgets: Those of the store.
        service: The service's name, as in the usage table.
        model: The model's name, as it is sent.
        tags: The job's tags.
        tag_columns: The tags that the job takes from columns, row by row.

    Raises:
        ConfigurationError: Whether a budget counts an attempt depends on its row.
    """
    matches = []
    for budget in budgets:
        condition = budget.terms.condition
        by_row = {tag: value for tag, value in condition.tags.items() if tag in tag_columns}
        if condition.matches(service, model, {**tags, **by_row}):
            if by_row:
                raise _row_error(budget.terms, by_row)
            matches.append(budget)
    return matches


def check_prices(budgets: Iterable[Budget], card: Card, at: datetime) -> None:
    """Check that budgets of money can be kept with a model's price of an instant, before anything is sent.

    Raises:
        ConfigurationError: A budget has another currency than the price, the model has no price, or a price by token
            has no bound for the tokens of audio.
    """
    price = price_at(card.prices, at)
    model = f"{card.model} on {card.service}"
    for terms in (budget.terms for budget in budgets):
        if terms.amount.currency is None:
            continue
        counts = f"the budget {terms.name!r} of {terms.amount} counts this job ({terms.condition})"
        if price is None:
            raise ConfigurationError(
                f"{counts}, but no price is known for {model} today: what a request costs cannot be reserved",
                hint="give a price with `prices`, or set the budget in characters, or with a condition for other jobs",
            )
        if price.currency != terms.amount.currency:
            raise ConfigurationError(
                f"{counts}, but the price of {model} is in {price.currency}",
                hint=f"give your own price in {terms.amount.currency} with `prices`, or set the budget with a "
                "condition (a service, a model or a tag) that leaves this job out",
            )
        if card.billing == "tokens" and card.output_tokens_per_second is None:
            raise ConfigurationError(
                f"{counts}, but {model} is billed by the tokens of its audio, and its tokens per second are not known",
                hint="set output_tokens_per_second on its card with `catalog`, or set the budget in characters",
            )


def amount_of(budget: Budget, characters: int, cost: Decimal | None) -> int | None:
    """Return an attempt's amount in a budget's unit; None for money without a price."""
    if budget.terms.amount.currency is None:
        return characters
    return None if cost is None else nano_of(cost)


def _row_error(terms: Terms, by_row: Mapping[str, str]) -> ConfigurationError:
    (tag, value), *_ = by_row.items()
    return ConfigurationError(
        f"the budget {terms.name!r} counts requests with the tag {tag}={value}, and this job takes {tag!r} from a "
        "column, row by row: what it would spend of the budget is not known before the rows are read",
        hint=f"make one job for each value of the column, with `tags={{{tag!r}: {value!r}}}` in place of "
        "`tag_columns`; or set the budget with a condition on another tag, the service or the model",
    )


def _check(terms: Terms) -> None:
    if not terms.name or not terms.name.isprintable():
        raise ConfigurationError(f"{terms.name!r} is no name for a budget", hint="use letters, such as radio")
    check_timezone(terms.period, terms.timezone)


def _check_change(old: Terms, new: Terms) -> None:
    facts = (
        ("is per", old.per, new.per),
        ("is in", old.amount.unit, new.amount.unit),
    )
    for words, before, after in facts:
        if before != after:
            raise ConfigurationError(
                f"the budget {old.name!r} {words} {before}, which cannot become {after}: what was spent is counted so",
                hint=f"first run tts-pipeline budget remove {old.name}; the new budget then begins at 0",
            )


def _change(transaction: Transaction) -> None:
    """Let no other process change budgets until the transaction ends, and count the change."""
    ((value,),) = transaction.execute("SELECT value FROM tts_meta WHERE name = 'budget_revision' FOR UPDATE")
    transaction.execute("UPDATE tts_meta SET value = ? WHERE name = 'budget_revision'", (str(int(value) + 1),))


def _insert(transaction: Transaction, budget: Budget) -> None:
    terms, condition = budget.terms, budget.terms.condition
    transaction.execute(
        "INSERT INTO tts_budget (budget_id, name, amount, currency, period, timezone, service, model, tags,"
        " created_wall_us) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            budget.budget_id,
            terms.name,
            terms.amount.value,
            terms.amount.currency,
            terms.period,
            terms.timezone,
            condition.service,
            condition.model,
            _to_json(condition.tags),
            microseconds(budget.created_at),
        ),
    )


def _find(transaction: Transaction, name: str) -> Budget | None:
    rows = transaction.execute(f"{_SELECT} AND name = ?", (name,))
    return _budget(rows[0]) if rows else None


def _budget(row: Row) -> Budget:
    budget_id, name, amount, currency, period, timezone, service, model, tags, created_wall_us = row
    condition = Condition(json.loads(tags), service, model)
    terms = Terms(name, Amount(amount, currency), period, timezone, condition)
    return Budget(budget_id, terms, instant(created_wall_us))


def _to_json(tags: Mapping[str, str]) -> str:
    return json.dumps(dict(sorted(tags.items())), ensure_ascii=False)

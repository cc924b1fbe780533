"""Budgets: what a second setting changes, which jobs they count, and what is refused before anything is sent."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from tests.postgres import AccountDatabase
from tts_pipeline.account.amounts import Amount
from tts_pipeline.account.budgets import (
    Budget,
    Condition,
    Terms,
    check_prices,
    list_budgets,
    matching,
    remove_budget,
    revision,
    set_budget,
)
from tts_pipeline.account.database import Database
from tts_pipeline.account.schema import migrate, read_meta
from tts_pipeline.card import Card
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.models import Price

RADIO = Terms("radio", Amount(2_000 * 10**9, "CNY"), "month", "Asia/Shanghai", Condition({"team": "radio"}))
DAY = date(2026, 11, 30)
NOW = datetime(2026, 11, 30, tzinfo=UTC)


@pytest.fixture
def database(account_database: AccountDatabase) -> Database:
    """An empty account store of each kind."""
    database = account_database()
    migrate(database)
    return database


def _set(database: Database, terms: Terms) -> Budget | None:
    with database.transaction(durable=True) as transaction:
        return set_budget(transaction, terms)


def _list(database: Database) -> list[Budget]:
    with database.transaction() as transaction:
        return list_budgets(transaction)


def _revision(database: Database) -> int:
    with database.transaction() as transaction:
        return revision(read_meta(transaction))


def test_a_budget_is_kept_as_it_was_set(database: Database) -> None:
    """By name, with all of its terms; each change is another revision."""
    before = _revision(database)
    everything = Terms("all", Amount(10**6, None), "run", None, Condition({"a": "ä=1", "b": ""}, "local", "m"))
    assert _set(database, RADIO) is None
    assert _set(database, everything) is None
    assert [budget.terms for budget in _list(database)] == [everything, RADIO]
    assert _revision(database) == before + 2


def test_a_second_setting_changes_amount_and_condition(database: Database) -> None:
    """It is the same budget, so what was spent stays counted."""
    _set(database, RADIO)
    (first,) = _list(database)
    changed = replace(RADIO, amount=Amount(0, "CNY"), condition=Condition(service="baze"))
    assert _set(database, changed) == first
    assert _list(database) == [replace(first, terms=changed)]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (replace(RADIO, period="day"), r"is per month \(Asia/Shanghai\), which cannot become day"),
        (replace(RADIO, timezone="UTC"), r"cannot become month \(UTC\)"),
        (replace(RADIO, amount=Amount(1, "USD")), "is in CNY, which cannot become USD"),
        (replace(RADIO, amount=Amount(1, None)), "is in CNY, which cannot become characters"),
    ],
)
def test_period_time_zone_and_unit_stay(database: Database, other: Terms, words: str) -> None:
    """What was spent was counted by them: it says to remove the budget first, and changes nothing."""
    _set(database, RADIO)
    before = _revision(database)
    with pytest.raises(ConfigurationError, match=words) as raised:
        _set(database, other)
    assert "budget remove radio" in str(raised.value)
    assert [budget.terms for budget in _list(database)] == [RADIO]
    assert _revision(database) == before


def test_a_removed_budget_is_another_one_when_set_again(database: Database) -> None:
    """With any terms; the rows of the first one stay."""
    _set(database, RADIO)
    (first,) = _list(database)
    before = _revision(database)
    with database.transaction(durable=True) as transaction:
        assert remove_budget(transaction, "radio") == first
    assert _list(database) == []
    assert _revision(database) == before + 1
    again = Terms("radio", Amount(5, None), "ever")
    _set(database, again)
    (second,) = _list(database)
    assert second.terms == again
    assert second.budget_id != first.budget_id
    with pytest.raises(ConfigurationError, match="Did you mean 'radio'"), database.transaction() as transaction:
        remove_budget(transaction, "rado")


def test_several_people_set_one_budget(account_database: AccountDatabase) -> None:
    """At the same time: it is one budget, and every change is counted."""
    database = account_database()
    migrate(database)

    def set_one(characters: int) -> Budget | None:
        with closing(account_database()) as own:
            return _set(own, replace(RADIO, amount=Amount(characters, "CNY")))

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(set_one, range(8)))
    assert results.count(None) == 1
    assert len(_list(database)) == 1
    assert _revision(database) == 8


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        (replace(RADIO, timezone=None), "needs a time zone"),
        (replace(RADIO, timezone="Nowhere/City"), "no time zone"),
        (replace(RADIO, period="ever"), "has no time zone"),
        (replace(RADIO, name=""), "no name"),
        (replace(RADIO, name="a\nb"), "no name"),
    ],
)
def test_wrong_terms_are_refused(database: Database, terms: Terms, words: str) -> None:
    """Before anything is stored."""
    with pytest.raises(ConfigurationError, match=words):
        _set(database, terms)
    assert _list(database) == []


def _budget(condition: Condition, amount: Amount = RADIO.amount) -> Budget:
    terms = Terms("radio", amount, "ever", None, condition)
    return Budget("id", terms, datetime(2026, 11, 30, tzinfo=UTC))


@pytest.mark.parametrize(
    ("condition", "is_match"),
    [
        (Condition(), True),
        (Condition({"team": "radio"}), True),
        (Condition({"team": "radio", "show": "news"}), True),
        (Condition({"team": "radio"}, "baze", "qwen"), True),
        (Condition({"team": "Radio"}), False),
        (Condition({"team": ""}), False),
        (Condition({"absent": ""}), False),
        (Condition({"team": "radio", "absent": "x"}), False),
        (Condition({"team": "radio"}, "local"), False),
        (Condition({"team": "radio"}, None, "qwen2"), False),
    ],
)
def test_all_that_is_given_has_to_match(condition: Condition, is_match: bool) -> None:
    """Tags, service and model; without a condition, everything matches."""
    budget = _budget(condition)
    assert matching([budget], "baze", "qwen", {"team": "radio", "show": "news"}) == [budget] * is_match
    assert condition != Condition() or matching([budget], "any", "any", {}) == [budget]


def test_a_tag_from_a_column_is_refused() -> None:
    """It differs from row to row; unless the rest of the condition leaves the job out."""
    budget = _budget(Condition({"team": "radio"}, "baze"))
    with pytest.raises(ConfigurationError, match="row by row") as raised:
        matching([budget], "baze", "qwen", {"team": "tv"}, ["team"])
    assert "`tags={'team': 'radio'}`" in str(raised.value)
    assert matching([budget], "local", "qwen", {}, ["team"]) == []
    assert matching([budget], "baze", "qwen", {"team": "radio"}, ["show"]) == [budget]


def _card(*prices: Price, **facts: object) -> Card:
    return Card("baze", "qwen", prices=prices, **facts)  # type: ignore[arg-type] # the fields of a card


CNY = Price("p", "CNY", "list", per_10k_characters=Decimal("0.8"))


@pytest.mark.parametrize(
    ("card", "words"),
    [
        (_card(), "no price is known for qwen on baze"),
        (_card(replace(CNY, effective_until=DAY)), "no price is known"),
        (_card(replace(CNY, currency="USD")), "the price of qwen on baze is in USD"),
        (_card(CNY, billing="tokens"), "tokens per second are not known"),
    ],
)
def test_money_that_cannot_be_counted_is_refused(card: Card, words: str) -> None:
    """It names the budget; a budget of characters needs no price."""
    with pytest.raises(ConfigurationError, match=f"the budget 'radio' of 2,000 CNY counts.*{words}"):
        check_prices([_budget(Condition())], card, NOW)
    check_prices([_budget(Condition(), Amount(1, None))], card, NOW)


def test_money_in_the_currency_of_the_price_is_counted() -> None:
    """By characters, or by tokens with a bound."""
    check_prices([_budget(Condition())], _card(CNY), NOW)
    check_prices([_budget(Condition())], _card(CNY, billing="tokens", output_tokens_per_second=50), NOW)

"""Amounts of budgets: exact, with their unit, there and back."""

from __future__ import annotations

from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts_pipeline.account.amounts import Amount, nano_of, parse_amount


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("2000CNY", Amount(2_000 * 10**9, "CNY")),
        ("0.5 usd", Amount(5 * 10**8, "USD")),
        (" 1.000000001EUR ", Amount(1_000_000_001, "EUR")),
        ("1.5000000000000CNY", Amount(15 * 10**8, "CNY")),
        ("0CNY", Amount(0, "CNY")),
        ("2000000 characters", Amount(2_000_000, None)),
        ("2000000characters", Amount(2_000_000, None)),
        ("1 character", Amount(1, None)),
        ("1.0 characters", Amount(1, None)),
    ],
)
def test_an_amount_has_a_unit(text: str, amount: Amount) -> None:
    """A currency, or characters."""
    assert parse_amount(text) == amount


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2000", "with its unit"),
        ("-1CNY", "without signs or commas, not '-1CNY'"),
        ("1e3CNY", "with its unit"),
        ("2,000CNY", "such as 500CNY, .* without signs or commas"),
        ("$500", "0.5USD .* without signs or commas"),
        ("500 dollars", "0.5USD"),
        ("CNY2000", "with its unit"),
        ("0.0000000001CNY", "9 decimals"),
        ("1.5 characters", "whole characters"),
        ("9000000000.1CNY", "9,000,000,000 CNY at most"),
        ("9000000000000000001 characters", "at most"),
    ],
)
def test_another_text_is_refused(text: str, words: str) -> None:
    """It says what an amount must be."""
    with pytest.raises(ValueError, match=words):
        parse_amount(text)


@given(st.integers(0, 9 * 10**18), st.sampled_from(["CNY", None]))
def test_an_amount_survives_the_way_to_text_and_back(value: int, currency: str | None) -> None:
    """Exactly, whatever its size."""
    amount = Amount(value, currency)
    assert parse_amount(f"{amount.number} {amount.unit}") == amount
    assert parse_amount(str(amount).replace(",", "")) == amount


@given(st.integers(-(10**18), 10**18))
def test_a_cost_becomes_a_whole_number(value: int) -> None:
    """Whatever the decimal context; a bound that is finer is rounded up, so that it stays a bound."""
    with localcontext(prec=3):
        assert nano_of(Decimal(f"{value}e-9")) == value
        assert nano_of(Decimal(f"{value}1e-10")) == value + (value >= 0)


def test_people_read_thousands() -> None:
    """And a negative amount: a budget that was lowered below what is spent."""
    assert str(Amount(-1_234_500_000_000, "CNY")) == "-1,234.5 CNY"
    assert str(Amount(2_000_000, None)) == "2,000,000 characters"
    assert Amount(1_200_000_000_000, "CNY").number == "1200"

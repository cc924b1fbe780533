"""The amounts of budgets: money as a whole number of 1e-9 of its currency, or characters."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

CHARACTERS = "characters"

NANO_DIGITS = 9
_MAX_VALUE = 9 * 10**18
"""A database's integers end soon above it."""

_AMOUNT = re.compile(r"([0-9]+)(?:\.([0-9]+))?\s*(characters?|[A-Za-z]{3})")


@dataclass(frozen=True, slots=True)
class Amount:
    """An amount: ``value`` counts units of 1e-9 of ``currency``, or characters if that is None."""

    value: int
    currency: str | None

    @property
    def unit(self) -> str:
        """The currency, or ``characters``."""
        return self.currency or CHARACTERS

    @property
    def number(self) -> str:
        """The exact number of units, without zeros at its end."""
        return _number(self.value, self.currency, "f")

    def __str__(self) -> str:
        return f"{_number(self.value, self.currency, ',f')} {self.unit}"


def _number(value: int, currency: str | None, form: str) -> str:
    text = format(Decimal(value) if currency is None else Decimal(f"{value}e-{NANO_DIGITS}"), form)
    return text.rstrip("0").rstrip(".") if "." in text else text


def nano_of(cost: Decimal) -> int:
    """Return money in units of 1e-9: exact for every cost of a bill; more decimals are rounded up, as of a bound."""
    numerator, denominator = cost.as_integer_ratio()
    return -(-numerator * 1_000_000_000 // denominator)


def parse_amount(text: str) -> Amount:
    """Parse ``500CNY``, ``0.5 USD`` or ``2000000 characters``, exactly.

    Raises:
        ValueError: The text is no amount, or too fine or too large to be kept exactly; says what it must be.
    """
    match = _AMOUNT.fullmatch(text.strip())
    if match is None:
        raise ValueError(
            "must be an amount with its unit, such as 500CNY, 0.5USD or 2000000 characters, without signs or commas, "
            f"not {text!r}"
        )
    whole, decimals, unit = match[1], (match[2] or "").rstrip("0"), match[3]
    is_money = not unit.startswith("character")
    if len(decimals) > (NANO_DIGITS if is_money else 0):
        raise ValueError(f"must be in {f'{NANO_DIGITS} decimals' if is_money else 'whole characters'}, not {text!r}")
    value = int(whole + decimals.ljust(NANO_DIGITS, "0")) if is_money else int(whole)
    if value > _MAX_VALUE:
        raise ValueError(f"must be {Amount(_MAX_VALUE, unit.upper() if is_money else None)} at most, not {text}")
    return Amount(value, unit.upper() if is_money else None)

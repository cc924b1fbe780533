from __future__ import annotations

from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts_pipeline.dataset.totals import Totals, parse_totals
from tts_pipeline.errors import StorageError
from tts_pipeline.money import Cost

COUNTS = st.integers(0, 10**12)
SOUND: dict[str, Any] = {"characters_billed": 5, "characters_upper_bound": 9, "cost": "0.1", "cost_upper_bound": "0.2"}
MONEY = st.none() | st.decimals(0, 10**6, places=9)
TOTALS = st.builds(
    Totals,
    **dict.fromkeys(("rows", "speech", "rejects", "attempts", "unknown_attempts", "reused"), COUNTS),
    characters_billed=COUNTS,
    characters_upper_bound=COUNTS,
    cost=MONEY,
    cost_upper_bound=MONEY,
    currency=st.sampled_from([None, "CNY"]),
    audio_ms=COUNTS,
)


@given(totals=TOTALS)
def test_totals_survive_json(totals: Totals) -> None:
    """Counts and money come back exactly from a marker; unknown keys are ignored."""
    values = orjson.loads(orjson.dumps({**totals.to_json(), "of a later version": 1}))
    assert Totals.from_json(values) == totals


@given(first=TOTALS, other=TOTALS)
def test_adding_adds_every_count(first: Totals, other: Totals) -> None:
    """The sum has every count of both; money is exact."""
    both = Totals()
    both.add(first)
    both.add(other)
    for name in ("rows", "speech", "rejects", "attempts", "unknown_attempts", "reused", "audio_ms"):
        assert getattr(both, name) == getattr(first, name) + getattr(other, name)
    assert both.characters_billed == first.characters_billed + other.characters_billed
    assert both.characters_upper_bound == first.characters_upper_bound + other.characters_upper_bound
    costs = [cost for cost in (first.cost, other.cost) if cost is not None]
    assert both.cost == (sum(costs) if costs else None)


def test_cost_stays_unknown_until_something_has_a_price() -> None:
    """Unknown is not 0: adding None leaves None; adding money makes the cost known."""
    totals = Totals()
    totals.add(Totals(rows=1))
    assert totals == Totals(rows=1)
    totals.add(Cost(cost=Decimal("0.5"), cost_upper_bound=Decimal(1), currency="CNY"))
    totals.add(Cost())
    assert totals == Totals(rows=1, cost=Decimal("0.5"), cost_upper_bound=Decimal(1), currency="CNY")


def test_what_is_in_question_adds_up() -> None:
    """Implausible attempts add up like all other counts; totals from before this count have none."""
    totals = Totals.from_json(SOUND)
    assert (totals.implausible_attempts, totals.cost_in_question) == (0, None)
    totals.add(Cost(implausible_attempts=1, cost_in_question=Decimal("0.2")))
    totals.add(Cost(implausible_attempts=1))
    totals.add(Totals.from_json(totals.to_json()))
    assert (totals.implausible_attempts, totals.cost_in_question) == (4, Decimal("0.4"))


@pytest.mark.parametrize(
    "damage",
    [
        {"characters_billed": -1},
        {"characters_billed": 10},
        {"cost": "-0.1"},
        {"cost": "0.3"},
        {"cost": "NaN"},
        {"cost_upper_bound": "much"},
        {"attempts": -1},
        {"rows": "all"},
        {"cost_in_question": "-1"},
    ],
)
def test_amounts_that_cannot_be_true_are_refused(damage: dict[str, Any]) -> None:
    """Such a marker does not widen a cap: the error names the file."""
    with pytest.raises(StorageError, match=r"part-00007\.json is damaged"):
        parse_totals("done/part-00007.json", SOUND | damage)

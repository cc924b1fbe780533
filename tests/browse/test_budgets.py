"""The page reads the budgets of the account store, and neither makes nor changes one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tts_pipeline.account import budgets
from tts_pipeline.account.amounts import parse_amount
from tts_pipeline.account.budgets import Condition, Terms
from tts_pipeline.account.location import find_store
from tts_pipeline.account.schema import migrate
from tts_pipeline.browse.budgets import read_budgets

NOTHING: dict[str, Any] = {"rows": [], "trouble": None}


def test_no_store_is_made(tmp_path: Path) -> None:
    """Without a store there are no budgets."""
    assert read_budgets(find_store(str(tmp_path / "account.db"))) == NOTHING
    assert list(tmp_path.iterdir()) == []
    assert read_budgets(None) == NOTHING


def test_budgets_are_told_with_their_condition(tmp_path: Path) -> None:
    """Exact amounts as text, each in its unit."""
    location = find_store(str(tmp_path / "account.db"))
    assert location is not None
    database = location.open()
    migrate(database)
    with database.transaction(durable=True) as transaction:
        condition = Condition({"team": "radio"})
        budgets.set_budget(transaction, Terms("radio", parse_amount("500.25 CNY"), "month", "UTC", condition))
        budgets.set_budget(transaction, Terms("all", parse_amount("9 characters"), "ever", None, Condition()))
    database.close()
    found = read_budgets(location)
    rows = {row["name"]: row for row in found["rows"]}
    assert (rows["radio"]["amount"], rows["radio"]["left"], rows["radio"]["unit"]) == ("500.25", "500.25", "CNY")
    assert (rows["radio"]["condition"], rows["radio"]["exceeds"]) == ("team=radio", False)
    assert (rows["all"]["unit"], rows["all"]["period"], rows["all"]["forecast"]) == ("characters", "ever", None)
    assert found["trouble"] is None


def test_a_store_that_is_damaged_is_told(tmp_path: Path) -> None:
    """It does not hide the bill."""
    (tmp_path / "account.db").write_bytes(b"not a database, but many bytes of something else" * 100)
    found = read_budgets(find_store(str(tmp_path / "account.db")))
    assert found["rows"] == []
    assert "account.db" in found["trouble"]

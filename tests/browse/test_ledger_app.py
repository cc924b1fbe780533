"""The server of the ledger's page as any client meets it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.browse.conftest import served
from tests.browse.ledgers import write_ledger
from tests.browse.test_app import get
from tests.browse.test_serve import refused

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def ledger_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a ledger's page."""
    folder = tmp_path_factory.mktemp("ledger")
    write_ledger(folder, NOW)
    with served("--ledger", folder / "ledger", "--timezone", "Asia/Shanghai") as url:
        yield url


def test_money_is_text_and_the_time_zone_is_the_chosen_one(ledger_site: str) -> None:
    """Exact, never a float."""
    bill = json.loads(get(ledger_site, "/api/bill?month=all").body)
    assert (bill["timezone"], bill["totals"][0]["cost"]) == ("Asia/Shanghai", "0.000005920")
    assert bill["place"].endswith("/ledger")


@pytest.mark.parametrize("query", ["month=2026-13", "month=../x", "timezone=Nowhere", "timezone=../../etc/passwd"])
def test_a_wrong_question_is_told(ledger_site: str, query: str) -> None:
    """As JSON."""
    reply = get(ledger_site, f"/api/bill?{query}")
    assert (reply.status, bool(json.loads(reply.body)["error"])) == (400, True)


def test_it_is_guarded_as_a_dataset_is(ledger_site: str) -> None:
    """Against foreign names; no file of the ledger is served, and nothing is changed."""
    assert get(ledger_site, "/api/bill", Host="evil.example").status == 403
    assert "default-src 'none'" in get(ledger_site, "/").headers["Content-Security-Policy"]
    assert get(ledger_site, "/ledger.json").status == 404
    assert get(ledger_site, "/api/bill", "POST").status == 405


def test_what_cannot_be_shown_is_refused(dataset: Path, tmp_path: Path) -> None:
    """Neither or both of dataset and ledger, no ledger, no time zone."""
    assert "a dataset or the ledger" in refused()
    assert "a dataset or the ledger" in refused(str(dataset), "--ledger", str(tmp_path))
    assert "no ledger yet" in refused("--ledger", str(tmp_path / "none"))
    assert not (tmp_path / "none").exists()
    assert "set to none" in refused("--ledger", "none")
    assert "is a dataset, not a ledger" in refused("--ledger", str(dataset))
    assert "no time zone" in refused(str(dataset), "--timezone", "Asia/Shanghia")

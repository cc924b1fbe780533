"""Waste, savings, hours, unit costs and rates, each by hand."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.report.test_usage import a_request, write_dataset
from tts_pipeline.report import usage_report

HOUR_MS = 3_600_000


def _priced(cost: str, at_most: str | None = None, **more: Any) -> dict[str, Any]:
    bound = Decimal(cost if at_most is None else at_most)
    return a_request(cost=Decimal(cost), cost_upper_bound=bound, currency="CNY", **more)


def _report(tmp_path: Path, *rows: dict[str, Any]) -> dict[str, Any]:
    (row,) = usage_report([write_dataset(str(tmp_path / "out"), tmp_path, *rows)]).to_dicts()
    return row


def test_waste_has_four_kinds(tmp_path: Path) -> None:
    """Failed and unknown at their most; discarded audio, with or without another answer that was kept."""
    row = _report(
        tmp_path,
        _priced("10"),
        _priced("0", "1", outcome="failed", error_code="InternalError"),
        _priced("0", "0", outcome="failed", error_code="InvalidParameter"),
        _priced("2", outcome="discarded"),
        _priced("4", outcome="discarded", error_code="Retaken"),
        _priced("0", "8", outcome="unknown"),
    )
    names = ("wasted", "wasted_failed", "wasted_discarded", "wasted_retaken", "wasted_unknown")
    assert [row[name] for name in names] == [Decimal(15), Decimal(1), Decimal(2), Decimal(4), Decimal(8)]
    assert (row["cost"], row["cost_upper_bound"]) == (Decimal(16), Decimal(25))


def test_waste_that_nobody_knows_is_null(tmp_path: Path) -> None:
    """Without a price nothing is wasted for 0."""
    row = _report(tmp_path, a_request(), a_request(outcome="failed"), a_request(outcome="discarded"))
    assert (row["wasted"], row["wasted_failed"], row["saved"], row["cost_per_10k_characters"]) == (None,) * 4


def test_waste_of_one_kind_may_be_unknown(tmp_path: Path) -> None:
    """Beside requests with a price: what a failed or discarded request cost is not known, and not 0."""
    for outcome, unknown in (("failed", ["failed"]), ("unknown", ["unknown"]), ("discarded", ["discarded", "retaken"])):
        lost = a_request(outcome=outcome, currency="CNY")
        row = _report(tmp_path / outcome, _priced("1"), _priced("1", outcome="succeeded"), lost)
        kinds = ("failed", "discarded", "retaken", "unknown")
        assert [row[f"wasted_{kind}"] for kind in kinds] == [None if kind in unknown else 0 for kind in kinds]
        assert (row["wasted"], row["cost"], row["requests_without_cost"]) == (None, 2, 1)


def test_units_cost_what_all_requests_cost(tmp_path: Path) -> None:
    """Half an hour of audio for 3 CNY, of which 1 was wasted, is 6 an hour; 40 characters of 3 CNY are 750 a 10,000."""
    row = _report(
        tmp_path,
        *(_priced("1", audio_ms=HOUR_MS // 4, characters_billed=20, characters_upper_bound=20) for _ in range(2)),
        _priced("1", audio_ms=HOUR_MS, outcome="discarded", characters_billed=0, characters_upper_bound=20),
    )
    assert (row["audio_hours"], row["cost_per_hour"], row["cost_per_10k_characters"]) == (0.5, Decimal(6), Decimal(750))


def test_a_length_that_is_not_known_makes_no_cheap_hour(tmp_path: Path) -> None:
    """Usage of an earlier version has no lengths."""
    row = _report(tmp_path, _priced("1", audio_ms=HOUR_MS), _priced("1"))
    assert (row["audio_hours"], row["cost_per_hour"]) == (1.0, None)
    row = _report(tmp_path / "earlier", _priced("1"))
    assert (row["audio_hours"], row["cost_per_hour"]) == (None, None)
    row = _report(tmp_path / "failed", _priced("0", "1", outcome="failed"))
    assert (row["audio_hours"], row["cost_per_hour"]) == (0.0, None)


def test_the_rate_is_of_what_has_a_list_price(tmp_path: Path) -> None:
    """A contract of 6 for a list price of 8; a request without a list price does not make it look dearer."""
    row = _report(tmp_path, _priced("6", list_cost=Decimal(8)), _priced("6"))
    assert (row["list_cost"], row["effective_rate"]) == (Decimal(8), 0.75)
    row = _report(tmp_path / "none", _priced("6"))
    assert (row["list_cost"], row["effective_rate"]) == (None, None)


def test_reports_that_are_not_our_count_are_counted(tmp_path: Path) -> None:
    """A service that reports nothing contradicts nobody."""
    row = _report(tmp_path, *(a_request(characters_reported=number) for number in (10, 11, None)))
    assert row["mismatches"] == 1


def test_currencies_and_units_stay_apart(tmp_path: Path) -> None:
    """Each currency has its own unit costs."""
    rows = [_priced("1", audio_ms=HOUR_MS) | {"currency": currency} for currency in ("CNY", "USD")]
    report = usage_report([write_dataset(str(tmp_path / "out"), tmp_path, *rows, _priced("3", audio_ms=HOUR_MS))])
    assert report.select("currency", "cost_per_hour").rows() == [("CNY", Decimal(2)), ("USD", Decimal(1))]

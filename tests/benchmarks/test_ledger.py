"""The benchmark of a ledger, in small."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.ledger import STEPS, generate
from benchmarks.scenarios.ledger import check_answers
from tts_pipeline.ledger import Ledger
from tts_pipeline.storage.local_store import LocalStore


def test_all_ways_to_read_a_month_have_one_answer(tmp_path: Path) -> None:
    """Reports from files, from frozen rows and from their sums, and DuckDB; the page has as many requests."""
    Ledger(LocalStore(tmp_path)).make()
    generate(tmp_path, rows=5_000, files=7)
    steps = ("report", "report from rows", "DuckDB", "page", "compact", "report", "report from rows", "DuckDB", "page")
    figures = [{"step": step, "result": STEPS[step](tmp_path)} for step in steps]
    by_step = {figure["step"]: figure["result"] for figure in figures}
    assert by_step["compact"] == sum(requests for requests, _ in by_step["page"]) == 5_000
    check_answers([figure for figure in figures if figure["step"] != "page"])


def test_other_answers_are_an_error() -> None:
    """Times of different answers say nothing."""
    row = {"tag:team": "radio", "currency": "CNY", "requests": 1, "characters_billed": 5, "cost": "0.1"}
    figures = [{"step": "report", "result": {"report": [{**row, "requests": requests}]}} for requests in (1, 2)]
    with pytest.raises(RuntimeError, match="answers differ"):
        check_answers(figures)

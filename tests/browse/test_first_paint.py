"""How long a person waits for the page of a million rows. Measured and printed; a busy machine is no failure."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from tests.browse.conftest import served
from tests.browse.million import write_million
from tests.machine import patience

pytest.importorskip("playwright")

from playwright.sync_api import Page, expect

from tests.browse.chromium import opened, started

PATIENCE_MS = patience(60_000)


def first_rows_ms(page: Page, url: str, rows: int) -> float:
    """Open the page and return after how many ms its rows are shown."""
    page.goto(url)
    expect(page.locator(".grid-body .grid-row:not(.waiting)").first).to_be_visible(timeout=PATIENCE_MS)
    expect(page.locator("#count")).to_have_text(f"{rows:,} rows", timeout=PATIENCE_MS)
    return float(page.evaluate("performance.getEntriesByName('rows-shown')[0].startTime"))


@pytest.mark.slow
@pytest.mark.parametrize("rows", [150_000, pytest.param(1_000_000, marks=pytest.mark.kill)])
def test_a_million_rows_are_a_page_like_any_other(tmp_path: Path, rows: int) -> None:
    """Shown before all of them are read, searched and sorted as a whole, from the first one to the last."""
    write_million(tmp_path / "million", rows)
    with started() as browser, served(tmp_path / "million") as url, opened(browser) as page:
        cold, warm = (first_rows_ms(page, url, rows) for _ in range(2))
        page.click("#grid .grid-head", position={"x": 2, "y": 2})
        page.keyboard.press("j")
        page.keyboard.press("Shift+G")
        last = page.locator(f".grid-row[data-index='{rows - 1}'] .id")
        expect(last).to_have_text(f"row-{rows - 1:07d}")
        began = time.monotonic()
        page.fill("[name=q]", "baker")
        expect(page.locator("#count")).to_have_text(re.compile(f"of {rows:,} rows"), timeout=PATIENCE_MS)
        searched = time.monotonic()
        page.click("#tab-bill")
        expect(page.locator("[data-figure=requests] .value")).to_have_text(f"{rows:,}", timeout=PATIENCE_MS)
        added = time.monotonic()
    print(
        f"\n{rows:,} rows: first rows {cold:.0f} ms after a start, {warm:.0f} ms then; "
        f"a search {1_000 * (searched - began):.0f} ms, the bill {1_000 * (added - searched):.0f} ms"
    )

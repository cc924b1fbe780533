"""The page in a real Chromium: looked at, listened to and driven as a person does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from tests.browse.conftest import LONG, MARKUP
from tests.datasets import read_table

pytest.importorskip("playwright")

from playwright.sync_api import Browser, Page, expect

from tests.browse.chromium import opened, started

ROW = ".grid-body .grid-row:not(.waiting)"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests of this module."""
    with started() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, site: str) -> Iterator[Page]:
    """The dataset's page, its rows shown."""
    with opened(browser) as page:
        page.goto(site)
        expect(page.locator(ROW)).to_have_count(12)
        expect(page.locator("#name")).to_have_text("out")
        yield page


def shown(page: Page) -> list[str]:
    """Return the ids of the rows that are seen, from top to bottom."""
    rows = page.locator(ROW)
    cells = [(int(row.get_attribute("aria-rowindex") or 0), row.locator(".id").inner_text()) for row in rows.all()]
    return [name for _, name in sorted(cells)]


_TAKE_DOWN_LIT_WORDS = """spoken => new MutationObserver(seen => {
    const said = document.documentElement.dataset;
    for (const { target } of seen) {
        if (target.classList.contains("lit")) said.said = `${said.said ?? ""}${target.textContent} `;
    }
}).observe(spoken, { subtree: true, attributes: true, attributeFilter: ["class"] })"""
"""A word is lit for a few tenths of a second: whoever looks now and then may miss it."""


def open_row(page: Page, text: str) -> None:
    """Click the row with a text, once the rows stand still, and wait until it is shown in full."""
    expect(page.locator("#grid")).not_to_have_attribute("aria-busy", "true")
    page.locator(ROW, has_text=text).click()
    expect(page.locator(".spoken")).to_contain_text(text)


def test_rows_are_shown_with_what_they_are(page: Page) -> None:
    """Text, voice, duration and cost; a reject with its code and, under the pointer, its reason."""
    assert shown(page)[:3] == ["r0", "r1", "r2"]
    expect(page.locator("#count")).to_have_text("12 rows")
    expect(page.locator("#about")).to_contain_text("11 utterances")
    reject = page.locator(f"{ROW}.rejected")
    expect(reject.locator(".chip")).to_have_text("DataInspectionFailed")
    assert "refuses this text" in (reject.locator(".chip").get_attribute("title") or "")


def test_rows_are_searched_and_filtered(page: Page) -> None:
    """Conditions hold together, the rows that are left are counted, and Clear takes all back."""
    page.fill("[name=q]", "FERRY")
    expect(page.locator("#count")).to_have_text("1 of 12 rows")
    assert shown(page) == ["r1"]
    page.fill("[name=q]", "")
    page.select_option("[name=voice]", "Stella")
    expect(page.locator("#count")).to_have_text("4 of 12 rows")
    assert shown(page) == ["r1", "r4", "r7", "r10"]
    page.click("#clear")
    expect(page.locator("#count")).to_have_text("12 rows")
    page.select_option("[name=status]", "reject")
    expect(page.locator("#count")).to_have_text("1 of 12 rows")
    assert shown(page) == ["r3"]


def test_less_used_filters_are_behind_more(page: Page) -> None:
    """Bounds of duration and cost; what is no number bounds nothing."""
    page.click(".more summary")
    page.fill("[name=seconds_from]", "4.5")
    expect(page.locator("#count")).to_have_text("2 of 12 rows")
    assert shown(page) == ["r1", "r2"]
    page.fill("[name=seconds_from]", "long")
    expect(page.locator("#count")).to_have_text("12 rows")


def test_rows_are_sorted_by_a_column(page: Page) -> None:
    """First up, then down, then as in the dataset; read out by aria-sort."""
    head = page.locator(".grid-head .characters")
    for order in ("ascending", "descending", "none"):
        head.locator("button").click()
        expect(head).to_have_attribute("aria-sort", order)
        expect(page.locator("#grid")).not_to_have_attribute("aria-busy", "true")
        if order == "descending":
            assert shown(page)[0] == "r1"
    assert shown(page)[:3] == ["r0", "r1", "r2"]


def test_audio_plays_and_the_spoken_word_is_lit(page: Page) -> None:
    """The audio is decoded, time passes, and the lit word moves on with it."""
    open_row(page, LONG[:20])
    expect(page.locator(".wave")).to_have_attribute("data-samples", re.compile(r"^[1-9]\d{3,}$"))
    page.locator(".spoken").evaluate(_TAKE_DOWN_LIT_WORDS)
    page.click(".play")
    expect(page.locator("html")).to_have_attribute("data-said", re.compile("morning .*all "))
    expect(page.locator(".play")).to_have_attribute("aria-label", "Pause")
    page.keyboard.press("Space")  # the button has the focus
    expect(page.locator(".play")).to_have_attribute("aria-label", "Play")
    assert page.locator(".time").inner_text() > "0:00.2"


def test_words_stand_where_they_are_in_the_text(page: Page) -> None:
    """Places are code points: a character of two UTF-16 units moves nothing. A word that is clicked is sought."""
    open_row(page, LONG[:20])
    assert page.locator(".spoken").inner_text() == LONG
    page.locator(".word", has_text="leaves").click()
    expect(page.locator(".word.lit")).to_have_text("leaves")
    page.keyboard.press("]")
    expect(page.locator(".word.lit")).to_have_text("at")
    page.keyboard.press("[")
    page.keyboard.press("[")
    expect(page.locator(".word.lit")).not_to_have_text("at")


def test_markup_stays_text(page: Page) -> None:
    """In the table, in the panel and among the source's columns; nothing of it runs."""
    open_row(page, MARKUP)
    assert page.locator(".spoken").inner_text() == MARKUP
    expect(page.locator(".facts").last).to_contain_text(MARKUP)
    assert page.locator("img[src='x'], .grid b, .panel b").count() == 0
    assert page.title() == "out · tts-pipeline"


def test_a_row_is_told_in_full(page: Page) -> None:
    """Its request id, its attempts with status and code, its cost; a reject's reason."""
    page.fill("[name=q]", "r3")
    expect(page.locator("#count")).to_have_text("1 of 12 rows")
    page.locator(f"{ROW}.rejected").click()
    expect(page.locator(".reason")).to_contain_text("DataInspectionFailed")
    expect(page.locator(".requests li").last).to_contain_text("status 400")
    expect(page.locator(".requests code").last).to_have_text(re.compile("local-"))
    page.keyboard.press("Escape")
    expect(page.locator("#panel")).to_be_hidden()


def test_a_reload_shows_the_same(page: Page) -> None:
    """Filter, order, row and tab are in the address."""
    page.select_option("[name=voice]", "Cherry")
    page.locator(".grid-head .cost button").click()
    expect(page.locator("#count")).to_have_text("8 of 12 rows")
    open_row(page, "Line number 8")
    before = shown(page)
    page.reload()
    expect(page.locator("#count")).to_have_text("8 of 12 rows")
    expect(page.locator(".spoken")).to_contain_text("Line number 8")
    expect(page.locator(f"{ROW}[aria-selected=true] .id")).to_have_text("r8")
    assert shown(page) == before
    assert page.locator("[name=voice]").input_value() == "Cherry"
    page.click("#tab-bill")
    expect(page.locator(".figures")).to_be_visible()
    page.reload()
    expect(page.locator(".figures")).to_be_visible()


def test_everything_is_done_by_keys(page: Page) -> None:
    """Rows, playing, searching, tabs and the help that tells of them; nobody who writes is disturbed."""
    chosen = page.locator(f"{ROW}[aria-selected=true] .id")
    for key, name in (("j", "r0"), ("j", "r1"), ("ArrowDown", "r2"), ("k", "r1"), ("Shift+G", "r3"), ("g", "r0")):
        page.keyboard.press(key)
        expect(chosen).to_have_text(name)
    expect(page.locator(".spoken")).to_contain_text("Line number 0")
    page.keyboard.press("Space")
    expect(page.locator(".play")).to_have_attribute("aria-label", "Pause")
    page.keyboard.press("Enter")
    expect(page.locator(".play")).to_have_attribute("aria-label", "Play")
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    expect(page.locator("#keys")).to_contain_text("next word")
    page.keyboard.press("Escape")
    expect(page.locator("#help")).to_be_hidden()
    page.keyboard.press("/")
    page.keyboard.type("jk2?")
    assert page.locator("[name=q]").input_value() == "jk2?"
    expect(page.locator("#count")).to_have_text("0 of 12 rows")
    page.keyboard.press("Escape")
    page.keyboard.press("2")
    expect(page.locator("#bill")).to_be_visible()
    page.keyboard.press("1")
    expect(page.locator("#listen")).to_be_visible()


def test_the_bill_is_that_of_the_usage_table(page: Page, dataset: Path) -> None:
    """Totals and every voice's, to the last digit; every chart is drawn."""
    usage = read_table(dataset, "usage").to_pylist()
    page.click("#tab-bill")
    cost = sum((row["cost"] for row in usage), Decimal(0))
    figures = page.locator(".figure")
    assert Decimal(page.locator("[data-figure=cost] .value").inner_text().split()[0]) == cost
    possible = sum((row["cost_upper_bound"] for row in usage), Decimal(0))
    assert Decimal(page.locator("[data-figure=cost] .quiet").inner_text().split()[-1]) == possible
    assert page.locator("[data-figure=requests] .value").inner_text() == str(len(usage))
    assert page.locator("[data-figure=failed] .value").inner_text() == str(
        sum(row["outcome"] != "succeeded" for row in usage)
    )
    assert page.locator("[data-figure=retries] .value").inner_text() == str(sum(row["attempt"] > 1 for row in usage))
    expect(figures).to_have_count(5)
    for voice in ("Cherry", "Stella"):
        cells = page.locator("[data-by=voice] tbody tr", has_text=voice).locator("td").all_text_contents()
        own = [row for row in usage if row["voice"] == voice]
        assert int(cells[1]) == len(own)
        assert Decimal(cells[5]) == sum((row["cost"] for row in own), Decimal(0))
    expect(page.locator(".chart canvas")).to_have_count(page.locator(".chart").count())


def test_the_bill_is_told_apart_by_any_tag(page: Page) -> None:
    """The tag that is chosen stays chosen."""
    page.click("#tab-bill")
    page.select_option("[aria-label=Tag]", "tag:team")
    expect(page.locator("[data-by='tag:team'] td").first).to_have_text("blue")
    page.reload()
    expect(page.locator("[data-by='tag:team'] td").first).to_have_text("blue")


@pytest.mark.parametrize(("width", "height"), [(390, 844), (768, 1024), (1280, 800)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits(browser: Browser, site: str, width: int, height: int, scheme: str) -> None:
    """On a phone, a tablet and a desk nothing is wider than the window, and a row can be read and closed."""
    with opened(browser, viewport={"width": width, "height": height}, color_scheme=scheme) as page:
        page.goto(site)
        page.locator(ROW).first.click()
        expect(page.locator(".spoken")).to_be_visible()
        for view in ("1", "2"):
            page.keyboard.press(view)
            wide = page.evaluate("Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)")
            assert wide == width
        page.keyboard.press("1")
        page.click("[aria-label=Close]")
        expect(page.locator("#panel")).to_be_hidden()

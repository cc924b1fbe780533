"""The ledger's page in a real Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from tests.browse.conftest import served
from tests.browse.ledgers import CHARGED, HOSTILE, ORIGIN, month_begins, write_ledger
from tests.ledger.usage import COST
from tts_pipeline.account import budgets
from tts_pipeline.account.amounts import parse_amount
from tts_pipeline.account.budgets import Condition, Terms
from tts_pipeline.account.location import find_store
from tts_pipeline.account.schema import migrate

pytest.importorskip("playwright")

from playwright.sync_api import Browser, Page, expect

from tests.browse.chromium import opened, started

NOW = datetime.now(UTC)
BEFORE, THIS = (f"{month:%Y-%m}" for month in month_begins(NOW))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests of this module."""
    with started() as browser:
        yield browser


@pytest.fixture(scope="module")
def ledger_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the page of a ledger in the middle of a month, with a budget in the account store."""
    folder = tmp_path_factory.mktemp("ledger")
    write_ledger(folder, NOW)
    location = find_store(str(folder / "account.db"))
    assert location is not None
    database = location.open()
    migrate(database)
    with database.transaction(durable=True) as transaction:
        terms = Terms("radio month", parse_amount("500 CNY"), "month", "Asia/Shanghai", Condition({"team": HOSTILE}))
        budgets.set_budget(transaction, terms)
    database.close()
    with served("--ledger", TTS_LEDGER=str(folder / "ledger"), TTS_ACCOUNT_STORE=str(folder / "account.db")) as url:
        yield url


@pytest.fixture
def page(browser: Browser, ledger_site: str) -> Iterator[Page]:
    """The page as it opens."""
    with opened(browser) as page:
        page.goto(ledger_site)
        expect(page.locator(".figures")).to_be_visible()
        yield page


def cost_of(page: Page) -> Decimal:
    """Return the confirmed cost that the page shows first."""
    return Decimal(page.locator("[data-figure=cost] .value").inner_text().split()[0])


def cells(page: Page, name: str) -> list[list[str]]:
    """Return the rows of a table by its name."""
    rows = page.locator(f"[data-by='{name}'] tbody tr").all()
    return [row.locator("td").all_text_contents() for row in rows]


def test_the_present_month_is_shown_first(page: Page) -> None:
    """Its cost, and the months to choose from; the frozen one is marked."""
    assert cost_of(page) == COST * 21
    assert page.locator("[aria-label=Month]").input_value() == THIS
    choices = page.locator("[aria-label=Month] option").all_text_contents()
    assert choices == [f"{THIS} (this month)", f"{BEFORE} · frozen", "All months"]
    expect(page.locator("#about")).to_contain_text("ledger")
    expect(page.locator(".chart canvas")).to_have_count(page.locator(".chart").count())


def test_months_are_switched(page: Page) -> None:
    """The address holds the month; the focus stays where it was."""
    page.locator("[aria-label=Month]").focus()
    page.select_option("[aria-label=Month]", BEFORE)
    expect(page.locator("[data-figure=corrections] .value")).to_have_text("2")
    assert cost_of(page) == COST * (13 + CHARGED)
    expect(page.locator("[aria-label=Month]")).to_be_focused()
    page.reload()
    expect(page.locator("[data-figure=corrections] .value")).to_have_text("2")
    page.select_option("[aria-label=Month]", "all")
    expect(page.locator("[data-figure=requests] .value")).to_have_text("15")
    page.select_option("[aria-label=Month]", THIS)
    expect(page.locator("[data-figure=requests] .value")).to_have_text("8")


def test_the_bill_is_told_by_team_model_and_key(page: Page) -> None:
    """Names of the data are text."""
    assert [(row[0], row[1], Decimal(row[5])) for row in cells(page, "tag:team")] == [
        (HOSTILE, "5", COST * 15),
        ("radio", "3", COST * 6),
    ]
    assert [row[0] for row in cells(page, "model")] == ["singer", "narrator"]
    assert [row[0] for row in cells(page, "key_id")] == ["89abcdef", "0123abcd"]
    page.select_option("[aria-label='Key, account or door']", "door")
    assert [row[0] for row in cells(page, "door")] == ["synthesize", "run"]
    page.reload()
    expect(page.locator("[data-by=door]")).to_have_count(1)
    assert page.title() == "Ledger · tts-pipeline"
    assert page.locator("img[src='x']").count() == 0


def test_untagged_spend_is_a_row(page: Page) -> None:
    """Of its own."""
    page.select_option("[aria-label=Month]", BEFORE)
    expect(page.locator("[data-figure=corrections]")).to_be_visible()
    assert {row[0]: row[1] for row in cells(page, "tag:team")} == {"radio": "5", "(no team)": "2"}


def test_open_runs_and_budgets_are_shown(page: Page) -> None:
    """With their bounds."""
    (run,) = cells(page, "open")
    bound, currency = run[-1].split()
    assert (run[0], Decimal(bound), currency) == ("run-open", COST * 12, "CNY")
    assert run[1].endswith(HOSTILE)
    (budget,) = cells(page, "budgets")
    assert (budget[0], budget[4], budget[7], budget[10]) == ("radio month", "0.00", "500.00", "CNY")
    assert HOSTILE in budget[1]


def test_savings_by_reuse_are_shown(page: Page) -> None:
    """With who paid first. A month without any has no such card."""
    expect(page.locator("[data-figure=saved] .value")).to_have_text("2.25 CNY")
    assert cells(page, "saved") == [
        [ORIGIN, "7", "15,625", "1.25", "CNY"],
        ["an equal row of the same job", "2", "12,500", "1.00", "CNY"],
    ]
    page.select_option("[aria-label=Month]", BEFORE)
    expect(page.locator("[data-figure=corrections]")).to_be_visible()
    expect(page.locator("[data-figure=saved], [data-by=saved]")).to_have_count(0)


_ACCENT_COLUMNS = """chart => {
    const { width, height } = chart;
    const { data } = chart.getContext("2d").getImageData(0, Math.floor(height / 2), width, 1);
    const isAccent = at => [0x4f, 0x46, 0xe5].every((part, place) => Math.abs(data[4 * at + place] - part) < 3);
    return [...Array(width).keys()].filter(isAccent).map(at => at / width);
}"""
"""Where the middle row of a chart has the colour of what is confirmed, as shares of its width."""


def test_the_chart_has_the_whole_month(browser: Browser, ledger_site: str) -> None:
    """What was sent on the first day is at its beginning, in a narrow bar."""
    with opened(browser, color_scheme="light") as page:
        page.goto(ledger_site)
        chart = page.locator(".chart.tall canvas")
        expect(chart).to_be_visible()
        columns = chart.evaluate(_ACCENT_COLUMNS)
        assert 0 < min(columns) <= max(columns) < 0.12


def test_reconciliation_is_shown(page: Page) -> None:
    """What the invoice settled, and that nothing is unknown any more."""
    page.select_option("[aria-label=Month]", BEFORE)
    expect(page.locator("[data-by=settlements] td").first).to_have_text("invoice-7")
    amounts = [Decimal(row[1].replace("−", "-")) for row in cells(page, "reconciliation")]
    assert amounts == [COST * 10, COST * 13, COST * 3, COST * CHARGED, COST * (13 + CHARGED), 0]


def test_days_and_months_are_of_the_time_zone(browser: Browser, ledger_site: str) -> None:
    """That of the browser is among those to choose from."""
    with opened(browser, timezone_id="America/New_York") as page:
        page.goto(f"{ledger_site}?month={THIS}")
        expect(page.locator("[data-figure=requests] .value")).to_have_text("8")
        page.select_option("[aria-label='Time zone']", "America/New_York")
        expect(page.locator(".loading")).to_have_text(f"No request of {THIS} is published.")
        assert "timezone=America%2FNew_York" in page.url


_WIDER_THAN_THEIR_CARD = """[...document.querySelectorAll(".figure .value")]
    .filter(value => value.scrollWidth > value.clientWidth).map(value => value.textContent)"""


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits(browser: Browser, ledger_site: str, width: int, scheme: str) -> None:
    """On a phone and on a desk nothing is wider than the window."""
    with opened(browser, viewport={"width": width, "height": 844}, color_scheme=scheme) as page:
        page.goto(f"{ledger_site}?month={BEFORE}")
        expect(page.locator("[data-by=settlements]")).to_be_visible()
        assert page.evaluate("Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)") == width
        assert page.evaluate("document.getElementById('bill').scrollWidth") <= width
        assert page.evaluate(_WIDER_THAN_THEIR_CARD) == []

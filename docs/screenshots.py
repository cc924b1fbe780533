"""Make the pictures of the page in ``docs/images``: ``python docs/screenshots.py`` (needs Playwright and Chromium)."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from tests.browse.ledgers import add_rows, month_begins
from tests.ledger.processes import run_start
from tts_pipeline.catalog import Service
from tts_pipeline.config import InputColumns, Limits
from tts_pipeline.emulator import EmulatorOptions, LocalService
from tts_pipeline.job import Job, RunOptions, run_job
from tts_pipeline.ledger import Ledger
from tts_pipeline.periods import microseconds
from tts_pipeline.schema import to_table, usage_schema
from tts_pipeline.storage.local_store import LocalStore

IMAGES = Path(__file__).parent / "images"
DESK: ViewportSize = {"width": 1280, "height": 800}
PHONE: ViewportSize = {"width": 390, "height": 844}
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
PROGRAM = [sys.executable, "-c", "from tts_pipeline.cli import main; main()"]
READINGS = 5
"""Voices that say each line."""

PRICE = Decimal("0.00008")
"""Of a character, in CNY."""

TEAMS: Sequence[dict[str, Any]] = (
    {"tags": [("team", "radio")], "key_id": "5f2c81d0", "voice": "Cherry"},
    {"tags": [("team", "museum")], "key_id": "5f2c81d0", "voice": "Stella", "model": "qwen3-tts-instruct-flash"},
    {"tags": [("team", "audiobooks")], "key_id": "a90b3e47", "voice": "Ethan", "door": "airflow"},
    {"tags": [], "key_id": "a90b3e47", "voice": "Cherry", "door": "synthesize"},
)
"""Who spends: each in another way."""

TROUBLE = (
    {"what": "refuse", "text": "secret recipe"},
    {"what": "throttle", "ratio": 0.05, "seed": 1},
    {"what": "error", "status": 503, "code": "ServiceUnavailable", "ratio": 0.05, "seed": 2},
    {"what": "cut", "after_bytes": 4_000, "ratio": 0.06, "seed": 3},
)


def main() -> None:
    """Make a dataset with the local voice, which meets some trouble, and a ledger; look at their pages."""
    IMAGES.mkdir(exist_ok=True)
    program = which("chromium") or which("google-chrome")
    with TemporaryDirectory(prefix="speech-") as folder, sync_playwright() as playwright:
        os.environ |= {"TTS_LEDGER": f"{folder}/company-ledger", "TTS_ACCOUNT_STORE": f"{folder}/account.db"}
        make_dataset(Path(folder))
        make_ledger(Path(folder), datetime.now(UTC))
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        with page_of(str(Path(folder) / "ferry-lines")) as url:
            desk(browser, url)
            phone(browser, url)
        with page_of("--ledger") as url:
            ledger(browser, url)
        browser.close()


def make_dataset(folder: Path) -> None:
    """Say the demo's lines in several voices, for several projects."""
    script = tomllib.loads((files("tts_pipeline.cli") / "demo_lines.toml").read_text(encoding="utf-8"))["lines"]
    voices = sorted({line["voice"] for line in script})
    rows = [
        reading(line, voices[(at + turn * 7) % len(voices)])
        for turn in range(READINGS)
        for at, line in enumerate(script)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "lines.parquet")
    with LocalService(EmulatorOptions(latency_ms=250)) as local:
        local.set_faults(TROUBLE)
        run_job(
            Job(
                source=folder / "lines.parquet",
                destination=folder / "ferry-lines",
                service=Service(base_url=local.url, name="local", auth="none"),
                model="qwen3-tts-flash",
                parameters={"enable_timestamp": True},
                columns=InputColumns(parameters={"voice": "voice", "language_type": "language_type"}),
                options=RunOptions(limits=Limits(max_concurrency=3), tag_columns={"project": "project"}),
            )
        )


def make_ledger(folder: Path, now: datetime) -> None:
    """Add two months of four teams to the ledger: the first is frozen, the second has a settlement and an open run."""
    books, (before, this) = Ledger(LocalStore(folder / "company-ledger")), month_begins(now)
    days = [before + timedelta(days=day) for day in range((now - before).days)]
    for number, day in enumerate(days):
        for place, team in enumerate(TEAMS):
            characters = 700 + 311 * ((number * 7 + place * 5) % 11) if day.weekday() < 5 else 90
            add_rows(books, folder, number * len(TEAMS) + place, day, 60 - 14 * place, **(priced(characters) | team))
    books.compact(f"{before:%Y-%m}", "UTC", microseconds(this + timedelta(seconds=1)))
    lost = {"outcome": "unknown", "cost": Decimal(0), "characters_billed": 0}
    for number, day in enumerate([this, this + timedelta(hours=1)], start=1_000):
        (row,) = add_rows(books, folder, number, day, 1, **(priced(9_000) | lost | TEAMS[0]))
    found = {"characters_billed": 4_000, "characters_upper_bound": -5_000, "cost": 4_000 * PRICE}
    settled = {**row, **found, "outcome": "settled", "cost_upper_bound": -5_000 * PRICE}
    books.append_settlement("invoice-0117", to_table([settled], usage_schema()))
    bound = {"cost_upper_bound": Decimal(40), "currency": "CNY", "model": "qwen3-tts-flash"}
    books.begin_run(run_start("8c1f", "s3://speech/radio/tonight", started_at_us=microseconds(now), **bound))
    budget = ("budget", "set", "radio", "1.5CNY", "--per", "month", "--where", "team=radio")
    subprocess.run([*PROGRAM, *budget, "--timezone", "UTC"], check=True, stdout=subprocess.DEVNULL)
    with closing(sqlite3.connect(folder / "account.db")) as database, database:  # as if set when the month began
        database.execute("UPDATE tts_budget SET created_wall_us = ?", (microseconds(this),))
    with LocalService(EmulatorOptions()) as local:
        for name, reuse in (("pilot", ()), ("evening", ("pilot",))):
            run_job(
                Job(
                    source=folder / "lines.parquet",
                    destination=folder / name,
                    service=Service(base_url=local.url, name="local", auth="none"),
                    model="qwen3-tts-flash",
                    columns=InputColumns(parameters={"voice": "voice", "language_type": "language_type"}),
                    options=RunOptions(tags={"team": "radio"}, reuse=tuple(str(folder / place) for place in reuse)),
                )
            )


def priced(characters: int) -> dict[str, Any]:
    """Return the columns of a request that was charged for characters."""
    cost = characters * PRICE
    counts = {"characters_billed": characters, "characters_upper_bound": characters}
    return {**counts, "cost": cost, "cost_upper_bound": cost, "model": "qwen3-tts-flash"}


def reading(line: dict[str, Any], voice: str) -> dict[str, str]:
    """Return a row of the source."""
    project = {"English": "audiobook", "German": "audiobook", "Chinese": "station"}.get(line["language_type"], "museum")
    return {**line, "id": f"{line['id']}-{voice.lower()}", "voice": voice, "project": project}


@contextmanager
def page_of(shown: str) -> Iterator[str]:
    """Serve the page of a dataset, or of ``--ledger``, and give its URL."""
    with subprocess.Popen(
        [*PROGRAM, "browse", shown], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.terminate()


def desk(browser: Browser, url: str) -> None:
    """Take the pictures of a desk: listening, the bill, and listening in the dark."""
    page = browser.new_page(viewport=DESK)
    page.goto(url)
    listen(page, "ferry leaves")
    page.screenshot(path=IMAGES / "browse-listen.png")
    page.click("#tab-bill")
    whole_bill(page, "browse-bill.png")
    page.close()
    page = browser.new_page(viewport=DESK, color_scheme="dark")
    page.goto(f"{url}?status=reject&sort=-cost")
    page.locator(".grid-row.rejected").first.click()
    page.locator(".reason").wait_for()
    page.screenshot(path=IMAGES / "browse-dark.png")
    page.close()


def ledger(browser: Browser, url: str) -> None:
    """Take the picture of the ledger's bill."""
    page = browser.new_page(viewport=DESK)
    page.goto(url)
    whole_bill(page, "browse-ledger.png")
    page.close()


def whole_bill(page: Page, name: str) -> None:
    """Take the picture of a bill in a window that is as tall."""
    page.locator(".chart canvas").first.wait_for()
    tall = page.evaluate("document.querySelector('.top').offsetHeight + document.getElementById('bill').scrollHeight")
    page.set_viewport_size({"width": DESK["width"], "height": tall})
    page.wait_for_timeout(400)
    page.screenshot(path=IMAGES / name)


def phone(browser: Browser, url: str) -> None:
    """Take the picture of a phone."""
    page = browser.new_page(viewport=PHONE, color_scheme="dark")
    page.goto(url)
    listen(page, "Lindenstraße")
    page.screenshot(path=IMAGES / "browse-phone.png")
    page.close()


def listen(page: Page, text: str) -> None:
    """Open the row with a text and let it play for a moment."""
    page.locator(".grid-row", has_text=text).first.click()
    page.locator(".wave[data-samples]").wait_for()
    page.click(".play")
    page.wait_for_timeout(1_300)
    page.click(".play")


if __name__ == "__main__":
    main()

"""Make the pictures of the page in ``docs/images``: ``python docs/screenshots.py`` (needs Playwright and Chromium)."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from tts_pipeline.catalog import Service
from tts_pipeline.config import InputColumns, Limits
from tts_pipeline.emulator import EmulatorOptions, LocalService
from tts_pipeline.job import Job, RunOptions, run_job

IMAGES = Path(__file__).parent / "images"
DESK: ViewportSize = {"width": 1280, "height": 800}
PHONE: ViewportSize = {"width": 390, "height": 844}
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
READINGS = 5
"""Voices that say each line."""

TROUBLE = (
    {"what": "refuse", "text": "secret recipe"},
    {"what": "throttle", "ratio": 0.05, "seed": 1},
    {"what": "error", "status": 503, "code": "ServiceUnavailable", "ratio": 0.05, "seed": 2},
    {"what": "cut", "after_bytes": 4_000, "ratio": 0.06, "seed": 3},
)


def main() -> None:
    """Make a dataset with the local voice, which meets some trouble, and look at its page."""
    IMAGES.mkdir(exist_ok=True)
    program = which("chromium") or which("google-chrome")
    with TemporaryDirectory() as folder, sync_playwright() as playwright:
        make_dataset(Path(folder))
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        with page_of(Path(folder) / "ferry-lines") as url:
            desk(browser, url)
            phone(browser, url)
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


def reading(line: dict[str, Any], voice: str) -> dict[str, str]:
    """Return a row of the source."""
    project = {"English": "audiobook", "German": "audiobook", "Chinese": "station"}.get(line["language_type"], "museum")
    return {**line, "id": f"{line['id']}-{voice.lower()}", "voice": voice, "project": project}


@contextmanager
def page_of(dataset: Path) -> Iterator[str]:
    """Serve the page and give its URL."""
    running = [sys.executable, "-c", "from tts_pipeline.cli import main; main()", "browse", str(dataset)]
    with subprocess.Popen(running, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
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
    page.locator(".chart canvas").first.wait_for()
    tall = page.evaluate("document.querySelector('.top').offsetHeight + document.getElementById('bill').scrollHeight")
    page.set_viewport_size({"width": DESK["width"], "height": tall})
    page.wait_for_timeout(400)
    page.screenshot(path=IMAGES / "browse-bill.png")
    page.close()
    page = browser.new_page(viewport=DESK, color_scheme="dark")
    page.goto(f"{url}?status=reject&sort=-cost")
    page.locator(".grid-row.rejected").first.click()
    page.locator(".reason").wait_for()
    page.screenshot(path=IMAGES / "browse-dark.png")
    page.close()


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

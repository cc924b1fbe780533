"""Make the pictures of Airflow in ``docs/images``: ``python -m docs.airflow_screenshots`` (Playwright and Chromium).

Starts Airflow as ``docs/airflow.md`` says, does all that the page says, and looks at it.
"""

from __future__ import annotations

from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory

from playwright.sync_api import Browser, ViewportSize, sync_playwright

from tests.airflow.standalone import Standalone, started_as_told
from tts_pipeline.emulator import EmulatorOptions, LocalService

IMAGES = Path(__file__).parent / "images"
DESK: ViewportSize = {"width": 1280, "height": 800}
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
DAG = "speech_dataset_sharded"
GROUP = "speech_dataset"
SETTLE_MS = 1_000
"""What the interface's animations take."""


def main() -> None:
    """Take the pictures."""
    program = which("chromium") or which("google-chrome")
    with (
        TemporaryDirectory(prefix="speech-", dir="/var/tmp") as folder,
        LocalService(EmulatorOptions(voice_mode="tone")) as service,
        started_as_told(Path(folder), service.url) as told,
        sync_playwright() as playwright,
    ):
        for block in told.rest:
            told.reader.do(block)
            told.airflow.settled()
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        try:
            connection_form(browser, told.airflow)
            mapped_grid(browser, told.airflow)
            asset_event(browser, told.airflow)
        finally:
            browser.close()


def connection_form(browser: Browser, airflow: Standalone) -> None:
    """Show the form of a connection of type ``speech``, filled in; it is not saved."""
    page = browser.new_page(viewport={"width": DESK["width"], "height": 1_500})
    page.goto(f"{airflow.url}/connections")
    page.get_by_role("button", name="Add Connection").click()
    form = page.get_by_role("dialog")
    form.locator("[name=connection_id]").fill("speech_gateway")
    form.get_by_role("combobox").click()
    page.keyboard.type("Speech")
    page.keyboard.press("Enter")
    form.locator("[name=host]").fill("modelstream")
    form.locator("[name=password]").fill("a-key-of-nobody")
    form.get_by_role("button", name="Extra Fields", exact=True).click()
    for name, value in {"account": "newsroom", "max_concurrency": "32", "requests_per_minute": "180"}.items():
        form.locator(f"[name=element_{name}]").fill(value)
    page.keyboard.press("Tab")
    page.wait_for_timeout(SETTLE_MS)
    form.screenshot(path=IMAGES / "airflow-connection.png")
    page.close()


def mapped_grid(browser: Browser, airflow: Standalone) -> None:
    """Show the sharded DAG's run, with its mapped tasks named by their parts."""
    run = airflow.ask("GET", f"/dags/{DAG}/dagRuns")["dag_runs"][0]["dag_run_id"]
    page = browser.new_page(viewport=DESK)
    page.goto(f"{airflow.url}/dags/{DAG}/runs/{run}/tasks/{GROUP}.synthesize/mapped")
    page.get_by_label("Toggle group").first.click()
    page.get_by_text("part 3").first.wait_for()
    page.wait_for_timeout(SETTLE_MS)
    page.screenshot(path=IMAGES / "airflow-mapped.png")
    page.close()


def asset_event(browser: Browser, airflow: Standalone) -> None:
    """Show the event of the published dataset, with its figures, and the DAG that it triggered."""
    (asset,) = airflow.ask("GET", "/assets", name_pattern="books_speech")["assets"]
    page = browser.new_page(viewport=DESK)
    page.goto(f"{airflow.url}/assets/{asset['id']}")
    page.get_by_title("Click to expand the range.").first.click()
    page.wait_for_timeout(SETTLE_MS)
    page.screenshot(path=IMAGES / "airflow-asset.png")
    page.close()


if __name__ == "__main__":
    main()

"""A real Chromium without a window, driven by Playwright. Of a module's own: while it runs, so does its event loop."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.machine import patience

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)


@contextmanager
def started() -> Iterator[Browser]:
    """Start the machine's Chromium with an empty profile; a machine without one skips."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip("Chromium is not on this machine (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=Path(program), args=list(FLAGS), timeout=patience(30_000))
        expect.set_options(timeout=patience(5_000))
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, **options: object) -> Iterator[Page]:
    """Open a page; what goes wrong in it, or leaves this machine, fails the test."""
    wrong: list[str] = []
    context: BrowserContext = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})  # type: ignore[arg-type]  # as Playwright names them
    context.set_default_timeout(patience(30_000))
    page = context.new_page()
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    page.on("console", lambda message: wrong.append(message.text) if message.type in {"error", "warning"} else None)
    page.on("request", lambda request: wrong.extend(_far(request.url)))
    yield page
    context.close()
    assert not wrong, wrong


def _far(url: str) -> list[str]:
    return [] if url.startswith("http://127.0.0.1:") else [f"asked for {url}"]

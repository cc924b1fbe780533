"""Whoever does what the documentation says sees what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from schemas.__main__ import with_columns
from tests.docs.pages import Reader, blocks, environment, fits
from tts_pipeline.emulator.local_service import LocalService

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
RUN_ELSEWHERE = {"airflow.md"}
"""Pages whose blocks need a server: ``tests/airflow/test_standalone.py``."""


@pytest.fixture
def reader(tmp_path: Path, espeak_service: LocalService) -> Reader:
    """Somebody at a machine of their own, with an empty folder."""
    folder, home = tmp_path / "work", tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    return Reader(folder, espeak_service.url, environment(espeak_service.url, home))


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in RUN_ELSEWHERE], ids=lambda page: page.stem)
def test_every_block_does_what_the_page_says(page: Path, reader: Reader) -> None:
    """From top to bottom, in one folder; what is printed is what is shown."""
    for block in blocks(page.read_text()):
        output = reader.do(block)
        if block.expected is not None:
            assert fits(output, block.expected), f"{page.name}, line {block.line}, printed:\n{output}"


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.stem)
def test_every_link_leads_somewhere(page: Path) -> None:
    """Links within the repository, pictures among them, and to headings of their pages."""
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in link:
            continue
        path, _, heading = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        if heading:
            headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            assert heading in {_anchor(text) for text in headings}, f"{page.name}: {link}"


def test_the_tables_page_has_the_columns_of_the_code() -> None:
    """After a change ``make schemas`` writes it anew."""
    page = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")
    assert with_columns(page) == page


@pytest.mark.parametrize(
    ("output", "expected", "fit"),
    [
        ("a\nb\nc\n", "b\n", True),
        ("a\nb\nc\n", "a\nc\n", False),
        ("a\nb\nc\n", "a\n…\nc\n", True),
        ("took 3.1 s\n", "took … s\n", True),
        ("took 3.1 s\n", "took 3 s\n", False),
        ("", "a\n", False),
    ],
)
def test_what_fits(output: str, expected: str, fit: bool) -> None:
    """Lines one after another; the dots stand for anything in a line, or for any lines."""
    assert fits(output, expected) is fit


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")

"""The demo: what a newcomer sees first, and again."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.cli.conftest import Command
from tts_pipeline.catalog import load_catalog
from tts_pipeline.cli.demo import _script


def test_the_lines_cover_what_they_are_to_show() -> None:
    """Two dozen lines, every language type, several voices, one refused, all of them allowed by the card."""
    script = _script()
    lines = script["lines"]
    card = load_catalog().cards["local", "qwen3-tts-flash"]
    assert len(lines) == len({line["id"] for line in lines}) == 24
    assert {line["language_type"] for line in lines} == {"Auto", *card.languages.values()}
    voices = {line["voice"] for line in lines}
    assert len(voices) > 12
    assert voices <= set(card.parameters["voice"].choices or ())
    assert [line["id"] for line in lines if script["refused"] in line["text"]] == ["refused"]
    assert max(len(line["text"]) for line in lines) < (card.input_limit or 0)


@pytest.mark.skipif(importlib.util.find_spec("espeakng_loader") is None, reason="espeakng-loader is not installed")
def test_the_demo_speaks_and_a_second_time_sends_nothing(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status 0 though one line is refused; summary, three rows with word times; then it is all there already."""
    monkeypatch.delenv("TTS_LOCAL_URL", raising=False)
    first = command("demo", tmp_path / "spoken")
    assert first.status == 0, first.err
    assert "24: 23 speech, 1 reject" in first.out
    assert "1 x DataInspectionFailed" in first.out
    assert "Der [0.00-" in first.out
    assert "they agree" in first.err
    assert "--column language_type=language_type" in first.err
    table = pq.read_table(tmp_path / "spoken" / "speech", columns=["language", "timestamps"])
    assert len(set(table.column("language").to_pylist()) - {None}) == 10
    assert sum(times is not None for times in table.column("timestamps").to_pylist()) == 23
    second = command("demo", tmp_path / "spoken")
    assert second.status == 0
    assert "nothing was sent" in second.out
    assert "own bill" not in second.err


def test_the_demo_writes_over_nothing(command: Command, tmp_path: Path) -> None:
    """A file in its place that is somebody's own is left alone."""
    (tmp_path / "spoken-lines.parquet").write_text("mine")
    result = command("demo", tmp_path / "spoken")
    assert result.status == 2
    assert "does not hold the demo's lines" in result.err
    assert (tmp_path / "spoken-lines.parquet").read_text() == "mine"

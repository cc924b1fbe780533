"""Measurements of earlier runs, which go before published figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.builders import job_of, write_lines
from tests.datasets import read_table
from tts_pipeline.config import InputColumns
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.estimates import Estimate, estimate_rows
from tts_pipeline.estimates.measurements import Latency, _fit_line
from tts_pipeline.job import run_job

TEXTS = ["今天天气很好。" * (1 + number % 6) + f"第{number}行。" for number in range(30)]


def _pilot(folder: Path, service: LocalService) -> Path:
    write_lines(folder / "pilot" / "lines.parquet", rows=30, line=TEXTS)
    columns = InputColumns(text="line", rename={"text": "other"})
    assert run_job(job_of(folder / "pilot", service.url, columns=columns)).dataset.speech == 30
    return folder / "pilot" / "out"


def _estimate(folder: Path, service: LocalService, texts: list[str], **changes: Any) -> Estimate:
    frame = pl.DataFrame({"id": range(len(texts)), "text": texts})
    return estimate_rows(frame, job_of(folder, service.url, destination="", **changes))


def test_a_pilot_tells_the_pace_and_the_time(tmp_path: Path, tone_service: LocalService) -> None:
    """New texts of the same length are said to take as long as the pilot's audio; its answers say how long it takes."""
    pilot = _pilot(tmp_path, tone_service)
    new = [text.replace("天", "日") for text in TEXTS]
    published = _estimate(tmp_path, tone_service, new)
    assert (published.elapsed_s, published.spoken[0].is_measured) == (None, False)
    estimate = _estimate(tmp_path, tone_service, new, options={"reuse": str(pilot)})
    heard_s = sum(read_table(pilot, "speech")["duration_ms"].to_pylist()) / 1_000
    assert estimate.audio_hours * 3_600 == pytest.approx(heard_s)
    assert published.audio_hours != pytest.approx(estimate.audio_hours, rel=0.05)
    assert (estimate.reused_rows, estimate.spoken[0].is_measured) == (0, True)
    waited_s = sum(read_table(pilot, "usage")["latency_ms"].to_pylist()) / 1_000
    assert estimate.latency_s == pytest.approx(waited_s / 30)
    assert (estimate.latency_source, estimate.limited_by) == (f"30 requests of {pilot}", "latency")
    assert estimate.elapsed_s == pytest.approx(waited_s / 8)


def test_another_model_tells_nothing(tmp_path: Path, tone_service: LocalService) -> None:
    """Its answers and its voices are others."""
    pilot = _pilot(tmp_path, tone_service)
    estimate = _estimate(tmp_path, tone_service, TEXTS, model="qwen3-tts-instruct-flash", options={"reuse": str(pilot)})
    assert (estimate.latency_s, estimate.elapsed_s, estimate.spoken[0].is_measured) == (None, None, False)


@pytest.mark.parametrize(
    ("amounts", "times_s", "line"),
    [
        ([10, 20, 30], [2.0, 3.0, 4.0], (1.0, 0.1)),
        ([10, 20, 30], [1.0, 2.0, 3.0], (0.0, 0.1)),
        ([10, 20, 30], [0.5, 2.0, 3.5], (0.0, 0.1)),
        ([10, 20, 30], [4.0, 3.0, 2.0], (3.0, 0.0)),
        ([10, 10, 10], [1.0, 2.0, 3.0], (2.0, 0.0)),
    ],
)
def test_the_line_through_the_latencies_is_never_negative(
    amounts: list[float], times_s: list[float], line: tuple[float, float]
) -> None:
    """And meets the mean, so that the sum over many requests is right."""
    fitted = _fit_line(pl.Series(amounts, dtype=pl.Float64), pl.Series(times_s))
    assert fitted == pytest.approx(line)
    total = Latency(*fitted).seconds(len(amounts), int(sum(amounts)))
    assert total == pytest.approx(sum(times_s))

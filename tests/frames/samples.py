"""Calls against the local service, with a state directory of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from tts_pipeline.catalog import Service
from tts_pipeline.config import Limits
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.job import RunOptions

MODEL = "qwen3-tts-flash"
NOWHERE = Service(base_url="http://127.0.0.1:9", auth="none")


def lines(rows: int = 5) -> pl.DataFrame:
    """Return short, distinct texts."""
    return pl.DataFrame({"text": [f"Line {number}." for number in range(rows)]})


def call_arguments(local: LocalService, work_dir: Path, **options: Any) -> dict[str, Any]:
    """Return the arguments of a call: the service, and a state directory."""
    limits = Limits(**{"max_concurrency": 8, "stop_grace_s": 1.0, **options.pop("limits", {})})
    return {
        "service": Service(base_url=local.url, auth="none"),
        "model": MODEL,
        "options": RunOptions(limits=limits, work_dir=work_dir, **options),
    }

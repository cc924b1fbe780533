"""A script that makes a dataset of a lazy frame and prints its peak memory. Arguments: URL, folder, rows."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import polars as pl

import tts_pipeline as tts
from tts_pipeline.config import Limits
from tts_pipeline.job import RunOptions


def main() -> None:
    """Make it."""
    url, folder, rows = sys.argv[1:]
    service = tts.Service(base_url=url, auth="none")
    texts = pl.LazyFrame({"id": range(int(rows))}).select("id", text=pl.format("Line {} of many.", "id"))
    options = RunOptions(limits=Limits(max_concurrency=64), part_rows=500)
    report = tts.run(texts, Path(folder), service, model="qwen3-tts-flash", voice="Cherry", options=options)
    assert report.dataset.speech == int(rows), report
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, "MB")


if __name__ == "__main__":
    main()

"""Speak one row a call, as a user of ``tts.synthesize`` does, and print when the first call ended and what others took.

It is run in the environment that is measured: ``python -m benchmarks.calls BASE_URL WORK_DIR CALLS``.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from tts_pipeline import RunOptions, Service, synthesize


def main(base_url: str, work_dir: str, calls: str) -> None:
    """Make a first call, and some more; times are those of the machine's monotonic clock."""
    import polars as pl

    service, options = Service(base_url=base_url), RunOptions(work_dir=Path(work_dir))

    def call(number: int) -> None:
        row = pl.DataFrame({"text": [f"This is row {number:07} of a text that somebody wants to have read aloud."]})
        spoken = synthesize(row, service, model="qwen3-tts-flash", voice="Cherry", options=options)
        if spoken["audio"].null_count():
            raise RuntimeError(spoken["message"][0])

    call(0)
    first_end_s, durations_s = time.monotonic(), []
    for number in range(1, int(calls) + 1):
        started_s = time.monotonic()
        call(number)
        durations_s.append(time.monotonic() - started_s)
    print(json.dumps({"first_end_s": first_end_s, "durations_s": durations_s}))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""A script that says lines of a frame: started by tests, to be killed or interrupted. Arguments: URL, folder, rows."""

from __future__ import annotations

import sys
from pathlib import Path

import tts_pipeline as tts
from tests.builders import line_frame
from tts_pipeline.job import RunOptions


def main() -> None:
    """Say them."""
    url, folder, rows = sys.argv[1:]
    service = tts.Service(base_url=url, auth="none")
    options = RunOptions(work_dir=Path(folder))
    spoken = tts.synthesize(line_frame(int(rows)), service, model="qwen3-tts-flash", voice="Cherry", options=options)
    print(spoken["audio"].null_count(), "without audio")


if __name__ == "__main__":
    main()

"""Say two lines, and be killed when the call has returned. Run by a test, with the URL, a folder, and tag columns."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import tts_pipeline as tts
from tests.builders import line_frame
from tts_pipeline.frames import call_store
from tts_pipeline.job import RunOptions


def main() -> None:
    """Say them, with columns as tags, and die before the usage of the call is brought to its place."""
    url, folder, *tags = sys.argv[1:]
    call_store.CLOSE_AFTER_S = 3_600.0
    service = tts.Service(base_url=url, auth="none")
    options = RunOptions(work_dir=Path(folder), tag_columns={tag: tag for tag in tags})
    tts.synthesize(line_frame(2), service, model="qwen3-tts-flash", voice="Cherry", options=options)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()

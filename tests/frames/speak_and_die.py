"""A script that says two lines and is killed when the call has returned: started by a test. Arguments: URL, folder."""

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
    """Say them, each with a tag of its own, and die before the usage of the call is brought to its place."""
    url, folder = sys.argv[1:]
    call_store.CLOSE_AFTER_S = 3_600.0
    service = tts.Service(base_url=url, auth="none")
    options = RunOptions(work_dir=Path(folder), tag_columns={"line": "text"})
    tts.synthesize(line_frame(2), service, model="qwen3-tts-flash", voice="Cherry", options=options)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()

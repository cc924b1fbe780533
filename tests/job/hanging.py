"""Run jobs in which something hangs, each in its own process, interrupt each twice, and print how it ended.

``python -m tests.job.hanging FOLDER URL``. Forking imports everything once; a parent with Polars cannot fork.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tts_pipeline as tts
from tests.builders import job_of, write_lines
from tts_pipeline.dataset.active_part import ActivePart
from tts_pipeline.dataset.commit import PartCommitter
from tts_pipeline.job import CancelToken, run_job
from tts_pipeline.job.prepared_job import PreparedJob
from tts_pipeline.source import parquet_source
from tts_pipeline.wal import journal

NEVER_S = 3_600.0
FOLDER, URL = Path(sys.argv[1]), sys.argv[2]
STOP, HANGS = CancelToken(), threading.Event()


def hang(*_: object, **__: object) -> None:
    """Never return."""
    HANGS.set()
    time.sleep(NEVER_S)


def hangs_in(owner: Any, name: str, after: int = 0) -> str:
    """Let a function hang after so many calls; return the service's URL."""
    real, left = getattr(owner, name), [None] * after
    setattr(owner, name, lambda *args, **kwargs: (left.pop(), real(*args, **kwargs))[1] if left else hang())
    return URL


def silent() -> str:
    """Start a service that never answers, and return its URL."""
    server = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=lambda: hang(server.accept()), daemon=True).start()
    return f"http://127.0.0.1:{server.getsockname()[1]}"


def run(url: str) -> None:
    """Run a job whose grace time never ends."""
    run_job(job_of(FOLDER, url, destination=FOLDER / f"out-{os.getpid()}", limits={"stop_grace_s": NEVER_S}), stop=STOP)


async def cell() -> None:
    """Run the job within an event loop, as in a notebook."""
    run(silent())


async def spoken() -> None:
    """Await a call of the job."""
    import polars as pl

    service, options = tts.Service(base_url=silent(), auth="none"), tts.RunOptions(work_dir=FOLDER / "frames")
    lines = pl.DataFrame({"text": ["Hello."]})
    await tts.asynthesize(lines, service, model="m", voice="Cherry", options=options, stop=STOP)


def in_the_background() -> None:
    """Run the job as a shell does a command that ends in ``&``."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    run(silent())


CASES: dict[str, Callable[[], object]] = {
    "the service": lambda: run(silent()),
    "the service, in a notebook": lambda: asyncio.run(cell()),
    "the service, awaited": lambda: asyncio.run(spoken()),
    "the service, in the background": in_the_background,
    "a name": lambda: run(hangs_in(socket, "getaddrinfo").replace("127.0.0.1", "localhost")),
    "the source's files": lambda: run(hangs_in(parquet_source, "_open_stream")),
    "a part's rows": lambda: run(hangs_in(PreparedJob, "read_part")),
    "a sync of the disk": lambda: run(hangs_in(journal, "_fdatasync", after=6)),
    "a part's sync": lambda: run(hangs_in(ActivePart, "sync")),
    "publishing": lambda: run(hangs_in(PartCommitter, "commit_part")),
}


def interrupt(case: str) -> None:
    """Send two signals, each to any thread, once something hangs."""
    chance = random.Random(case)
    HANGS.wait()
    _interrupt_one(chance)
    while not STOP.is_set:  # where no rows are sent yet, the first one has ended it
        time.sleep(0.01)
    _interrupt_one(chance)


def _interrupt_one(chance: random.Random) -> None:
    signal.pthread_kill(chance.choice(threading.enumerate()).ident or 0, signal.SIGINT)


def _in_child(case: str) -> str | int:
    threading.Thread(target=interrupt, args=(case,), daemon=True).start()
    try:
        CASES[case]()
    except KeyboardInterrupt:
        return 130
    return "it was not interrupted"


def main() -> None:
    """Run all cases in parallel."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever who started this ignores
    write_lines(FOLDER / "lines.parquet")
    children: dict[int, str] = {}
    for case in CASES:
        pid = os.fork()
        if not pid:
            sys.exit(_in_child(case))
        children[pid] = case
    for pid, case in children.items():
        print(case, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), sep=": ", flush=True)


if __name__ == "__main__":
    main()

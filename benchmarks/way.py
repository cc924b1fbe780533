"""Trace one row from the queue to the wire to the journal, and count its functions: ``python -m benchmarks.way``.

A job of short rows runs in this process with one worker and one request at a time, so that only one row is in work at
any moment. The interpreter's profiling hook watches the threads of the event loop and of the journal writer from the
time that one row enters the client to the time that the next one does: in between, each step of a row happens once.

Named functions of ``tts_pipeline`` count, except those of ``audio/``, which only measures an answer. A coroutine that
resumes after a wait counts once. A change of room is a call into another folder of the package than that of the call
before it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import tts_pipeline
from benchmarks.answers import AnswerSpec
from benchmarks.contest import write_source
from benchmarks.contestants.ours import job_of
from benchmarks.contestants.task import Task
from benchmarks.service import LoadService, load_service
from tts_pipeline.client.client import SpeechClient
from tts_pipeline.http.connection import WatchedConnection
from tts_pipeline.job import run_job, workers

MAX_FRAMES, MAX_FUNCTIONS, MAX_FILES, MAX_ROOM_CHANGES = 8, 180, 48, 70
"""The maxima of a row's figures."""

_ROWS, _WATCHED_ROW = 60, 50
_THREADS = ("event-loop", "journal-writer")
_PACKAGE = f"{Path(tts_pipeline.__file__).parent}{os.sep}"
_AUDIO = f"{_PACKAGE}audio{os.sep}"
_ENTRY = SpeechClient.synthesize.__code__
_SEND = WatchedConnection.send.__code__
_LOOP_CALL = asyncio.Handle._run.__code__


@dataclass(slots=True)
class Way:
    """The calls of one row.

    Attributes:
        calls: The code of each call of the package, in order.
        stack: The package's frames when the request was handed to a connection, the outermost first.
    """

    calls: list[CodeType] = field(default_factory=list)
    stack: list[CodeType] = field(default_factory=list)

    @property
    def functions(self) -> list[CodeType]:
        """Each function once, in the order of first calls."""
        return list(dict.fromkeys(self.calls))

    @property
    def files(self) -> list[str]:
        """Each file once, in the order of first calls."""
        return list(dict.fromkeys(_file(code) for code in self.calls))

    @property
    def rooms(self) -> list[str]:
        """The package's folders, in the order in which the row passes them."""
        rooms = [_file(code).rpartition(os.sep)[0] or _file(code) for code in self.calls]
        return rooms[:1] + [after for before, after in pairwise(rooms) if before != after]

    def figures(self) -> dict[str, tuple[int, int]]:
        """Return each figure with its maximum."""
        return {
            "frames on the stack": (len(self.stack), MAX_FRAMES),
            "functions": (len(self.functions), MAX_FUNCTIONS),
            "files": (len(self.files), MAX_FILES),
            "changes of room": (len(self.rooms) - 1, MAX_ROOM_CHANGES),
        }


class Watcher:
    """The profiling hook: counts rows as they enter the client, and records the calls of one row."""

    def __init__(self) -> None:
        self.way = Way()
        self._entries = 0
        self._frames: set[FrameType] = set()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch the threads that start while the block runs."""
        threading.setprofile(self._on_event)
        try:
            yield
        finally:
            threading.setprofile(None)

    def _on_event(self, frame: FrameType, event: str, _callee: Any) -> None:
        if event != "call" or not threading.current_thread().name.startswith(_THREADS):
            return
        code = frame.f_code
        is_resumed = frame in self._frames
        if code is _ENTRY and not is_resumed:
            self._entries += 1
        if code is _ENTRY or self._entries == _WATCHED_ROW:
            self._frames.add(frame)
        if self._entries != _WATCHED_ROW or is_resumed:
            return
        if _counts(code):
            self.way.calls.append(code)
        if code is _SEND:
            self.way.stack = [each for each in _stack(frame) if _counts(each)]


def _stack(frame: FrameType | None) -> list[CodeType]:
    """Return the codes of a frame and of its callers within the event loop, the outermost first."""
    codes: list[CodeType] = []
    while frame is not None and frame.f_code is not _LOOP_CALL:
        codes.insert(0, frame.f_code)
        frame = frame.f_back
    return codes


def _counts(code: CodeType) -> bool:
    is_named = not code.co_name.startswith("<")  # a comprehension is a function only in some versions of Python
    return is_named and code.co_filename.startswith(_PACKAGE) and not code.co_filename.startswith(_AUDIO)


def _file(code: CodeType) -> str:
    return code.co_filename.removeprefix(_PACKAGE)


def measure(service: LoadService, folder: Path) -> Way:
    """Run a job, and return the way of one of its rows."""
    source = folder / "way.parquet"
    write_source(source, _ROWS)
    spec = AnswerSpec(latency_ms=1)
    service.prepare(spec)
    job = job_of(Task(spec.base_url(service.origin), str(source), str(folder / "way"), max_concurrency=1))
    watcher = Watcher()
    spare_workers, workers.SPARE_WORKERS = workers.SPARE_WORKERS, 0  # one worker: the rows do not mix
    try:
        with watcher.watching():
            run_job(job)
    finally:
        workers.SPARE_WORKERS = spare_workers
    return watcher.way


def main() -> None:
    """Print one row's way and its figures."""
    logging.getLogger("tts_pipeline").setLevel(logging.ERROR)  # the load service has no prices: not worth a warning
    with load_service() as service, tempfile.TemporaryDirectory(dir=".", prefix=".bench-") as folder:
        way = measure(service, Path(folder))
    print("The way, each call of the package in order:\n")
    for code in way.calls:
        print(f"  {_file(code):<34} {code.co_qualname}")
    print("\nOn the stack when the request leaves:\n")
    for code in way.stack:
        print(f"  {_file(code):<34} {code.co_qualname}")
    print()
    for name, (figure, maximum) in way.figures().items():
        print(f"{figure:4} {name}, at most {maximum}")


if __name__ == "__main__":
    main()

"""End the process at a second Ctrl-C, even if its threads wait for something."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tts_pipeline.cli.status import INTERRUPTED

_GRACE_S = 3.0
"""Seconds after the second Ctrl-C in which the process may still end in good order and print its messages."""


@contextmanager
def exit_on_second_interrupt() -> Iterator[None]:
    """End the process soon after a second Ctrl-C, with the status of an interruption.

    The main thread, which handles signals, may wait in a library or for a disk. So another thread reads the wakeup file
    descriptor, to which Python writes the number of each signal; after a first Ctrl-C it runs until the process ends.
    All purchases are in the journals by then, as before any kill.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    interrupts: list[int] = []
    previous_fd = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    watcher = threading.Thread(target=_watch, args=(reader, interrupts), name="interrupts", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        if not interrupts:
            signal.set_wakeup_fd(previous_fd)
            os.close(writer)
            watcher.join()
            os.close(reader)


def _watch(reader: int, interrupts: list[int]) -> None:
    while numbers := os.read(reader, 4_096):
        interrupts += (number for number in numbers if number == signal.SIGINT)
        if len(interrupts) > 1:
            threading.Event().wait(_GRACE_S)
            os._exit(INTERRUPTED)

"""Python's collector of reference cycles while jobs run: it looks seldom, for it costs much and finds nothing."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

YOUNG_OBJECTS = 50_000
"""New objects after which it looks. CPython's own 700 are a few rows' work: its looks then take 0.13 ms a row and stop
all threads for up to 75 ms (measured at 256 in flight), though a run makes no cycles to speak of."""

_lock = threading.Lock()
_running = 0
_before = gc.get_threshold()


@contextmanager
def collecting_seldom() -> Iterator[None]:
    """Have the collector look seldom while the block runs; several may run at a time, in one thread or in many.

    A collector that is off, or looks more seldom already, stays as it is.
    """
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _running, _before  # noqa: PLW0603 (the collector is the whole process's)
    with _lock:
        if not _running:
            _before = gc.get_threshold()
            if 0 < _before[0] < YOUNG_OBJECTS:
                gc.set_threshold(YOUNG_OBJECTS, *_before[1:])
        _running += 1


def _leave() -> None:
    global _running  # noqa: PLW0603
    with _lock:
        _running -= 1
        if not _running:
            gc.set_threshold(*_before)

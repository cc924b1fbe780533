"""Detect that Polars is the caller: it may call a function twice, or for rows that it then drops."""

from __future__ import annotations

import sys
import threading
from types import FrameType

from tts_pipeline.errors import ConfigurationError

_SINGLE_CALL_FUNCTIONS = {"pipe"}
"""Functions of Polars that call what they are given just once, at once."""


def called_by_polars() -> bool:
    """Say whether a function of Polars' (``map_batches``, ``map_groups``, ...) is what calls.

    Streamed, such a function is called in a thread of Polars' own, which has no caller in Python: like all threads that
    Python did not start, it counts.
    """
    if isinstance(threading.current_thread(), threading._DummyThread):
        return True
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.partition(".")[0] == "polars" and frame.f_code.co_name not in _SINGLE_CALL_FUNCTIONS:
            return True
        frame = frame.f_back
    return False


def refuse_double_purchase(*, has_cache: bool) -> None:
    """Refuse to spend where Polars calls, which may be twice for the same rows, and nothing is reused."""
    if not has_cache and called_by_polars():
        raise ConfigurationError(
            "speech is to be bought inside a function that Polars calls, which it may do twice for the same rows",
            hint="leave the cache on, which has what was bought before, or call synthesize on the collected frame",
        )

"""Detect whether Polars is the caller, since it may call a function twice, or for rows that it then drops."""

from __future__ import annotations

import sys
import threading
from types import FrameType

from tts_pipeline.errors import ConfigurationError

_SINGLE_CALL_FUNCTIONS = {"pipe"}
"""Functions of Polars that call the function they are given once, immediately."""


def called_by_polars() -> bool:
    """Return whether a function of Polars (``map_batches``, ``map_groups``, ...) is the caller.

    In a streamed query, Polars calls from its own thread, which has no caller in Python: every thread that Python did
    not start counts as Polars.
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
    """Refuse to buy without a cache when Polars is the caller, since it may call twice for the same rows."""
    if not has_cache and called_by_polars():
        raise ConfigurationError(
            "synthesize would buy inside a function that Polars calls, perhaps twice for the same rows",
            hint="leave `cache` on, so that nothing is bought twice, or call synthesize on the collected frame",
        )

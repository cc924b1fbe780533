"""How long a test waits for what is bound to come: the only place where it is decided."""

from __future__ import annotations

import os

FACTOR = float(os.environ.get("TTS_TEST_PATIENCE") or 1)
"""For a machine that is busy with something else: ``TTS_TEST_PATIENCE=4 make test``."""


def patience(seconds: float) -> float:
    """Return a bound of time that only tells waiting from not waiting: on a busy machine it is longer.

    What a test promises in seconds is not such a bound, nor is a rest between two looks.
    """
    return seconds * FACTOR

"""Another clock for a whole process: a folder on ``PYTHONPATH`` whose ``sitecustomize`` Python imports first of all."""

from __future__ import annotations

import os
import time

_AHEAD_S = float(os.environ.get("TTS_TEST_CLOCK_AHEAD_S", "0"))
_TIME_S, _TIME_NS = time.time, time.time_ns

time.time = lambda: _TIME_S() + _AHEAD_S
time.time_ns = lambda: _TIME_NS() + int(_AHEAD_S * 1e9)

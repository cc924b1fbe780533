"""The package's logger: what users set the level of, and what ``cli`` sends to the terminal."""

from __future__ import annotations

import logging

logger = logging.getLogger("tts_pipeline")

"""The package's logger: users set its level, and ``cli`` sends its messages to the terminal."""

from __future__ import annotations

import logging

logger = logging.getLogger("tts_pipeline")

"""The client: turn one utterance into speech, with retries, retakes and a record of every attempt.

It is loaded on first use: parts of it are needed without the HTTP stack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tts_pipeline.lazy_imports import lazy_names

if TYPE_CHECKING:
    from tts_pipeline.client.client import SpeechClient as SpeechClient
else:
    __getattr__, __dir__, __all__ = lazy_names(__name__, {"tts_pipeline.client.client": "SpeechClient"})

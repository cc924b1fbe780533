"""The old place of ``LocalService``, which is a name of the package now."""

from __future__ import annotations

from tts_pipeline.lazy_imports import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, {}, renamed={"LocalService": "tts_pipeline.emulator.LocalService"})

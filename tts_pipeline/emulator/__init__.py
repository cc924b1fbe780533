"""Run a real local speech service: the paid services' API, spoken by espeak-ng, with a bill and faults on demand.

It is independent of the pipeline: the two share no counter, no parser and no table, so that each checks the other.
``python -m tts_pipeline.emulator`` starts it alone; ``LocalService`` starts it for a job.

A request goes ``server -> request -> faults -> speaker_pool (or tone) -> billing -> shapes -> delivery``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tts_pipeline.lazy_imports import lazy_names

if TYPE_CHECKING:
    from tts_pipeline.emulator.local_service import LocalService as LocalService
    from tts_pipeline.emulator.options import EmulatorOptions as EmulatorOptions
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "tts_pipeline.emulator.local_service": "LocalService",
            "tts_pipeline.emulator.options": "EmulatorOptions",
        },
    )

"""Speech from text in bulk: text rows go in; audio, word timestamps and an exact bill come out.

The names below are loaded when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tts_pipeline.lazy_imports import lazy_getattr

if TYPE_CHECKING:
    from tts_pipeline.card import Card
    from tts_pipeline.catalog import Catalog, Service, find_service, load_catalog
    from tts_pipeline.client import SpeechClient
    from tts_pipeline.config import AudioSettings, BudgetCap, InputColumns, Limits, QualityPolicy, Selection
    from tts_pipeline.errors import (
        ConfigurationError,
        FatalError,
        MissingSourceError,
        PermanentError,
        ServiceError,
        StoppedError,
        StorageError,
        TransientError,
        TtsPipelineError,
    )
    from tts_pipeline.estimates import Estimate
    from tts_pipeline.estimates.estimate import estimate
    from tts_pipeline.exports import Export
    from tts_pipeline.exports.export import export
    from tts_pipeline.frames import billed_characters, estimate_cost, usage_of
    from tts_pipeline.frames.synthesize import asynthesize, synthesize
    from tts_pipeline.job import (
        CancelToken,
        Job,
        Progress,
        Report,
        RunOptions,
        Shard,
        plan,
        publish,
        run,
        run_job,
        run_parts,
    )
    from tts_pipeline.models import Audio, Price, Reject, Speech, Usage, Utterance, Word
    from tts_pipeline.report import Dataset, open_dataset
    from tts_pipeline.storage.location import FsspecPath
else:
    __getattr__ = lazy_getattr(
        __name__,
        {
            "tts_pipeline.card": ("Card",),
            "tts_pipeline.catalog": ("Catalog", "Service", "find_service", "load_catalog"),
            "tts_pipeline.client": ("SpeechClient",),
            "tts_pipeline.config": (
                "AudioSettings",
                "BudgetCap",
                "InputColumns",
                "Limits",
                "QualityPolicy",
                "Selection",
            ),
            "tts_pipeline.errors": (
                "ConfigurationError",
                "FatalError",
                "MissingSourceError",
                "PermanentError",
                "ServiceError",
                "StoppedError",
                "StorageError",
                "TransientError",
                "TtsPipelineError",
            ),
            "tts_pipeline.estimates": ("Estimate", "estimate"),
            "tts_pipeline.exports": ("Export", "export"),
            "tts_pipeline.frames": ("asynthesize", "billed_characters", "estimate_cost", "synthesize", "usage_of"),
            "tts_pipeline.job": (
                "Job",
                "Progress",
                "Report",
                "RunOptions",
                "Shard",
                "CancelToken",
                "plan",
                "publish",
                "run",
                "run_job",
                "run_parts",
            ),
            "tts_pipeline.report": ("Dataset", "open_dataset"),
            "tts_pipeline.models": ("Audio", "Price", "Reject", "Speech", "Usage", "Utterance", "Word"),
            "tts_pipeline.storage.location": ("FsspecPath",),
        },
        renamed={"Running": "RunOptions", "Stop": "CancelToken"},
    )

__all__ = [
    "Audio",
    "AudioSettings",
    "BudgetCap",
    "CancelToken",
    "Card",
    "Catalog",
    "ConfigurationError",
    "Dataset",
    "Estimate",
    "Export",
    "FatalError",
    "FsspecPath",
    "InputColumns",
    "Job",
    "Limits",
    "MissingSourceError",
    "PermanentError",
    "Price",
    "Progress",
    "QualityPolicy",
    "Reject",
    "Report",
    "RunOptions",
    "Selection",
    "Service",
    "ServiceError",
    "Shard",
    "Speech",
    "SpeechClient",
    "StoppedError",
    "StorageError",
    "TransientError",
    "TtsPipelineError",
    "Usage",
    "Utterance",
    "Word",
    "asynthesize",
    "billed_characters",
    "estimate",
    "estimate_cost",
    "export",
    "find_service",
    "load_catalog",
    "open_dataset",
    "plan",
    "publish",
    "run",
    "run_job",
    "run_parts",
    "synthesize",
    "usage_of",
]


def __dir__() -> list[str]:
    return __all__

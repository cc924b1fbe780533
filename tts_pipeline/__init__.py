"""Speech from text in bulk: text rows go in; audio, word timestamps and an exact bill come out.

The names below are loaded when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tts_pipeline.catalog import Catalog, Service, load_catalog
    from tts_pipeline.client import SpeechClient
    from tts_pipeline.config import AudioSettings, BudgetCap, InputColumns, Limits, Selection
    from tts_pipeline.errors import (
        ConfigurationError,
        FatalError,
        PermanentError,
        ServiceError,
        StoppedError,
        StorageError,
        TransientError,
        TtsPipelineError,
    )
    from tts_pipeline.estimates import Estimate, estimate
    from tts_pipeline.frames import billed_characters
    from tts_pipeline.job import Job, Progress, Report, Running, Shard, plan, publish, run, run_job, run_parts
    from tts_pipeline.models import Audio, Price, Reject, Speech, Usage, Utterance, Word

_HOMES = {
    "tts_pipeline.catalog": ("Catalog", "Service", "load_catalog"),
    "tts_pipeline.client": ("SpeechClient",),
    "tts_pipeline.config": ("AudioSettings", "BudgetCap", "InputColumns", "Limits", "Selection"),
    "tts_pipeline.errors": (
        "ConfigurationError",
        "FatalError",
        "PermanentError",
        "ServiceError",
        "StoppedError",
        "StorageError",
        "TransientError",
        "TtsPipelineError",
    ),
    "tts_pipeline.estimates": ("Estimate", "estimate"),
    "tts_pipeline.frames": ("billed_characters",),
    "tts_pipeline.job": (
        "Job",
        "Progress",
        "Report",
        "Running",
        "Shard",
        "plan",
        "publish",
        "run",
        "run_job",
        "run_parts",
    ),
    "tts_pipeline.models": ("Audio", "Price", "Reject", "Speech", "Usage", "Utterance", "Word"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Audio",
    "AudioSettings",
    "BudgetCap",
    "Catalog",
    "ConfigurationError",
    "Estimate",
    "FatalError",
    "InputColumns",
    "Job",
    "Limits",
    "PermanentError",
    "Price",
    "Progress",
    "Reject",
    "Report",
    "Running",
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
    "billed_characters",
    "estimate",
    "load_catalog",
    "plan",
    "publish",
    "run",
    "run_job",
    "run_parts",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'tts_pipeline' has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return __all__

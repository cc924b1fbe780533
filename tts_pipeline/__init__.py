"""Speech from text in bulk: text rows go in; audio, word timestamps and an exact bill come out.

The names below are loaded when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tts_pipeline.lazy_imports import lazy_names

if TYPE_CHECKING:
    from tts_pipeline.card import Card as Card
    from tts_pipeline.catalog import Catalog as Catalog
    from tts_pipeline.catalog import Service as Service
    from tts_pipeline.catalog import find_service as find_service
    from tts_pipeline.catalog import load_catalog as load_catalog
    from tts_pipeline.client import SpeechClient as SpeechClient
    from tts_pipeline.config import AudioSettings as AudioSettings
    from tts_pipeline.config import BudgetCap as BudgetCap
    from tts_pipeline.config import InputColumns as InputColumns
    from tts_pipeline.config import Limits as Limits
    from tts_pipeline.config import QualityPolicy as QualityPolicy
    from tts_pipeline.config import Selection as Selection
    from tts_pipeline.errors import ConfigurationError as ConfigurationError
    from tts_pipeline.errors import FatalError as FatalError
    from tts_pipeline.errors import MissingSourceError as MissingSourceError
    from tts_pipeline.errors import PermanentError as PermanentError
    from tts_pipeline.errors import ServiceError as ServiceError
    from tts_pipeline.errors import StoppedError as StoppedError
    from tts_pipeline.errors import StorageError as StorageError
    from tts_pipeline.errors import TransientError as TransientError
    from tts_pipeline.errors import TtsPipelineError as TtsPipelineError
    from tts_pipeline.estimates import Estimate as Estimate
    from tts_pipeline.estimates.estimate import estimate as estimate
    from tts_pipeline.exports import Export as Export
    from tts_pipeline.exports.export import export as export
    from tts_pipeline.frames import billed_characters as billed_characters
    from tts_pipeline.frames import estimate_cost as estimate_cost
    from tts_pipeline.frames import usage_of as usage_of
    from tts_pipeline.frames.synthesize import asynthesize as asynthesize
    from tts_pipeline.frames.synthesize import synthesize as synthesize
    from tts_pipeline.job import CancelToken as CancelToken
    from tts_pipeline.job import Job as Job
    from tts_pipeline.job import Progress as Progress
    from tts_pipeline.job import Report as Report
    from tts_pipeline.job import RunOptions as RunOptions
    from tts_pipeline.job import Shard as Shard
    from tts_pipeline.job import plan as plan
    from tts_pipeline.job import publish as publish
    from tts_pipeline.job import run as run
    from tts_pipeline.job import run_job as run_job
    from tts_pipeline.job import run_parts as run_parts
    from tts_pipeline.models import Audio as Audio
    from tts_pipeline.models import Price as Price
    from tts_pipeline.models import Reject as Reject
    from tts_pipeline.models import Speech as Speech
    from tts_pipeline.models import Usage as Usage
    from tts_pipeline.models import Utterance as Utterance
    from tts_pipeline.models import Word as Word
    from tts_pipeline.report import Dataset as Dataset
    from tts_pipeline.report import open_dataset as open_dataset
    from tts_pipeline.report import usage as usage
    from tts_pipeline.storage.location import FsspecPath as FsspecPath
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "tts_pipeline.card": "Card",
            "tts_pipeline.catalog": "Catalog Service find_service load_catalog",
            "tts_pipeline.client": "SpeechClient",
            "tts_pipeline.config": "AudioSettings BudgetCap InputColumns Limits QualityPolicy Selection",
            "tts_pipeline.errors": (
                "ConfigurationError FatalError MissingSourceError PermanentError ServiceError StoppedError "
                "StorageError TransientError TtsPipelineError"
            ),
            "tts_pipeline.estimates": "Estimate estimate",
            "tts_pipeline.exports": "Export export",
            "tts_pipeline.frames": "asynthesize billed_characters estimate_cost synthesize usage_of",
            "tts_pipeline.job": "CancelToken Job Progress Report RunOptions Shard plan publish run run_job run_parts",
            "tts_pipeline.models": "Audio Price Reject Speech Usage Utterance Word",
            "tts_pipeline.report": "Dataset open_dataset usage",
            "tts_pipeline.storage.location": "FsspecPath",
        },
        renamed={"Running": "RunOptions", "Stop": "CancelToken"},
    )

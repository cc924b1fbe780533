"""Estimate a job before anything is sent: requests, characters, cost, hours of audio, and time."""

from typing import TYPE_CHECKING

from tts_pipeline.estimates.estimate import estimate, estimate_rows
from tts_pipeline.estimates.result import Estimate, VoiceTotals
from tts_pipeline.lazy_imports import lazy_names

__all__ = ["Estimate", "VoiceTotals", "estimate", "estimate_rows"]

if not TYPE_CHECKING:
    __getattr__, _, _ = lazy_names(__name__, {}, renamed={"Spoken": f"{__name__}.VoiceTotals"})

"""Estimate a job before anything is sent: requests, characters, cost, hours of audio, and time."""

from tts_pipeline.estimates.estimate import estimate, estimate_rows
from tts_pipeline.estimates.result import Estimate, VoiceTotals

__all__ = ["Estimate", "VoiceTotals", "estimate", "estimate_rows"]

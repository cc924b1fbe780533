"""What a job would come to, before anything is sent: requests, characters, cost, hours of audio, and time."""

from tts_pipeline.estimates.door import estimate, estimate_rows
from tts_pipeline.estimates.figures import Estimate, VoiceTotals

__all__ = ["Estimate", "VoiceTotals", "estimate", "estimate_rows"]

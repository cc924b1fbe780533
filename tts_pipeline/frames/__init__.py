"""Synthesize speech for the rows of a Polars or Arrow table, and count and price their texts by expressions."""

from tts_pipeline.frames.expressions import billed_characters, estimate_cost, han_characters
from tts_pipeline.frames.synthesize import asynthesize, synthesize
from tts_pipeline.frames.usage import usage_of

__all__ = ["asynthesize", "billed_characters", "estimate_cost", "han_characters", "synthesize", "usage_of"]

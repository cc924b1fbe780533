"""Read datasets as lazy frames, and report their cost from their usage tables."""

from tts_pipeline.report.dataset import Dataset, open_dataset
from tts_pipeline.report.usage import OpenPart, open_parts, usage, usage_report

__all__ = ["Dataset", "OpenPart", "open_dataset", "open_parts", "usage", "usage_report"]

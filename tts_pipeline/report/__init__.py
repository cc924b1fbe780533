"""Reading datasets: their tables as lazy frames, and what they cost, added up by whatever is asked for."""

from tts_pipeline.report.dataset import Dataset, open_dataset
from tts_pipeline.report.usage import OpenPart, open_parts, usage, usage_report

__all__ = ["Dataset", "OpenPart", "open_dataset", "open_parts", "usage", "usage_report"]

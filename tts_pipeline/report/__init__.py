"""Report the cost of datasets: their usage tables as one frame, grouped by any column."""

from tts_pipeline.report.dataset import Dataset, open_dataset
from tts_pipeline.report.usage import OpenPart, open_parts, usage, usage_report

__all__ = ["Dataset", "OpenPart", "open_dataset", "open_parts", "usage", "usage_report"]

"""Read datasets as lazy frames, and report their cost from their usage tables."""

from typing import TYPE_CHECKING

from tts_pipeline.lazy_imports import lazy_names
from tts_pipeline.report.bill import OpenPart, open_parts
from tts_pipeline.report.dataset import Dataset, open_dataset
from tts_pipeline.report.usage import usage, usage_report

__all__ = ["Dataset", "OpenPart", "open_dataset", "open_parts", "usage", "usage_report"]

if not TYPE_CHECKING:
    __getattr__, _, _ = lazy_names(__name__, {}, renamed={"Open": f"{__name__}.OpenPart"})

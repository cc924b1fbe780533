"""What datasets cost: their usage tables as one frame, added up by whatever is asked for."""

from tts_pipeline.report.usage import OpenPart, open_parts, usage, usage_report

__all__ = ["OpenPart", "open_parts", "usage", "usage_report"]

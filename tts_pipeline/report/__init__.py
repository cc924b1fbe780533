"""What datasets cost: their usage tables as one frame, added up by whatever is asked for."""

from tts_pipeline.report.usage import Open, open_parts, usage, usage_report

__all__ = ["Open", "open_parts", "usage", "usage_report"]

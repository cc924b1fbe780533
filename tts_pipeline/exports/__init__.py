"""Export a dataset for training: a Hugging Face repository, audio files, NeMo's or lhotse's manifests."""

from tts_pipeline.exports.export import export
from tts_pipeline.exports.report import Export

__all__ = ["Export", "export"]

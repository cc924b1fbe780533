"""Export a dataset for training, as a Hugging Face repository, audio files, or manifests for NeMo or lhotse."""

from tts_pipeline.exports.export import export
from tts_pipeline.exports.report import Export

__all__ = ["Export", "export"]

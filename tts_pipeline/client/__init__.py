"""One utterance in, one speech out: the only place that sends HTTP, and the one owner of retry."""

from tts_pipeline.client.client import SpeechClient

__all__ = ["SpeechClient"]

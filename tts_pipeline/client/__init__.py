"""The client: an utterance goes in, speech comes out. The one owner of retry."""

from tts_pipeline.client.client import SpeechClient

__all__ = ["SpeechClient"]

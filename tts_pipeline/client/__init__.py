"""The client: turn one utterance into speech, with retries, retakes and a record of every attempt."""

from tts_pipeline.client.client import SpeechClient

__all__ = ["SpeechClient"]

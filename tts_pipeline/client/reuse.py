"""What was bought before, by whoever, looked up before anything is bought: the client's side of it."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from tts_pipeline.audio.measure import playable
from tts_pipeline.audio.wav import is_canonical
from tts_pipeline.client.takes import is_worth_keeping
from tts_pipeline.config import MAX_CLIP_S, QualityPolicy
from tts_pipeline.errors import ServiceError
from tts_pipeline.models import Answer, Audio, Found, Segment, Utterance

logger = logging.getLogger("tts_pipeline")


class Library(Protocol):
    """Audio by what was asked for: requests of one key and take are the same, down to the last byte of their body."""

    async def get(self, request_key: str, take: int) -> Found | None:
        """Return what was bought for a request; None when nothing is known of it. What fails is not known."""

    async def put(self, request_key: str, take: int, found: Found) -> None:
        """Take in what was bought; returns when it is in good hands, which is before it is stored. Fails silently."""


class Loan:
    """What one utterance takes out of a library, and what it gives to it.

    Args:
        library: None is without: nothing is found, and nothing is kept.
        utterance: Whose requests.
        quality: Audio that this policy would not keep is not taken.

    Attributes:
        origin: Where the first answer that was taken came from; None as long as none was.
        segments: How many segments the last one that was taken was said in.
    """

    def __init__(self, library: Library | None, utterance: Utterance, quality: QualityPolicy) -> None:
        self.origin: str | None = None
        self.segments = 1
        self._library = library
        self._utterance = utterance
        self._quality = quality

    async def take(self, request_key: str, segment: Segment) -> Answer | None:
        """Return the answer to the request for a segment, when it was bought before and is good enough."""
        if self._library is None:
            return None
        found = await self._library.get(request_key, self._utterance.take)
        if found is None or not is_worth_keeping(self._quality, found.answer, None):
            return None
        is_quick = is_canonical(found.answer.audio.data)
        audio = _measured(found) if is_quick else await asyncio.to_thread(_measured, found)
        if audio is None:
            return None
        self.origin = self.origin or found.origin
        self.segments = found.segments
        return found.answer._replace(segment=segment.index, audio=audio)

    async def give(self, request_key: str, answer: Answer) -> None:
        """Give an answer that was just bought to whoever asks the same later."""
        if self._library is not None:
            found = Found(answer, self._utterance.utterance_id)
            await self._library.put(request_key, self._utterance.take, found)


def _measured(found: Found) -> Audio | None:
    """Return audio as its bytes say it is, whatever was said of it where it was kept; None where it is none."""
    audio, max_s = found.answer.audio, MAX_CLIP_S * max(1, found.segments)
    try:
        return playable(audio.data, pcm_sample_rate_hz=None, complete=True, max_s=max_s)[0]
    except ServiceError as error:
        logger.warning("what is kept of %s is not taken, and bought anew: %s", found.origin, error.message)
        return None

"""What was bought before, by whoever, looked up before anything is bought: the client's side of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from tts_pipeline.audio.measure import make_playable
from tts_pipeline.audio.wav import is_canonical
from tts_pipeline.client.takes import is_worth_keeping
from tts_pipeline.config import MAX_CLIP_S, QualityPolicy
from tts_pipeline.errors import ServiceError
from tts_pipeline.models import Answer, Audio, Found, Segment, Utterance, Word

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
        if audio is not None and not _are_of(found.answer.words, segment.text, audio):
            _warn(found, "it has words that are not the text's")
            return None
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


_ROUNDING_MS = 100
_ROUNDING = 0.1
"""How much longer or shorter audio may be than was said of it: versions differ by an encoder's padding."""

_LATE_MS = 1_000
"""How long after its sound's end a word may end."""


def _are_of(words: Sequence[Word] | None, text: str, audio: Audio) -> bool:
    """Return whether words can be those of a text and its audio."""
    for word in words or ():
        start, end = word.text_start or 0, word.text_end if word.text_end is not None else len(text)
        if not 0 <= start <= end <= len(text):
            return False
        if not 0 <= word.start_ms <= word.end_ms <= audio.duration_ms + _LATE_MS:
            return False
    return True


def _is_as_said(said: Audio, audio: Audio) -> bool:
    """Return whether audio is what was said of it where it was kept; an old header may have been mended since."""
    form = (audio.format, audio.sample_rate_hz, audio.channels)
    differ_ms = abs(said.duration_ms - audio.duration_ms)
    is_as_long = differ_ms <= _ROUNDING_MS + _ROUNDING * audio.duration_ms
    return form == (said.format, said.sample_rate_hz, said.channels) and is_as_long


def _measured(found: Found) -> Audio | None:
    """Return audio as its bytes say it is; None where it is none, or not what was said of it where it was kept."""
    said, max_s = found.answer.audio, MAX_CLIP_S * max(1, found.segments)
    try:
        audio = make_playable(said.data, pcm_sample_rate_hz=None, complete=True, max_s=max_s)[0]
    except ServiceError as error:
        _warn(found, error.message)
        return None
    if not _is_as_said(said, audio):
        _warn(found, "it is not what is said of it there")
        return None
    return audio


def _warn(found: Found, why: str) -> None:
    logger.warning("what is kept of %s is not taken, and bought anew: %s", found.origin, why)

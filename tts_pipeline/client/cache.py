"""Look audio up in the cache before it is bought, and check cached audio before it is used."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from msgspec.structs import replace

from tts_pipeline.audio.measure import make_playable
from tts_pipeline.audio.wav import is_canonical
from tts_pipeline.client.retakes import is_worth_keeping
from tts_pipeline.config import MAX_CLIP_S, QualityPolicy
from tts_pipeline.errors import ServiceError
from tts_pipeline.log import logger
from tts_pipeline.models import Answer, Audio, CachedAudio, Segment, Utterance, Word


class AudioCache(Protocol):
    """Audio by request key and take; requests with the same key are equal down to the last byte of their body."""

    async def get(self, request_key: str, take: int) -> CachedAudio | None:
        """Return the audio that was bought for a request; None for a miss, or if the look-up fails."""

    async def put(self, request_key: str, take: int, entry: CachedAudio) -> None:
        """Accept bought audio; return once it is queued, before it is stored. Fails silently."""


class CacheLookup:
    """The cache for one utterance; it returns no audio that the quality policy would drop.

    ``origin`` is the origin of the first answer from the cache; ``segments`` is the number of segments of the last.
    """

    def __init__(self, cache: AudioCache, utterance: Utterance, quality: QualityPolicy) -> None:
        self.origin: str | None = None
        self.segments = 1
        self._cache = cache
        self._utterance = utterance
        self._quality = quality

    async def get(self, request_key: str, segment: Segment) -> Answer | None:
        """Return the cached answer for a segment; None without an answer, or if its audio is not good enough."""
        entry = await self._cache.get(request_key, self._utterance.take)
        if entry is None or not is_worth_keeping(self._quality, entry.answer, None):
            return None
        is_quick = is_canonical(entry.answer.audio.data)
        audio = _measure(entry) if is_quick else await asyncio.to_thread(_measure, entry)
        if audio is not None and not _are_words_plausible(entry.answer.words, segment.text, audio):
            _warn(entry, "its word timestamps do not fit the text")
            return None
        if audio is None:
            return None
        self.origin = self.origin or entry.origin
        self.segments = entry.segments
        return replace(entry.answer, segment=segment.index, audio=audio)

    async def put(self, request_key: str, answer: Answer) -> None:
        """Store an answer that was just bought, for later equal requests."""
        entry = CachedAudio(answer, self._utterance.utterance_id)
        await self._cache.put(request_key, self._utterance.take, entry)


_DURATION_TOLERANCE_MS = 100
_DURATION_TOLERANCE_SHARE = 0.1
"""The allowed difference between the duration of audio and its description: versions differ by an encoder's padding."""

_WORD_END_TOLERANCE_MS = 1_000
"""The most that a word may end after the audio's end."""


def _are_words_plausible(words: Sequence[Word] | None, text: str, audio: Audio) -> bool:
    """Return whether the words can belong to a text and its audio."""
    for word in words or ():
        start, end = word.text_start or 0, word.text_end if word.text_end is not None else len(text)
        if not 0 <= start <= end <= len(text):
            return False
        if not 0 <= word.start_ms <= word.end_ms <= audio.duration_ms + _WORD_END_TOLERANCE_MS:
            return False
    return True


def _matches_declared(declared: Audio, audio: Audio) -> bool:
    """Return whether audio fits its description in the cache; a later version may have repaired an old header."""
    properties = (audio.format, audio.sample_rate_hz, audio.channels)
    differ_ms = abs(declared.duration_ms - audio.duration_ms)
    is_as_long = differ_ms <= _DURATION_TOLERANCE_MS + _DURATION_TOLERANCE_SHARE * audio.duration_ms
    return properties == (declared.format, declared.sample_rate_hz, declared.channels) and is_as_long


def _measure(entry: CachedAudio) -> Audio | None:
    """Return audio measured from its bytes; None if it does not play, or differs from its description."""
    declared, max_s = entry.answer.audio, MAX_CLIP_S * max(1, entry.segments)
    try:
        audio = make_playable(declared.data, complete=True, max_s=max_s)[0]
    except ServiceError as error:
        _warn(entry, error.message)
        return None
    if not _matches_declared(declared, audio):
        _warn(entry, "it differs from its description in the cache")
        return None
    return audio


def _warn(entry: CachedAudio, reason: str) -> None:
    logger.warning("the cached audio of %s is not used but bought again: %s", entry.origin, reason)

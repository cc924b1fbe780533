"""Assemble the speech of an utterance from the answers to its segments."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from msgspec.structs import astuple

from tts_pipeline.audio.convert import target_format
from tts_pipeline.audio.join import join
from tts_pipeline.client.synthesis import SegmentAnswer, Synthesis
from tts_pipeline.config import AS_RECEIVED, AudioSettings
from tts_pipeline.models import Audio, Speech, Usage, Word

CHARACTERS_MISMATCH = "characters_mismatch"
"""The flag of speech for which the service billed a number of characters that differs from our count."""


def assemble(
    synthesis: Synthesis, segment_answers: Sequence[SegmentAnswer], audio: Audio, starts_ms: Sequence[int]
) -> Speech:
    """Make the speech of an utterance whose segments are all answered.

    ``audio`` is that of the whole utterance; its segments begin at ``starts_ms``.
    """
    resources = synthesis.resources
    now_us = synthesis.settled_at_us or resources.clock.utc_us()
    last, characters_counted = segment_answers[-1].answer, segment_answers[-1].characters_counted
    words, usage, quality = last.words, last.usage, last.quality
    is_mismatch = usage.characters_reported not in (None, characters_counted)
    if len(segment_answers) > 1 or segment_answers[0].segment.start:
        words = _merge_words(segment_answers, starts_ms, audio.duration_ms)
        usage = total_usage([each.answer.usage for each in segment_answers])
        characters_counted = sum([each.characters_counted for each in segment_answers])
        quality = tuple(sorted({flag for each in segment_answers for flag in each.answer.quality}))
        counts = ((each.answer.usage.characters_reported, each.characters_counted) for each in segment_answers)
        is_mismatch = any(reported not in (None, counted) for reported, counted in counts)
    # Joined audio from the cache carries this flag already; the texts of its segments are not known here.
    if is_mismatch and (synthesis.joined_segments or 1) == 1:
        quality = tuple(sorted({*quality, CHARACTERS_MISMATCH}))
    return Speech(
        utterance=synthesis.utterance,
        audio=audio,
        words=words,
        language=synthesis.language,
        segments=synthesis.joined_segments or len(segment_answers),
        attempts=synthesis.attempts,
        request_id=last.request_id,
        request_key=synthesis.whole_request.request_key,
        usage=usage,
        characters_counted=characters_counted,
        characters_billed=synthesis.characters_billed,
        cost=synthesis.cost,
        currency=resources.meter.currency_at(now_us),
        quality=quality,
        created_at_us=now_us,
        deduplicated_from=synthesis.deduplicated_from,
    )


def is_as_received(settings: AudioSettings) -> bool:
    """Return whether the settings leave a single audio as it is, whatever it is."""
    return settings.format == AS_RECEIVED and settings.sample_rate_hz is None


async def convert_audio(
    segment_answers: Sequence[SegmentAnswer], settings: AudioSettings
) -> tuple[Audio, tuple[int, ...]]:
    """Join and convert the audio of segments in a thread; return a single audio in the target format as it is.

    Returns the audio and the time at which each segment begins in it, in milliseconds.

    Raises:
        TransientError: Audio that has to be joined or converted does not decode.
        PermanentError: The audio's format cannot be decoded here.
    """
    audios = [each.answer.audio for each in segment_answers]
    first = audios[0]
    if len(audios) == 1 and target_format(first, settings) == (first.format, first.sample_rate_hz):
        return first, (0,)
    return await asyncio.to_thread(join, audios, settings.pause_ms, settings)


def total_usage(usages: Sequence[Usage]) -> Usage:
    """Add up usages; a figure that no usage has is None."""
    return Usage(*map(_total, zip(*map(astuple, usages), strict=True)))


def _total(figures: Iterable[int | None]) -> int | None:
    reported = [figure for figure in figures if figure is not None]
    return sum(reported) if reported else None


def _merge_words(
    segment_answers: Sequence[SegmentAnswer], starts_ms: Sequence[int], duration_ms: int
) -> tuple[Word, ...] | None:
    """Shift the words of segments to their place in the whole audio and text; None if a segment has no words."""
    words: list[Word] = []
    for each, start_ms in zip(segment_answers, starts_ms, strict=True):
        if each.answer.words is None:
            return None
        words += [_shift(word, each.segment.start, start_ms, duration_ms) for word in each.answer.words]
    return tuple(words)


def _shift(word: Word, text_offset: int, start_ms: int, duration_ms: int) -> Word:
    """Shift a word; clip its times, because joining may round the whole duration down by less than a millisecond."""
    return Word(
        text=word.text,
        start_ms=min(word.start_ms + start_ms, duration_ms),
        end_ms=min(word.end_ms + start_ms, duration_ms),
        text_start=None if word.text_start is None else word.text_start + text_offset,
        text_end=None if word.text_end is None else word.text_end + text_offset,
    )

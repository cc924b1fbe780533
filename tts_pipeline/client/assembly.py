"""Assemble the speech of an utterance from the answers to its segments."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from msgspec.structs import astuple

from tts_pipeline.audio.convert import target_format
from tts_pipeline.audio.join import join
from tts_pipeline.client.exchange import UtteranceRequest
from tts_pipeline.client.synthesis import SegmentAnswer, Synthesis
from tts_pipeline.config import AudioSettings
from tts_pipeline.models import Audio, Speech, Usage, Word

CHARACTERS_MISMATCH = "characters_mismatch"
"""The flag of speech for which the service billed a number of characters that differs from our count."""


async def assemble(
    synthesis: Synthesis, segment_answers: Sequence[SegmentAnswer], request: UtteranceRequest, settings: AudioSettings
) -> Speech:
    """Make the speech of an utterance whose segments are all answered.

    Raises:
        TransientError: Audio that has to be joined or converted does not decode.
        PermanentError: The audio's format cannot be decoded here.
    """
    answers = [each.answer for each in segment_answers]
    now_us = synthesis.resources.clock.utc_us()
    audio, starts_ms = await _join([answer.audio for answer in answers], settings)
    return Speech(
        utterance=synthesis.utterance,
        audio=audio,
        words=_merge_words(segment_answers, starts_ms, audio.duration_ms),
        language=request.language,
        segments=synthesis.joined_segments or len(answers),
        attempts=synthesis.attempts,
        request_id=answers[-1].request_id,
        request_key=request.whole_request.request_key,
        usage=total_usage([answer.usage for answer in answers]),
        characters_counted=sum([each.characters_counted for each in segment_answers]),
        characters_billed=synthesis.characters_billed,
        cost=synthesis.cost,
        currency=synthesis.resources.meter.currency_at(now_us),
        quality=_merge_flags(synthesis, segment_answers),
        created_at_us=now_us,
        deduplicated_from=synthesis.deduplicated_from,
    )


async def _join(audios: Sequence[Audio], settings: AudioSettings) -> tuple[Audio, tuple[int, ...]]:
    """Join and convert the audio in a thread; return a single audio in the target format as it is."""
    first = audios[0]
    if len(audios) == 1 and target_format(first, settings) == (first.format, first.sample_rate_hz):
        return first, (0,)
    return await asyncio.to_thread(join, audios, settings.pause_ms, settings)


def total_usage(usages: Sequence[Usage]) -> Usage:
    """Add up usages; a figure that no usage has is None."""
    if len(usages) == 1:
        return usages[0]
    return Usage(*map(_total, zip(*map(astuple, usages), strict=True)))


def _total(figures: Iterable[int | None]) -> int | None:
    reported = [figure for figure in figures if figure is not None]
    return sum(reported) if reported else None


def _merge_words(
    segment_answers: Sequence[SegmentAnswer], starts_ms: Sequence[int], duration_ms: int
) -> tuple[Word, ...] | None:
    """Shift the words of segments to their place in the whole audio and text; None if a segment has no words."""
    if len(segment_answers) == 1:
        ((segment, answer, _),) = segment_answers
        if answer.words is None or not segment.start:
            return answer.words
    words: list[Word] = []
    for (segment, answer, _), start_ms in zip(segment_answers, starts_ms, strict=True):
        if answer.words is None:
            return None
        words += [_shift(word, segment.start, start_ms, duration_ms) for word in answer.words]
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


def _merge_flags(synthesis: Synthesis, segment_answers: Sequence[SegmentAnswer]) -> tuple[str, ...]:
    flags = {flag for each in segment_answers for flag in each.answer.quality}
    # Joined audio from the cache carries this flag already; the texts of its segments are not known here.
    is_joined = (synthesis.joined_segments or 1) > 1
    counts = ((each.answer.usage.characters_reported, each.characters_counted) for each in segment_answers)
    if not is_joined and any(reported not in (None, counted) for reported, counted in counts):
        flags.add(CHARACTERS_MISMATCH)
    return tuple(sorted(flags))

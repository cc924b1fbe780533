"""The one place where a speech is made, out of the answers to an utterance's segments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from tts_pipeline.client.purchase import Purchase
from tts_pipeline.models import Answer, Segment, Speech, Usage, Word

CHARACTERS_MISMATCH = "characters_mismatch"
"""The flag of a speech for which the service billed another number of characters than we counted."""

Said = Sequence[tuple[Segment, Answer]]


def speech_of(purchase: Purchase, said: Said, request_key: str, language: str | None) -> Speech:
    """Make the speech of an utterance whose segments are all answered.

    Args:
        purchase: What was bought, and what it has consumed.
        said: Its segments in order, each with its answer.
        request_key: Hash of what is sent for the whole utterance.
        language: BCP-47; None when left to the service.
    """
    answers = [answer for _, answer in said]
    meter = purchase.counter.meter
    return Speech(
        utterance=purchase.utterance,
        audio=_only(answers).audio,
        words=_words(said),
        language=language,
        segments=len(answers),
        attempts=purchase.attempts,
        request_id=answers[-1].request_id,
        request_key=request_key,
        usage=total_usage(answer.usage for answer in answers),
        characters_counted=sum(meter.count(segment.text) for segment, _ in said),
        characters_billed=purchase.characters_billed,
        cost=purchase.cost,
        currency=meter.currency,
        quality=_quality(purchase, said),
        created_at_us=purchase.counter.clock.utc_us(),
    )


def total_usage(usages: Iterable[Usage]) -> Usage:
    """Add usages up; a figure is None when none of them has it."""
    every = tuple(usages)
    if len(every) == 1:
        return every[0]
    return Usage(
        characters_reported=_total(usage.characters_reported for usage in every),
        input_tokens=_total(usage.input_tokens for usage in every),
        output_tokens=_total(usage.output_tokens for usage in every),
        total_tokens=_total(usage.total_tokens for usage in every),
    )


def _total(figures: Iterable[int | None]) -> int | None:
    known = [figure for figure in figures if figure is not None]
    return sum(known) if known else None


def _only(answers: Sequence[Answer]) -> Answer:
    (answer,) = answers  # a text is one segment: joining the audio of several has no place yet
    return answer


def _words(said: Said) -> tuple[Word, ...] | None:
    """Move words from places in their segment to places in the utterance's text."""
    ((segment, answer),) = said
    if answer.words is None or not segment.start:
        return answer.words
    return tuple(_moved(word, segment.start) for word in answer.words)


def _moved(word: Word, by: int) -> Word:
    if word.text_start is None or word.text_end is None:
        return word
    return replace(word, text_start=word.text_start + by, text_end=word.text_end + by)


def _quality(purchase: Purchase, said: Said) -> tuple[str, ...]:
    flags = {flag for _, answer in said for flag in answer.quality}
    if any(purchase.counter.meter.mismatch(segment.text, answer.usage) for segment, answer in said):
        flags.add(CHARACTERS_MISMATCH)
    return tuple(sorted(flags))

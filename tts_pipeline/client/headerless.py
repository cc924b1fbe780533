"""Samples without a header: who says what they are, and whether they can be the text's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from tts_pipeline.audio.pace import speaking_range_s
from tts_pipeline.audio.pcm import PcmFormat
from tts_pipeline.config import PCM_RATE_HZ
from tts_pipeline.errors import ServiceError, TransientError, UnreadableError
from tts_pipeline.models import Audio, Parameters
from tts_pipeline.wire.media_type import PcmFacts, facts_of_fields, facts_of_media_type, is_format_name
from tts_pipeline.wire.reading import ParsedResponse, Response
from tts_pipeline.wire.sse import is_event_stream

ASSUMED_RATE = "assumed_rate"
"""The flag of samples whose rate nobody told: they may be played too fast or too slowly."""

OTHER_RATE = "other_rate"
"""The flag of samples that came at another rate than was asked for."""

_TIMES = 10
_SPARE_S = 60.0
"""Samples that last ten times longer than any voice takes for their text, and a minute, or a tenth of the least, are
something else: a page, an archive. Less than that is what the flags ``too_long`` and ``too_short`` are for."""


class Headerless(NamedTuple):
    """How samples without a header are to be read, and flags."""

    form: PcmFormat
    flags: tuple[str, ...]


def headerless(source: Response, reading: ParsedResponse, parameters: Parameters) -> Headerless | None:
    """Return how an answer's samples are to be read: by its own words, then by the request's, then as is usual.

    Args:
        source: The answer that the samples are the body of, or in the body of.
        reading: What was read of the answer to the request.
        parameters: What was asked for.

    Returns:
        None where nobody speaks of headerless samples: no media type, no parameter, and no stream of chunks whose
        format was left to the service.
    """
    answered = facts_of_media_type(source.content_type).with_defaults(facts_of_fields(source.headers.items()))
    answered = answered.with_defaults(facts_of_media_type(reading.content_type))
    asked = facts_of_fields(_asked(parameters))
    facts = answered.with_defaults(asked)
    if not facts.is_pcm and (not _is_stream(source) or any(map(is_format_name, parameters))):
        return None
    return Headerless(_form(facts), tuple(_flags(answered.sample_rate_hz, asked.sample_rate_hz)))


def _asked(parameters: Parameters) -> Iterator[tuple[str, Any]]:
    """Yield parameters, those of objects too: ``{"audio_setting": {"format": "pcm", "sample_rate": 32000}}``."""
    for name, value in parameters.items():
        yield from value.items() if isinstance(value, dict) else ((name, value),)


def check_fit(audio: Audio, text: str, language: str | None, speed: float, *, complete: bool) -> None:
    """Refuse samples that cannot be their text by their length.

    Raises:
        UnreadableError: ``UnreadableAudio``. Never retried; may have been billed.
        TransientError: ``MalformedAudio``: too few of an answer that may have been cut. Retried; may have been billed.
    """
    least_s, most_s = (seconds / speed for seconds in speaking_range_s(text, language))
    lasts_s = audio.duration_ms / 1_000
    if least_s / _TIMES <= lasts_s <= most_s * _TIMES + _SPARE_S:
        return
    message = f"{lasts_s:.1f} s of samples came for a text that takes {least_s:.1f} to {most_s:.1f} s to say"
    raise _refused(message, complete or lasts_s > most_s)


def _refused(message: str, is_whole: bool) -> ServiceError:
    if not is_whole:
        return TransientError(message, code="MalformedAudio")
    return UnreadableError(message, code="UnreadableAudio", hint="look at what the service answers to this request")


def _is_stream(reply: Response) -> bool:
    return (reply.content_type or "").lower().startswith("text/event-stream") or is_event_stream(reply.body)


def _form(facts: PcmFacts) -> PcmFormat:
    coding = facts.coding or ("unsigned" if facts.bits == 8 else "float" if facts.bits == 64 else "signed")
    usual_bits = {"float": 32, "signed": 16}.get(coding, 8)
    return PcmFormat(
        sample_rate_hz=facts.sample_rate_hz or PCM_RATE_HZ,
        channels=facts.channels or 1,
        bits=facts.bits or usual_bits,
        coding=coding,
        is_big_endian=bool(facts.is_big_endian),
    )


def _flags(answered_hz: int | None, asked_hz: int | None) -> Sequence[str]:
    if answered_hz is None:
        return () if asked_hz else (ASSUMED_RATE,)
    return (OTHER_RATE,) if asked_hz not in (None, answered_hz) else ()

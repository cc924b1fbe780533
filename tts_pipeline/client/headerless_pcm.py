"""Find the format of headerless PCM, and check that its duration fits the text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from tts_pipeline.audio.clip_limits import malformed_error
from tts_pipeline.audio.pcm import PcmFormat
from tts_pipeline.audio.speaking_rate import speaking_range_s
from tts_pipeline.config import PCM_SAMPLE_RATE_HZ
from tts_pipeline.errors import UnreadableError
from tts_pipeline.models import Audio, Parameters
from tts_pipeline.wire.event_stream import is_event_stream
from tts_pipeline.wire.pcm_facts import PcmFacts, facts_of_fields, facts_of_media_type, is_format_name
from tts_pipeline.wire.response import ParsedResponse, Response

ASSUMED_RATE = "assumed_rate"
"""The flag of samples of unknown rate: they may play too fast or too slowly."""

OTHER_RATE = "other_rate"
"""The flag of samples whose rate differs from the requested rate."""

_DURATION_FACTOR = 10
_DURATION_MARGIN_S = 60.0
"""Samples that last more than ten times the longest time of any voice for their text plus a minute, or under a tenth of
the shortest time, are no speech: a page, an archive. ``too_long`` and ``too_short`` flag the range in between."""


class HeaderlessPcm(NamedTuple):
    """The format of samples without a header, and their flags."""

    format: PcmFormat
    flags: tuple[str, ...]


def find_pcm_format(source: Response, reading: ParsedResponse, parameters: Parameters) -> HeaderlessPcm | None:
    """Return the format of an answer's samples: from the answer, else from the request, else the usual one.

    ``source`` is the answer that holds the samples, ``reading`` the answer to the request. None if nothing implies
    headerless samples: no media type, no parameter, and no stream of chunks whose format was left to the service.
    """
    response_facts = facts_of_media_type(source.content_type).with_defaults(facts_of_fields(source.headers.items()))
    response_facts = response_facts.with_defaults(facts_of_media_type(reading.content_type))
    request_facts = facts_of_fields(_flatten(parameters))
    facts = response_facts.with_defaults(request_facts)
    if not facts.is_pcm and (
        not is_event_stream(source.body, source.content_type) or any(map(is_format_name, parameters))
    ):
        return None
    return HeaderlessPcm(_pcm_format(facts), tuple(_flags(response_facts.sample_rate_hz, request_facts.sample_rate_hz)))


def _flatten(parameters: Parameters) -> Iterator[tuple[str, Any]]:
    """Yield parameters, also nested ones: ``{"audio_setting": {"format": "pcm", "sample_rate": 32000}}``."""
    for name, value in parameters.items():
        yield from value.items() if isinstance(value, dict) else ((name, value),)


def check_duration(audio: Audio, text: str, language: str | None, speed: float, *, complete: bool) -> None:
    """Refuse samples whose duration is impossible for their text.

    Raises:
        UnreadableError: ``UnreadableAudio``. Never retried; may have been billed.
        TransientError: ``MalformedAudio``: too few samples, perhaps cut. Retried; may have been billed.
    """
    min_s, max_s = (seconds / speed for seconds in speaking_range_s(text, language))
    duration_s = audio.duration_ms / 1_000
    if min_s / _DURATION_FACTOR <= duration_s <= max_s * _DURATION_FACTOR + _DURATION_MARGIN_S:
        return
    message = f"{duration_s:.1f} s of samples came for a text that takes {min_s:.1f} to {max_s:.1f} s to say"
    if not complete and duration_s <= max_s:
        raise malformed_error(message)
    raise UnreadableError(message, code="UnreadableAudio", hint="look at what the service answers to this request")


def _pcm_format(facts: PcmFacts) -> PcmFormat:
    coding = facts.coding or ("unsigned" if facts.bits == 8 else "float" if facts.bits == 64 else "signed")
    usual_bits = {"float": 32, "signed": 16}.get(coding, 8)
    return PcmFormat(
        sample_rate_hz=facts.sample_rate_hz or PCM_SAMPLE_RATE_HZ,
        channels=facts.channels or 1,
        bits=facts.bits or usual_bits,
        coding=coding,
        is_big_endian=bool(facts.is_big_endian),
    )


def _flags(response_hz: int | None, request_hz: int | None) -> Sequence[str]:
    if response_hz is None:
        return () if request_hz else (ASSUMED_RATE,)
    return (OTHER_RATE,) if request_hz not in (None, response_hz) else ()

"""Read the answers of one turn together: parse them, make their audio playable, measure it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from tts_pipeline.audio.identify import locate_audio
from tts_pipeline.audio.measure import FlaggedAudio, audio_of, make_pcm_playable, make_playable
from tts_pipeline.audio.quality import assess, flags_of
from tts_pipeline.audio.wav import Wav, read_canonical
from tts_pipeline.client.headerless_pcm import check_duration, find_pcm_format
from tts_pipeline.errors import ServiceError
from tts_pipeline.models import Answer, Audio, Parameters, Segment, Usage
from tts_pipeline.wire.redaction import Redactor
from tts_pipeline.wire.request import Request
from tts_pipeline.wire.response import ParsedResponse, Response
from tts_pipeline.wire.shapes import parse_response, reported_usage
from tts_pipeline.wire.timestamps import TIMESTAMPS_DROPPED, align_words
from tts_pipeline.wire.usage import NO_USAGE

if TYPE_CHECKING:
    from tts_pipeline.audio.signal_meter import SignalMeter

_INLINE_AUDIO_BYTES = 100_000
"""Larger compressed audio is measured in a thread: it is walked or decoded. A WAV takes only microseconds."""

_INLINE_WAV_BYTES = 500_000
"""A larger WAV is assessed in a thread. This size takes 0.1 ms, and the way to a thread and back about as long."""

NOT_RECEIVED = Response(0, {}, b"")
"""Stands for an answer that has not come."""


class SegmentRequest(Struct, frozen=True):
    """The request for one segment, and our count of its characters by the card's billing rule.

    The language is BCP-47; None leaves it to the service.
    """

    http_request: Request
    segment: Segment
    characters_counted: int
    parameters: Parameters
    language: str | None

    @property
    def speed(self) -> float:
        """The requested speed; 1.0 for a word or an object, which a model without a card may take."""
        speed = self.parameters.get("speed")
        if speed is None:
            return 1.0
        try:
            factor = 1.0 if isinstance(speed, dict | list) else float(speed)
        except ValueError:
            return 1.0
        return factor if 0 < factor < math.inf else 1.0  # some services count up and down from 0


class ResponseFacts(Struct):
    """The facts of an answer that matter for the bill; filled in step by step, so that a failure keeps them."""

    http_status: int | None = None
    request_id: str | None = None
    usage: Usage = NO_USAGE


class ReceivedAnswer(Struct):
    """An answer that is read step by step, on the loop or in a thread.

    ``reading`` is None until it is parsed. ``source`` is the answer that holds the audio; None while the audio is at a
    URL. ``audio`` is None until it is playable; ``flags`` are its flags so far. ``outcome`` is the answer or its error;
    None until it is known.
    """

    request: SegmentRequest
    facts: ResponseFacts
    reply: Response = NOT_RECEIVED
    reading: ParsedResponse | None = None
    source: Response | None = None
    audio: Audio | None = None
    flags: Sequence[str] = ()
    outcome: Answer | Exception | None = None


class AnswerReader:
    """Reads received answers. All text in an ``Answer`` has passed the redactor."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._signal_meter: SignalMeter | None = None

    def read(self, batch: Sequence[ReceivedAnswer]) -> None:
        """Find the outcome of each answer of a turn of the loop.

        It stays None for an answer whose audio must be fetched first (its ``source`` is None), or that ``finish`` must
        read in a thread, because it takes long.
        """
        clips: list[tuple[ReceivedAnswer, Wav]] = []
        for received in batch:
            try:
                wav = self._load_quickly(received)
                if wav is not None:
                    clips.append((received, wav))
                elif received.audio is not None and _is_quick(received.audio):
                    received.outcome = self._assess(received, received.audio)
            except ServiceError as error:
                received.outcome = error.with_traceback(None)  # its frames hold all answers of the turn
            except Exception as error:  # another answer's error is not this one's
                received.outcome = error
        if clips:
            self._measure(clips)

    def parse(self, received: ReceivedAnswer) -> ParsedResponse:
        """Parse an answer; parse a failure again without the key, because messages may be cut within the key."""
        reply, facts = received.reply, received.facts
        facts.http_status = reply.status
        try:
            reading = parse_response(reply)
        except ServiceError:
            facts.request_id, facts.usage = self._redactor.redact(reply.request_id), reported_usage(reply)
            redacted = self._redactor.redact_response(reply)
            if redacted is not reply:
                parse_response(redacted)
            raise
        facts.request_id, facts.usage = self._redactor.redact(reading.request_id), reading.usage
        received.reading = reading
        if reading.data is not None:
            received.source = reply
        return reading

    def finish(self, received: ReceivedAnswer) -> Answer:
        """Do all that is left to do with an answer whose audio is here, in a thread."""
        assert received.reading is not None
        assert received.source is not None
        if received.audio is None:
            received.audio, received.flags = _load(received, received.reading, received.source)
        return self._assess(received, received.audio)

    def _measure(self, clips: Sequence[tuple[ReceivedAnswer, Wav]]) -> None:
        """Measure the clips of a turn together, and complete their answers."""
        signals = self._meter().measure([clip for _, clip in clips])
        for (received, _), signal in zip(clips, signals, strict=True):
            request = received.request
            try:
                flags = flags_of(signal, request.segment.text, request.language, request.speed)
                received.outcome = self._complete(received, flags)
            except Exception as error:
                received.outcome = error

    def _meter(self) -> SignalMeter:
        # Imported here, because numpy loads slowly: the first request need not wait for it.
        from tts_pipeline.audio.signal_meter import SignalMeter

        self._signal_meter = self._signal_meter or SignalMeter()
        return self._signal_meter

    def _load_quickly(self, received: ReceivedAnswer) -> Wav | None:
        """Parse an answer and make its audio playable if that is quick; return a clip to measure with others."""
        reading = received.reading or self.parse(received)
        source = received.source
        if source is None:
            return None
        data = source.body if reading.data is None else reading.data
        wav = read_canonical(data)
        if wav is not None:
            received.audio = audio_of(wav)
        elif len(data) <= _INLINE_AUDIO_BYTES:
            received.audio, received.flags = _load(received, reading, source)
            wav = read_canonical(received.audio.data)
        return wav if wav is not None and wav.is_mono_16_bit and len(wav.data) <= _INLINE_WAV_BYTES else None

    def _assess(self, received: ReceivedAnswer, audio: Audio) -> Answer:
        request = received.request
        return self._complete(received, assess(audio, request.segment.text, request.language, speed=request.speed))

    def _complete(self, received: ReceivedAnswer, quality_flags: Sequence[str]) -> Answer:
        reading, audio, segment, facts = received.reading, received.audio, received.request.segment, received.facts
        assert reading is not None
        assert audio is not None
        words, flags = None, [*reading.quality, *received.flags, *quality_flags]
        if reading.words:
            words, timestamp_flags = align_words(reading.words, segment.text, audio.duration_ms)
            if words and self._redactor.is_secret_in(words, segment.text):
                words, timestamp_flags = None, (TIMESTAMPS_DROPPED,)
            flags += timestamp_flags
        quality = tuple(sorted(set(flags))) if flags else ()
        return Answer(segment.index, audio, words, reading.usage, facts.request_id, quality)


def _is_quick(audio: Audio) -> bool:
    return audio.format == "wav" and len(audio.data) <= _INLINE_WAV_BYTES


def _load(received: ReceivedAnswer, reading: ParsedResponse, source: Response) -> FlaggedAudio:
    """Make audio of any form playable."""
    data, complete = (source.body, source.complete) if reading.data is None else (reading.data, reading.complete)
    request = received.request
    samples = find_pcm_format(source, reading, request.parameters) if data and locate_audio(data)[1] is None else None
    if samples is None:
        return make_playable(data, complete=complete)
    audio, flags = make_pcm_playable(data, samples.format, complete)
    check_duration(audio, request.segment.text, request.language, request.speed, complete=complete)
    return audio, (*flags, *samples.flags)

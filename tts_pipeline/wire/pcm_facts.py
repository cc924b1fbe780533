"""Parse media types, headers and parameters that describe headerless PCM. Pure.

``audio/L16`` and the like: RFC 2586 and RFC 3551 (network byte order, 8 bits are unsigned); ``audio/basic``: RFC 2046
(mu-law, 8,000 Hz). Google's Gemini API labels little-endian samples ``audio/L16;codec=pcm;rate=24000`` (its
documentation of speech generation, read 2026-11), so this ``codec`` means little-endian.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from tts_pipeline.config import MAX_CHANNELS, MAX_SAMPLE_RATE_HZ, MIN_SAMPLE_RATE_HZ


class PcmFacts(NamedTuple):
    """Stated facts about samples; None for unknown facts.

    A sample rate that speech cannot have is ignored. The coding is ``signed``, ``unsigned``, ``float``, ``mulaw`` or
    ``alaw``. ``is_pcm``: the audio is stated to be headerless samples.
    """

    sample_rate_hz: int | None = None
    channels: int | None = None
    bits: int | None = None
    coding: str | None = None
    is_big_endian: bool | None = None
    is_pcm: bool | None = None

    def with_defaults(self, defaults: PcmFacts) -> PcmFacts:
        """Return these facts, completed by other facts."""
        facts = {name: value for name, value in self._asdict().items() if value is not None}
        return defaults._replace(**facts)


NO_FACTS = PcmFacts()

_PCM = PcmFacts(is_pcm=True)
_NETWORK_ORDER = PcmFacts(coding="signed", is_big_endian=True, is_pcm=True)
_MULAW = PcmFacts(8_000, 1, 8, "mulaw", is_pcm=True)
_ALAW = _MULAW._replace(coding="alaw")
_FACTS_BY_SUBTYPE: Mapping[str, PcmFacts] = {
    **dict.fromkeys(("pcm", "raw", "lpcm", "linear"), _PCM),
    "l8": PcmFacts(None, None, 8, "unsigned", is_pcm=True),
    "l16": _NETWORK_ORDER._replace(bits=16),
    "l24": _NETWORK_ORDER._replace(bits=24),
    "l32": _NETWORK_ORDER._replace(bits=32),
    **dict.fromkeys(("basic", "mulaw", "ulaw", "pcmu"), _MULAW),
    **dict.fromkeys(("alaw", "pcma"), _ALAW),
}
"""Facts by subtype, without ``x-``."""

_PARAMETER = re.compile(r"([\w.-]+)\s*=\s*\"?(?:\(\w+\))?([^\";,]*)")
_PREFIX = re.compile(r"^(x|tts|audio|output|pcm|voice)(?=[a-z])")
_RATES = frozenset({"rate", "samplerate", "samplingrate", "frequency", "samplingfrequency"})
_CHANNELS = frozenset({"channel", "channels", "channelcount", "numchannels"})
_BITS = frozenset({"bits", "bitdepth", "bitspersample", "samplebits", "samplesize", "bitwidth"})
_ORDERS = frozenset({"endian", "endianness", "byteorder"})
_FORMATS = frozenset({"format", "encoding", "codec", "codecs", "sampleformat", "responseformat", "container"})
_CODING_HEADERS = frozenset({"contentencoding", "transferencoding", "acceptencoding"})

_NUMBER = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)\s*(k?)(?:hz|hertz)?")
_CODINGS = (
    ("mulaw", re.compile("mu-?law|ulaw|pcmu")),
    ("alaw", re.compile("a-?law|pcma")),
    ("float", re.compile("float|(?<![a-z])f(32|64)")),
    ("unsigned", re.compile("unsigned|(?<![a-z])u8")),
    ("signed", re.compile("signed|linear|(?<![a-z])(s|l|int)(16|24|32)")),
)
_IS_PCM = re.compile("pcm|raw")
_BITS_IN_NAME = re.compile(r"(?<!\d)(8|16|24|32|64)(?![\dk])")
_RATE_IN_NAME = re.compile(r"(?<!\d)(\d{4,6})(?!\d)|(?<!\d)(\d{1,2}k)(?:hz)?")
_ORDER_IN_NAME = re.compile(r"(?:8|16|24|32|64)_?(le|be)")


def facts_of_media_type(content_type: str | None) -> PcmFacts:
    """Return the facts of a media type such as ``audio/L16; rate=16000; channels=2``, with those of its subtype."""
    if not content_type:
        return NO_FACTS
    kind, _, options = content_type.partition(";")
    kind, _, extra = kind.partition(",")  # as GStreamer writes it
    subtype = kind.strip().lower().removeprefix("audio/").removeprefix("x-")
    facts = facts_of_fields(_PARAMETER.findall(f"{extra};{options}"))
    subtype_facts = _FACTS_BY_SUBTYPE.get(subtype, NO_FACTS)
    if subtype_facts is NO_FACTS:
        return facts
    if re.search(r"codecs?=\"?pcm\b", options, re.IGNORECASE):
        subtype_facts = subtype_facts._replace(is_big_endian=False)
    return facts.with_defaults(subtype_facts)


def facts_of_fields(pairs: Iterable[tuple[str, Any]]) -> PcmFacts:
    """Return the facts of names and values from headers, a JSON object, or a request's parameters.

    ``X-Sample-Rate``, ``x-audio-sample-rate-hz``, ``sample_rate`` and ``audio_sample_rate`` are one name.
    """
    facts = NO_FACTS
    for name, value in pairs:
        fact = _fact_of_name(name)
        if fact is not None and isinstance(value, (str, int, float)):
            facts = facts.with_defaults(_PARSERS[fact](str(value).strip().lower()))
    return facts


def is_fact_name(name: str) -> bool:
    """Return whether a name denotes a fact about samples."""
    return _fact_of_name(name) is not None


def is_format_name(name: str) -> bool:
    """Return whether a parameter of this name requests a format."""
    return _fact_of_name(name) == "format"


@lru_cache(maxsize=1024)
def _fact_of_name(name: str) -> str | None:
    """Return the fact that a name denotes; None for any other name."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    if plain in _CODING_HEADERS:
        return None
    while shorter := _PREFIX.sub("", plain):
        if shorter == plain:
            break
        plain = shorter
    plain = re.sub(r"(hz|hertz)$", "", plain)
    names = {"rate": _RATES, "channels": _CHANNELS, "bits": _BITS, "order": _ORDERS, "format": _FORMATS}
    return next((meaning for meaning, aliases in names.items() if plain in aliases), None)


def _parse_rate(value: str) -> PcmFacts:
    match = _NUMBER.fullmatch(value)
    if match is None:
        return NO_FACTS
    rate_hz = float(match[1]) * (1_000 if match[2] else 1)
    return PcmFacts(round(rate_hz)) if MIN_SAMPLE_RATE_HZ <= rate_hz <= MAX_SAMPLE_RATE_HZ else NO_FACTS


def _parse_channels(value: str) -> PcmFacts:
    count = {"mono": 1, "stereo": 2}.get(value, int(value) if value.isdecimal() and len(value) < 4 else 0)
    return PcmFacts(channels=count) if 0 < count <= MAX_CHANNELS else NO_FACTS


def _parse_bits(value: str) -> PcmFacts:
    match = _BITS_IN_NAME.match(value)
    return PcmFacts(bits=int(match[1])) if match else NO_FACTS


def _parse_order(value: str) -> PcmFacts:
    is_big = value.startswith(("big", "be", "network", "msb"))
    return PcmFacts(is_big_endian=is_big) if is_big or value.startswith(("little", "le", "lsb")) else NO_FACTS


def _parse_format(value: str) -> PcmFacts:
    """Return the facts in a format's name: ``pcm_s16le``, ``LINEAR16``, ``raw-24khz-16bit-mono-pcm``, ``ulaw_8000``."""
    coding = next((name for name, pattern in _CODINGS if pattern.search(value)), None)
    if coding is None and not _IS_PCM.search(value):
        return NO_FACTS
    bits, order, rate = (pattern.search(value) for pattern in (_BITS_IN_NAME, _ORDER_IN_NAME, _RATE_IN_NAME))
    return PcmFacts(
        sample_rate_hz=_parse_rate(rate[1] or rate[2]).sample_rate_hz if rate else None,
        channels={"m": 1, "s": 2}[channels[1][0]] if (channels := re.search("(mono|stereo)", value)) else None,
        bits=8 if coding in ("mulaw", "alaw") else int(bits[1]) if bits else None,
        coding=coding,
        is_big_endian=order[1] == "be" if order else None,
        is_pcm=True,
    )


_PARSERS = {
    "rate": _parse_rate,
    "channels": _parse_channels,
    "bits": _parse_bits,
    "order": _parse_order,
    "format": _parse_format,
}

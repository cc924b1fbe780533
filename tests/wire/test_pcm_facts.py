"""What media types, headers and names of formats say of headerless samples."""

from __future__ import annotations

from typing import Any

import orjson
import pybase64
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sounds import pcm, sample
from tts_pipeline.wire.pcm_facts import NO_FACTS, PcmFacts, facts_of_fields, facts_of_media_type
from tts_pipeline.wire.response import Response
from tts_pipeline.wire.shapes import parse_response


@pytest.mark.parametrize(
    ("media_type", "facts"),
    [
        (None, NO_FACTS),
        ("audio/mpeg", NO_FACTS),
        ("audio/*;sample_rate=16000;audio_format=pcm", PcmFacts(16_000, is_pcm=True)),
        ("audio/pcm", PcmFacts(is_pcm=True)),
        ("audio/pcm;rate=16000", PcmFacts(16_000, is_pcm=True)),
        ('Audio/PCM; Rate="16000" ; Channels=2', PcmFacts(16_000, 2, is_pcm=True)),
        ("audio/L16; rate=16000; channels=2", PcmFacts(16_000, 2, 16, "signed", True, True)),
        ("audio/L24;rate=48000", PcmFacts(48_000, None, 24, "signed", True, True)),
        ("audio/L8;rate=8000", PcmFacts(8_000, None, 8, "unsigned", None, True)),
        ("audio/l16;rate=22050;endianness=little-endian", PcmFacts(22_050, None, 16, "signed", False, True)),
        ("audio/L16;codec=pcm;rate=24000", PcmFacts(24_000, None, 16, "signed", False, True)),
        ("audio/basic", PcmFacts(8_000, 1, 8, "mulaw", None, True)),
        ("audio/x-mulaw;rate=16000", PcmFacts(16_000, 1, 8, "mulaw", None, True)),
        ("audio/PCMA", PcmFacts(8_000, 1, 8, "alaw", None, True)),
        ("audio/pcm;encoding=float;bits=32", PcmFacts(None, None, 32, "float", None, True)),
        ("audio/pcm;encoding=signed-int;bits=24;endianness=big", PcmFacts(None, None, 24, "signed", True, True)),
        ("audio/x-raw, format=(string)S16BE, rate=(int)16000", PcmFacts(16_000, None, 16, "signed", True, True)),
        ("audio/pcm;rate=1;channels=65535;bits=7", PcmFacts(is_pcm=True)),
    ],
)
def test_media_types(media_type: str | None, facts: PcmFacts) -> None:
    """RFC 2586 and 3551, and what others made of them; what cannot be is not believed."""
    assert facts_of_media_type(media_type) == facts


@pytest.mark.parametrize(
    "name",
    ["X-Sample-Rate", "x-audio-sample-rate", "x-sample-rate-hz", "sample_rate", "audio_sample_rate", "sampleRateHertz"],
)
@pytest.mark.parametrize("value", ["16000", 16_000, "16000 Hz", "16kHz", "16000.0"])
def test_names_of_a_rate(name: str, value: object) -> None:
    """However a header or a parameter spells it."""
    assert facts_of_fields({"other": "8000", name: value}.items()) == PcmFacts(16_000)


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("pcm_16000", PcmFacts(16_000, is_pcm=True)),
        ("raw-24khz-16bit-mono-pcm", PcmFacts(24_000, 1, 16, None, None, True)),
        ("LINEAR16", PcmFacts(None, None, 16, "signed", None, True)),
        ("pcm_s16le", PcmFacts(None, None, 16, "signed", False, True)),
        ("pcm_f32be", PcmFacts(None, None, 32, "float", True, True)),
        ("ulaw_8000", PcmFacts(8_000, None, 8, "mulaw", None, True)),
        ("mp3_44100_128", NO_FACTS),
        ("wav", NO_FACTS),
    ],
)
def test_names_of_formats(name: str, facts: PcmFacts) -> None:
    """As makers' parameters and headers have them."""
    assert facts_of_fields({"x-audio-format": name}.items()) == facts
    assert facts_of_fields({"response_format": name}.items()) == facts


def test_other_facts_and_other_headers() -> None:
    """Channels, bits and byte order by any of their names; codings of the transfer are none of the sound."""
    headers = {"x-channels": "2", "x-bits-per-sample": "24", "X-Endianness": "big-endian", "content-encoding": "raw"}
    assert facts_of_fields(headers.items()) == PcmFacts(None, 2, 24, None, True)
    assert facts_of_fields({"rate": 1.1, "x-ratelimit": "16000", "x-rate": None}.items()) == NO_FACTS


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_text_is_read(name: str, value: str) -> None:
    """Whatever a header says."""
    facts_of_fields([(name, value), ("x-audio-format", value), ("x-sample-rate", value), ("x-channels", value)])
    facts_of_media_type(f"audio/pcm;{value}")
    facts_of_media_type(value)


SAMPLES = pybase64.b64encode(pcm(0.2)).decode()


@pytest.mark.parametrize(
    "payload",
    [
        {"audio": SAMPLES, "sample_rate": 16_000},
        {"audio": {"data": SAMPLES, "sample_rate": "16000"}},
        {"data": {"audio": SAMPLES}, "extra_info": {"audio_sample_rate": 16_000, "audio_format": "pcm"}},
        {"output": {"audio": {"data": SAMPLES}}, "meta": {"sampleRateHertz": 16_000}},
    ],
)
def test_a_rate_beside_or_around_the_samples_is_told(payload: dict[str, Any]) -> None:
    """Wherever it stands, and however it is spelt."""
    reading = parse_response(Response(200, {}, orjson.dumps(payload)))
    assert facts_of_media_type(reading.content_type).sample_rate_hz == 16_000


def test_a_file_says_for_itself_what_it_is() -> None:
    """And nothing is looked for."""
    data = pybase64.b64encode(sample("wav", seconds=0.1)).decode()
    payload = {"audio": {"data": data, "sample_rate": 16_000}}
    assert parse_response(Response(200, {}, orjson.dumps(payload))).content_type is None

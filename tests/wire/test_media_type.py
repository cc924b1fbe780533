"""What a document says of the samples in it."""

from __future__ import annotations

from typing import Any

import orjson
import pybase64
import pytest

from tests.audio.samples import pcm, sample
from tts_pipeline.wire.pcm_facts import facts_of_media_type
from tts_pipeline.wire.response import Response
from tts_pipeline.wire.shapes import parse_response

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

"""The unusual answers as a client receives them."""

from __future__ import annotations

import http.client
import json
import time
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.emulator.conftest import Say, audio_of
from tests.machine import patience
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.emulator.rules import SHAPES
from tts_pipeline.emulator.tone import tone

BODY = {"model": "qwen3-tts-flash", "input": "Hello"}


def post(url: str) -> http.client.HTTPResponse:
    """Return an answer as it is on the wire, not yet read."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=patience(10))
    connection.request("POST", "/v1/audio/speech", json.dumps(BODY))
    response = connection.getresponse()
    # The response keeps the socket until it is read.
    connection.close()
    return response


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_arrives_whole_and_is_charged(shape: str, tone_service: LocalService, say: Say) -> None:
    """Whatever it looks like, the answer is complete HTTP, and the connection serves the next request too."""
    tone_service.set_faults([{"what": "shape", "shape": shape, "first": 1}])
    answer = say(tone_service.url, "Hello", enable_timestamp=True)
    assert answer.status_code == (302 if shape == "redirect" else 200)
    assert audio_of(say(tone_service.url, "Hello")) == tone("Hello")
    assert tone_service.bill()["charged"] == 2


def test_a_redirect_leads_to_the_audio(tone_service: LocalService, say: Say) -> None:
    """The signed file is where the answer says."""
    tone_service.set_faults([{"what": "shape", "shape": "redirect"}])
    location = say(tone_service.url, "Hello").headers["location"]
    assert httpx.get(location, trust_env=False).content == tone("Hello")


def test_raw_bytes_come_without_a_label(tone_service: LocalService) -> None:
    """There is no content type at all."""
    tone_service.set_faults([{"what": "shape", "shape": "raw_unlabelled"}])
    response = post(tone_service.url)
    assert response.headers["content-type"] is None
    assert response.read() == tone("Hello")


def test_a_stream_comes_when_it_is_asked_for(tone_service: LocalService) -> None:
    """The header of Alibaba Cloud asks for a stream; it comes in chunks."""
    answer = httpx.post(
        f"{tone_service.url}/v1/audio/speech", json=BODY, headers={"X-DashScope-SSE": "enable"}, trust_env=False
    )
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["transfer-encoding"] == "chunked"
    assert answer.text.startswith("id:1\nevent:result\n:HTTP_STATUS/200\ndata:{")


@pytest.mark.parametrize("after_bytes", [None, 1_000])
def test_a_body_without_length_ends_with_the_connection(after_bytes: int | None, tone_service: LocalService) -> None:
    """Complete or cut, nothing but the bytes themselves tells."""
    rule: dict[str, Any] = {"shape": "raw", "ends": "connection"}
    rule |= {"what": "shape"} if after_bytes is None else {"what": "cut", "after_bytes": after_bytes}
    tone_service.set_faults([rule])
    response = post(tone_service.url)
    assert (response.headers["content-length"], response.headers["transfer-encoding"]) == (None, None)
    assert response.read() == tone("Hello")[:after_bytes]


def test_a_stream_can_be_cut_on_the_wire(tone_service: LocalService) -> None:
    """A chunked body that never ends properly is an error to a client that looks."""
    tone_service.set_faults([{"what": "cut", "shape": "ali_sse", "after_bytes": 5_000}])
    with pytest.raises(http.client.IncompleteRead) as exc_info:
        post(tone_service.url).read()
    assert len(exc_info.value.partial) == 5_000


def test_a_lying_header_is_served(tone_service: LocalService, say: Say) -> None:
    """The samples are right, the claimed length is not, and the bill has the hash of what was served."""
    tone_service.set_faults([{"what": "shape", "wav_length": 0x7FFFFFBF}])
    data = audio_of(say(tone_service.url, "Hello"))
    assert data[40:44] == (0x7FFFFFBF).to_bytes(4, "little")
    assert data[44:] == tone("Hello")[44:]


@pytest.mark.parametrize(
    ("rule", "status"),
    [
        ({"lifetime_s": 0}, 403),
        ({"fetch": "missing"}, 404),
        ({"fetch": "redirect", "location": "http://10.0.0.1/"}, 302),
    ],
)
def test_a_url_can_lead_nowhere(rule: dict[str, Any], status: int, tone_service: LocalService, say: Say) -> None:
    """Expired, gone, or pointing elsewhere."""
    tone_service.set_faults([{"what": "shape", "shape": "ali_url"} | rule])
    audio = say(tone_service.url).json()["output"]["audio"]
    fetched = httpx.get(audio["url"], trust_env=False)
    assert fetched.status_code == status
    assert fetched.headers.get("location") == rule.get("location")
    assert (audio["expires_at"] <= time.time()) == ("lifetime_s" in rule)


def test_a_url_can_be_anything(tone_service: LocalService, say: Say) -> None:
    """Also one that no client should follow."""
    tone_service.set_faults([{"what": "shape", "shape": "json_string_url", "url": "file:///etc/passwd"}])
    assert say(tone_service.url).json() == "file:///etc/passwd"


def test_a_fetch_can_be_cut(tone_service: LocalService, say: Say) -> None:
    """Half of the bytes, then nothing."""
    tone_service.set_faults([{"what": "shape", "shape": "ali_url", "fetch": "cut"}])
    url = say(tone_service.url).json()["output"]["audio"]["url"]
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(url, trust_env=False)


def test_a_fetch_can_be_slow(tone_service: LocalService, say: Say) -> None:
    """Right, and late."""
    tone_service.set_faults([{"what": "shape", "shape": "ali_url", "fetch": "slow", "fetch_delay_s": 0.2}])
    url = say(tone_service.url, "Hello").json()["output"]["audio"]["url"]
    began_s = time.monotonic()
    assert httpx.get(url, trust_env=False).content == tone("Hello")
    assert time.monotonic() - began_s >= 0.2


def test_a_fetch_can_be_endless(tone_service: LocalService, say: Say) -> None:
    """It goes on until the client goes, and then the service lives on."""
    tone_service.set_faults([{"what": "shape", "shape": "ali_url", "fetch": "endless"}])
    url = say(tone_service.url).json()["output"]["audio"]["url"]
    received = 0
    with httpx.stream("GET", url, trust_env=False) as response:
        for chunk in response.iter_bytes():
            received += len(chunk)
            if received > 2_000_000:
                break
    assert received > 2_000_000
    tone_service.clear_faults()
    assert say(tone_service.url).status_code == 200


def test_retry_after_can_be_a_date(tone_service: LocalService, say: Say) -> None:
    """HTTP allows seconds and a date."""
    tone_service.set_faults([{"what": "throttle", "retry_after_s": 90, "retry_after_date": True}])
    until = parsedate_to_datetime(say(tone_service.url).headers["retry-after"])
    assert 85 <= until.timestamp() - time.time() <= 91


@pytest.mark.parametrize("status", [200, 500])
def test_an_error_inside_200_is_200(status: int, tone_service: LocalService, say: Say) -> None:
    """The true status is in the body, and the request can be charged."""
    tone_service.set_faults([{"what": "error", "status": status, "form": "inside_200", "charge": True}])
    answer = say(tone_service.url)
    assert (answer.status_code, answer.json()["status_code"]) == (200, status)
    assert tone_service.bill()["charged"] == 1


def test_the_nested_path_is_served(tone_service: LocalService) -> None:
    """Alibaba Cloud's own endpoint takes the text inside ``input`` and more inside ``parameters``."""
    answer = httpx.post(
        f"{tone_service.url}/api/v1/services/aigc/multimodal-generation/generation",
        json={
            "model": "qwen3-tts-flash",
            "input": {"text": "Hello", "voice": "Kai", "language_type": "English"},
            "parameters": {"sample_rate": 16000},
        },
        trust_env=False,
    )
    assert audio_of(answer) == tone("Hello", sample_rate_hz=16_000)
    entry = tone_service.bill(entries=True)["entries"][0]
    assert (entry["text"], entry["voice"], entry["parameters"]["sample_rate"]) == ("Hello", "Kai", 16_000)

from __future__ import annotations

import hashlib
import http.client
import io
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import soundfile

from tests.conftest import StartEmulator
from tests.emulator.conftest import Say, audio_of
from tests.machine import patience
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.emulator.server import RateLimit
from tts_pipeline.emulator.tone import tone
from tts_pipeline.errors import ConfigurationError


def test_the_answer_is_the_json_of_the_service(tone_service: LocalService, say: Say) -> None:
    """Every field of Alibaba Cloud's JSON is there, with the audio inside."""
    answer = say(tone_service.url, "你好, world")
    body = answer.json()
    assert answer.headers["content-type"] == "application/json"
    assert audio_of(answer) == tone("你好, world")
    audio = body["output"].pop("audio")
    assert audio["id"] == f"audio_{body['request_id']}"
    assert audio["url"] == ""
    assert audio["expires_at"] > time.time()
    assert body == {
        "status_code": 200,
        "request_id": body["request_id"],
        "code": "",
        "message": "",
        "output": {"text": None, "finish_reason": "stop", "choices": None},
        "usage": {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0, "characters": 11},
    }


@pytest.mark.parametrize(
    ("response_format", "content_type"), [("wav", "audio/wav"), ("mp3", "audio/mpeg"), ("pcm", "audio/pcm")]
)
def test_audio_can_come_by_url(response_format: str, content_type: str, tone_service: LocalService, say: Say) -> None:
    """``?answer=url`` gives a URL of the service's own that serves the same bytes, any number of times."""
    answer = say(tone_service.url, "Hello", query="?answer=url", response_format=response_format)
    audio = answer.json()["output"]["audio"]
    assert audio["data"] == ""
    assert audio["url"].startswith(f"{tone_service.url}/emulator/audio/")
    for _ in range(2):
        fetched = httpx.get(audio["url"], trust_env=False)
        assert fetched.headers["content-type"] == content_type
        assert fetched.content == tone("Hello", response_format=response_format)


def test_a_service_can_answer_by_url_by_itself(emulator: StartEmulator, say: Say) -> None:
    """The option changes what a request gets that says nothing, and the request may say otherwise."""
    url = emulator(voice_mode="tone", answer="url").url
    assert say(url).json()["output"]["audio"]["url"]
    assert say(url, query="?answer=data").json()["output"]["audio"]["url"] == ""


def test_an_unknown_audio_is_not_found(tone_service: LocalService) -> None:
    """A URL that was never given out is a 404."""
    assert httpx.get(f"{tone_service.url}/emulator/audio/nothing.wav", trust_env=False).status_code == 404


def test_the_bill_has_every_request(tone_service: LocalService, say: Say) -> None:
    """Charged and refused requests have their entries, with the hash of the audio served."""
    good = say(tone_service.url, "你好", voice="Kai", speed=1.2)
    bad = say(tone_service.url, "Hello", voice="Bob")
    bill = tone_service.bill(entries=True)
    assert {name: bill[name] for name in ("received", "requests", "charged", "characters")} == {
        "received": 2,
        "requests": 1,
        "charged": 1,
        "characters": 4,
    }
    first, second = bill["entries"]
    assert first | {"received_at": 0} == {
        "seq": 1,
        "request_id": good.json()["request_id"],
        "received_at": 0,
        "text": "你好",
        "model": "qwen3-tts-flash",
        "voice": "Kai",
        "parameters": {"speed": 1.2},
        "characters": 4,
        "input_tokens": 0,
        "output_tokens": 0,
        "charged": True,
        "status": 200,
        "sha256": hashlib.sha256(audio_of(good)).hexdigest(),
    }
    assert (second["charged"], second["status"], second["voice"]) == (False, 400, "Bob")
    assert bad.json()["request_id"] == second["request_id"]
    assert "entries" not in tone_service.bill()


def test_the_bill_survives_in_its_file(emulator: StartEmulator, say: Say, tmp_path: Path) -> None:
    """Every charged request is a line in the file, also when the service is killed."""
    service = emulator(voice_mode="tone", bill=tmp_path / "bill.jsonl")
    for number in range(3):
        say(service.url, f"text {number}")
    say(service.url, "refused", voice="Bob")
    service.kill()
    lines = [json.loads(line) for line in (tmp_path / "bill.jsonl").read_text().splitlines()]
    assert [(line["text"], line["status"]) for line in lines] == [(f"text {number}", 200) for number in range(3)]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'"text"', b"\xff", b'{"model": "qwen3-tts-flash", "input": "\\ud800"}']
)
def test_a_body_that_is_no_object_is_refused(body: bytes, tone_service: LocalService) -> None:
    """What cannot be read is a 400 in the service's form, and on the bill as refused."""
    answer = httpx.post(f"{tone_service.url}/v1/audio/speech", content=body, trust_env=False)
    assert answer.status_code == 400
    assert answer.json()["code"] == "InvalidParameter"
    assert (tone_service.bill()["received"], tone_service.bill()["charged"]) == (1, 0)


def test_a_body_too_large_is_refused(tone_service: LocalService, say: Say) -> None:
    """More than a megabyte is not read."""
    assert say(tone_service.url, "x" * 2_000_000).status_code == 413


def test_a_required_key_is_required(emulator: StartEmulator, say: Say) -> None:
    """Without the key, or with another, nothing is spoken."""
    url = emulator(voice_mode="tone", required_key="made-up").url
    assert [say(url, key=key).status_code for key in (None, "wrong", "made-up")] == [401, 401, 200]
    assert say(url).json()["code"] == "InvalidApiKey"
    odd = httpx.post(f"{url}/v1/audio/speech", headers={b"Authorization": b"Bearer m\xe4de-up"}, trust_env=False)
    assert odd.status_code == 401


def test_too_early_is_throttled(emulator: StartEmulator, say: Say) -> None:
    """A burst gets 429 from the second on, and the bill has them as received."""
    service = emulator(voice_mode="tone", requests_per_minute=60)
    answers = [say(service.url) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 429, 429]
    assert answers[1].json()["code"] == "Throttling.RateQuota"
    assert (service.bill()["received"], service.bill()["requests"]) == (3, 1)


def test_too_many_at_one_time_are_throttled(emulator: StartEmulator, say: Say) -> None:
    """Beyond the number in flight there is 429, and the most at one time is on the bill."""
    service = emulator(voice_mode="tone", max_in_flight=2, latency_ms=600)
    with ThreadPoolExecutor(6) as pool:
        statuses = sorted(answer.status_code for answer in pool.map(lambda _: say(service.url), range(6)))
    assert statuses == [200, 200, 429, 429, 429, 429]
    assert service.bill()["charged"] == 2


def test_latency_is_the_least_time(emulator: StartEmulator, say: Say) -> None:
    """No answer comes earlier, and those at one time wait together."""
    service = emulator(voice_mode="tone", latency_ms=1_000)
    began_s = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        assert {answer.status_code for answer in pool.map(lambda _: say(service.url), range(8))} == {200}
    assert 1.0 <= time.monotonic() - began_s < patience(6)
    assert 2 <= service.bill()["max_in_flight"] <= 8


@pytest.mark.parametrize("after_bytes", [None, 0, 100])
def test_a_cut_comes_after_the_charge(after_bytes: int | None, tone_service: LocalService) -> None:
    """The connection ends before the answer, or after so many bytes of its body; the request is on the bill."""
    tone_service.set_faults([{"what": "cut"} | ({} if after_bytes is None else {"after_bytes": after_bytes})])
    connection = http.client.HTTPConnection(urlsplit(tone_service.url).netloc, timeout=patience(10))
    connection.request("POST", "/v1/audio/speech", json.dumps({"model": "qwen3-tts-flash", "input": "Hello"}))
    if after_bytes is None:
        with pytest.raises(http.client.RemoteDisconnected):
            connection.getresponse()
    else:
        response = connection.getresponse()
        with pytest.raises(http.client.IncompleteRead) as exc_info:
            response.read()
        assert len(exc_info.value.partial) == after_bytes
    connection.close()
    assert tone_service.bill()["charged"] == 1


def test_a_drop_is_a_cut_without_charge(tone_service: LocalService, say: Say) -> None:
    """``"charge": false`` loses the connection for nothing."""
    tone_service.set_faults([{"what": "cut", "charge": False}])
    with pytest.raises(httpx.RemoteProtocolError):
        say(tone_service.url)
    assert (tone_service.bill()["requests"], tone_service.bill()["charged"]) == (1, 0)


@pytest.mark.parametrize(
    ("rule", "status", "part"),
    [
        ({"what": "throttle", "retry_after_s": 7}, 429, "Throttling.RateQuota"),
        ({"what": "error", "status": 503, "code": "ServiceUnavailable"}, 503, "ServiceUnavailable"),
        ({"what": "error", "status": 502, "body": "<html>Bad gateway</html>"}, 502, "<html>Bad gateway</html>"),
        ({"what": "refuse", "text": "Hello"}, 400, "DataInspectionFailed"),
    ],
)
def test_faults_answer_with_errors(
    rule: dict[str, Any], status: int, part: str, tone_service: LocalService, say: Say
) -> None:
    """An error is answered as the rule says, is not charged, and the rule counts its hits."""
    tone_service.set_faults([rule])
    answer = say(tone_service.url)
    assert answer.status_code == status
    assert part in answer.text
    assert answer.headers.get("retry-after") == ("7" if status == 429 else None)
    assert tone_service.bill()["charged"] == 0
    assert tone_service.faults() == [rule | {"seen": 1, "hits": 1}]
    tone_service.clear_faults()
    assert say(tone_service.url).status_code == 200


def test_an_error_can_be_charged(tone_service: LocalService, say: Say) -> None:
    """Some services charge for what they fail to deliver."""
    tone_service.set_faults([{"what": "error", "charge": True}])
    assert say(tone_service.url, "12345").status_code == 500
    assert (tone_service.bill()["charged"], tone_service.bill()["characters"]) == (1, 5)


def test_slow_is_slow(tone_service: LocalService, say: Say) -> None:
    """The answer is right, and late."""
    tone_service.set_faults([{"what": "slow", "delay_s": 0.3}])
    began_s = time.monotonic()
    assert audio_of(say(tone_service.url, "Hello")) == tone("Hello")
    assert time.monotonic() - began_s >= 0.3


def test_a_wrong_rule_is_refused_and_changes_nothing(tone_service: LocalService) -> None:
    """The rules before stay in force."""
    tone_service.set_faults([{"what": "slow"}])
    with pytest.raises(ConfigurationError, match="delay_s"):
        tone_service.set_faults([{"what": "slow", "delay": 1}])
    assert [rule["what"] for rule in tone_service.faults()] == ["slow"]


def test_who_leaves_is_charged_all_the_same(emulator: StartEmulator) -> None:
    """A client that is gone when the answer is ready has been charged for it."""
    service = emulator(voice_mode="tone", latency_ms=200)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{service.url}/v1/audio/speech",
            json={"model": "qwen3-tts-flash", "input": "Hello"},
            timeout=0.05,
            trust_env=False,
        )
    deadline_s = time.monotonic() + patience(5)
    while not (bill := service.bill())["charged"] and time.monotonic() < deadline_s:
        threading.Event().wait(0.02)
    assert (bill["received"], bill["charged"]) == (1, 1)


def test_nobody_gets_anothers_audio(tone_service: LocalService, say: Say) -> None:
    """Under many threads every answer is the tone of its own text."""
    texts = [f"This is text number {number}." for number in range(200)]
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda text: audio_of(say(tone_service.url, text)), texts))
    assert answers == [tone(text) for text in texts]
    assert soundfile.info(io.BytesIO(answers[0])).samplerate == 24_000


def test_a_redirect_leads_to_the_slash_and_is_no_request(tone_service: LocalService) -> None:
    """There other rules hold; the bill knows the second request alone."""
    tone_service.set_faults([{"what": "redirect"}, {"what": "refuse", "text": "refused"}])
    tone_service.reset_bill()
    body = {"model": "qwen3-tts-flash", "input": "Hello."}
    sent_on = httpx.post(f"{tone_service.url}/v1/audio/speech", json=body)
    assert (sent_on.status_code, sent_on.headers["location"]) == (308, "/v1/audio/speech/")
    for text, status in (("Hello.", 200), ("refused", 400)):
        body = {"model": "qwen3-tts-flash", "input": text}
        assert httpx.post(f"{tone_service.url}/v1/audio/speech/", json=body).status_code == status
    assert (tone_service.bill()["received"], tone_service.bill()["charged"]) == (2, 1)


def test_a_query_and_a_header_of_the_key_are_required(emulator: StartEmulator) -> None:
    """As gateways have them."""
    url = emulator(voice_mode="tone", required_key="made-up", key_header="api-key", required_query="v=1").url
    body = {"model": "qwen3-tts-flash", "input": "Hello."}
    for query, headers, status in (
        ("?v=1", {"api-key": "made-up"}, 200),
        ("", {"api-key": "made-up"}, 404),
        ("?v=1", {"Authorization": "Bearer made-up"}, 401),
    ):
        assert httpx.post(f"{url}/v1/audio/speech{query}", json=body, headers=headers).status_code == status


class SetClock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_without_a_rate_everything_passes() -> None:
    """None is no limit."""
    rate = RateLimit(None, 0.05, SetClock())
    assert all(rate.try_acquire() for _ in range(1_000))


def test_requests_on_their_slots_pass() -> None:
    """A client that keeps the interval is never refused."""
    clock = SetClock()
    rate = RateLimit(60, 0.0, clock)
    for _ in range(100):
        assert rate.try_acquire()
        clock.now_s += 1.0


def test_a_burst_is_refused_though_the_minute_has_room() -> None:
    """The rate is smooth: the second request of a burst is too early, and a refusal takes no slot."""
    clock = SetClock()
    rate = RateLimit(60, 0.05, clock)
    assert [rate.try_acquire() for _ in range(3)] == [True, False, False]
    clock.now_s += 1.0
    assert rate.try_acquire()


def test_what_comes_early_is_made_up_for() -> None:
    """Always being early by the tolerance gains one tolerance, not one for every request."""
    clock = SetClock()
    rate = RateLimit(60, 0.05, clock)
    assert rate.try_acquire()
    clock.now_s += 0.95
    assert rate.try_acquire()
    clock.now_s += 0.95
    assert not rate.try_acquire()
    clock.now_s += 0.05
    assert rate.try_acquire()


def test_time_unused_is_not_saved_up() -> None:
    """After a silence there is one slot, not a minute's worth."""
    clock = SetClock()
    rate = RateLimit(60, 0.05, clock)
    clock.now_s += 600
    assert [rate.try_acquire() for _ in range(2)] == [True, False]

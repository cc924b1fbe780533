"""Every answer and every failure that the local service knows, through the client: bytes, usage and class are right."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any

import pytest

from tests.builders import wrap_pcm
from tests.patience import patience
from tts_pipeline.attempt import Outcome, Settlement
from tts_pipeline.audio.quality import FLAGS
from tts_pipeline.card import Card, Endpoint
from tts_pipeline.catalog import Service, load_catalog
from tts_pipeline.client.client import SpeechClient
from tts_pipeline.client.ledger import MemoryLedger
from tts_pipeline.config import Limits
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.emulator.request import parse_request
from tts_pipeline.emulator.rules import FORMS, SHAPES, TIMESTAMPS, VENDOR_FORMS
from tts_pipeline.emulator.shapes import NEEDS_URL
from tts_pipeline.emulator.tone import speak_tone, tone
from tts_pipeline.errors import (
    FatalError,
    PermanentError,
    ServiceError,
    StoppedError,
    SuspectError,
    TransientError,
    UnreadableError,
)
from tts_pipeline.flow.clock import Clock
from tts_pipeline.models import Speech, Usage, Utterance

TEXT = "Twelve words, and each of them has its own place."
Rule = dict[str, Any]
Parameters = Mapping[str, Any]

AS_JSON: Parameters = {"voice": "Cherry"}
AS_STREAM: Parameters = {"voice": "Cherry", "stream": True}
BOTH = pytest.mark.parametrize("parameters", [AS_JSON, AS_STREAM], ids=["json", "sse"])


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of one utterance, in the client and on both bills."""

    result: Speech | ServiceError | StoppedError
    settlements: list[Settlement]
    bill: dict[str, Any]

    @property
    def speech(self) -> Speech:
        """The speech; fails the test where there is none."""
        assert isinstance(self.result, Speech), repr(self.result)
        return self.result

    @property
    def flags(self) -> tuple[str, ...]:
        """The flags of the speech, without those of its sound: a hum is no speech, and is heard not to be."""
        return tuple(flag for flag in self.speech.quality if flag not in FLAGS)

    @property
    def codes(self) -> list[str | None]:
        """How each attempt ended, None is well."""
        return [settlement.error_code for settlement in self.settlements]


def _quick_clock() -> Clock:
    """Return a clock that is put forward by whoever waits."""
    skipped_s = [0.0]

    async def sleep(seconds: float) -> None:
        skipped_s[0] += seconds
        await asyncio.sleep(0)

    return Clock(monotonic_s=lambda: time.monotonic() + skipped_s[0], sleep=sleep)


@cache
def _card(service: Endpoint) -> Card:
    return load_catalog().card(service, "qwen3-tts-flash")


def run_trial(
    service: LocalService,
    parameters: Parameters,
    *rules: Rule,
    text: str = TEXT,
    limits: Limits = Limits(max_attempts=2, timeout_s=patience(20)),
) -> Trial:
    """Say one text to a service that misbehaves by these rules, and hold the two bills against one another."""
    service.set_faults(rules)
    service.reset_bill()
    ledger = MemoryLedger()
    endpoint = Service(base_url=service.url, name="local", auth="none")

    async def main() -> Speech | ServiceError | StoppedError:
        async with SpeechClient(endpoint, _card(endpoint), limits, clock=_quick_clock(), random=Random(1)) as client:
            try:
                return await client.synthesize(Utterance("a", text, parameters), ledger)
            except (ServiceError, StoppedError) as error:
                return error

    result = asyncio.run(main())
    trial = Trial(result, [ledger.settlements[attempt.attempt_id] for attempt in ledger.attempts], service.bill())
    _check_bill(trial)
    return trial


def _check_bill(trial: Trial) -> None:
    """Every request is in the ledger; what was charged is between what is confirmed and what is possible."""
    billed = sum(settlement.characters_billed for settlement in trial.settlements)
    at_most = sum(settlement.characters_upper_bound for settlement in trial.settlements)
    assert trial.bill["received"] == sum(settlement.error_code != "Redirected" for settlement in trial.settlements)
    assert billed <= trial.bill["characters"] <= at_most
    if all(settlement.outcome is Outcome.SUCCEEDED for settlement in trial.settlements):
        assert billed == trial.bill["characters"] == at_most


UNUSABLE = {
    "sse_cut": "CutStream",
    "no_audio": "NoAudio",
    "billed_failure": "NoAudio",
    "empty": "EmptyBody",
}
"""Shapes of a 200 that brings no audio, where another answer may."""
UNREADABLE = ("bad_base64", "unreadable")
"""Shapes of a 200 that is whole, and that nobody will ever read."""

GOOD = [shape for shape in SHAPES if shape not in (*UNUSABLE, *UNREADABLE)]
UNNAMED = ("unknown_name", "list_of_chunks")
"""Shapes in which audio is found by its first bytes only: samples without a header have none."""
UNREPORTED = {shape for shape in GOOD if shape[:4] not in ("ali_", "hex", "hex_") and shape != "audio_url_object"}
"""Shapes that say nothing of the characters they cost."""


@BOTH
@pytest.mark.parametrize("shape", GOOD)
@pytest.mark.parametrize("rule", [{"what": "shape"}, {"what": "slow", "delay_s": 0.01}], ids=["at once", "slow"])
def test_every_shape_brings_the_audio_of_its_text(
    tone_service: LocalService, rule: Rule, shape: str, parameters: Parameters
) -> None:
    """The very bytes, whole, in one attempt, with the usage that the shape reports."""
    trial = run_trial(tone_service, parameters, {**rule, "shape": shape})
    assert trial.speech.audio.data == tone(TEXT)
    assert (trial.codes, trial.flags) == ([None], ())
    assert trial.speech.usage.characters_reported == (None if shape in UNREPORTED else len(TEXT))
    assert trial.speech.characters_billed == len(TEXT)
    assert trial.speech.usage.input_tokens == ({"openai_sse": len(TEXT)}.get(shape, 0 if shape[:3] == "ali" else None))


@BOTH
@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize("shape", GOOD)
def test_a_service_that_redirects_brings_every_shape(
    tone_service: LocalService, shape: str, status: int, parameters: Parameters
) -> None:
    """The request is sent again to the same host; it is one attempt, and on the bill once."""
    trial = run_trial(
        tone_service, parameters, {"what": "redirect", "status": status}, {"what": "shape", "shape": shape}
    )
    assert trial.speech.audio.data == tone(TEXT)
    assert (trial.codes, trial.bill["charged"]) == ([None], 1)


@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_service_that_moved_is_told_at_once(tone_service: LocalService, status: int) -> None:
    """Nothing is bought there, and no audio is looked for at the address of the service."""
    trial = run_trial(tone_service, AS_JSON, {"what": "redirect", "status": status})
    assert isinstance(trial.result, FatalError)
    assert (trial.result.code, trial.settlements[0].characters_upper_bound) == ("Redirected", 0)


@BOTH
@pytest.mark.parametrize("wav_length", [0x7FFFFFBF, 0xFFFFFFFF, 0])
@pytest.mark.parametrize("shape", GOOD)
def test_a_header_that_lies_is_mended(
    tone_service: LocalService, shape: str, wav_length: int, parameters: Parameters
) -> None:
    """Whatever shape it comes in, what is kept is what a truthful service would have sent."""
    trial = run_trial(tone_service, parameters, {"what": "shape", "shape": shape, "wav_length": wav_length})
    assert trial.speech.audio.data == tone(TEXT)
    assert trial.codes == [None]


@BOTH
@pytest.mark.parametrize("shape", UNUSABLE)
def test_an_answer_without_audio_is_tried_again(tone_service: LocalService, shape: str, parameters: Parameters) -> None:
    """Never half a row: once, it costs an attempt; always, it is the row's transient error, and on the bill."""
    rule = {"what": "shape", "shape": shape}
    once = run_trial(tone_service, parameters, {**rule, "first": 1})
    assert once.speech.audio.data == tone(TEXT)
    assert once.codes == [UNUSABLE[shape], None]
    always = run_trial(tone_service, parameters, rule)
    assert isinstance(always.result, TransientError)
    assert (always.result.code, always.codes) == (UNUSABLE[shape], [UNUSABLE[shape]] * 2)


@pytest.mark.parametrize("shape", UNREADABLE)
def test_an_answer_that_nobody_can_read_is_bought_once(tone_service: LocalService, shape: str) -> None:
    """The row is a reject, with what it may have cost on the bill, and the keys of the answer in its message."""
    trial = run_trial(tone_service, AS_JSON, {"what": "shape", "shape": shape})
    assert type(trial.result) is UnreadableError
    assert (trial.result.code, trial.codes) == ("UnreadableAudio", ["UnreadableAudio"])
    assert trial.settlements[0].characters_upper_bound == trial.bill["characters"] == len(TEXT)
    assert "JSON with the keys " in trial.result.message


def test_the_usage_of_a_failure_is_on_the_bill(tone_service: LocalService) -> None:
    """A 200 without audio tells the tokens it took: they are in the usage table, as what may be billed."""
    trial = run_trial(tone_service, AS_JSON, {"what": "shape", "shape": "billed_failure"})
    assert trial.settlements[0].usage == Usage(None, len(TEXT), 50, len(TEXT) + 50)


WHOLE_WIRES = ("twice", "late", "half_late", "interim", "long_header", "trailers", "gzip", "deflate")
"""What may become of an answer on its way without harm."""
BROKEN_WIRES = {
    "broken_head": ["InvalidHttpAnswer"] * 2,
    "no_http": ["InvalidHttpAnswer"] * 2,
    "broken_chunk": ["InvalidHttpAnswer"] * 2,
    "gzip_cut": ["MalformedBody"] * 2,
    "gzip_twice": ["UnsupportedCoding"],
    "huge_head": ["HeadTooLarge"],
    "endless_interim": ["HeadTooLarge"],
    "endless_trailers": ["HeadTooLarge"],
}
"""How each attempt ends where an answer cannot be read."""
_WIRED = ("ali_data", "redirect", "raw", "ali_sse")


@pytest.mark.parametrize("wire", WHOLE_WIRES)
@pytest.mark.parametrize("shape", _WIRED)
def test_what_else_comes_on_a_connection_changes_nothing(tone_service: LocalService, shape: str, wire: str) -> None:
    """Answers sent twice, compressed, with long heads or trailers: the very bytes, in one attempt."""
    trial = run_trial(tone_service, AS_JSON, {"what": "shape", "shape": shape, "wire": wire})
    assert (trial.speech.audio.data, trial.codes) == (tone(TEXT), [None])


@pytest.mark.parametrize("shape", ["ali_data", "raw"])
@pytest.mark.parametrize("wire", BROKEN_WIRES)
def test_an_answer_that_cannot_be_read_says_why(tone_service: LocalService, wire: str, shape: str) -> None:
    """Each has its own code; what would be the same again is bought once; and all of it may be billed."""
    trial = run_trial(tone_service, AS_JSON, {"what": "shape", "shape": shape, "wire": wire})
    assert trial.codes == BROKEN_WIRES[wire]
    assert trial.settlements[0].characters_upper_bound == len(TEXT)


@pytest.mark.parametrize("wire", [*WHOLE_WIRES, *BROKEN_WIRES])
def test_a_fetch_is_read_as_an_answer_is(tone_service: LocalService, wire: str) -> None:
    """The same bounds and the same care where the audio is elsewhere."""
    trial = run_trial(tone_service, AS_JSON, {"what": "shape", "shape": "ali_url", "fetch": wire})
    if wire in WHOLE_WIRES:
        assert (trial.speech.audio.data, trial.codes) == (tone(TEXT), [None])
    else:
        assert trial.codes in (["LostUrl"] * 2, BROKEN_WIRES[wire])


@pytest.mark.parametrize(
    "fields", [{"wire": "drip_head"}, {"wire": "drip_body"}, {"shape": "ali_url", "fetch": "drip_body"}]
)
def test_an_answer_that_drips_ends(tone_service: LocalService, fields: Rule) -> None:
    """Never silent and never over: the exchange has an end, and may be billed."""
    trial = run_trial(tone_service, AS_JSON, {"what": "shape", **fields}, limits=Limits(max_attempts=1, timeout_s=0.04))
    assert trial.codes == ["LostUrl" if "fetch" in fields else "Timeout"]
    assert trial.settlements[0].characters_upper_bound == len(TEXT)


_CUTS = {
    "before the answer": {},
    "within": {"after_bytes": 40},
    "without a length": {"after_bytes": 40, "ends": "connection"},
    "near its end": {"after_bytes": -1},
}


@BOTH
@pytest.mark.parametrize("cut", _CUTS.values(), ids=_CUTS)
@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape not in UNREADABLE])
def test_an_answer_that_is_cut_is_never_half_a_row(
    tone_service: LocalService, shape: str, cut: Rule, parameters: Parameters
) -> None:
    """However little of it is missing: the attempt may be billed, and another brings the whole."""
    if cut.get("after_bytes") == -1:
        cut = {"after_bytes": len(tone(TEXT)) - 100}  # the end of raw bytes, the middle of base64
    trial = run_trial(tone_service, parameters, {"what": "cut", "shape": shape, "first": 1, **cut})
    assert trial.speech.audio.data == tone(TEXT)
    assert trial.flags == ()
    if trial.codes != [None]:
        first, last = trial.settlements
        assert (first.outcome, first.characters_billed) == (Outcome.FAILED, 0)
        assert first.characters_upper_bound == len(TEXT)
        assert last.outcome is Outcome.SUCCEEDED
    else:  # so short a body went out whole before the cut
        assert shape in NEEDS_URL - {"ali_sse"}
        assert cut


@BOTH
@pytest.mark.parametrize("shape", GOOD)
def test_a_body_without_a_length_is_judged_by_what_it_holds(
    tone_service: LocalService, shape: str, parameters: Parameters
) -> None:
    """Whole, it is the audio; no flag where JSON or the container says so."""
    trial = run_trial(tone_service, parameters, {"what": "shape", "shape": shape, "ends": "connection"})
    assert trial.speech.audio.data == tone(TEXT)
    assert (trial.codes, trial.flags) == ([None], ())


@pytest.mark.parametrize("cut", [False, True])
def test_headerless_samples_without_a_length_are_flagged(tone_service: LocalService, cut: bool) -> None:
    """Nothing tells whether they are whole, so the row says that."""
    kind = {"what": "cut", "after_bytes": 50_000} if cut else {"what": "shape"}
    rule = {**kind, "shape": "raw", "ends": "connection"}
    trial = run_trial(tone_service, {**AS_JSON, "response_format": "pcm"}, rule)
    assert trial.speech.audio.data[44:] == tone(TEXT, response_format="pcm")[: 50_000 if cut else None]
    assert "unverified_length" in trial.flags


@pytest.mark.parametrize("sample_rate_hz", [24_000, 16_000])
@pytest.mark.parametrize("shape", [shape for shape in GOOD if shape not in UNNAMED])
def test_headerless_samples_are_wrapped_in_every_shape(
    tone_service: LocalService, shape: str, sample_rate_hz: int
) -> None:
    """At the rate that was asked for."""
    parameters = {**AS_JSON, "response_format": "pcm", "sample_rate": sample_rate_hz}
    audio = run_trial(tone_service, parameters, {"what": "shape", "shape": shape}).speech.audio
    assert (audio.format, audio.sample_rate_hz, audio.channels) == ("wav", sample_rate_hz, 1)
    assert audio.data == tone(TEXT, sample_rate_hz=sample_rate_hz)


CARRIERS = ["ali_data", "ali_url", "raw", "ali_sse"]
"""One shape of each way that audio takes: in JSON, behind a URL, as the body, in chunks."""


@pytest.mark.parametrize(("container", "times"), [("twice", 2), ("thrice", 3), ("blanks", 1), ("zeros", 1), ("bom", 1)])
@pytest.mark.parametrize("shape", [*CARRIERS, "unknown_name"])
def test_all_of_the_sound_is_kept_whatever_stands_around_it(
    tone_service: LocalService, shape: str, container: str, times: int
) -> None:
    """Files that follow each other are joined, blanks before them are left out, and one purchase is enough."""
    trial = run_trial(tone_service, AS_JSON, {"what": "shape", "shape": shape, "container": container})
    samples = tone(TEXT)[44:] * times
    assert trial.speech.audio.data == wrap_pcm(samples, 24_000)
    assert trial.speech.audio.duration_ms == len(samples) // 48
    assert trial.codes == [None]


@pytest.mark.parametrize(
    ("shape", "container"),
    [("raw", "l16"), ("raw", "pcm_typed"), ("raw", "pcm_header"), ("ali_url", "l16"), ("ali_url", "pcm_typed")],
)
def test_an_answer_says_what_its_samples_are(tone_service: LocalService, shape: str, container: str) -> None:
    """Its rate and byte order come from its media type and headers, whatever was asked for."""
    parameters = {**AS_JSON, "response_format": "wav", "sample_rate": 16_000}
    trial = run_trial(tone_service, parameters, {"what": "shape", "shape": shape, "container": container})
    assert trial.speech.audio.data == tone(TEXT, sample_rate_hz=16_000)
    assert (trial.codes, trial.flags) == ([None], ())


@pytest.mark.parametrize("shape", CARRIERS)
def test_a_rate_that_nobody_told_is_flagged(tone_service: LocalService, shape: str) -> None:
    """The samples are kept, at what is usual."""
    trial = run_trial(tone_service, {**AS_JSON, "response_format": "pcm"}, {"what": "shape", "shape": shape})
    assert trial.speech.audio.data == tone(TEXT)
    assert trial.flags == ("assumed_rate",)


_ABSURD = {
    "bomb": "ClipTooLong",
    "absurd_rate": "ImplausibleAudio",
    "absurd_channels": "ImplausibleAudio",
    "garbage": "UnreadableAudio",
}


@pytest.mark.parametrize("container", _ABSURD)
@pytest.mark.parametrize("shape", ["ali_data", "ali_url", "raw"])
def test_what_no_speech_is_like_is_bought_once(tone_service: LocalService, shape: str, container: str) -> None:
    """Another purchase would bring the same; this one is on the bill as possible."""
    trial = run_trial(tone_service, AS_JSON, {"what": "shape", "shape": shape, "container": container})
    assert isinstance(trial.result, UnreadableError)
    assert trial.codes == [trial.result.code] == [_ABSURD[container]]
    assert trial.settlements[0].characters_upper_bound == len(TEXT)


@pytest.mark.parametrize("shape", ["ali_data", "ali_url", "redirect", "raw_mislabelled", "raw_unlabelled", "ali_sse"])
def test_compressed_audio_is_kept_as_it_came(tone_service: LocalService, shape: str) -> None:
    """Bytes decide what it is, not labels."""
    audio = run_trial(
        tone_service, {**AS_JSON, "response_format": "mp3"}, {"what": "shape", "shape": shape}
    ).speech.audio
    assert (audio.format, audio.sample_rate_hz) == ("mp3", 24_000)
    assert audio.data == tone(TEXT, response_format="mp3")


URL_SHAPES = sorted(NEEDS_URL - {"ali_sse"})
"""``ali_sse`` carries its audio and needs no fetch."""

_FETCHES: Mapping[str, tuple[Rule, str | None]] = {
    "slow": ({"fetch": "slow", "fetch_delay_s": 0.05}, None),
    "expired": ({"lifetime_s": 0}, "LostUrl"),
    "missing": ({"fetch": "missing"}, "LostUrl"),
    "cut": ({"fetch": "cut"}, "LostUrl"),
    "refused": ({"url": "http://127.0.0.1:9/a.wav"}, "LostUrl"),
    "metadata": ({"url": "http://169.254.169.254/latest/meta-data"}, "RefusedUrl"),
    "to metadata": ({"fetch": "redirect", "location": "http://169.254.169.254/"}, "RefusedUrl"),
    "file": ({"url": "file:///etc/passwd"}, "RefusedUrl"),
    "to a file": ({"fetch": "redirect", "location": "file:///etc/passwd"}, "RefusedUrl"),
}


@BOTH
@pytest.mark.parametrize(("rule", "code"), _FETCHES.values(), ids=_FETCHES)
@pytest.mark.parametrize("shape", URL_SHAPES)
def test_a_fetch_that_goes_wrong(
    tone_service: LocalService, shape: str, rule: Rule, code: str | None, parameters: Parameters
) -> None:
    """A lost URL is a new attempt, and the bill shows both; one that must not be visited is a reject, and billed."""
    if shape == "unknown_url" and rule.get("url", "").startswith("file:"):
        return  # under a name that nobody told, it is no link
    trial = run_trial(tone_service, parameters, {"what": "shape", "shape": shape, "first": 1, **rule})
    if code == "RefusedUrl":
        assert type(trial.result) is PermanentError
        assert (trial.result.code, trial.bill["charged"]) == ("RefusedUrl", 1)
        assert trial.settlements[0].characters_upper_bound == len(TEXT)
        return
    assert trial.speech.audio.data == tone(TEXT)
    assert trial.codes == ([None] if code is None else [code, None])
    assert trial.bill["charged"] == len(trial.codes)


def _expected(status: int, code: str) -> type[ServiceError]:
    if code in ("InvalidApiKey", "insufficient_balance", "AccessDenied", "Arrearage", "ModelNotFound"):
        return FatalError
    return TransientError if status >= 500 else PermanentError


_ERRORS = [
    (401, "InvalidApiKey"),
    (402, "insufficient_balance"),
    (403, "AccessDenied"),
    (400, "Arrearage"),
    (404, "ModelNotFound"),
    (400, "InvalidParameter"),
    (400, "DataInspectionFailed"),
    (413, "RequestTooLarge"),
    (422, "InvalidParameter"),
    (500, "InternalError"),
    (500, "ModelServingError"),
    (502, "BadGateway"),
    (503, "ServiceUnavailable"),
    (504, "RequestTimeOut"),
]
_BY_STATUS_ALONE = {403: SuspectError, 404: SuspectError, 400: PermanentError}
"""What ``{"error": "text"}`` can mean where the status does not decide: there is no code in it."""


_INSIDE_200 = ("inside_200", "sse", "base_resp", "response_error")


@pytest.mark.parametrize(
    ("form", "parameters"),
    # What other makers answer does not depend on what was asked for.
    [(form, mode) for form in FORMS for mode in ((AS_JSON,) if form in VENDOR_FORMS else (AS_JSON, AS_STREAM))],
)
@pytest.mark.parametrize(("status", "code"), _ERRORS)
def test_every_failure_is_of_its_class_in_every_form(
    tone_service: LocalService, status: int, code: str, form: str, parameters: Parameters
) -> None:
    """Flat, nested, as text, inside a 200, in a stream, as a page, in makers' words; charged or not, the bill holds.

    A bad key, an empty account and a refused model are never charged, and never on the bill, also inside a 200.
    """
    expected = _expected(status, code)
    if form == "text":
        expected = _BY_STATUS_ALONE.get(status, expected)
    may_be_charged = form in _INSIDE_200 or (form != "flattened" and status >= 500)
    may_be_charged &= expected is not FatalError
    for charge in {False, may_be_charged}:
        rule = {"what": "error", "status": status, "code": code, "message": "Not today.", "form": form}
        trial = run_trial(tone_service, parameters, {**rule, "charge": charge})
        assert isinstance(trial.result, expected), repr(trial.result)
        assert isinstance(trial.result, SuspectError) == (expected is SuspectError)
        tries = 2 if expected is TransientError else 1
        if trial.result.http_status != 413:  # what is too large by its status is tried in halves
            assert len(trial.settlements) == tries
        assert trial.bill["charged"] == charge * len(trial.settlements)
        if not may_be_charged:
            assert {settlement.characters_upper_bound for settlement in trial.settlements} == {0}


@BOTH
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "after", [{}, {"retry_after_s": 7}, {"retry_after_s": 7, "retry_after_date": True}], ids=["", "seconds", "date"]
)
def test_a_429_is_waited_out_in_every_form(
    tone_service: LocalService, form: str, after: Rule, parameters: Parameters
) -> None:
    """More often than a row has attempts, and the row is said in the end; a 429 costs nothing."""
    trial = run_trial(tone_service, parameters, {"what": "throttle", "form": form, "first": 4, **after})
    assert trial.speech.audio.data == tone(TEXT)
    assert len(trial.codes) == 5
    assert trial.speech.characters_billed == trial.bill["characters"] == len(TEXT)


@pytest.mark.parametrize("form", FORMS)
def test_a_429_for_too_long_stops_in_every_form(tone_service: LocalService, form: str) -> None:
    """The run would wait for hours."""
    trial = run_trial(tone_service, AS_JSON, {"what": "throttle", "form": form, "retry_after_s": 7_200})
    assert isinstance(trial.result, StoppedError)
    assert "a pause of 7200 s, until 20" in trial.result.message


@BOTH
@pytest.mark.parametrize("form", FORMS)
def test_a_refused_text_is_a_reject_in_every_form(
    tone_service: LocalService, form: str, parameters: Parameters
) -> None:
    """It is this text's alone."""
    trial = run_trial(tone_service, parameters, {"what": "refuse", "form": form})
    assert type(trial.result) is PermanentError
    assert len(trial.codes) == 1


_CARRIES_TIMES = ["ali_data", "ali_url", "bare_fields", "audio_url_object", "ali_sse"]


@pytest.mark.parametrize("form", TIMESTAMPS)
@pytest.mark.parametrize("shape", _CARRIES_TIMES)
def test_word_times_are_normalised_from_every_form(tone_service: LocalService, shape: str, form: str) -> None:
    """Every word once, in order, at its time, at its place in the text; a broken alignment is dropped with a flag."""
    text = 'Twelve words, 12 of them. 大家好 and "you"!'
    parameters = {"voice": "Cherry", "enable_timestamp": True}
    trial = run_trial(tone_service, parameters, {"what": "shape", "shape": shape, "timestamps": form}, text=text)
    speech = trial.speech
    if form in ("ragged", "absurd") and shape != "ali_sse":
        assert (speech.words, trial.flags) == (None, ("timestamps_dropped",))
        return
    assert speech.words is not None
    assert trial.flags == ()
    for word in speech.words:
        assert word.text_start is not None
        assert word.text == text[word.text_start : word.text_end]
    if form != "characters" or shape == "ali_sse":  # characters are joined at spaces, punctuation and all
        body = {"model": "qwen3-tts-flash", "input": text, "enable_timestamp": True}
        spoken = speak_tone(parse_request(body), None).words or ()
        assert [(word.text, word.start_ms, word.end_ms, word.text_start, word.text_end) for word in speech.words] == [
            (word.text, word.begin_ms, word.end_ms, word.begin_index, word.end_index) for word in spoken
        ]


@pytest.mark.parametrize("shape", [shape for shape in GOOD if shape not in _CARRIES_TIMES])
def test_word_times_that_are_not_given_are_null(
    tone_service: LocalService, shape: str, caplog: pytest.LogCaptureFixture
) -> None:
    """No flag: nothing was dropped; a warning says so."""
    trial = run_trial(tone_service, {**AS_JSON, "enable_timestamp": True}, {"what": "shape", "shape": shape})
    assert (trial.speech.words, trial.flags) == (None, ())
    assert [record.getMessage() for record in caplog.records] == [
        "timestamps were requested, but local gives none: they are null"
    ]

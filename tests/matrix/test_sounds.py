"""Every form of sound and of word times inside an answer, through the client: what is kept, and what is flagged."""

from __future__ import annotations

import pytest

from tests.builders import wrap_pcm
from tests.matrix.trial import (
    AS_JSON,
    GOOD,
    TEXT,
    UNNAMED,
    run_trial,
)
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.emulator.request import parse_request
from tts_pipeline.emulator.rules import TIMESTAMPS
from tts_pipeline.emulator.tone import speak_tone, tone
from tts_pipeline.errors import (
    UnreadableError,
)


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

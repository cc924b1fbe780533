"""What is heard and when: word times, quality, formats, as a job's settings ask for them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import soundfile

from tests.builders import write_lines
from tests.conftest import StartEmulator
from tests.scenarios.conftest import RunJob, check_bill, check_every_row_once
from tts_pipeline.client.retakes import quality_policy
from tts_pipeline.config import AudioSettings
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.errors import ConfigurationError

TIMED = {"voice": "Cherry", "enable_timestamp": True}


def test_word_times_that_are_not_given_are_null_with_one_warning(
    tone_service: LocalService, run: RunJob, caplog: pytest.LogCaptureFixture
) -> None:
    """One for the run, not for the row."""
    tone_service.set_faults([{"what": "shape", "shape": "raw"}])
    result = run(tone_service, rows=30, parameters=TIMED)
    assert result.report.dataset.speech == 30
    assert set(result.table("speech")["timestamps"].to_pylist()) == {None}
    assert set(result.table("speech")["timestamps_source"].to_pylist()) == {None}
    records = [record for record in caplog.records if "timestamps" in record.getMessage()]
    assert [(record.name, record.levelname) for record in records] == [("tts_pipeline", "WARNING")]


def test_word_times_that_are_given_are_kept_and_cause_no_warning(
    tone_service: LocalService, run: RunJob, caplog: pytest.LogCaptureFixture
) -> None:
    """With their places in the text."""
    speech = run(tone_service, rows=5, parameters=TIMED).table("speech").to_pylist()
    for row in speech:
        assert [word["text"] for word in row["timestamps"]] == row["text"].removesuffix(".").split()
        for word in row["timestamps"]:
            assert row["text"][word["text_start"] : word["text_end"]] == word["text"]
    assert not any("timestamps" in record.getMessage() for record in caplog.records)


BAD_ROW = {"what": "shape", "text": "Line 7."}


@pytest.mark.parametrize(
    ("sound", "action", "outcomes"),
    [
        ("silent", "keep", {"succeeded": 20}),
        ("silent", "reject", {"succeeded": 19, "discarded": 1}),
        ("silent", "retry", {"succeeded": 20, "discarded": 2}),
        ("empty", None, {"succeeded": 19, "discarded": 3}),
    ],
)
def test_bad_audio_is_treated_as_the_policy_says(
    tone_service: LocalService, run: RunJob, sound: str, action: str | None, outcomes: dict[str, int]
) -> None:
    """Kept with its flag, bought again, or rejected; every take is on both bills."""
    tone_service.set_faults([{**BAD_ROW, "sound": sound}])
    is_kept = action in ("keep", "retry")
    quality = quality_policy({sound: action} if action else {})
    result = run(tone_service, rows=20, options={"quality": quality})
    assert result.reject_codes() == ({} if is_kept else {"r7": f"Quality.{sound}"})
    assert dict(result.outcomes()) == outcomes
    check_every_row_once(result, 20)
    check_bill(result, tone_service)
    flags = {row["utterance_id"]: row["quality"] for row in result.table("speech").to_pylist()}
    assert [name for name, row_flags in flags.items() if sound in row_flags] == (["r7"] if is_kept else [])


def test_a_better_take_is_kept(emulator: StartEmulator, run: RunJob) -> None:
    """The second one is speech: the first is discarded, and billed."""
    service = emulator(speakers=1)
    service.set_faults([{**BAD_ROW, "sound": "silent", "first": 1}])
    result = run(service, rows=20, options={"quality": quality_policy({"silent": "retry"})})
    assert dict(result.outcomes()) == {"succeeded": 20, "discarded": 1}
    assert set(map(tuple, result.table("speech")["quality"].to_pylist())) == {()}
    check_bill(result, service)


@pytest.mark.parametrize(
    ("name", "sample_rate_hz"), [("wav", 16_000), ("flac", 48_000), ("mp3", 22_050), ("ogg", None)]
)
def test_audio_is_brought_to_the_format_and_the_rate(
    tone_service: LocalService, run: RunJob, name: str, sample_rate_hz: int | None
) -> None:
    """Also after a stop in the middle; other settings on the same dataset are refused by name, and send nothing."""
    audio = AudioSettings(name, sample_rate_hz)
    tone_service.set_faults([{"what": "error", "status": 401, "code": "InvalidApiKey", "message": "no", "after": 20}])
    assert run(tone_service, rows=50, audio=audio).report.dataset.speech == 20
    tone_service.clear_faults()
    result = run(tone_service, audio=audio)
    check_every_row_once(result, 50)
    check_bill(result, tone_service)
    for row in result.table("speech").to_pylist():
        with soundfile.SoundFile(io.BytesIO(row["audio"]["bytes"])) as sound:
            assert (sound.format, sound.samplerate) == (name.upper(), sample_rate_hz or 24_000)
            assert abs(sound.frames * 1000 / sound.samplerate - row["duration_ms"]) <= 1
        assert (row["audio_format"], row["sample_rate_hz"], row["channels"]) == (name, sample_rate_hz or 24_000, 1)
        assert abs(row["duration_ms"] - 70 * len(row["text"])) <= 60  # compression may add a frame
    received = tone_service.bill()["received"]
    with pytest.raises(ConfigurationError, match=r"sample_rate_hz is .* there and 8000 now"):
        run(tone_service, audio=AudioSettings(name, 8_000))
    with pytest.raises(ConfigurationError, match=rf"audio_format is '?{name}'? there"):
        run(tone_service, audio=AudioSettings(sample_rate_hz=sample_rate_hz))
    assert tone_service.bill()["received"] == received


@pytest.mark.parametrize("audio", [AudioSettings("mp4"), AudioSettings("mp3", 12_345), AudioSettings("wav", 100)])
def test_audio_that_cannot_be_had_is_refused_before_anything_is_sent(
    tone_service: LocalService, run: RunJob, tmp_path: Path, audio: Any
) -> None:
    """Nothing is bought for a dataset that could not be made."""
    write_lines(tmp_path / "lines.parquet", 5)
    with pytest.raises(ConfigurationError):
        run(tone_service, audio=audio)
    assert tone_service.bill()["received"] == 0
    assert not (tmp_path / "out").exists()

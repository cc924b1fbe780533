"""Nobody finds a key in what we raise, store, log or print, whatever a service does with it."""

from __future__ import annotations

import asyncio
import base64
import logging
import pickle
import traceback
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import unquote

import polars as pl
import pytest

import tts_pipeline as tts
from tests.builders import job_of, write_lines
from tests.matrix.trial import TEXT, card_of, quick_clock
from tts_pipeline.catalog import Service
from tts_pipeline.cli.summary import read_reject_causes
from tts_pipeline.client.attempt_log import MemoryAttemptLog
from tts_pipeline.client.client import SpeechClient
from tts_pipeline.config import Limits
from tts_pipeline.emulator.echo import ECHO_ENCODINGS, encode_echo
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.emulator.rules import FORMS
from tts_pipeline.errors import ServiceError, StoppedError
from tts_pipeline.job import run_job
from tts_pipeline.models import Speech, Utterance
from tts_pipeline.storage.open_store import open_store

KEY = "Zq7/pL+w_x9.K2m-Tt4vB8nR5sYcD1eF"
ECHOES = {writing: encode_echo(f"Bearer {KEY}", writing) for writing in ECHO_ENCODINGS}


def _leaks(text: str) -> list[str]:
    """Return the writings of the key that a text holds."""
    decoded = f"{text}\n{unquote(unquote(text))}"
    return [writing for writing, echo in ECHOES.items() if echo.lower() in decoded.lower()]


def _ask(service: LocalService, rule: dict[str, Any]) -> tuple[Speech | ServiceError | StoppedError, MemoryAttemptLog]:
    service.set_faults([rule])
    log, endpoint = MemoryAttemptLog(), Service(base_url=service.url, name="local", api_key=KEY)
    utterance = Utterance("a", TEXT, {"voice": "Cherry", "enable_timestamp": True})

    async def main() -> Speech | ServiceError | StoppedError:
        async with SpeechClient(
            endpoint, card_of(endpoint), Limits(max_attempts=1), clock=quick_clock(), random=Random(1)
        ) as client:
            try:
                return await client.synthesize(utterance, log)
            except (ServiceError, StoppedError) as error:
                return error

    return asyncio.run(main()), log


@pytest.mark.parametrize(("form", "status"), [*((form, 400) for form in FORMS), ("flat", 401), ("nested", 500)])
def test_a_failure_that_echoes_the_key(
    tone_service: LocalService, form: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """In every form and writing: not in the exception and what hangs on it, not in the bill, not in a log."""
    caplog.set_level(logging.DEBUG)
    for writing in ECHO_ENCODINGS:
        rule = {"what": "error", "status": status, "form": form, "message": "Bad key", "echo": writing}
        error, log = _ask(tone_service, rule)
        assert isinstance(error, ServiceError | StoppedError)
        outputs = [
            repr(error),
            str(error),
            "".join(traceback.format_exception(error)),
            str(pickle.dumps(error.__dict__)),
        ]
        cause: BaseException | None = error
        while cause is not None:
            outputs.append(f"{cause.args} {vars(cause)}")
            cause = cause.__context__ or cause.__cause__
        outputs += [str(log.settlements), caplog.text]
        assert _leaks("\n".join(outputs)) == [], (writing, outputs)
        caplog.clear()


@pytest.mark.parametrize("shape", ["ali_data", "ali_url", "raw", "ali_sse", "redirect", "no_audio", "bad_base64"])
def test_an_answer_that_echoes_the_key(tone_service: LocalService, shape: str) -> None:
    """The audio is what it was, and the request id without the key."""
    for writing in ECHO_ENCODINGS:
        result, log = _ask(tone_service, {"what": "shape", "shape": shape, "echo": writing})
        assert isinstance(result, ServiceError) == (shape in {"no_audio", "bad_base64"})
        assert _leaks(f"{getattr(result, 'request_id', '')} {log.settlements} {result!r}") == []


def test_a_dataset_has_no_key_in_it(
    tone_service: LocalService, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """No file of the destination or the journals, no table, no summary and no log, whatever became of the rows."""
    caplog.set_level(logging.DEBUG)
    rules = [{"what": "refuse", "text": f"Line {row}.", "echo": echo} for row, echo in enumerate(ECHO_ENCODINGS)]
    tone_service.set_faults([*rules, {"what": "shape", "echo": "plain"}])
    write_lines(tmp_path / "lines.parquet", len(ECHO_ENCODINGS) + 6)
    service = tts.Service(base_url=tone_service.url, name="voices", api_key=KEY)
    job = job_of(tmp_path, service=service, options={"work_dir": tmp_path / "work"})
    report = run_job(job)
    assert (report.dataset.rejects, report.dataset.speech) == (len(ECHO_ENCODINGS), 6)
    outputs = [
        repr(job),
        repr(service),
        str(report.to_json()),
        str(read_reject_causes(open_store(job.destination, tmp_path))),
    ]
    for path in filter(Path.is_file, tmp_path.rglob("*")):
        outputs.append(path.read_bytes().decode("latin-1"))
        if path.suffix == ".parquet":
            outputs.append(str(pl.read_parquet(path).select(pl.exclude("audio")).to_dicts()))
    assert _leaks("\n".join([*outputs, caplog.text, *capfd.readouterr()])) == []
    assert any("[redacted]" in text for text in outputs)
    assert base64.b64encode(KEY.encode()).decode() not in "".join(outputs)

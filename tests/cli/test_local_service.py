"""The local service on the command line: announced, reached while there is something to do, and compared."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import httpx
import pytest

from tests.cli.conftest import PROGRAM
from tests.machine import patience
from tts_pipeline.card import Endpoint
from tts_pipeline.cli.local_service import LocalServiceRun
from tts_pipeline.dataset.totals import Totals
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.errors import ConfigurationError

LOCAL = Endpoint("local", "", auth="none")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_emulate_says_where_it_is_and_ends_on_a_signal(number: signal.Signals) -> None:
    """The URL is one line of JSON; standard error says what to set and how to stop."""
    argv = [*PROGRAM, "emulate", "--voice-mode", "tone"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        assert httpx.get(f"{url}/emulator/bill", trust_env=False).json()["received"] == 0
        os.kill(process.pid, number)
        _, err = process.communicate(timeout=patience(30))
    assert process.returncode == 0
    assert "export TTS_LOCAL_URL=" in err
    assert "Ctrl-C" in err


def test_another_service_is_reached_as_it_is() -> None:
    """Nothing is started and nothing compared, whatever the variable says."""
    service = Endpoint("elsewhere", "https://speech.example", auth="none")
    local = LocalServiceRun(service, {"TTS_LOCAL_URL": "nonsense"})
    local.check()
    with local.start_service(service) as reached:
        assert reached is service
    assert local.compare_bills(Totals()) is None


def test_a_service_that_runs_is_used_and_only_this_runs_charges_count(local: LocalService) -> None:
    """What was on its bill before is not this run's."""
    _say(local.url, "before")
    run = LocalServiceRun(LOCAL, {"TTS_LOCAL_URL": f"{local.url}/v1/"})
    run.check()
    with run.start_service(LOCAL) as reached:
        assert (reached.base_url, reached.name) == (local.url, "local")
        _say(reached.base_url, "during")
    assert run.charged == {"charged": 1, "characters": 6}


@pytest.mark.parametrize(
    ("billed", "at_most", "attempts", "agree"),
    [(6, 6, 1, True), (0, 6, 1, True), (0, 5, 1, False), (7, 7, 1, False), (6, 6, 0, False)],
)
def test_bills_agree_when_theirs_is_within_ours(
    local: LocalService, billed: int, at_most: int, attempts: int, agree: bool
) -> None:
    """Confirmed <= charged <= at most, and no more requests than were sent."""
    run = LocalServiceRun(LOCAL, {"TTS_LOCAL_URL": local.url})
    with run.start_service(LOCAL):
        _say(local.url, "during")
    totals = Totals(attempts=attempts, characters_billed=billed, characters_upper_bound=at_most)
    message = run.compare_bills(totals) or ""
    assert message.endswith("they agree" if agree else "they DO NOT AGREE")
    assert "1 requests charged, 6 characters" in message


def test_a_service_that_does_not_answer_is_named() -> None:
    """Before anything is written; with both ways out."""
    with pytest.raises(ConfigurationError) as exc_info:
        LocalServiceRun(LOCAL, {"TTS_LOCAL_URL": "http://127.0.0.1:9"}).check()
    assert "no local speech service answers at http://127.0.0.1:9" in str(exc_info.value)
    assert "tts-pipeline emulate" in str(exc_info.value)


def _say(url: str, text: str) -> None:
    body = {"model": "qwen3-tts-flash", "input": text}
    assert httpx.post(f"{url}/v1/audio/speech", json=body, trust_env=False).status_code == 200

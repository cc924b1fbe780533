"""A service that is away for a while: nobody is rejected for it, and it is not stormed."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartEmulator
from tests.machine import free_port
from tests.scenarios.conftest import RunJob, check_bill, check_every_row_once
from tts_pipeline.emulator.local_service import LocalService

IN_FLIGHT = 32
ROWS = 900
AWAY_S = 3.0
PROBES = 12
LONGEST_PROBE_S = 3.0
"""In three seconds, at intervals that double from a quarter of a second, and a few more for chance."""


def _speed_after(entries: list[dict[str, Any]], moment_s: float) -> tuple[float, float]:
    """Return how long after a moment the first request was answered, and how long the next 64 of them took."""
    good_s = sorted(entry["received_at"] for entry in entries if entry["status"] == 200)
    after = [at_s for at_s in good_s if at_s > moment_s]
    return after[0] - moment_s, after[64] - after[0]


@pytest.mark.slow
def test_a_service_that_answers_503_for_a_while(
    emulator: StartEmulator, run: RunJob, caplog: pytest.LogCaptureFixture
) -> None:
    """No reject; what was in flight and a few probes are sent; full speed soon after; two lines tell of it."""
    service = emulator(voice_mode="tone", tone_bytes=2_000, latency_ms=100)
    # Its refusals come after the last good answers: each of those that came among the first would allow four more.
    rule = {"what": "error", "status": 503, "code": "ServiceUnavailable", "message": "overloaded", "delay_s": 0.5}
    away = threading.Thread(target=_refuse_for_a_while, args=(service, rule))
    away.start()
    result = run(service, rows=ROWS, limits={"max_concurrency": IN_FLIGHT})
    away.join()
    assert (result.report.stopped, result.report.dataset.rejects) == (None, 0)
    check_every_row_once(result, ROWS)
    check_bill(result, service)
    entries = service.bill(entries=True)["entries"]
    refused_s = [entry["received_at"] for entry in entries if entry["status"] == 503]
    assert 5 <= len(refused_s) <= IN_FLIGHT + PROBES
    first_s, next_s = _speed_after(entries, max(refused_s))
    assert first_s < 10
    assert next_s < 10
    messages = [record.getMessage().split(" (")[0] for record in caplog.records]
    begun, ended_line = (line for line in messages if line.startswith("the service"))
    assert begun == "the service is not usable"
    after = re.fullmatch(r"the service is usable again after (\d+) s: the run goes on in full", ended_line)
    assert after is not None
    assert 1 <= int(after[1]) <= AWAY_S + LONGEST_PROBE_S + 1, "from its first failures to the probe that finds it"


@pytest.mark.slow
def test_a_service_that_is_killed_and_comes_back(emulator: StartEmulator, run: RunJob, tmp_path: Path) -> None:
    """Refused connections are nobody's fault and cost nothing; what was in flight at the kill may have been billed."""
    bill = tmp_path / "bill.jsonl"
    service = emulator(voice_mode="tone", tone_bytes=2_000, latency_ms=100, port=free_port(), bill=bill)
    # All answers may come together: one that does not is in flight at the kill, whenever that is.
    service.set_faults([{"what": "slow", "delay_s": 60, "text": "Line 50."}])
    away = threading.Thread(target=_kill_and_start_again, args=(service,))
    away.start()
    result = run(service, rows=ROWS, limits={"max_concurrency": IN_FLIGHT})
    away.join()
    assert (result.report.stopped, result.report.dataset.rejects) == (None, 0)
    check_every_row_once(result, ROWS)
    usage = result.table("usage").to_pylist()
    lost_attempts = [row for row in usage if row["error_code"] == "ConnectionLost"]
    refused = [row for row in usage if row["error_code"] == "ConnectionFailed"]
    # A connection that stood idle at the kill may be taken once before its end is noticed: one more for each place.
    assert 0 < len(lost_attempts) <= 2 * IN_FLIGHT
    assert 0 < len(refused) <= IN_FLIGHT + PROBES
    assert {row["characters_upper_bound"] for row in refused} == {0}
    charged = sum(json.loads(line)["characters"] for line in bill.read_text().splitlines())
    billed, at_most = result.billed()
    assert billed <= charged <= at_most


def _refuse_for_a_while(service: LocalService, rule: dict[str, Any]) -> None:
    _wait_for_100_charged(service)
    service.set_faults([rule])
    threading.Event().wait(AWAY_S)
    service.clear_faults()


def _kill_and_start_again(service: LocalService) -> None:
    _wait_for_100_charged(service)
    service.kill()
    threading.Event().wait(AWAY_S)
    service.start()


def _wait_for_100_charged(service: LocalService) -> None:
    while service.bill()["charged"] < 100:
        threading.Event().wait(0.02)


def test_an_outage_without_end_stops_in_good_order(tone_service: LocalService, run: RunJob) -> None:
    """Exit 5 by ``outage`` after ``max_outage_s``, nobody rejected; a second run does the rest."""
    rule = {"what": "error", "status": 502, "form": "html", "code": "BadGateway", "message": "nginx"}
    tone_service.set_faults([{**rule, "after": 40}])
    result = run(tone_service, rows=100, limits={"max_outage_s": 1.0})
    assert (result.report.stopped_by, result.report.dataset.rejects, result.report.dataset.speech) == ("outage", 0, 40)
    assert "502 BadGateway" in str(result.report.stopped)
    assert result.elapsed_s < 60
    tone_service.clear_faults()
    again = run(tone_service)
    assert (again.report.stopped, again.report.dataset.speech) == (None, 100)
    check_every_row_once(again, 100)
    check_bill(again, tone_service)

"""Stop a job from outside: another thread, a signal handler that raises, a notebook's interrupt."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import threading
import time
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest

from tests.builders import job_of, write_lines
from tests.conftest import StartEmulator
from tests.datasets import check_bill, read_table
from tests.machine import patience
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.errors import StoppedError
from tts_pipeline.job import CancelToken, Shard, run_job, run_parts
from tts_pipeline.job.stop import run_stoppable

_TAKE_THEIR_TIME = [{"what": "slow", "delay_s": 0.5}]
"""So that whoever interrupts comes before the end, also on a busy machine; less than the grace."""


def _wait_for_requests(service: LocalService, count: int) -> None:
    while service.bill()["received"] < count:
        time.sleep(0.01)


def test_set_from_another_thread_it_stops_in_good_order(tmp_path: Path, emulator: StartEmulator) -> None:
    """Answers in flight are waited for, no attempt is unknown, and the same job continues."""
    service = emulator(voice_mode="tone")
    service.set_faults(_TAKE_THEIR_TIME)
    write_lines(tmp_path / "lines.parquet", 100)
    job, stop = job_of(tmp_path, service.url, limits={"stop_grace_s": 5.0}), CancelToken()

    def interrupt() -> None:
        _wait_for_requests(service, 10)
        stop.set("the night's end")

    threading.Thread(target=interrupt, daemon=True).start()
    report = run_parts(job, Shard(0, 0, 20), stop=stop)
    assert isinstance(report.stopped, StoppedError)
    assert (report.stopped_by, report.stopped.message) == ("interrupted", "interrupted by the night's end")
    assert report.dataset.unknown_attempts == 0
    assert 10 <= report.dataset.speech == service.bill()["received"] < 100
    service.clear_faults()
    assert run_job(job).dataset.speech == 100
    check_bill(tmp_path / "out", service)
    assert service.bill()["received"] == 100


def test_what_is_in_flight_has_the_grace_and_no_more(tmp_path: Path, emulator: StartEmulator) -> None:
    """A worker that is killed 5 s after a stop request has published its usage by then."""
    service = emulator(voice_mode="tone")
    service.set_faults([{"what": "slow", "delay_s": patience(60), "after": 4}])
    write_lines(tmp_path / "lines.parquet", 60)
    stop, asked_at_s = CancelToken(), [0.0]

    def interrupt() -> None:
        _wait_for_requests(service, 12)
        asked_at_s[0] = time.monotonic()
        stop.set()

    threading.Thread(target=interrupt, daemon=True).start()
    report = run_job(job_of(tmp_path, service.url, limits={"stop_grace_s": 3.0}), stop=stop)
    assert time.monotonic() - asked_at_s[0] < patience(20), "an answer takes 60 s"
    assert (report.stopped_by, report.dataset.speech, report.dataset.unknown_attempts) == ("interrupted", 4, 8)
    assert read_table(tmp_path / "out", "usage").num_rows == 12
    assert not list((tmp_path / "out" / "claims").iterdir())


def test_set_before_the_run_nothing_is_sent(tmp_path: Path, tone_service: LocalService) -> None:
    """The token stays set, also for a later run."""
    write_lines(tmp_path / "lines.parquet")
    stop = CancelToken()
    stop.set()
    assert stop.is_set
    assert run_job(job_of(tmp_path, tone_service.url), stop=stop).stopped_by == "interrupted"
    assert tone_service.bill()["received"] == 0


def test_the_first_reason_stays() -> None:
    """A second reason is ignored; a late listener is called immediately."""
    stop, reasons = CancelToken(), list[str]()
    stop.set("one")
    stop.set("two")
    with stop.subscribe(lambda reason: reasons.append(reason.message)):
        pass
    stop.set("three")
    assert reasons == ["interrupted by one"]


def test_the_loop_runs_in_the_callers_context_and_gives_back_what_it_raises() -> None:
    """As if it ran in this thread; a loop that already runs here is no obstacle."""

    variable = ContextVar("variable", default="nothing")

    async def mistaken() -> None:
        raise ZeroDivisionError(variable.get())

    async def cell() -> None:
        variable.set("all")
        run_stoppable(mistaken(), CancelToken())

    with pytest.raises(ZeroDivisionError, match="all"):
        asyncio.run(cell())
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("event-loop")]


_INTERRUPTED = """
import asyncio, json, signal, sys
from pathlib import Path
from tests.builders import job_of
from tts_pipeline.job import run_job

class TimeIsUp(BaseException):
    pass

def raise_it(number, frame):
    raise TimeIsUp

def run():
    signal.signal(signal.SIGALRM, raise_it)
    try:
        report = run_job(job_of(Path(sys.argv[1]), sys.argv[2], limits={"stop_grace_s": 3.0}))
    except BaseException as error:
        return {"raised": repr(error)}
    return report.to_json()

async def cell():
    return run()

print(json.dumps(asyncio.run(cell()) if sys.argv[3] == "notebook" else run()))
"""


def _interrupted(folder: Path, service: LocalService, caller: str, number: signal.Signals) -> dict[str, Any]:
    command = [sys.executable, "-c", _INTERRUPTED, str(folder), service.url, caller]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        _wait_for_requests(service, 10)
        process.send_signal(number)
        output, complaints = process.communicate(timeout=patience(30))
    assert process.returncode == 0, complaints
    report: dict[str, Any] = json.loads(output)
    return report


@pytest.mark.parametrize("caller", ["script", "notebook"])
def test_a_time_limit_that_raises_in_the_caller_stops_in_good_order(
    tmp_path: Path, emulator: StartEmulator, caller: str
) -> None:
    """Like Airflow's, with an exception that is no ``Exception``; it is raised again after the usage is published."""
    service = emulator(voice_mode="tone")
    service.set_faults(_TAKE_THEIR_TIME)
    write_lines(tmp_path / "lines.parquet", 100)
    assert _interrupted(tmp_path, service, caller, signal.SIGALRM) == {"raised": "TimeIsUp()"}
    received = service.bill()["received"]
    usage = read_table(tmp_path / "out", "usage")
    assert usage["outcome"].to_pylist() == ["succeeded"] * received
    assert received < 100
    service.clear_faults()
    assert run_job(job_of(tmp_path, service.url)).dataset.speech == 100
    assert service.bill()["received"] == 100


def test_ctrl_c_stops_a_run_in_a_notebook(tmp_path: Path, emulator: StartEmulator) -> None:
    """Within a running event loop; the cell gets the report."""
    service = emulator(voice_mode="tone")
    service.set_faults(_TAKE_THEIR_TIME)
    write_lines(tmp_path / "lines.parquet", 100)
    report = _interrupted(tmp_path, service, "notebook", signal.SIGINT)
    assert report.get("stopped_by") == "interrupted", report
    assert report["unknown_attempts"] == 0
    assert report["speech"] == service.bill()["received"] < 100


_ANOTHER_THREADS = """
import asyncio, signal, threading, time
from tts_pipeline.job import CancelToken
from tts_pipeline.job.stop import run_stoppable

stop = CancelToken()

async def main():
    await asyncio.sleep(1)  # the other one sleeps by then
    # To this thread, which is the loop's: the system chooses any thread for a signal that comes from outside.
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)
    for _ in range(50):
        if stop.is_set:
            return "heard"
        await asyncio.sleep(0.1)
    return "not heard"

print(run_stoppable(main(), stop))
"""


def test_a_signal_that_comes_to_another_thread_is_heard() -> None:
    """The signal need not wake the thread that waits for the run's end."""
    command = [sys.executable, "-c", _ANOTHER_THREADS]
    assert (
        subprocess.run(command, capture_output=True, text=True, check=True, timeout=patience(120)).stdout == "heard\n"
    )


_WITHIN_THE_FIRST = """
import asyncio, signal, threading
from tts_pipeline.job import CancelToken
from tts_pipeline.job.stop import run_stoppable

install, is_running = signal.signal, False

def restore(number, handler):
    global is_running
    previous = install(number, handler)
    if is_running and number == signal.SIGTERM:  # as the first interrupt's handler does
        is_running = False
        signal.raise_signal(signal.SIGINT)
    return previous

async def main():
    global is_running
    is_running, signal.signal = True, restore
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
    await asyncio.sleep(3_600)

try:
    run_stoppable(main(), CancelToken())
except KeyboardInterrupt:
    print("ended", flush=True)
"""


def test_a_second_ctrl_c_counts_while_the_first_is_handled() -> None:
    """Whoever presses it twice in a hurry: the second may come between two instructions of the first one's handler."""
    command = [sys.executable, "-c", _WITHIN_THE_FIRST]
    ended = subprocess.run(command, check=True, capture_output=True, text=True, timeout=patience(60))
    assert ended.stdout == "ended\n"

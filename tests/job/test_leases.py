"""Runs on several machines at one destination: separate work folders, on a real S3 API server."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.builders import job_of, write_lines
from tests.machine import LEASE_S, patience
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.errors import StorageError
from tts_pipeline.job import Job, Report, run_job
from tts_pipeline.storage.lease import Leases
from tts_pipeline.storage.location import FsspecPath
from tts_pipeline.storage.open_store import open_store

s3fs = pytest.importorskip("s3fs")

DESTINATION = "s3://bucket/out"

_RUN = """
import sys
from pathlib import Path
from tests.builders import job_of
from tts_pipeline.job import run_job
folder, url, lease_s = sys.argv[1:]
options = {"work_dir": Path(folder) / "stopped", "lease_s": float(lease_s), "ship_every_s": 0.1}
job = job_of(Path(folder), url, destination="s3://bucket/out", options=options, limits={"max_concurrency": 1})
report = run_job(job)
print(report.stopped_by, report.stopped)
"""


def _job(folder: Path, service: LocalService, machine: str) -> Job:
    options = {"work_dir": folder / machine, "lease_s": LEASE_S}
    return job_of(folder, service.url, destination=DESTINATION, options=options, limits={"max_concurrency": 2})


def test_two_machines_buy_each_row_once(
    tmp_path: Path, s3: Mapping[str, str], tone_service: LocalService, caplog: pytest.LogCaptureFixture
) -> None:
    """Started together they share the parts; the first to end names the holder of the rest, or waits for it."""
    write_lines(tmp_path / "lines.parquet", 40)
    jobs = [_job(tmp_path, tone_service, machine) for machine in ("one", "two")]

    def run(job: Job) -> Report:
        return run_job(job)

    with ThreadPoolExecutor(2) as threads:
        reports = list(threads.map(run, jobs))
    assert {report.stopped_by for report in reports} <= {None, "storage"}
    assert tone_service.bill()["received"] == 40
    assert sum(report.this_run.attempts for report in reports) == 40
    assert "Let only one run" not in caplog.text
    assert run_job(jobs[0]).dataset.speech == 40
    store = open_store(DESTINATION, tmp_path / "staging")
    assert store.names("leases") == store.names("claims") == []


def test_what_a_living_machine_has_is_left_to_it(
    tmp_path: Path, s3: Mapping[str, str], tone_service: LocalService
) -> None:
    """The other parts are done; then the report names the process and the host of the remaining parts."""
    write_lines(tmp_path / "lines.parquet", 20)
    job = _job(tmp_path, tone_service, "here")
    with Leases(open_store(DESTINATION, tmp_path / "staging"), tmp_path / "there", LEASE_S) as leases:
        with leases.hold("part-00001"):
            report = run_job(job)
        assert isinstance(report.stopped, StorageError)
        assert f"process {os.getpid()} on {socket.gethostname()} on part-00001" in str(report.stopped)
        assert (report.stopped_by, report.dataset.speech) == ("storage", 15)
    again = run_job(job)
    assert (again.stopped, again.dataset.speech, tone_service.bill()["received"]) == (None, 20, 20)


def test_what_another_machine_has_just_written_is_seen(tmp_path: Path, s3: Mapping[str, str]) -> None:
    """Despite the driver's cached listings: a marker, and a file that replaced a shorter one."""
    reader, writer = (
        open_store(FsspecPath(DESTINATION, s3fs.S3FileSystem(skip_instance_cache=True)), tmp_path / machine)
        for machine in ("ours", "theirs")
    )
    writer.write("done/part-00000.json", b"{}")
    assert reader.names("done") == ["part-00000.json"]
    writer.write("done/part-00001.json", b"{}")
    writer.write("done/part-00000.json", b"longer")
    assert reader.read("done/part-00001.json") == b"{}"
    assert reader.names("done")
    writer.write("done/part-00000.json", b"longer still")
    with reader.open("done/part-00000.json") as file:
        assert file.read() == b"longer still"


@pytest.mark.slow
def test_a_machine_that_stood_still_sends_nothing_any_more(
    tmp_path: Path, s3: Mapping[str, str], tone_service: LocalService
) -> None:
    """SIGSTOP for longer than its lease: another takes over, and the first ends in good order afterwards."""
    write_lines(tmp_path / "lines.parquet", 40)
    command = [sys.executable, "-c", _RUN, str(tmp_path), tone_service.url, str(LEASE_S)]
    with subprocess.Popen(command, env={**os.environ, **s3}, stdout=subprocess.PIPE, text=True) as process:
        while tone_service.bill()["received"] < 3:
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGSTOP)
        report = run_job(_job(tmp_path, tone_service, "other"))
        received = tone_service.bill()["received"]
        process.send_signal(signal.SIGCONT)
        output = process.communicate(timeout=patience(60))[0]
    assert (report.stopped, report.dataset.speech) == (None, 40)
    assert output.startswith("storage this run wrote no heartbeat to ")
    # The one request that it may have been about to write when it was stopped, behind the last look at its lease.
    assert tone_service.bill()["received"] <= received + 1
    final = run_job(_job(tmp_path, tone_service, "other"))
    bill = tone_service.bill()
    assert (final.this_run.attempts, final.dataset.speech) == (0, 40)
    assert final.dataset.characters_billed <= bill["characters"] <= final.dataset.characters_upper_bound
    # One that it was just about to take when it was stopped stands there: of the dead, whom nobody waits for.
    store = open_store(DESTINATION, tmp_path / "staging")
    left = [store.read(f"leases/{name}") for name in store.names("leases")]
    assert {json.loads(lease or b"{}")["process"] for lease in left} <= {process.pid}

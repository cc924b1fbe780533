"""Measure start times: of the command line, to a first request, of a call, of a resume, and of nothing to do.

Modules are compiled before, as pip does when it installs them: without this, an environment that forbids Python to keep
bytecode (``PYTHONDONTWRITEBYTECODE``) would add the time to compile all modules at each start, 0.5 s.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.answers import AnswerSpec
from benchmarks.contest import OURS, TIMEOUT_S, Arena, Spread, remove
from benchmarks.contestants.task import MODEL, VOICE
from benchmarks.finished_dataset import make_finished_dataset, undo_last_part
from benchmarks.scenarios.scenario import Outcome, Scenario
from benchmarks.service import PROJECT
from benchmarks.settings import Settings
from benchmarks.tables import Table
from tts_pipeline import Job, Limits, RunOptions, Service

_LOOK_EVERY_S = 0.02
_DONE_BYTES = 1_000
_MAX_CONCURRENCY = 64
_COMMAND = OURS.python.with_name("tts-pipeline")
_COLD, _WARM = "a call in a cold process", "a call in a warm process"
_WARM_CALLS = 15
_CALL_LATENCY_MS = 20
_MAKING_S = 8.0
"""Seconds to make the larger of the two datasets."""


def _start_expected_s(settings: Settings) -> float:
    return 5.0 * settings.tries


def _run_start(arena: Arena, settings: Settings) -> Outcome:
    _compile_modules()
    job = _job(arena, settings.start_rows)
    durations = {
        "python alone (python -c pass)": seconds_of([str(OURS.python), "-c", "pass"], settings.tries),
        "tts-pipeline --help": seconds_of([str(_COMMAND), "--help"], settings.tries),
        f"first request of a new job of {settings.start_rows:,} rows": first_requests(
            arena, job, settings.tries, partial(remove, Path(job.destination))
        ),
    }
    first_request = list(durations.values())[-1]
    durations |= _calls(arena, settings.tries)
    table = Table(
        "Starting, in seconds from the start of the process", ("what", "s"), [[*each] for each in durations.items()]
    )
    promised = {
        "s to --help": durations["tts-pipeline --help"].median,
        "s to first request": first_request.median,
        **{f"s beside the service of {name}": durations[name].median for name in (_COLD, _WARM)},
    }
    return Outcome([table], {name: each.median for name, each in durations.items()}, promised)


def _compile_modules() -> None:
    folders = [str(OURS.python.parent.parent / "lib"), str(PROJECT / "tts_pipeline")]
    # Some libraries ship modules of other versions of Python: these fail, and do not matter.
    subprocess.run([str(OURS.python), "-m", "compileall", "-q", *folders], check=False, capture_output=True)


def _calls(arena: Arena, tries: int) -> dict[str, Spread]:
    """Measure ``synthesize`` of one row, without the latency of the service: in a new process, and again in it."""
    spec = AnswerSpec(latency_ms=_CALL_LATENCY_MS)
    arena.service.prepare(spec)
    cold_s, warm_s = list[float](), list[float]()
    for _ in range(tries):
        work_dir, started_s = arena.folder / "calls", time.monotonic()
        command = ["-m", "benchmarks.calls", spec.base_url(arena.service.origin), str(work_dir), str(_WARM_CALLS)]
        try:
            run = subprocess.run(
                [str(OURS.python), *command], cwd=PROJECT, check=True, capture_output=True, timeout=TIMEOUT_S
            )
        finally:
            remove(work_dir)
        printed = json.loads(run.stdout)
        cold_s.append(printed["first_end_s"] - started_s - spec.latency_ms / 1_000)
        warm_s += [duration_s - spec.latency_ms / 1_000 for duration_s in printed["durations_s"]]
    return {_COLD: Spread.of(cold_s), _WARM: Spread.of(warm_s)}


START = Scenario("start", "How long until the first request?", _start_expected_s, _run_start)


def _resume_expected_s(settings: Settings) -> float:
    return 2 * _MAKING_S + 6.0 * settings.tries


def _run_resume(arena: Arena, settings: Settings) -> Outcome:
    _compile_modules()
    table = Table(
        "Going on with a dataset, in seconds from the start of the process",
        ("rows done", "to its first request", "to 'nothing to do'"),
        notes="The descriptor and the first part are made by the job itself; the other parts link to its files and "
        "have its marker under their own number. One part is left to do; then none is.",
    )
    measured, first_s, nothing_s = [], Spread(0, 0, 0), Spread(0, 0, 0)
    for rows in settings.done_rows:
        with _nearly_done(arena, rows) as job:
            first_s = first_requests(arena, job, settings.tries, partial(undo_last_part, job))
            subprocess.run(command_of(job), cwd=PROJECT, check=True, capture_output=True, timeout=TIMEOUT_S)
            nothing_s = seconds_of(command_of(job), settings.tries)
        table.rows.append([rows, first_s, nothing_s])
        measured.append({"rows": rows, "first_request_s": first_s.median, "nothing_to_do_s": nothing_s.median})
    promised = {"s to resume": first_s.median, "s to nothing to do": nothing_s.median}
    return Outcome([table], measured, promised)


RESUME = Scenario("resume", "How long does going on take?", _resume_expected_s, _run_resume)


@contextmanager
def _nearly_done(arena: Arena, rows: int) -> Iterator[Job]:
    job = _job(arena, rows)
    try:
        make_finished_dataset(job, open_parts=1)
        yield job
    finally:
        remove(Path(job.destination))


def _job(arena: Arena, rows: int) -> Job:
    spec = AnswerSpec(audio_bytes=_DONE_BYTES)
    return Job(
        source=str(arena.source(rows)),
        destination=str(arena.folder / "dataset"),
        service=Service(base_url=spec.base_url(arena.service.origin)),
        model=MODEL,
        parameters={"voice": VOICE},
        options=RunOptions(limits=Limits(max_concurrency=_MAX_CONCURRENCY)),
    )


def command_of(job: Job) -> list[str]:
    """Return the command line that runs a job."""
    flags = ["--service", job.service.base_url, "--model", job.model, "--voice", VOICE]
    run = ["run", str(job.source), str(job.destination), f"--max-concurrency={_MAX_CONCURRENCY}", "--quiet", "--json"]
    return [str(_COMMAND), *run, *flags]


def seconds_of(command: Sequence[str], tries: int) -> Spread:
    """Return the seconds that a command takes, from the start of its process to its end."""
    durations_s = []
    for _ in range(tries):
        started_s = time.monotonic()
        subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, timeout=TIMEOUT_S)
        durations_s.append(time.monotonic() - started_s)
    return Spread.of(durations_s)


def first_requests(arena: Arena, job: Job, tries: int, undo: Callable[[], None]) -> Spread:
    """Return the seconds until the service gets a run's first request; the run is then killed and undone."""
    durations_s = []
    for _ in range(tries):
        try:
            durations_s.append(_first_request_s(arena, command_of(job)))
        finally:
            undo()
    return Spread.of(durations_s)


def _first_request_s(arena: Arena, command: Sequence[str]) -> float:
    arena.service.reset()
    started_s = time.monotonic()
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while (first_s := arena.service.stats().first_s) is None and process.poll() is None:
            time.sleep(_LOOK_EVERY_S)
        process.kill()
    if first_s is None:
        raise RuntimeError(f"{' '.join(command[:2])} sent nothing")
    return first_s - started_s

"""One small dataset of each kind that a destination can hold, made once: what the mutations are made of."""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.machine import patience
from tests.mutations.entry_points import arguments, run_command
from tts_pipeline.catalog.keys import environment
from tts_pipeline.cli.build_job import build_job
from tts_pipeline.cli.parser import parse_arguments
from tts_pipeline.cli.settings import read_settings
from tts_pipeline.config import JOURNAL_CHUNK_BYTES
from tts_pipeline.dataset.generations import swap_in
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.errors import StorageError
from tts_pipeline.job import Progress, run_job
from tts_pipeline.job.stop import CancelToken
from tts_pipeline.storage.local_store import LocalStore
from tts_pipeline.wal.shipping import chunk_name

ROWS = 10
SOURCE = "lines.parquet"
REFUSED, SLOW = "Line 3.", "Line 8."
PATIENCE_S = patience(60.0)


@dataclass(frozen=True, slots=True)
class Specimens:
    """A folder with a source, and one folder for each kind of destination.

    Args:
        folder: Where they are.
        url: Of the service that the jobs ask.
        truth: Characters that the service charged for each destination.
    """

    folder: Path
    url: str
    truth: dict[str, int]


class HaltedStore(LocalStore):
    """A store that cannot remove anything: a swap comes no further than its first step."""

    def remove(self, name: str) -> None:
        raise StorageError(f"{name} stays")


def write_source(path: Path, rows: int = ROWS) -> None:
    """Write short texts; the first and the last row ask for the same."""
    numbers = [*range(rows - 1), 0]
    table = {"id": [f"r{row}" for row in range(rows)], "text": [f"Line {number}." for number in numbers]}
    pq.write_table(pa.table(table), path)


def make_specimens(folder: Path, service: LocalService) -> Specimens:
    """Make them all; blocks for a second or two."""
    folder.mkdir(parents=True)
    write_source(folder / SOURCE)
    specimens = Specimens(folder, service.url, {})
    service.set_faults([{"what": "refuse", "text": REFUSED}])
    _record_charge(specimens, service, "finished", lambda: _run(specimens, "finished"))
    _record_charge(specimens, service, "half", lambda: _half(specimens, service))
    service.set_faults([{"what": "refuse", "text": REFUSED}])
    shutil.copytree(folder / "half", folder / "lost", ignore=shutil.ignore_patterns(".work"))
    specimens.truth["lost"] = specimens.truth["half"]
    _record_charge(specimens, service, "swap", lambda: _swap(specimens))
    _run(specimens, "with_store", "--reuse", str(folder / "store"))
    for kind in ("files", "nemo", "huggingface"):
        assert (
            run_command(["export", str(folder / "finished"), str(folder / kind), "--as", kind, "--quiet"]).status == 0
        )
    _interrupt_export(folder / "files")
    return specimens


def _record_charge(specimens: Specimens, service: LocalService, name: str, make: Callable[[], object]) -> None:
    before = service.bill()["characters"]
    make()
    specimens.truth[name] = service.bill()["characters"] - before


def _run(specimens: Specimens, name: str, *more: str) -> None:
    ran = run_command(arguments(specimens.folder / SOURCE, specimens.folder / name, specimens.url, *more))
    assert ran.status == 3, ran


def _half(specimens: Specimens, service: LocalService) -> None:
    """Copy a destination while its process works on it, as a kill would leave it; a copy of its journals is shipped."""
    live = specimens.folder / "live"
    service.set_faults([{"what": "refuse", "text": REFUSED}, {"what": "slow", "text": SLOW, "delay_s": 2}])
    job = build_job(
        read_settings(parse_arguments(arguments(specimens.folder / SOURCE, live, specimens.url))), environment()
    )
    progress, stop = Progress(), CancelToken()
    running = threading.Thread(target=run_job, args=(job, progress), kwargs={"stop": stop})
    running.start()
    _wait(lambda: progress.settled == ROWS - 2 and progress.in_flight == 1, running)
    _wait((live / "done" / "part-00000.json").exists, running)
    _wait(lambda: len(list((live / ".work/locks").glob("part-*"))) == 1, running)
    shutil.copytree(live, specimens.folder / "half")
    running.join(PATIENCE_S)
    store = LocalStore(specimens.folder / "half")
    for path in (specimens.folder / "half/.work/journals").glob("*.journal"):
        data = path.read_bytes()
        assert len(data) < JOURNAL_CHUNK_BYTES
        store.write(chunk_name(path.stem, 0), data[: len(data) // 2])
    shutil.rmtree(live)


def _wait(is_so: Callable[[], bool], running: threading.Thread) -> None:
    """Wait for what another thread does, as long as it lives."""
    end = threading.Event()
    while not is_so():
        assert running.is_alive()
        end.wait(0.002)


def _swap(specimens: Specimens) -> None:
    """Make a dataset whose new generation is about to be put in place."""
    folder = specimens.folder / "swap"
    shutil.copytree(specimens.folder / "finished", folder)
    _run(specimens, "new", "--voice", "Stella")
    shutil.copytree(specimens.folder / "new", folder / ".generations" / "1", ignore=shutil.ignore_patterns(".work"))
    shutil.rmtree(specimens.folder / "new")
    with contextlib.suppress(StorageError):
        swap_in(HaltedStore(folder), 1)


def _interrupt_export(folder: Path) -> None:
    """Leave what a killed export leaves: a piece of its index, and the name of a file that was begun."""
    (folder / ".index").mkdir()
    shutil.copy(folder / "index.parquet", folder / ".index" / "000001-part-00000.parquet")
    (folder / ".index" / "000001-00000.begun").write_text("r1.wav\nr2.wav")

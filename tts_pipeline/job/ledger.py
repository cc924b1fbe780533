"""Keep a job's usage in the ledger, beside the usage of everything else that was ever bought."""

from __future__ import annotations

import getpass
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tts_pipeline.account.identity import dataset_id
from tts_pipeline.catalog.keys import environment
from tts_pipeline.dataset.invocation import Invocation
from tts_pipeline.dataset.totals import Totals
from tts_pipeline.errors import StorageError, printable, without_passwords
from tts_pipeline.job.job import RunOptions
from tts_pipeline.job.prepared_job import PreparedJob
from tts_pipeline.job.report import Saving
from tts_pipeline.ledger import runs
from tts_pipeline.ledger.datasets import recorded_name
from tts_pipeline.ledger.location import VARIABLE, LedgerLocation, find_ledger
from tts_pipeline.ledger.run_sync import LedgerSync, copy_in_time
from tts_pipeline.ledger.runs import RunEnd, RunStart
from tts_pipeline.log import logger
from tts_pipeline.storage.location import FsspecPath


class LedgerRun:
    """A run in the ledger; without a ledger, it does nothing."""

    def __init__(self, sync: LedgerSync | None, prepared: PreparedJob) -> None:
        self._sync = sync
        self._prepared = prepared
        self._end: RunEnd | None = None

    def published(self, part: int) -> None:
        """Put the usage of a part that is published into the ledger, behind the caller."""
        if self._sync is not None:
            self._sync.published(part, self._prepared.store)

    def end(self, totals: Totals, saved: Mapping[str, Saving], stopped_by: str | None = None) -> None:
        """Note the run's result; without one, the run has raised an error."""
        self._end = RunEnd(
            ended_at_us=time.time_ns() // 1_000,
            stopped_by=stopped_by,
            characters_billed=totals.characters_billed,
            characters_upper_bound=totals.characters_upper_bound,
            cost=totals.cost,
            cost_upper_bound=totals.cost_upper_bound,
            currency=totals.currency or next((price.currency for price in self._prepared.card.prices), None),
            audio_ms=totals.audio_ms,
            speech=totals.speech,
            rejects=totals.rejects,
            reused=totals.reused,
            saved=[
                runs.Saving(
                    origin=origin and recorded_name(origin),
                    rows=saving.rows,
                    characters=saving.characters,
                    cost=saving.cost,
                )
                for origin, saving in saved.items()
            ],
        )

    def close(self) -> None:
        """Wait until the ledger has all usage; what it lacks is one warning. Blocking."""
        if self._sync is not None:
            self._sync.close(self._end)


def ledger_of(options: RunOptions) -> LedgerLocation | None:
    """Return the ledger of a run; None without one.

    Raises:
        ConfigurationError: The setting is no name of a folder.
    """
    setting = options.ledger or environment().get(VARIABLE)
    try:
        return find_ledger(setting if setting is None or isinstance(setting, FsspecPath) else os.fspath(setting))
    except StorageError as error:  # no home
        logger.warning("%s: the usage of this run is kept with its dataset only", error)
        return None


def copy_to_ledger(prepared: PreparedJob) -> None:
    """Copy what the job's ledger lacks of its dataset's usage; a failure is a warning. Blocking, for a while."""
    location = ledger_of(prepared.job.options)
    if location is not None:
        destination = os.fspath(prepared.job.destination)
        copy_in_time(location, lambda ledger: ledger.sync_dataset(prepared.home, destination))


@contextmanager
def keep_in_ledger(
    prepared: PreparedJob, invocation: Invocation, destination: str | os.PathLike[str]
) -> Iterator[LedgerRun]:
    """Record a run in the job's ledger while the block runs, with the usage of its dataset.

    The ledger knows the dataset by the name of its destination.
    """
    location = ledger_of(prepared.job.options)
    start = _start_of(prepared, invocation, os.fspath(destination))
    is_shared = not prepared.is_published  # the ledger has one name for all calls of a machine
    sync = None if location is None else LedgerSync(location, prepared.home, start, is_shared=is_shared)
    run = LedgerRun(sync, prepared)
    if sync is not None:
        sync.begin()
    try:
        yield run
    finally:
        run.close()


def _start_of(prepared: PreparedJob, invocation: Invocation, destination: str) -> RunStart:
    cap = prepared.job.options.budget
    return RunStart(
        invocation_id=invocation.invocation_id,
        dataset_id=dataset_id(destination),
        destination=destination,
        door=invocation.door,
        host=socket.gethostname(),
        user=_user(),
        pid=os.getpid(),
        service=without_passwords(invocation.service),
        model=invocation.model,
        account=invocation.account,
        key_id=invocation.key_id,
        tags=invocation.tags,
        started_at_us=time.time_ns() // 1_000,
        characters_upper_bound=cap.max_characters,
        cost_upper_bound=cap.max_cost,
        currency=cap.currency,
    )


def _user() -> str:
    try:
        return printable(getpass.getuser())
    except (KeyError, OSError):  # a container may have no name for its user
        return ""

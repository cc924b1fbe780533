"""Record the start and the end of runs: a start without an end is a run that is open, or was killed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Annotated

import msgspec

from tts_pipeline.errors import StorageError
from tts_pipeline.ledger.layout import OPEN_RUNS, RUNS, check_month, foreign_name, is_dataset_id, is_run_id, month_of
from tts_pipeline.models import Count
from tts_pipeline.storage.daemon_threads import FILE_READERS, DaemonExecutor
from tts_pipeline.storage.json_files import json_bytes, read_fields
from tts_pipeline.storage.store import Store

_ONE, _MANY = ".json", ".jsonl"
"""The suffixes of a file of one run, and of one of many."""

InstantUs = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799_999_999)]


class RunStart(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a run when it begins; the bounds are the most that it may spend, None without a cap.

    ``dataset_id`` is ``account.identity.dataset_id(destination)``. ``started_at_us`` is in microseconds since 1970.
    """

    invocation_id: str
    dataset_id: str
    destination: str
    door: str
    host: str
    user: str
    pid: Count
    service: str
    model: str
    account: str | None
    key_id: str | None
    tags: Mapping[str, str]
    started_at_us: InstantUs
    characters_upper_bound: Count | None = None
    cost_upper_bound: Decimal | None = None
    currency: str | None = None


class Saving(msgspec.Struct, frozen=True, kw_only=True):
    """Audio that a run reused: whence, its rows and characters, and what it would have cost (None without a price)."""

    origin: str = msgspec.field(name="from")
    rows: Count
    characters: Count
    cost: Decimal | None = None


class RunEnd(msgspec.Struct, frozen=True, kw_only=True):
    """The totals of one run. ``stopped_by`` is None for a run that finished; ``ended_at_us`` as ``started_at_us``."""

    ended_at_us: InstantUs
    stopped_by: str | None = None
    characters_billed: Count = 0
    characters_upper_bound: Count = 0
    cost: Decimal | None = None
    cost_upper_bound: Decimal | None = None
    currency: str | None = None
    audio_ms: Count = 0
    speech: Count = 0
    rejects: Count = 0
    reused: Count = 0
    saved: Sequence[Saving] = ()


class Run(msgspec.Struct, frozen=True):
    """A run; ``end`` is None while it is open, and for ever if it was killed."""

    start: RunStart
    end: RunEnd | None = None


def write_start(store: Store, start: RunStart) -> None:
    """Write the start of a run. Blocking."""
    store.write(_open_path(start), _encode(start, None))


def write_end(store: Store, start: RunStart, end: RunEnd, *, replaces: bool = True) -> None:
    """Write the start and the end of a run, and close it; ``replaces`` False keeps an end that is there. Blocking."""
    data = _encode(start, end)
    if replaces:
        store.write(_ended_path(start), data)
    else:
        store.create(_ended_path(start), data)
    store.remove(_open_path(start))


def _open_path(start: RunStart) -> str:
    return f"{OPEN_RUNS}/{start.dataset_id}-{start.invocation_id}.json"


def _ended_path(start: RunStart) -> str:
    return f"{RUNS}/{month_of(start.started_at_us)}/{start.invocation_id}.json"


def read_open_runs(store: Store, dataset_id: str | None = None) -> list[RunStart]:
    """Return the runs without an end, of one dataset or of all (None), oldest first. Blocking.

    Raises:
        StorageError: A file is damaged, or has a foreign name.
    """
    prefix = "" if dataset_id is None else f"{dataset_id}-"
    names = [f"{OPEN_RUNS}/{_check(store, OPEN_RUNS, name, (_ONE,))}" for name in store.names(OPEN_RUNS, prefix)]
    starts = [run.start for run in _read_runs(store, names)]
    open_runs = [start for start in starts if not store.exists(_ended_path(start))]
    return sorted(open_runs, key=lambda start: (start.started_at_us, start.invocation_id))


def read_ended_runs(store: Store, since_us: int | None, until_us: int | None) -> list[Run]:
    """Return the runs that have ended and began within a period, oldest first. Blocking.

    Raises:
        StorageError: A file is damaged, or has a foreign name.
    """
    since, until = -1 if since_us is None else since_us, 2**63 if until_us is None else until_us
    names = [name for folder in _month_folders(store, since_us, until_us) for name in _ended_names(store, folder)]
    names.sort(key=lambda name: name.endswith(_MANY), reverse=True)  # a file of its own is the later word on a run
    runs = {run.start.invocation_id: run for run in _read_runs(store, names)}
    within = [run for run in runs.values() if since <= run.start.started_at_us < until]
    return sorted(within, key=lambda run: (run.start.started_at_us, run.start.invocation_id))


def merge_ended_runs(store: Store, since_us: int, until_us: int, name: str) -> int:
    """Put the ended runs that began within a period into one file for each month (UTC); return how many. Blocking.

    Killed at any instant, it leaves runs in both files, and they count once.

    Args:
        store: The ledger's.
        since_us: The first instant of the period, in us since 1970.
        until_us: The first instant after it.
        name: A name that no such file has.

    Raises:
        StorageError: A file is damaged or has a foreign name, or the store failed.
    """
    merged = 0
    for folder in _month_folders(store, since_us, until_us):
        names = [path for path in _ended_names(store, folder) if path.endswith(_ONE)]
        runs = [run for run in _read_runs(store, names) if since_us <= run.start.started_at_us < until_us]
        if len(runs) > 1:
            store.write(f"{folder}/{name}{_MANY}", b"\n".join(_encode(run.start, run.end) for run in runs))
            paths = [path for run in runs for path in (_open_path(run.start), _ended_path(run.start))]
            with DaemonExecutor(FILE_READERS, "ledger runs") as removers:
                list(removers.map(store.remove, paths))
            merged += len(runs)
    return merged


def _month_folders(store: Store, since_us: int | None, until_us: int | None) -> Iterator[str]:
    """Yield the folders of the ended runs that began within a period."""
    for month in store.names(RUNS):
        folder = f"{RUNS}/{month}"
        if folder == OPEN_RUNS:
            continue
        check_month(month, store.describe(folder))
        if (since_us is None or month >= month_of(since_us)) and (until_us is None or month <= month_of(until_us)):
            yield folder


def _ended_names(store: Store, folder: str) -> Iterator[str]:
    for name in store.names(folder):
        yield f"{folder}/{_check(store, folder, name, (_ONE, _MANY))}"


def _check(store: Store, folder: str, name: str, suffixes: Sequence[str]) -> str:
    stem, _, suffix = name.rpartition(".")
    if f".{suffix}" not in suffixes or not is_run_id(stem):
        raise foreign_name(store, f"{folder}/{name}")
    return name


def _read_runs(store: Store, names: Sequence[str]) -> Iterator[Run]:
    with DaemonExecutor(FILE_READERS, "ledger runs") as readers:
        for name, data in zip(names, readers.map(store.read, names), strict=True):
            if data is not None:
                for record in data.splitlines() if name.endswith(_MANY) else [data]:
                    yield _decode(store, name, record)


def _encode(start: RunStart, end: RunEnd | None) -> bytes:
    if not (is_run_id(start.invocation_id) and is_dataset_id(start.dataset_id)):
        raise ValueError(f"{start.invocation_id!r} of {start.dataset_id!r} is not a run of a dataset")
    return json_bytes(msgspec.to_builtins(Run(start, end)))


def _decode(store: Store, name: str, data: bytes) -> Run:
    fields = read_fields(data, store.describe(name), "restore it, or remove it: it records one run")
    try:
        run = msgspec.convert(fields.values, Run)
    except msgspec.ValidationError as error:
        raise fields.damage_error(str(error)) from error
    paths = {_open_path(run.start), _ended_path(run.start)}
    if name not in paths and not (name.endswith(_MANY) and _folder_of(name) in map(_folder_of, paths)):
        raise fields.damage_error(f"it is the record of run {run.start.invocation_id!r}")
    for amount in _amounts(run.start, run.end):
        _check_amount(amount, fields.damage_error(f"an amount is {amount}"))
    return run


def _folder_of(path: str) -> str:
    return path.rpartition("/")[0]


def _amounts(start: RunStart, end: RunEnd | None) -> Iterator[Decimal | None]:
    yield start.cost_upper_bound
    if end is not None:
        yield end.cost
        yield end.cost_upper_bound
        yield from (saving.cost for saving in end.saved)


def _check_amount(amount: Decimal | None, error: StorageError) -> None:
    if amount is not None and not (amount.is_finite() and 0 <= amount < _AMOUNT_LIMIT):
        raise error


_AMOUNT_LIMIT = Decimal(10) ** 18

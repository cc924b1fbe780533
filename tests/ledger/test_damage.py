"""A ledger that is damaged or hostile is an error that names the file, and leads nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from tests.ledger.processes import NOW_US, run_start
from tests.ledger.usage import COST, journal_id, put_usage, sums_of, usage_bytes, usage_rows
from tts_pipeline.account.identity import dataset_id
from tts_pipeline.errors import ConfigurationError, StorageError
from tts_pipeline.ledger import Ledger
from tts_pipeline.storage.json_files import json_bytes
from tts_pipeline.storage.local_store import LocalStore
from tts_pipeline.storage.store import Store

AT = datetime(2026, 11, 15, tzinfo=UTC)
JOURNAL, LATE = journal_id(AT), journal_id(AT, 1)
MANIFEST = "frozen/2026-11.json"


@pytest.fixture
def ledger(store: Store) -> Ledger:
    """A ledger with a frozen month, a correction of it, a settlement and a run."""
    dataset, ledger = store.subfolder("dataset"), Ledger(store.subfolder("ledger"))
    put_usage(dataset, 0, JOURNAL, usage_rows(JOURNAL, AT))
    ledger.begin_run(run_start("a" * 32))
    ledger.sync_dataset(dataset, "/data/one")
    ledger.compact("2026-11", "UTC", NOW_US)
    put_usage(dataset, 1, LATE, usage_rows(LATE, AT))
    ledger.sync_dataset(dataset, "/data/one")
    assert sums_of(ledger)["requests"] == 8
    return ledger


def _read(ledger: Ledger) -> None:
    sums_of(Ledger(ledger.store))
    ledger.open_runs()


def _raw(ledger: Ledger) -> str:
    (name,) = ledger.store.sizes("usage")
    return f"usage/{name}"


def _table(ledger: Ledger, prefix: str = "0") -> str:
    (name,) = ledger.store.names("frozen/2026-11", prefix)
    return f"frozen/2026-11/{name}"


def _sums(ledger: Ledger) -> str:
    return _table(ledger, "sums-")


def _dataset(ledger: Ledger) -> str:
    (name,) = ledger.store.names("datasets")
    return f"datasets/{name}"


def _run(_: Ledger) -> str:
    return f"runs/open/{dataset_id('/data/one')}-{'a' * 32}.json"


def _manifest(_: Ledger) -> str:
    return MANIFEST


def _first(_: Ledger) -> str:
    return "ledger.json"


@pytest.mark.parametrize("file", [_raw, _table, _sums, _dataset, _run, _manifest, _first])
@pytest.mark.parametrize("damage", ["cut", "noise", "empty"])
def test_a_damaged_file_is_named(ledger: Ledger, file: Callable[[Ledger], str], damage: str) -> None:
    """Whatever is read of it first."""
    name = file(ledger)
    data = ledger.store.read(name)
    assert data is not None
    damaged = {"cut": data[: len(data) // 2], "noise": bytes(len(data)), "empty": b""}[damage]
    ledger.store.write(name, damaged)
    with pytest.raises(StorageError, match=name):
        _read(ledger)


@pytest.mark.parametrize(
    "name",
    [
        "usage/notes.txt",
        "usage/0123456789abcdef/notes.txt",
        "usage/0123456789abcdef/part-00000-x.parquet.bak",
        "usage/0123456789ABCDEF/part-00000-x.parquet",
        f"usage/0123456789abcdef/generation-1-part-00000-{JOURNAL}.parquet",
        "datasets/notes.json",
        "runs/open/notes.txt",
        "settlements/notes.txt",
        "frozen/november.json",
    ],
)
def test_a_foreign_file_is_named(ledger: Ledger, name: str) -> None:
    """A renamed file of the bill is not ignored."""
    ledger.store.write(name, b"x")
    with pytest.raises(StorageError, match=name.rpartition("/")[2]):
        _read(ledger)


@pytest.mark.parametrize(
    "changes",
    [
        {"characters_billed": -1},
        {"characters_billed": 5, "characters_upper_bound": 4},
        {"cost": -COST},
        {"cost": COST * 2, "cost_upper_bound": COST},
        {"list_cost": -COST},
    ],
)
def test_impossible_amounts_are_named(ledger: Ledger, changes: dict[str, object]) -> None:
    """When a report reads them, and when the month is frozen; a dataset's are not copied at all."""
    at = datetime(2026, 10, 15, tzinfo=UTC)
    name, journal = _raw(ledger), journal_id(at, 2)
    hostile = name.replace(LATE, journal)
    rows = [{**row, **changes} for row in usage_rows(journal, at)]
    ledger.store.write(hostile, usage_bytes(rows))
    with pytest.raises(StorageError, match=rf"{journal}.* is damaged: its amounts"):
        _read(ledger)
    with pytest.raises(StorageError, match=rf"{journal}.* is damaged: its amounts"):
        ledger.compact("2026-10", "UTC", NOW_US)
    assert ledger.store.names("frozen/2026-10") == []
    ledger.store.remove(hostile)
    dataset = ledger.store.subfolder("elsewhere")
    put_usage(dataset, 0, journal, rows)
    good = journal_id(AT, 3)
    put_usage(dataset, 1, good, usage_rows(good, AT))
    with pytest.raises(StorageError, match=rf"{journal}.* is damaged: its amounts"):
        ledger.sync_dataset(dataset, "/data/two")
    assert sums_of(ledger)["requests"] == 12


@pytest.mark.parametrize(
    "changes",
    [
        {"month": "2026-12"},
        {"start_us": 5, "end_us": 5},
        {"end_us": -1},
        {"files": [["0123456789abcdef", "../../secrets.parquet", 1, 1, 2, 0, 0, 0]]},
        {"files": [["..", f"part-00000-{JOURNAL}.parquet", 1, 1, 2, 0, 0, 0]]},
        {"tables": [{"name": "../../../etc/passwd", "rows": 1, "size_bytes": 1}]},
        {"tables": [{"name": f"00000-{'0' * 24}.parquet", "rows": -1, "size_bytes": 1}]},
        {"totals": {"CNY": {"requests": "many"}}},
    ],
)
def test_a_forged_manifest_leads_nowhere(ledger: Ledger, changes: dict[str, object]) -> None:
    """Names, numbers and periods are checked."""
    data = ledger.store.read(MANIFEST)
    assert data is not None
    values = {name: value for name, value in orjson.loads(data).items() if name != "checksum"}
    ledger.store.write(MANIFEST, json_bytes({**values, **changes}))
    with pytest.raises(StorageError, match=MANIFEST):
        _read(ledger)


@pytest.mark.parametrize("changes", [{"invocation_id": "../x"}, {"pid": -1}, {"cost_upper_bound": "-1"}, {"tags": 5}])
def test_a_forged_run_is_named(ledger: Ledger, changes: dict[str, object]) -> None:
    """Its amounts appear on the report."""
    data = ledger.store.read(_run(ledger))
    assert data is not None
    values = orjson.loads(data)
    ledger.store.write(_run(ledger), json_bytes({"start": {**values["start"], **changes}, "end": None}))
    with pytest.raises(StorageError, match=_run(ledger)):
        ledger.open_runs()


@pytest.mark.parametrize("name", ["ledger.json", MANIFEST])
def test_a_later_format_is_refused(ledger: Ledger, name: str) -> None:
    """An earlier program would misread it."""
    data = ledger.store.read(name)
    assert data is not None
    values = {key: value for key, value in orjson.loads(data).items() if key != "checksum"}
    ledger.store.write(name, json_bytes({**values, "format": 2}))
    with pytest.raises(ConfigurationError, match="of a later version"):
        _read(ledger)


def test_months_that_overlap_are_refused(ledger: Ledger) -> None:
    """Rather than counted twice."""
    data = ledger.store.read(MANIFEST)
    assert data is not None
    values = {name: value for name, value in orjson.loads(data).items() if name != "checksum"}
    ledger.store.write("frozen/2026-12.json", json_bytes({**values, "month": "2026-12"}))
    with pytest.raises(StorageError, match="two frozen months of the ledger overlap"):
        _read(ledger)


def test_links_are_not_followed(tmp_path: Path) -> None:
    """Neither to files nor to folders."""
    folder = tmp_path / "ledger"
    dataset, ledger = LocalStore(tmp_path / "dataset"), Ledger(LocalStore(folder))
    put_usage(dataset, 0, JOURNAL, usage_rows(JOURNAL, AT))
    ledger.sync_dataset(dataset, "/data/one")
    (file,) = folder.glob("usage/*/*.parquet")
    elsewhere = tmp_path / "elsewhere"
    for path in (file, file.parent, folder / "usage"):
        path.rename(elsewhere)
        path.symlink_to(elsewhere)
        with pytest.raises(StorageError, match="is a link"):
            sums_of(ledger)
        path.unlink()
        elsewhere.rename(path)
    file.unlink()
    file.symlink_to(elsewhere)
    elsewhere.write_bytes(b"precious")
    ledger.sync_dataset(dataset, "/data/one", [f"usage/{file.name}"])
    assert elsewhere.read_bytes() == b"precious"
    assert sums_of(ledger)["requests"] == 4


@pytest.mark.parametrize("name", ["dataset.json", "cat.jpg"])
def test_a_folder_with_other_files_is_no_ledger(store: Store, name: str) -> None:
    """Nothing is written into it."""
    store.write(name, b"{}")
    ledger = Ledger(store)
    with pytest.raises(ConfigurationError, match=r"is a dataset, not a ledger|is not a ledger: it has other files"):
        ledger.begin_run(run_start("a" * 32))
    assert store.names("") == [name]

"""Every column of every table of ours, missing, null or of another type: errors are ours, and no bill is short."""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.mutations import entry_points
from tests.mutations.specimens import REFUSED, SOURCE, Specimens
from tests.mutations.test_mutations import READING, WRITING, Case, export
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.schema import TABLES


def _drop(table: pa.Table, name: str) -> pa.Table:
    return table.drop_columns([name])


def _empty(table: pa.Table, name: str) -> pa.Table:
    field = table.schema.field(name)
    return table.set_column(table.column_names.index(name), name, pa.nulls(table.num_rows, field.type))


def _retype(table: pa.Table, name: str) -> pa.Table:
    values = pa.array([{"other": number} for number in range(table.num_rows)])
    return table.set_column(table.column_names.index(name), name, values)


def export_each(case: Case, name: str) -> None:
    """Whichever form it has."""
    for form in ("files", "nemo", "huggingface"):
        entry_points.export(case.at(name), case.at(form), form)


ENTRY_POINTS = (export_each, *(call for call in dict.fromkeys((*READING, *WRITING)) if call is not export))
CHANGES: tuple[Callable[[pa.Table, str], pa.Table], ...] = (_drop, _empty, _retype)
COLUMNS = [(table, column.name, change) for table in TABLES for column in TABLES[table] for change in CHANGES]


def _run(case: Case, name: str, kind: str, column: str, change: Callable[[pa.Table, str], pa.Table]) -> Iterator[str]:
    """Change a column in all files of a table; yield the failures of each entry point on its own copy."""
    for call in ENTRY_POINTS:
        fresh = Case(case.folder / call.__name__, case.specimens, case.service, case.chance)
        fresh.folder.mkdir(parents=True)
        shutil.copyfile(case.specimens.folder / SOURCE, fresh.source)
        fresh.copy(name)
        for path in fresh.at(name).glob(f"{kind}/*.parquet"):
            table = pq.read_table(path)
            if column in table.column_names and table.num_rows:
                pq.write_table(change(table, column), path)
        try:
            call(fresh, name)
        except Exception:
            yield f"{name}: {call.__name__} {change.__name__} {kind}.{column}\n{traceback.format_exc()}"
        shutil.rmtree(fresh.folder)


@pytest.mark.parametrize(
    "columns", [pytest.param(COLUMNS, marks=[pytest.mark.fuzz, pytest.mark.slow]), COLUMNS[::40]], ids=["all", "some"]
)
@pytest.mark.timeout(3_600)
def test_a_column_is_not_as_the_schema_has_it(
    specimens: Specimens,
    tone_service: LocalService,
    tmp_path: Path,
    columns: Sequence[tuple[str, str, Callable[[pa.Table, str], pa.Table]]],
) -> None:
    """Whichever it is, and whoever reads it: errors are ours, and no bill is short."""
    tone_service.set_faults([{"what": "refuse", "text": REFUSED}])
    case = Case(tmp_path, specimens, tone_service, Random(0))
    failed = [failure for column in columns for name in ("finished", "half") for failure in _run(case, name, *column)]
    assert not failed, "\n".join(failed[:20])

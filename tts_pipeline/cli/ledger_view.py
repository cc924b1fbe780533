"""Show the status of a ledger as tables for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from tts_pipeline.cli.terminal import align_columns
from tts_pipeline.errors import printable
from tts_pipeline.ledger.runs import RunStart
from tts_pipeline.ledger.status import DatasetStatus, LedgerStatus, MonthStatus


def sections(status: LedgerStatus) -> Iterator[str]:
    """Yield a text for months, datasets and open runs each."""
    yield _month_table(status.months)
    yield _dataset_table(status.datasets)
    if status.settlements:
        yield f"{count(status.settlements, 'file')} of settlements"
    if status.open_runs:
        yield "\n".join(map(run_line, status.open_runs))
    if any(one.missing_files for one in status.datasets):
        yield "Usage is missing: tts-pipeline ledger add DATASET copies it."


def count(number: int, noun: str) -> str:
    """Return a number of things: ``1 file``, ``2,000 files``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def run_line(start: RunStart) -> str:
    """Return an open run in one line."""
    began = datetime.fromtimestamp(start.started_at_us / 1_000_000, UTC)
    cost, characters = start.cost_upper_bound, start.characters_upper_bound
    if cost is not None:
        bound = f"at most {cost:,f} {start.currency}"
    else:
        bound = "without a cap" if characters is None else f"at most {characters:,} characters"
    return printable(
        f"open: run {start.invocation_id} since {began:%Y-%m-%d %H:%M} UTC (process {start.pid} of {start.user} on "
        f"{start.host}) makes {start.destination}, {bound}"
    )


def _month_table(months: Sequence[MonthStatus]) -> str:
    if not months:
        return "no usage"
    head = ("MONTH", "ZONE", "STATE", "ROWS", "FILES", "CORRECTIONS")
    rows = [
        (
            month.month,
            month.timezone,
            "frozen" if month.is_frozen else "open",
            f"{month.rows:,}",
            f"{month.files:,}",
            f"{month.corrections:,}" if month.is_frozen else "-",
        )
        for month in months
    ]
    return _table(head, rows, right=(3, 4, 5))


def _dataset_table(datasets: Sequence[DatasetStatus]) -> str:
    if not datasets:
        return "no datasets"
    head = ("DATASET", "SINCE", "MISSING", "OPEN", "PLACE")
    rows = [
        (
            one.dataset_id,
            f"{datetime.fromtimestamp(one.dataset.first_seen_us / 1_000_000, UTC):%Y-%m-%d}",
            "not here" if one.missing_files is None else f"{one.missing_files:,}",
            f"{one.open_claims:,}",
            printable(one.dataset.destination),
        )
        for one in datasets
    ]
    return _table(head, rows, right=(2, 3))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int]) -> str:
    """Align columns, those of numbers to the right."""
    columns = [list(column) for column in zip(head, *rows, strict=True)]
    for number in right:
        width = max(map(len, columns[number]))
        columns[number] = [cell.rjust(width) for cell in columns[number]]
    return align_columns(list(zip(*columns, strict=True)))

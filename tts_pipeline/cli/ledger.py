"""Run the commands ``ledger add``, ``ledger compact`` and ``ledger status``, and find the ledger for all commands."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from tts_pipeline.catalog.keys import environment
from tts_pipeline.cli.ledger_view import count, run_line, sections
from tts_pipeline.cli.status import OK
from tts_pipeline.cli.terminal import print_json, print_result, print_status
from tts_pipeline.dataset.reader import DatasetReader
from tts_pipeline.errors import ConfigurationError, StorageError, printable
from tts_pipeline.ledger import VARIABLE, Ledger, LedgerLocation, find_ledger
from tts_pipeline.ledger.compaction import CompactResult
from tts_pipeline.ledger.location import refuse_password
from tts_pipeline.ledger.manifest import Manifest


def add_datasets(arguments: argparse.Namespace) -> int:
    """Copy the usage of datasets. Return the exit status."""
    location = ledger_location(arguments)
    ledger = Ledger.open(location)
    readers = [(dataset, DatasetReader.open(dataset)) for dataset in arguments.datasets]
    copied: dict[str, int] = {}
    errors: list[StorageError] = []
    for dataset, reader in readers:
        try:
            copied[dataset] = ledger.sync_dataset(reader, dataset)
        except StorageError as error:
            errors.append(error)
    if arguments.json:
        print_json({"ledger": str(location), "copied_files": copied})
    else:
        for dataset, files in copied.items():
            print_result(printable(f"{dataset}: {count(files, 'file')} of usage copied"))
    if errors:
        raise errors[0]
    return OK


def compact(arguments: argparse.Namespace) -> int:
    """Freeze a month. Return the exit status."""
    location = ledger_location(arguments)
    ledger = _open_existing(location)
    result = ledger.compact(arguments.month, arguments.timezone)
    if not result.manifest.rows:
        print_status(
            f"warning: there is no usage in {arguments.month} ({arguments.timezone}); what comes will be a correction"
        )
    for start in result.open_runs:
        print_status(f"warning: {run_line(start)}: what it adds to {arguments.month} will be a correction")
    if arguments.json:
        print_json({"ledger": str(location), **_facts(result)})
    else:
        print_result("\n".join(_lines(result)))
    return OK


def show_status(arguments: argparse.Namespace) -> int:
    """Print what is in the ledger. Return the exit status."""
    location = ledger_location(arguments)
    ledger = Ledger.open(location)
    if not ledger.is_made():
        if arguments.json:
            print_json({"ledger": str(location), "is_made": False, "months": [], "datasets": [], "open_runs": []})
        else:
            print_result(no_ledger(location))
        return OK
    status = ledger.status()
    if arguments.json:
        facts = {
            "months": [_fields(month) for month in status.months],
            "datasets": [
                {
                    "dataset_id": one.dataset_id,
                    **msgspec.to_builtins(one.dataset),
                    "missing_files": one.missing_files,
                    "open_claims": one.open_claims,
                }
                for one in status.datasets
            ],
            "open_runs": [msgspec.structs.asdict(start) for start in status.open_runs],
            "settlements": status.settlements,
        }
        print_json({"ledger": str(location), "is_made": True, **facts})
    else:
        print_result("\n\n".join([printable(f"ledger {location}"), *sections(status)]))
    return OK


def ledger_location(arguments: argparse.Namespace) -> LedgerLocation:
    """Return the ledger that a command names, else the environment's, else the default.

    Raises:
        ConfigurationError: A flag is empty or holds a password, or the setting is none.
    """
    if arguments.ledger == "":
        raise ConfigurationError("--ledger must not be empty", hint="leave it out for the default")
    refuse_password(arguments.ledger, "--ledger")
    location = find_ledger(arguments.ledger or environment().get(VARIABLE))
    if location is None:
        raise ConfigurationError(
            "there is no ledger: it is set to none", hint=f"name one with --ledger, or unset {VARIABLE}"
        )
    return location


def no_ledger(location: LedgerLocation) -> str:
    """Say that there is no ledger yet."""
    return printable(f"no ledger yet at {location}: the first run makes it, or tts-pipeline ledger add")


def _open_existing(location: LedgerLocation) -> Ledger:
    ledger = Ledger.open(location)
    if not ledger.is_made():
        raise ConfigurationError(no_ledger(location))
    return ledger


def _facts(result: CompactResult) -> dict[str, Any]:
    manifest = result.manifest
    return {
        "month": manifest.month,
        "timezone": manifest.timezone,
        "start": _time(manifest.start_us),
        "end": _time(manifest.end_us),
        "frozen_at": _time(manifest.frozen_at_us),
        "was_frozen": result.was_frozen,
        "rows": manifest.rows,
        "files": len(manifest.files),
        "tables": len(manifest.tables),
        "removed_files": result.removed_files,
        "totals": {currency: msgspec.structs.asdict(totals) for currency, totals in manifest.totals.items()},
        "open_runs": [start.invocation_id for start in result.open_runs],
    }


def _lines(result: CompactResult) -> Iterator[str]:
    manifest = result.manifest
    if result.was_frozen:
        yield f"{manifest}: it was frozen before, and is as it was"
    else:
        rows, files = count(manifest.rows, "row"), count(len(manifest.files), "file")
        yield f"{manifest}: {rows} of {files} in {count(len(manifest.tables), 'table')}"
    yield from _totals(manifest)


def _totals(manifest: Manifest) -> Iterator[str]:
    for currency, totals in sorted(manifest.totals.items()):
        cost = "without a price" if totals.cost is None else f"{totals.cost:,f} {currency}"
        most = "" if totals.cost_upper_bound == totals.cost else f" (at most {totals.cost_upper_bound:,f})"
        yield f"{count(totals.requests, 'request')}, {count(totals.characters_billed, 'character')}, {cost}{most}"


def _fields(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def _time(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1_000_000, UTC).isoformat(timespec="seconds")

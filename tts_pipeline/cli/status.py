"""Define the exit statuses, and map errors and stops to them."""

from __future__ import annotations

from tts_pipeline.errors import ConfigurationError, StorageError, TtsPipelineError

OK = 0
CONFIGURATION = 2
REJECTS = 3
BUDGET = 4
SERVICE = 5
STORAGE = 6
INTERRUPTED = 130

MEANINGS = {
    OK: "every row is speech",
    CONFIGURATION: "a usage or configuration error, before anything was sent",
    REJECTS: "finished, with rejects",
    BUDGET: "stopped by the budget",
    SERVICE: "stopped by the service: key, balance, access, outage, or too many rejects",
    STORAGE: "storage: disk, destination or lock",
    INTERRUPTED: "interrupted",
}

_STOPPED_BY = {
    "budget": BUDGET,
    "service": SERVICE,
    "outage": SERVICE,
    "rejects": SERVICE,
    "interrupted": INTERRUPTED,
    "storage": STORAGE,
}


def status_of(error: TtsPipelineError) -> int:
    """Return the exit status for an error that ended a command without a report."""
    if isinstance(error, ConfigurationError):
        return CONFIGURATION
    return STORAGE if isinstance(error, StorageError) else SERVICE


def status_of_run(stopped_by: str | None, rejects: int) -> int:
    """Return the exit status of a run; ``stopped_by`` is None for a run that finished."""
    if stopped_by is not None:
        return _STOPPED_BY[stopped_by]
    return REJECTS if rejects else OK

"""The end of a run for Airflow: results for XCom, and errors that are retried or not."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowException, AirflowFailException

from tts_pipeline.errors import ConfigurationError, FatalError, StoppedError, TtsPipelineError

if TYPE_CHECKING:
    from tts_pipeline.job import Report

XCOM_BYTES = 1_000
"""What one result may take in Airflow's database, as JSON; a path or a URL is most of it."""

FINAL_STOPS = frozenset({"budget", "rejects"})
"""What stops every further run as well, until a person has changed something."""

_COUNTS = (
    "rows",
    "speech",
    "rejects",
    "attempts",
    "unknown_attempts",
    "implausible_attempts",
    "reused",
    "characters_billed",
    "characters_upper_bound",
    "cost",
    "cost_upper_bound",
    "currency",
    "audio_hours",
)
_RESUME_HINT = "what is done is kept: clear the task to go on"


def xcom_result(report: Report) -> dict[str, Any]:
    """Return a task's result: the dataset's place and counts; money is text."""
    values = report.to_json()
    return check_xcom_size({"dataset": report.destination, **{name: values[name] for name in _COUNTS}})


def check_xcom_size(result: dict[str, Any]) -> dict[str, Any]:
    """Return a result that fits into XCom; one that is too large fails the task for good."""
    size = len(json.dumps(result).encode())
    if size > XCOM_BYTES:
        raise AirflowFailException(
            f"the task's result takes {size} bytes, more than the {XCOM_BYTES} that are meant for XCom: "
            "is the destination's name very long? Data belongs into the dataset"
        )
    return result


def asset_event(report: Report, conn_id: str | None = None) -> dict[str, Any]:
    """Return what an asset event tells of a dataset."""
    values = report.to_json()
    hours, cost = values["audio_hours"], values["cost"]
    return {
        "dataset": report.destination,
        **{name: values[name] for name in ("rows", "speech", "rejects", "currency")},
        "hours": hours,
        "cost": cost,
        **({} if conn_id is None else {"conn_id": conn_id}),
    }


def to_airflow_error(error: TtsPipelineError, final_stops: Collection[str] = FINAL_STOPS) -> AirflowException:
    """Return the exception that makes Airflow do the right thing about an error of ours.

    A wrong setting, a key or balance that the service refuses, a spent budget and too many rejects stay what they are
    however often a task is tried: it fails at once. Anything else is retried as the task says.

    ``final_stops`` are the ``stopped_by`` of what stops every further try as well.
    """
    is_final = isinstance(error, ConfigurationError | FatalError) or (
        isinstance(error, StoppedError) and error.stopped_by in final_stops
    )
    message = str(error) if isinstance(error, ConfigurationError) else f"{error}; {_RESUME_HINT}"
    return AirflowFailException(message) if is_final else AirflowException(message)


@contextmanager
def airflow_errors(final_stops: Collection[str] = FINAL_STOPS) -> Iterator[None]:
    """Translate our errors into Airflow's; see ``to_airflow_error``."""
    try:
        yield
    except TtsPipelineError as error:
        raise to_airflow_error(error, final_stops) from error

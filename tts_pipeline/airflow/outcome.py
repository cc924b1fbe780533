"""Convert the end of a run for Airflow: results for XCom, and errors that are retried or not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowException, AirflowFailException

from tts_pipeline.errors import ConfigurationError, FatalError, StoppedError, TtsPipelineError

if TYPE_CHECKING:
    from tts_pipeline.job import Report

XCOM_BYTES = 1_000
"""The most bytes of one result in Airflow's database, as JSON; a path or a URL is most of them."""

FINAL_STOPS = frozenset({"budget", "rejects"})
"""The values of ``stopped_by`` that would stop every further run too, until a person changes a setting."""

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
_RESUME_HINT = "all bought audio is kept: clear the task to continue"


def xcom_result(report: Report) -> dict[str, Any]:
    """Return a task's result: the dataset's path or URL, and its counts; money is text."""
    values = report.to_json()
    return check_xcom_size({"dataset": report.destination, **{name: values[name] for name in _COUNTS}})


def check_xcom_size(result: dict[str, Any]) -> dict[str, Any]:
    """Return a result that fits into XCom; fail the task without a retry if the result is too large."""
    size = len(json.dumps(result).encode())
    if size > XCOM_BYTES:
        raise AirflowFailException(
            f"the task's result takes {size} bytes, and XCom gets {XCOM_BYTES} at most: "
            "give the dataset a shorter destination"
        )
    return result


def asset_event(report: Report, conn_id: str | None = None) -> dict[str, Any]:
    """Return the facts of a dataset for an asset event; ``conn_id`` is the connection that opens it, if any."""
    values = report.to_json()
    hours, cost = values["audio_hours"], values["cost"]
    return {
        "dataset": report.destination,
        **{name: values[name] for name in ("rows", "speech", "rejects", "currency")},
        "hours": hours,
        "cost": cost,
        **({} if conn_id is None else {"conn_id": conn_id}),
    }


def to_airflow_error(error: TtsPipelineError) -> AirflowException:
    """Return Airflow's exception for an error of this package.

    A retry cannot cure a wrong setting, a key or balance that the service refuses, a spent budget, or too many rejects:
    the task fails immediately. Any other error is retried as the task is configured.
    """
    is_final = isinstance(error, ConfigurationError | FatalError) or (
        isinstance(error, StoppedError) and error.stopped_by in FINAL_STOPS
    )
    message = str(error) if isinstance(error, ConfigurationError) else f"{error}; {_RESUME_HINT}"
    return AirflowFailException(message) if is_final else AirflowException(message)


@contextmanager
def airflow_errors() -> Iterator[None]:
    """Translate errors of this package into Airflow's; see ``to_airflow_error``."""
    try:
        yield
    except TtsPipelineError as error:
        raise to_airflow_error(error) from error

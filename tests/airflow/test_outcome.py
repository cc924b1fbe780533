"""Results fit into XCom; errors are retried where the next try may do better."""

from __future__ import annotations

import pytest

pytest.importorskip("airflow.sdk", reason="apache-airflow is not installed (pip install 'tts-pipeline[airflow]')")

from airflow.sdk.exceptions import AirflowException, AirflowFailException

from tts_pipeline.airflow.outcome import XCOM_BYTES, airflow_errors, check_xcom_size, to_airflow_error
from tts_pipeline.errors import (
    ConfigurationError,
    FatalError,
    MissingSourceError,
    StoppedError,
    StorageError,
    TtsPipelineError,
)

_FINAL = [
    ConfigurationError("a wrong voice"),
    MissingSourceError("no text"),
    FatalError("no balance", code="Arrearage"),
    StoppedError("the cap is reached", stopped_by="budget"),
    StoppedError("too many rejects", stopped_by="rejects"),
]
_RETRIED = [
    StorageError("the bucket does not answer"),
    StoppedError("the service is down", stopped_by="outage"),
    StoppedError("a long pause", stopped_by="service"),
    StoppedError("interrupted", stopped_by="interrupted"),
]


@pytest.mark.parametrize("error", _FINAL, ids=lambda error: f"{type(error).__name__}-{error.message}")
def test_what_stays_as_it_is_fails_at_once(error: TtsPipelineError) -> None:
    """Retries would only be noise."""
    assert isinstance(to_airflow_error(error), AirflowFailException)


@pytest.mark.parametrize("error", _RETRIED, ids=lambda error: error.message)
def test_what_may_pass_is_retried(error: TtsPipelineError) -> None:
    """As the task says."""
    failure = to_airflow_error(error)
    assert isinstance(failure, AirflowException)
    assert not isinstance(failure, AirflowFailException)


@pytest.mark.parametrize("error", [*_FINAL[2:], *_RETRIED], ids=lambda error: error.message)
def test_what_stopped_a_run_says_what_to_do(error: TtsPipelineError) -> None:
    """Its own message first."""
    assert str(to_airflow_error(error)).startswith(error.message)
    assert "clear the task to continue" in str(to_airflow_error(error))


def test_other_errors_are_left_alone() -> None:
    """A mistake of ours shows as one."""
    with pytest.raises(ZeroDivisionError), airflow_errors():
        raise ZeroDivisionError
    with pytest.raises(AirflowFailException) as exc_info, airflow_errors():
        raise _FINAL[0]
    assert exc_info.value.__cause__ is _FINAL[0]


def test_a_result_fits_into_xcom() -> None:
    """Or it is refused, before it is in Airflow's database."""
    fitting = {"text": "x" * (XCOM_BYTES - len('{"text": ""}'))}
    assert check_xcom_size(fitting) is fitting
    with pytest.raises(AirflowFailException, match=f"{XCOM_BYTES + 1} bytes"):
        check_xcom_size({"text": f"{fitting['text']}x"})
    with pytest.raises(AirflowFailException, match="XCom"):
        check_xcom_size({"text": "語" * XCOM_BYTES})

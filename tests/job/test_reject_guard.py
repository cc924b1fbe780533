"""Rejects that stop a run: too many of them, or the same one from the first row on."""

from __future__ import annotations

import pytest

from tests.job.test_workers import FakeSynthesizer, failing, permanent_error, run_pool
from tts_pipeline.errors import (
    PermanentError,
    StoppedError,
    TransientError,
)
from tts_pipeline.job.workers import SAME_ERRORS, RejectGuard


def test_many_rejects_stop_the_run_when_a_number_is_given() -> None:
    """One reject more than this number stops it; the number itself does not."""
    errors: dict[str, Exception] = {f"r{number}": permanent_error(f"code-{number}") for number in range(5)}
    pool, log = run_pool(FakeSynthesizer(failing(errors)), rows=100, workers=1, guard=RejectGuard(5))
    assert pool.reason is None
    pool, log = run_pool(FakeSynthesizer(failing(errors)), rows=100, workers=1, guard=RejectGuard(4))
    assert isinstance(pool.reason, StoppedError)
    assert pool.reason.stopped_by == "rejects"
    assert "more than 4 utterances were rejected" in pool.reason.message
    assert len(log.rejects) == 5


def test_the_same_permanent_error_from_the_start_stops_the_run() -> None:
    """A wrong setting does not cause a million rejects: 50 equal errors stop the run."""
    errors: dict[str, Exception] = {f"r{number}": permanent_error() for number in range(1_000)}
    pool, log = run_pool(FakeSynthesizer(failing(errors)), rows=1_000, workers=1)
    assert isinstance(pool.reason, StoppedError)
    assert pool.reason.stopped_by == "rejects"
    assert len(log.rejects) == SAME_ERRORS == 50


def _outcomes(guard: RejectGuard, outcomes: list[str]) -> int | None:
    """Return after how many outcomes the guard stops: a code is a reject, an empty one speech."""
    for count, code in enumerate(outcomes, 1):
        if not code:
            guard.note_speech()
        elif code == "EmptyText":
            assert guard.note_reject(PermanentError("empty", code=code, may_be_billed=False)) is None
        elif code == "Timeout":
            assert guard.note_reject(TransientError("slow", code=code)) is None
        elif guard.note_reject(permanent_error(code)) is not None:
            return count
    return None


@pytest.mark.parametrize(
    ("outcomes", "stops_after"),
    [
        (["A"] * 100, 50),
        (["A"] * 49 + [""] + ["A"] * 100, None),
        ([""] + ["A"] * 100, None),
        (["A"] * 49 + ["B"] + ["A"] * 100, None),
        (["EmptyText"] * 200, None),
        (["EmptyText"] * 30 + ["A"] * 50, 80),
        (["Timeout"] * 200, None),
    ],
)
def test_only_one_and_the_same_error_from_the_first_row_on_is_a_wrong_setting(
    outcomes: list[str], stops_after: int | None
) -> None:
    """Speech, or another error, shows that rows differ; unsent rows show nothing."""
    assert _outcomes(RejectGuard(), outcomes) == stops_after


def test_what_was_bought_long_ago_does_not_speak_for_the_settings_of_now() -> None:
    """The first outcomes of sent rows decide, whatever was reused before."""
    errors: dict[str, Exception] = {f"r{number}": permanent_error() for number in range(5, 200)}
    reused = {f"r{number}" for number in range(5)}
    pool, log = run_pool(FakeSynthesizer(failing(errors), reused=reused), rows=200, workers=1)
    assert isinstance(pool.reason, StoppedError)
    assert (len(log.speeches), len(log.rejects)) == (5, SAME_ERRORS)

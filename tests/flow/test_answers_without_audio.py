"""A service whose answers have no audio: the rows' fault, or the end of the run."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.flow.test_failure_policy import PolicyHarness
from tts_pipeline.errors import (
    ServiceError,
    TransientError,
    UnreadableError,
)
from tts_pipeline.flow.retry_state import Disposition


def silent() -> TransientError:
    return TransientError("the answer has no audio", code="NoAudio", http_status=200)


def unreadable() -> UnreadableError:
    return UnreadableError("JSON with the keys a, b", code="UnreadableAudio", http_status=200)


def page() -> TransientError:
    return TransientError("Welcome", code="UnexpectedText", http_status=200)


def nothing() -> TransientError:
    return TransientError("the answer is empty", code="EmptyBody", http_status=200)


@pytest.mark.parametrize("error", [silent, unreadable, page, nothing])
def test_a_run_whose_first_answers_have_no_audio_stops(error: Callable[[], ServiceError]) -> None:
    """It is no outage and is not probed: three rows are enough, none is rejected, and the error names the keys."""
    harness = PolicyHarness(9)
    harness.fail(0, error())
    harness.fail(1, error())
    assert harness.policy.stop_reason is None
    assert harness.fail(2, error()) is Disposition.FATAL
    assert set(harness.take_decisions().values()) <= {Disposition.FATAL}
    assert harness.policy.stop_reason is not None
    assert harness.policy.stop_reason.stopped_by == "service"
    assert error().message in harness.policy.stop_reason.message


def test_answers_that_are_all_cut_stop_a_run_before_much_is_bought() -> None:
    """A few cut answers are transient; if all are cut from the first on, the run stops without probes."""
    harness = PolicyHarness(20)
    for row in range(11):
        harness.fail(row, TransientError("cut", code="CutStream", http_status=200))
    assert harness.policy.stop_reason is None
    assert harness.fail(11, TransientError("cut", code="CutStream", http_status=200)) is Disposition.FATAL
    assert harness.policy.stop_reason is not None


def test_one_row_alone_does_not_stop_a_run() -> None:
    """However often it is bought: the rule needs different rows."""
    harness = PolicyHarness(1)
    assert [harness.fail(0, silent()) for _ in range(2)] == [Disposition.RETRY, Disposition.REJECT]
    assert PolicyHarness(1).fail(0, unreadable()) is Disposition.REJECT
    assert harness.policy.stop_reason is None


def test_an_answer_without_audio_is_the_rows_where_others_have_audio() -> None:
    """An unreadable answer is not bought again, an empty one once more; no row counts as an outage."""
    harness = PolicyHarness(40)
    harness.succeed()
    for row in range(20):
        assert harness.fail(row, unreadable()) is Disposition.REJECT
        assert [harness.fail(20 + row, silent()) for _ in range(2)] == [Disposition.RETRY, Disposition.REJECT]
    assert harness.policy.stop_reason is None
    assert harness.policy.delay_s(harness.now_s) <= 0


def test_a_row_without_audio_is_held_until_another_has_some() -> None:
    """The first rows are not rejected while the whole run may be in vain."""
    harness = PolicyHarness(3)
    assert harness.fail(0, unreadable()) is Disposition.PENDING
    assert harness.take_decisions() == {}
    harness.succeed()
    assert harness.take_decisions() == {0: Disposition.REJECT}


def test_a_service_that_loses_its_voice_stops_the_run() -> None:
    """After fifty rows in succession, each of which may have been billed."""
    harness = PolicyHarness(60)
    harness.succeed()
    for row in range(49):
        harness.fail(row, unreadable())
    assert harness.policy.stop_reason is None
    assert harness.fail(49, unreadable()) is Disposition.FATAL
    assert harness.policy.stop_reason is not None

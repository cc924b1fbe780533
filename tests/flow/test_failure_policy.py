"""The rules that assign a failure to its row or to the service, with times passed in."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts_pipeline.config import Limits
from tts_pipeline.errors import (
    FatalError,
    PermanentError,
    ServiceError,
    SuspectError,
    ThrottledError,
    TransientError,
)
from tts_pipeline.flow.clock import Clock
from tts_pipeline.flow.failure_policy import FailurePolicy
from tts_pipeline.flow.rates import OwnRates
from tts_pipeline.flow.retry_state import Disposition, RetryState

LIMITS = Limits(max_concurrency=16, max_attempts=3)


def broken() -> TransientError:
    return TransientError("broken", code="InternalError", http_status=500)


def forbidden() -> SuspectError:
    return SuspectError("forbidden", code="HTTP403", http_status=403, may_be_billed=False)


def _utc_us() -> int:
    return 1_700_000_000_000_000


class PolicyHarness:
    """A failure policy with active rows; each failure or success moves the time on."""

    def __init__(self, rows: int, limits: Limits = LIMITS) -> None:
        self.policy = FailurePolicy(limits, _utc_us, OwnRates(limits, Clock()))
        self.rows = [RetryState() for _ in range(rows)]
        self.now_s = 100.0
        for _ in self.rows:
            self.policy.active_rows += 1

    def fail(self, row: int, error: ServiceError) -> Disposition:
        self.now_s += 1.0
        return self.policy.on_failure(self.rows[row], error, self.now_s, sent_at_s=self.now_s - 0.5)

    def succeed(self) -> None:
        self.now_s += 1.0
        self.policy.on_success(self.now_s, sent_at_s=self.now_s - 0.5)

    def leave(self, row: int) -> None:
        self.policy.active_rows -= 1
        self.policy.on_row_end(self.rows[row], self.now_s)

    def take_decisions(self) -> dict[int, Disposition]:
        decisions = {self.rows.index(row): disposition for row, disposition in self.policy.decisions}
        self.policy.decisions.clear()
        return decisions


def test_a_429_is_paced_and_never_counted() -> None:
    """However often it comes."""
    harness = PolicyHarness(2)
    error = ThrottledError("slow down", code="Throttling", http_status=429, may_be_billed=False)
    assert {harness.fail(0, error) for _ in range(8)} == {Disposition.RETRY_NOW}
    assert harness.policy.delay_s(harness.now_s) > 0
    assert harness.fail(0, broken()) is Disposition.RETRY


def test_a_429_leaves_room_for_fewer_and_successes_for_more() -> None:
    """The 429s of one pause halve the limit at most; it never exceeds the maximum."""
    harness = PolicyHarness(4)
    error = ThrottledError("slow down", code="Throttling", http_status=429, may_be_billed=False)
    assert harness.policy.max_in_flight == LIMITS.max_concurrency
    sent_s = harness.now_s
    for _ in range(12):
        harness.policy.on_failure(harness.rows[0], error, harness.now_s + 1, sent_at_s=sent_s)
    assert harness.policy.max_in_flight == LIMITS.max_concurrency // 2
    for _ in range(200):
        harness.succeed()
    assert harness.policy.max_in_flight == LIMITS.max_concurrency


@pytest.mark.parametrize("retry_after_s", [3_601.0, 86_400.0])
def test_a_pause_that_is_too_long_stops_the_run_and_says_until_when(retry_after_s: float) -> None:
    """The run would sleep for hours, so it stops in good order."""
    harness = PolicyHarness(2)
    error = ThrottledError("quota", code="Throttling", http_status=429, retry_after_s=retry_after_s)
    harness.fail(0, error)
    stopped = harness.policy.stop_reason
    assert stopped is not None
    assert stopped.stopped_by == "service"
    assert ", until 2023-11-1" in stopped.message
    assert stopped.until is not None
    assert f"until {stopped.until:%Y-%m-%d %H:%M:%S} UTC" in stopped.message
    assert stopped.until.tzinfo is UTC


def test_a_row_that_alone_fails_is_rejected_when_another_succeeds() -> None:
    """Its attempts are used up while the service serves others."""
    harness = PolicyHarness(2)
    assert [harness.fail(0, broken()) for _ in range(3)] == [Disposition.RETRY, Disposition.RETRY, Disposition.PENDING]
    assert harness.take_decisions() == {}
    harness.succeed()
    assert harness.take_decisions() == {0: Disposition.REJECT}


def test_the_only_row_on_its_way_answers_for_itself() -> None:
    """No other row's outcome can excuse it."""
    harness = PolicyHarness(1)
    assert [harness.fail(0, broken()) for _ in range(3)] == [Disposition.RETRY, Disposition.RETRY, Disposition.REJECT]


def test_rows_that_all_used_up_their_attempts_are_an_outage() -> None:
    """No row has succeeded and none is left that could, so no row is rejected."""
    harness = PolicyHarness(2)
    for _ in range(2):
        harness.fail(0, broken())
        harness.fail(1, broken())
    assert harness.fail(0, broken()) is Disposition.PENDING
    assert harness.fail(1, broken()) is Disposition.PENDING
    assert harness.take_decisions() == {0: Disposition.RETRY_NOW, 1: Disposition.RETRY_NOW}
    assert harness.policy.delay_s(harness.now_s) > 0


def test_neighbours_that_always_fail_are_no_endless_outages() -> None:
    """Each apparent outage ends with another row's success: after so many attempts they are rejected."""
    harness = PolicyHarness(8)
    dispositions = []
    for _ in range(LIMITS.max_attempts + 1):
        dispositions.append({harness.fail(row, broken()) for row in range(7)})
        harness.succeed()
    assert [Disposition.REJECT in some for some in dispositions] == [False] * LIMITS.max_attempts + [True]
    assert dispositions[-1] == {Disposition.REJECT}


def _run_last_rows(rows: int, *, contradicted: int, more_come: bool = False, others: bool = True) -> list[set[int]]:
    """Let the last rows of a run fail again and again; return the rejected rows after 50, 70 and 200 seconds."""
    harness = PolicyHarness(rows + 1)
    for row in range(contradicted):
        harness.fail(row, broken())
        harness.succeed()
    if others:
        harness.succeed()
    harness.leave(rows)
    harness.now_s = 100.0
    if not more_come:
        harness.policy.input_exhausted()
    rejected: set[int] = set()
    snapshots = []
    for until_s in (50, 70, 200):
        while harness.now_s < 100 + until_s:
            for row in set(range(rows)) - rejected:
                if harness.fail(row, broken()) is Disposition.REJECT:
                    rejected.add(row)
                    harness.leave(row)
                harness.take_decisions()
            harness.now_s += 1.0
        snapshots.append(set(rejected))
    return snapshots


def test_rows_that_are_left_over_and_always_fail_do_not_hold_the_run_up() -> None:
    """Others succeeded after they failed: after a minute of a possible outage they are rejected."""
    assert _run_last_rows(8, contradicted=8) == [set(), set(range(8)), set(range(8))]


def test_rows_that_are_left_over_may_still_be_the_victims_of_an_outage() -> None:
    """Unless few rows are left, only rows are rejected that failed before others succeeded."""
    assert _run_last_rows(8, contradicted=1)[-1] == {0}
    assert _run_last_rows(4, contradicted=0)[-1] == {0, 1, 2, 3}


def test_while_more_rows_come_an_outage_is_nobodys_fault() -> None:
    """However long it lasts."""
    assert _run_last_rows(8, contradicted=8, more_come=True)[-1] == set()


def test_rows_that_fail_where_nothing_ever_succeeded_are_an_outage() -> None:
    """No success shows that the service was ever usable."""
    assert _run_last_rows(2, contradicted=0, others=False)[-1] == set()


def test_a_held_row_goes_on_when_an_outage_shows() -> None:
    """Other rows fail too, so the failure was not its own."""
    harness = PolicyHarness(8)
    for _ in range(3):
        harness.fail(0, broken())
    dispositions = [harness.fail(row, broken()) for row in range(1, 5)]
    assert dispositions == [Disposition.RETRY, Disposition.RETRY, Disposition.RETRY, Disposition.RETRY_NOW]
    assert harness.take_decisions() == {0: Disposition.RETRY_NOW}


def test_a_held_row_is_judged_when_all_others_have_left() -> None:
    """No other outcome will come."""
    harness = PolicyHarness(2)
    for _ in range(3):
        harness.fail(0, broken())
    harness.leave(1)
    assert harness.take_decisions() == {0: Disposition.REJECT}


def test_a_held_row_that_is_cancelled_is_forgotten() -> None:
    """No task waits for its disposition."""
    harness = PolicyHarness(3)
    for _ in range(3):
        harness.fail(0, broken())
    harness.leave(0)
    harness.succeed()
    assert harness.take_decisions() == {}


def test_an_outage_that_is_too_long_stops_the_run() -> None:
    """Whether its probes fail or hang."""
    harness = PolicyHarness(8)
    for row in range(5):
        harness.fail(row, broken())
    harness.now_s += 901
    harness.policy.delay_s(harness.now_s)
    assert harness.policy.stop_reason is not None
    assert harness.policy.stop_reason.stopped_by == "outage"
    assert "broken" in harness.policy.stop_reason.message


def test_a_connection_that_is_refused_is_never_the_rows_fault() -> None:
    """Even a single row ends in an outage, not in a reject."""
    harness = PolicyHarness(1)
    harness.policy.input_exhausted()
    error = TransientError("refused", code="ConnectionFailed", may_be_billed=False)
    dispositions = [harness.fail(0, error) for _ in range(100)]
    assert set(dispositions) == {Disposition.RETRY, Disposition.RETRY_NOW}
    assert dispositions[-1] is Disposition.RETRY_NOW


def test_a_fatal_error_stops_the_run() -> None:
    """No row can succeed."""
    harness = PolicyHarness(2)
    error = FatalError("wrong key", code="InvalidApiKey", http_status=401, may_be_billed=False, hint="check the key")
    assert harness.fail(0, error) is Disposition.FATAL
    stopped = harness.policy.stop_reason
    assert stopped is not None
    assert (stopped.stopped_by, stopped.hint) == ("service", "check the key")
    assert "wrong key" in stopped.message


def test_a_permanent_error_is_the_rows_own_at_once() -> None:
    """The service judged this row."""
    assert (
        PolicyHarness(2).fail(0, PermanentError("bad text", code="DataInspectionFailed", http_status=400))
        is Disposition.REJECT
    )


def test_two_rows_that_meet_a_403_in_succession_are_fatal() -> None:
    """For both rows."""
    harness = PolicyHarness(3)
    assert harness.fail(0, forbidden()) is Disposition.PENDING
    assert harness.fail(1, forbidden()) is Disposition.FATAL
    assert harness.take_decisions() == {0: Disposition.FATAL}
    assert harness.policy.stop_reason is not None


@pytest.mark.parametrize("other", [None, PermanentError("bad text", code="InvalidParameter", http_status=400)])
def test_a_403_between_other_outcomes_is_the_rows_own(other: ServiceError | None) -> None:
    """It may be a proxy's page about one text; the service answers others."""
    harness = PolicyHarness(3)
    assert harness.fail(0, forbidden()) is Disposition.PENDING
    if other is None:
        harness.succeed()
    else:
        harness.fail(1, other)
    assert harness.take_decisions() == {0: Disposition.REJECT}
    assert harness.fail(2, forbidden()) is Disposition.PENDING
    assert harness.policy.stop_reason is None


def test_rows_that_come_one_by_one_are_compared_too() -> None:
    """The first row is rejected alone; the second in succession shows the cause."""
    harness = PolicyHarness(1)
    assert harness.fail(0, forbidden()) is Disposition.REJECT
    harness.leave(0)
    harness.rows.append(RetryState())
    harness.policy.active_rows += 1
    assert harness.fail(1, forbidden()) is Disposition.FATAL


def test_rates_hold_attempts_back() -> None:
    """By requests and by characters, whichever is later."""
    harness = PolicyHarness(1, Limits(requests_per_minute=60, characters_per_minute=600))
    row = harness.rows[0]
    row.begin_segment(50)
    harness.policy.on_sent(row, 100.0)
    assert harness.policy.delay_s(100.0) == pytest.approx(5.0)
    row.begin_segment(5)
    harness.policy.on_sent(row, 105.0)
    assert harness.policy.delay_s(105.0) == pytest.approx(1.0)


ERRORS: dict[str, Callable[[], ServiceError]] = {
    "500": broken,
    "429": lambda: ThrottledError("", code="Throttling", http_status=429),
    "refused": lambda: TransientError("", code="ConnectionFailed", may_be_billed=False),
    "403": forbidden,
    "400": lambda: PermanentError("", code="InvalidParameter", http_status=400),
    "empty": lambda: TransientError("", code="EmptyBody", http_status=200),
}
EVENTS = st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["ok", "ok", *ERRORS])))


def test_a_run_without_failures_is_calm() -> None:
    """From its first success on; a failure ends the calm, the next success brings it back, a rate is always paced."""
    harness = PolicyHarness(2)
    assert (harness.policy.is_calm, harness.policy.is_paced) == (False, True)
    harness.succeed()
    assert (harness.policy.is_calm, harness.policy.is_paced) == (True, False)
    harness.fail(0, broken())
    assert (harness.policy.is_calm, harness.policy.is_paced) == (False, True)
    harness.succeed()
    assert (harness.policy.is_calm, harness.policy.is_paced) == (True, False)
    limited = PolicyHarness(1, Limits(requests_per_minute=60))
    limited.succeed()
    assert (limited.policy.is_calm, limited.policy.is_paced) == (True, True)


@given(EVENTS, st.sampled_from([0.5, 5.0]))
def test_in_the_calm_nothing_has_to_be_reported(events: list[tuple[int, str]], sent_before_s: float) -> None:
    """After any events: a success or the end of a row would change nothing, nor would a new attempt have to wait."""
    harness = PolicyHarness(6)
    policy = harness.policy
    for row, event in events:
        if event == "ok":
            harness.succeed()
        else:
            harness.fail(row, ERRORS[event]())
        if policy.is_calm:
            policy.decisions.clear()
            policy.notices.messages.clear()
            before = pickle.dumps(policy)
            policy.on_success(harness.now_s, sent_at_s=harness.now_s - sent_before_s)
            policy.on_row_end(harness.rows[row], harness.now_s)
            assert policy.delay_s(harness.now_s) <= 0
            policy.on_sent(harness.rows[row], harness.now_s)
            assert pickle.dumps(policy) == before
            assert (policy.max_in_flight, policy.is_paced) == (LIMITS.max_concurrency, False)
        elif policy.stop_reason is not None:
            assert policy.max_in_flight == 0


@given(EVENTS)
def test_no_row_is_ever_held_for_ever(events: list[tuple[int, str]]) -> None:
    """In any order of events: once all other rows have ended, every held row has a disposition."""
    harness, pending, gone = PolicyHarness(6), set[int](), set[int]()

    def leave(row: int) -> None:
        gone.add(row)
        harness.leave(row)
        settle()

    def settle() -> None:
        for row, disposition in harness.take_decisions().items():
            pending.discard(row)
            if disposition in (Disposition.REJECT, Disposition.FATAL):
                leave(row)

    for row, event in events:
        if row in pending | gone or harness.policy.stop_reason is not None:
            continue
        if event == "ok":
            harness.succeed()
            settle()
            leave(row)
            continue
        disposition = harness.fail(row, ERRORS[event]())
        if disposition is Disposition.PENDING:
            pending.add(row)
        settle()
        if disposition in (Disposition.REJECT, Disposition.FATAL):
            leave(row)
    for row in range(6):
        if row not in pending | gone:
            leave(row)
    assert not pending or harness.policy.stop_reason is not None

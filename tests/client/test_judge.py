"""The rules by which a failure is the row's or the service's, in given times."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts_pipeline.client.judge import Judge
from tts_pipeline.client.row import Row, Verdict
from tts_pipeline.config import Limits
from tts_pipeline.errors import (
    FatalError,
    PermanentError,
    ServiceError,
    SuspectError,
    ThrottledError,
    TransientError,
    UnreadableError,
)

LIMITS = Limits(max_concurrency=16, max_attempts=3)


def broken() -> TransientError:
    return TransientError("broken", code="InternalError", http_status=500)


def forbidden() -> SuspectError:
    return SuspectError("forbidden", code="HTTP403", http_status=403, may_be_billed=False)


class Court:
    """A judge with rows on their way, each failing or succeeding at a time that goes on by itself."""

    def __init__(self, rows: int, limits: Limits = LIMITS) -> None:
        self.judge = Judge(limits, lambda: 1_700_000_000_000_000)
        self.rows = [Row() for _ in range(rows)]
        self.now_s = 100.0
        for _ in self.rows:
            self.judge.entered()

    def fails(self, row: int, error: ServiceError) -> Verdict:
        self.now_s += 1.0
        return self.judge.failed(self.rows[row], error, self.now_s, sent_at_s=self.now_s - 0.5)

    def succeeds(self) -> None:
        self.now_s += 1.0
        self.judge.succeeded(self.now_s, sent_at_s=self.now_s - 0.5)

    def leaves(self, row: int) -> None:
        self.judge.left(self.rows[row], self.now_s)

    def decided(self) -> dict[int, Verdict]:
        decided = {self.rows.index(row): verdict for row, verdict in self.judge.decided}
        self.judge.decided.clear()
        return decided


def test_a_429_is_paced_and_never_counted() -> None:
    """However often it comes."""
    court = Court(2)
    error = ThrottledError("slow down", code="Throttling", http_status=429, may_be_billed=False)
    assert {court.fails(0, error) for _ in range(8)} == {Verdict.PACED}
    assert court.judge.delay_s(court.now_s) > 0
    assert court.fails(0, broken()) is Verdict.RETRY


def test_a_429_leaves_room_for_fewer_and_successes_for_more() -> None:
    """Those of one pause halve it at most; it never passes what is allowed."""
    court = Court(4)
    error = ThrottledError("slow down", code="Throttling", http_status=429, may_be_billed=False)
    assert court.judge.max_in_flight == LIMITS.max_concurrency
    sent_s = court.now_s
    for _ in range(12):
        court.judge.failed(court.rows[0], error, court.now_s + 1, sent_at_s=sent_s)
    assert court.judge.max_in_flight == LIMITS.max_concurrency // 2
    for _ in range(200):
        court.succeeds()
    assert court.judge.max_in_flight == LIMITS.max_concurrency


@pytest.mark.parametrize("retry_after_s", [3_601.0, 86_400.0])
def test_a_pause_that_is_too_long_stops_the_run_and_says_until_when(retry_after_s: float) -> None:
    """The run would sleep for hours; it stops in good order instead."""
    court = Court(2)
    error = ThrottledError("quota", code="Throttling", http_status=429, retry_after_s=retry_after_s)
    court.fails(0, error)
    stopped = court.judge.stopped
    assert stopped is not None
    assert stopped.stopped_by == "service"
    assert ", until 2023-11-1" in stopped.message
    assert stopped.until is not None
    assert f"until {stopped.until:%Y-%m-%d %H:%M:%S} UTC" in stopped.message
    assert stopped.until.tzinfo is UTC


def test_a_row_that_alone_fails_is_rejected_when_another_succeeds() -> None:
    """Its attempts are used up, and the service is there for others."""
    court = Court(2)
    assert [court.fails(0, broken()) for _ in range(3)] == [Verdict.RETRY, Verdict.RETRY, Verdict.HOLD]
    assert court.decided() == {}
    court.succeeds()
    assert court.decided() == {0: Verdict.OWN}


def test_the_only_row_on_its_way_answers_for_itself() -> None:
    """There is no other row whose outcome could excuse it."""
    court = Court(1)
    assert [court.fails(0, broken()) for _ in range(3)] == [Verdict.RETRY, Verdict.RETRY, Verdict.OWN]


def test_rows_that_all_used_up_their_attempts_are_an_outage() -> None:
    """Nobody has succeeded and nobody is left who could: nobody is rejected."""
    court = Court(2)
    for _ in range(2):
        court.fails(0, broken())
        court.fails(1, broken())
    assert court.fails(0, broken()) is Verdict.HOLD
    assert court.fails(1, broken()) is Verdict.HOLD
    assert court.decided() == {0: Verdict.PACED, 1: Verdict.PACED}
    assert court.judge.delay_s(court.now_s) > 0


def test_neighbours_that_always_fail_are_no_endless_outages() -> None:
    """Each time they look like one, another row succeeds: after so many attempts they are to blame."""
    court = Court(8)
    verdicts = []
    for _ in range(LIMITS.max_attempts + 1):
        verdicts.append({court.fails(row, broken()) for row in range(7)})
        court.succeeds()
    assert [Verdict.OWN in some for some in verdicts] == [False] * LIMITS.max_attempts + [True]
    assert verdicts[-1] == {Verdict.OWN}


def _left_over(rows: int, *, contradicted: int, more_come: bool = False, others: bool = True) -> list[set[int]]:
    """Let the last rows of a run fail again and again; returns those to blame after 50, 70 and 200 seconds."""
    court = Court(rows + 1)
    for row in range(contradicted):
        court.fails(row, broken())
        court.succeeds()
    if others:
        court.succeeds()
    court.leaves(rows)
    court.now_s = 100.0
    if not more_come:
        court.judge.expect_no_more()
    to_blame: set[int] = set()
    seen = []
    for until_s in (50, 70, 200):
        while court.now_s < 100 + until_s:
            for row in set(range(rows)) - to_blame:
                if court.fails(row, broken()) is Verdict.OWN:
                    to_blame.add(row)
                    court.leaves(row)
                court.decided()
            court.now_s += 1.0
        seen.append(set(to_blame))
    return seen


def test_rows_that_are_left_over_and_always_fail_do_not_hold_the_run_up() -> None:
    """Others succeeded after they had failed: for a minute that may be an outage, then the rows are to blame."""
    assert _left_over(8, contradicted=8) == [set(), set(range(8)), set(range(8))]


def test_rows_that_are_left_over_may_still_be_the_victims_of_an_outage() -> None:
    """Unless they are few, only those fail for themselves that had failed before others succeeded."""
    assert _left_over(8, contradicted=1)[-1] == {0}
    assert _left_over(4, contradicted=0)[-1] == {0, 1, 2, 3}


def test_while_more_rows_come_an_outage_is_nobodys_fault() -> None:
    """However long it lasts."""
    assert _left_over(8, contradicted=8, more_come=True)[-1] == set()


def test_rows_that_fail_where_nothing_ever_succeeded_are_an_outage() -> None:
    """Nothing tells that the service was there for anybody."""
    assert _left_over(2, contradicted=0, others=False)[-1] == set()


def test_a_held_row_goes_on_when_an_outage_shows() -> None:
    """Other rows fail too: it was not the row."""
    court = Court(8)
    for _ in range(3):
        court.fails(0, broken())
    verdicts = [court.fails(row, broken()) for row in range(1, 5)]
    assert verdicts == [Verdict.RETRY, Verdict.RETRY, Verdict.RETRY, Verdict.PACED]
    assert court.decided() == {0: Verdict.PACED}


def test_a_held_row_is_judged_when_all_others_have_left() -> None:
    """Nothing else will ever tell."""
    court = Court(2)
    for _ in range(3):
        court.fails(0, broken())
    court.leaves(1)
    assert court.decided() == {0: Verdict.OWN}


def test_a_held_row_that_is_cancelled_is_forgotten() -> None:
    """Nobody waits for its verdict."""
    court = Court(3)
    for _ in range(3):
        court.fails(0, broken())
    court.leaves(0)
    court.succeeds()
    assert court.decided() == {}


def test_an_outage_that_is_too_long_stops_the_run() -> None:
    """Whether its probes fail or hang."""
    court = Court(8)
    for row in range(5):
        court.fails(row, broken())
    court.now_s += 901
    court.judge.delay_s(court.now_s)
    assert court.judge.stopped is not None
    assert court.judge.stopped.stopped_by == "outage"
    assert "broken" in court.judge.stopped.message


def test_a_connection_that_is_refused_is_never_the_rows_fault() -> None:
    """Also for a row that is alone: it ends as an outage, not as a reject."""
    court = Court(1)
    court.judge.expect_no_more()
    refused = TransientError("refused", code="ConnectionFailed", may_be_billed=False)
    verdicts = [court.fails(0, refused) for _ in range(100)]
    assert set(verdicts) == {Verdict.RETRY, Verdict.PACED}
    assert verdicts[-1] is Verdict.PACED


def test_a_fatal_error_stops_the_run() -> None:
    """No row can succeed."""
    court = Court(2)
    error = FatalError("wrong key", code="InvalidApiKey", http_status=401, may_be_billed=False, hint="check the key")
    assert court.fails(0, error) is Verdict.FATAL
    stopped = court.judge.stopped
    assert stopped is not None
    assert (stopped.stopped_by, stopped.hint) == ("service", "check the key")
    assert "wrong key" in stopped.message


def test_a_permanent_error_is_the_rows_own_at_once() -> None:
    """The service judged this row."""
    assert Court(2).fails(0, PermanentError("bad text", code="DataInspectionFailed", http_status=400)) is Verdict.OWN


def test_two_rows_that_meet_a_403_in_succession_are_fatal() -> None:
    """For both of them."""
    court = Court(3)
    assert court.fails(0, forbidden()) is Verdict.HOLD
    assert court.fails(1, forbidden()) is Verdict.FATAL
    assert court.decided() == {0: Verdict.FATAL}
    assert court.judge.stopped is not None


@pytest.mark.parametrize("other", [None, PermanentError("bad text", code="InvalidParameter", http_status=400)])
def test_a_403_between_other_outcomes_is_the_rows_own(other: ServiceError | None) -> None:
    """A proxy's page about one text; the service answers others."""
    court = Court(3)
    assert court.fails(0, forbidden()) is Verdict.HOLD
    if other is None:
        court.succeeds()
    else:
        court.fails(1, other)
    assert court.decided() == {0: Verdict.OWN}
    assert court.fails(2, forbidden()) is Verdict.HOLD
    assert court.judge.stopped is None


def test_rows_that_come_one_by_one_are_compared_too() -> None:
    """The first of them is on its own; the second in succession shows what it is."""
    court = Court(1)
    assert court.fails(0, forbidden()) is Verdict.OWN
    court.leaves(0)
    court.rows.append(Row())
    court.judge.entered()
    assert court.fails(1, forbidden()) is Verdict.FATAL


def test_rates_hold_attempts_back() -> None:
    """By requests and by characters, whichever is later."""
    court = Court(1, Limits(requests_per_minute=60, characters_per_minute=600))
    row = court.rows[0]
    row.begin(50)
    court.judge.sent(row, 100.0)
    assert court.judge.delay_s(100.0) == pytest.approx(5.0)
    row.begin(5)
    court.judge.sent(row, 105.0)
    assert court.judge.delay_s(105.0) == pytest.approx(1.0)


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["ok", "500", "429", "refused", "403", "400"]))))
def test_no_row_is_ever_held_for_ever(events: list[tuple[int, str]]) -> None:
    """Whatever happens in whatever order: when all other rows have left, every held row has a verdict."""
    errors: dict[str, Callable[[], ServiceError]] = {
        "500": broken,
        "429": lambda: ThrottledError("", code="Throttling", http_status=429),
        "refused": lambda: TransientError("", code="ConnectionFailed", may_be_billed=False),
        "403": forbidden,
        "400": lambda: PermanentError("", code="InvalidParameter", http_status=400),
    }
    court, held, gone = Court(6), set[int](), set[int]()

    def leave(row: int) -> None:
        gone.add(row)
        court.leaves(row)
        settle()

    def settle() -> None:
        for row, verdict in court.decided().items():
            held.discard(row)
            if verdict in (Verdict.OWN, Verdict.FATAL):
                leave(row)

    for row, event in events:
        if row in held | gone or court.judge.stopped is not None:
            continue
        if event == "ok":
            court.succeeds()
            settle()
            leave(row)
            continue
        verdict = court.fails(row, errors[event]())
        if verdict is Verdict.HOLD:
            held.add(row)
        settle()
        if verdict in (Verdict.OWN, Verdict.FATAL):
            leave(row)
    for row in range(6):
        if row not in held | gone:
            leave(row)
    assert not held or court.judge.stopped is not None


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
    """It is no outage: nothing is probed; three rows are enough, none of them is rejected, and the keys are told."""
    court = Court(9)
    court.fails(0, error())
    court.fails(1, error())
    assert court.judge.stopped is None
    assert court.fails(2, error()) is Verdict.FATAL
    assert set(court.decided().values()) <= {Verdict.FATAL}
    assert court.judge.stopped is not None
    assert court.judge.stopped.stopped_by == "service"
    assert error().message in court.judge.stopped.message


def test_answers_that_are_all_cut_stop_a_run_before_much_is_bought() -> None:
    """A network may cut a few, and that passes; what cuts all of them from the first on is no outage to be probed."""
    court = Court(20)
    for row in range(11):
        court.fails(row, TransientError("cut", code="CutStream", http_status=200))
    assert court.judge.stopped is None
    assert court.fails(11, TransientError("cut", code="CutStream", http_status=200)) is Verdict.FATAL
    assert court.judge.stopped is not None


def test_one_row_alone_does_not_stop_a_run() -> None:
    """However often it is bought: the rule is of different rows."""
    court = Court(1)
    assert [court.fails(0, silent()) for _ in range(2)] == [Verdict.RETRY, Verdict.OWN]
    assert Court(1).fails(0, unreadable()) is Verdict.OWN
    assert court.judge.stopped is None


def test_an_answer_without_audio_is_the_rows_where_others_have_audio() -> None:
    """What cannot be read is not bought again, an empty answer once more; no row is taken for an outage."""
    court = Court(40)
    court.succeeds()
    for row in range(20):
        assert court.fails(row, unreadable()) is Verdict.OWN
        assert [court.fails(20 + row, silent()) for _ in range(2)] == [Verdict.RETRY, Verdict.OWN]
    assert court.judge.stopped is None
    assert court.judge.delay_s(court.now_s) <= 0


def test_a_row_without_audio_is_held_until_another_has_some() -> None:
    """The first rows are no rejects while it is not known whether the whole run is in vain."""
    court = Court(3)
    assert court.fails(0, unreadable()) is Verdict.HOLD
    assert court.decided() == {}
    court.succeeds()
    assert court.decided() == {0: Verdict.OWN}


def test_a_service_that_loses_its_voice_stops_the_run() -> None:
    """Fifty rows in succession, each of which may have been billed."""
    court = Court(60)
    court.succeeds()
    for row in range(49):
        court.fails(row, unreadable())
    assert court.judge.stopped is None
    assert court.fails(49, unreadable()) is Verdict.FATAL
    assert court.judge.stopped is not None

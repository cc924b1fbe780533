"""What an attempt's outcome means: for its row, and for the run. Pure: times are given, in seconds by one clock.

A row must not pay for the service's troubles, nor the run for a row's. Where one failure alone does not tell whose it
is, the row is held until the outcomes of other rows do.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from tts_pipeline.client.concurrency import Concurrency
from tts_pipeline.client.herald import Herald
from tts_pipeline.client.outage import ROWS_AT_LEAST, Outage
from tts_pipeline.client.pause import Pause
from tts_pipeline.client.rate import SmoothRate
from tts_pipeline.client.row import Row, Verdict
from tts_pipeline.config import Limits
from tts_pipeline.errors import (
    FatalError,
    ServiceError,
    StoppedError,
    SuspectError,
    ThrottledError,
    TransientError,
    UnreadableError,
)
from tts_pipeline.wire.failure import INVALID_HTTP, NO_AUDIO, UNEXPECTED_TEXT

_LEFT_OVER_SHARE = 1 / 15
"""For this share of ``max_outage_s``, a minute by default, the last rows of a run count as victims of an outage."""

_FIRST_ROWS = 3
_FIRST_DAMAGED_ROWS = 12
_ROWS_IN_SUCCESSION = 50
"""A run stops when answers without audio come for this many different rows, one after another: for the first number
where no answer ever had audio, for the second one where they may have been cut or damaged on their way, for the third
one later. Each of them may have been billed, so they are not probed for as long as an outage."""

_DAMAGED = frozenset({"CutStream", "MalformedBody", "MalformedAudio"})
_MAY_PASS = _DAMAGED | {"EmptyBody", INVALID_HTTP, UNEXPECTED_TEXT}
"""Codes of ours for an answer that is none."""

_LATER = "run again when the service is back: what is done is kept"


class Judge:
    """The rules, as a state machine: outcomes in, verdicts and delays out.

    Args:
        limits: Concurrency, rates, attempts, and how long the run is patient.
        utc_us: Microseconds since 1970 UTC, to say until when a pause is asked for.

    Attributes:
        stopped: Why nothing is sent any more; None while it is.
        decided: Rows that were held and are no longer, with their verdicts; whoever applies them empties it.
        herald: What a person is to be told of all this.
    """

    def __init__(self, limits: Limits, utc_us: Callable[[], int]) -> None:
        self._limits = limits
        self._utc_us = utc_us
        self._pause = Pause()
        self._concurrency = Concurrency(limits.max_concurrency)
        self._outage = Outage(limits.max_concurrency)
        self._requests = SmoothRate(limits.requests_per_minute)
        self._characters = SmoothRate(limits.characters_per_minute)
        self._rows = 0
        self._more_come = True
        self._has_succeeded = False
        self._last_failure = ""
        self._suspect: Row | None = None
        self._suspects_held: list[Row] = []
        self._used_up_held: list[Row] = []
        self._rows_without_audio: set[Row] = set()
        self.stopped: StoppedError | None = None
        self.decided: list[tuple[Row, Verdict]] = []
        self.herald = Herald(limits.max_outage_s)

    @property
    def max_in_flight(self) -> int:
        """As many attempts may be in flight now: what is allowed, or less where the service takes less."""
        return self._concurrency.limit

    def entered(self) -> None:
        """Take note of one more row on its way."""
        self._rows += 1

    def expect_no_more(self) -> None:
        """Take note that no row enters any more: those on their way have only each other to be judged by."""
        self._more_come = False

    def left(self, row: Row, now_s: float) -> None:
        """Take note that a row is on its way no more; those held may be all that is left."""
        self._rows -= 1
        for held in (self._suspects_held, self._used_up_held):
            if row in held:
                held.remove(row)  # whoever waited for its verdict was cancelled
        self._decide_if_all_are_held(now_s)

    def delay_s(self, now_s: float) -> float:
        """Seconds until the next attempt may be sent; 0 or less is now. An outage may turn out too long here."""
        self._watch_outage(now_s)
        return max(
            self._pause.delay_s(now_s),
            self._outage.delay_s(now_s),
            self._requests.delay_s(now_s),
            self._characters.delay_s(now_s),
        )

    def sent(self, row: Row, now_s: float) -> None:
        """Take note that a row's attempt is sent now."""
        self._requests.used(now_s)
        self._characters.used(now_s, row.characters)
        self._outage.sent(now_s)
        self.herald.sent(now_s)

    def succeeded(self, now_s: float, *, sent_at_s: float) -> None:
        """Take a success: the row may leave, and the failures of those that are held are their own."""
        self._pause.succeeded(sent_at_s)
        self._concurrency.succeeded()
        self._has_succeeded = True
        self._rows_without_audio.clear()
        lasted_s = self._outage.lasted_s(now_s)
        self._outage.succeeded(now_s, sent_at_s=sent_at_s)
        if not self._outage.is_open:
            self.herald.back(lasted_s)
        self._clear_suspicion()
        if self._used_up_held:
            self._decide(self._used_up_held, Verdict.OWN)

    def failed(self, row: Row, error: ServiceError, now_s: float, *, sent_at_s: float) -> Verdict:
        """Take a failure and say what becomes of its row.

        Args:
            row: Whose attempt failed.
            error: How.
            now_s: When.
            sent_at_s: When that attempt was sent.
        """
        if isinstance(error, ThrottledError):
            return self._throttled(error, now_s, sent_at_s)
        if _is_without_audio(error) and (verdict := self._without_audio(row, error, now_s)) is not None:
            return verdict
        if isinstance(error, TransientError):
            return self._transient(row, error, now_s)
        if isinstance(error, FatalError):
            self._stop_for(error)
            return Verdict.FATAL
        if isinstance(error, SuspectError):
            return self._suspected(row, error, now_s)
        self._clear_suspicion()  # the service judged this text or these parameters, so it does serve us
        return Verdict.OWN

    def stop(self, reason: StoppedError) -> None:
        """Send nothing any more; the first reason stays."""
        if self.stopped is None:
            self.stopped = reason

    def _throttled(self, error: ThrottledError, now_s: float, sent_at_s: float) -> Verdict:
        self._concurrency.throttled(is_news=self._pause.is_news(sent_at_s))
        asked_s = self._pause.throttled(now_s, sent_at_s=sent_at_s, retry_after_s=error.retry_after_s)
        if asked_s > self._limits.max_pause_s:
            until = datetime.fromtimestamp(self._utc_us() / 1e6 + asked_s, UTC)
            self.stop(
                StoppedError(
                    f"the service asks for a pause of {asked_s:.0f} s, until {until:%Y-%m-%d %H:%M:%S} UTC",
                    stopped_by="service",
                    hint="run again then: what is done is kept",
                    until=until,
                )
            )
        elif asked_s:
            self.herald.paused(now_s, asked_s)
        return Verdict.PACED

    def _transient(self, row: Row, error: TransientError, now_s: float) -> Verdict:
        never_sent = error.http_status is None and not error.may_be_billed
        self._outage.failed(row, now_s, was_sent=not never_sent)
        self._last_failure = error.message
        if not never_sent and self._outage.contradicted(row) >= self._limits.max_attempts:
            return Verdict.OWN  # so a few neighbours that always fail, one after the other, are no endless outages
        if self._outage.is_open:
            self._decide(self._used_up_held, Verdict.PACED)
            self._watch_outage(now_s)
            return Verdict.OWN if not never_sent and self._is_left_over(row, now_s) else Verdict.PACED
        if never_sent or self._outage.own_failures(row) < self._limits.max_attempts:
            row.retries += 1
            return Verdict.RETRY
        return self._held(row, self._used_up_held, now_s)

    def _without_audio(self, row: Row, error: ServiceError, now_s: float) -> Verdict | None:
        """Judge an answer without audio: never an outage, and bought twice at most.

        None is for what may pass (a page, nothing, half of it, no HTTP): judged as any other failure, unless nothing
        else ever came.
        """
        may_pass = error.code in _MAY_PASS
        if may_pass and self._has_succeeded:
            return None
        self._rows_without_audio.add(row)
        first = _FIRST_DAMAGED_ROWS if error.code in _DAMAGED else _FIRST_ROWS
        if len(self._rows_without_audio) >= (_ROWS_IN_SUCCESSION if self._has_succeeded else first):
            self._stop_without_audio(error)
            return Verdict.FATAL
        if may_pass:
            return None
        row.answers_without_audio += 1
        if isinstance(error, TransientError) and row.answers_without_audio == 1:
            row.retries += 1
            return Verdict.RETRY
        return Verdict.OWN if self._has_succeeded else self._held(row, self._suspects_held, now_s)

    def _stop_without_audio(self, error: ServiceError) -> None:
        rows = len(self._rows_without_audio)
        reason = f"the answers to {rows} rows in succession have no audio: {error.message} [code {error.code}]"
        self.stop(StoppedError(reason, stopped_by="service", hint=error.hint))
        self._decide(self._suspects_held, Verdict.FATAL)

    def _suspected(self, row: Row, error: SuspectError, now_s: float) -> Verdict:
        if self._suspect is not None and self._suspect is not row:
            self._stop_for(error)
            self._decide(self._suspects_held, Verdict.FATAL)
            return Verdict.FATAL
        self._suspect = row
        return self._held(row, self._suspects_held, now_s)

    def _held(self, row: Row, where: list[Row], now_s: float) -> Verdict:
        if self._rows <= 1:
            return Verdict.OWN
        where.append(row)
        self._decide_if_all_are_held(now_s)
        return Verdict.HOLD

    def _decide_if_all_are_held(self, now_s: float) -> None:
        """Decide without other rows' outcomes where none is on its way that could have one."""
        held = len(self._suspects_held) + len(self._used_up_held)
        if not held or held < self._rows:
            return
        if self._suspects_held:
            self._decide(self._suspects_held, Verdict.OWN)  # they leave, and this is asked again for the others
        elif self._rows == 1:
            self._decide(self._used_up_held, Verdict.OWN)
        else:
            self._outage.begin(now_s)
            self._decide(self._used_up_held, Verdict.PACED)

    def _clear_suspicion(self) -> None:
        self._suspect = None
        if self._suspects_held:
            self._decide(self._suspects_held, Verdict.OWN)

    def _decide(self, held: list[Row], verdict: Verdict) -> None:
        self.decided.extend((row, verdict) for row in held)
        held.clear()

    def _stop_for(self, error: ServiceError) -> None:
        reason = StoppedError(
            f"the service refuses every request: {error.message} [code {error.code}]",
            stopped_by="service",
            hint=error.hint,
        )
        self.stop(reason)

    def _is_left_over(self, row: Row, now_s: float) -> bool:
        """Whether a row is among the last of a run, which all fail, though the service was there for others.

        No outcome of another row will ever tell more; without this, two rows that always fail would never end a run.
        """
        if self._more_come or self.stopped is not None:
            return False
        was_patient = self._outage.lasted_s(now_s) > self._limits.max_outage_s * _LEFT_OVER_SHARE
        few = self._rows < ROWS_AT_LEAST and self._has_succeeded
        return was_patient and (few or self._outage.contradicted(row) > 0)

    def _watch_outage(self, now_s: float) -> None:
        """Tell of an outage, and give up after a long one."""
        if not self._outage.is_open:
            return
        lasted_s = self._outage.lasted_s(now_s)
        self.herald.down(lasted_s, self._last_failure)
        if lasted_s > self._limits.max_outage_s:
            reason = f"the service has not been usable for {lasted_s:.0f} s: {self._last_failure}"
            self.stop(StoppedError(reason, stopped_by="outage", hint=_LATER))


def _is_without_audio(error: ServiceError) -> bool:
    return isinstance(error, UnreadableError) or error.code == NO_AUDIO or error.code in _MAY_PASS

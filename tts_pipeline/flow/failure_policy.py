"""Decide from each attempt's outcome what happens to its row and to the run. Pure: times passed in, by one clock.

A row must not fail for the service's troubles, nor the run for a row's. If a failure alone does not show its cause, the
row is held until the outcomes of other rows do.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

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
from tts_pipeline.flow.adaptive_concurrency import AdaptiveConcurrency
from tts_pipeline.flow.circuit_breaker import MIN_FAILING_ROWS, CircuitBreaker
from tts_pipeline.flow.notices import Notices
from tts_pipeline.flow.rates import Rates, store_away_error
from tts_pipeline.flow.retry_state import Disposition, RetryState
from tts_pipeline.flow.throttle_pause import ThrottlePause
from tts_pipeline.wire.failure import INVALID_HTTP, NO_AUDIO, UNEXPECTED_TEXT

_LAST_ROWS_OUTAGE_SHARE = 1 / 15
"""The last rows of a run count as victims of an outage for this share of ``max_outage_s``, a minute by default."""

_MAX_ROWS_WITHOUT_AUDIO_AT_START = 3
_MAX_DAMAGED_ROWS_AT_START = 12
_MAX_ROWS_WITHOUT_AUDIO_LATER = 50
"""A run stops after answers without audio for this many different rows in succession: the first number holds while no
answer has had audio, the second if these answers may have been cut or damaged on their way, the third once an answer
had audio. Each such answer may have been billed, so they are not probed for as long as an outage."""

_DAMAGED_CODES = frozenset({"CutStream", "MalformedBody", "MalformedAudio"})
_MAYBE_TRANSIENT_CODES = _DAMAGED_CODES | {"EmptyBody", INVALID_HTTP, UNEXPECTED_TEXT}
"""Codes of answers without usable content, which may be transient."""
_WITHOUT_AUDIO_CODES = _MAYBE_TRANSIENT_CODES | {NO_AUDIO}

_LATER_HINT = "run again when the service is back: what is done is kept"


class FailurePolicy:
    """A state machine that takes outcomes, and returns dispositions and delays.

    ``stop_reason`` is None until the run stops. ``decisions`` holds the rows that are no longer held, with their
    dispositions; the caller applies and removes them. ``active_rows`` counts the rows in progress; the caller keeps it.
    ``max_in_flight`` is the most attempts in flight now: fewer if the service throttles, none once the run stops.

    While ``is_calm``, no failure has an effect any more: a success and the end of a row change nothing, and the caller
    need not report them. Unless ``is_paced``, an attempt may be sent immediately, and need not be reported either.
    """

    def __init__(self, limits: Limits, utc_us: Callable[[], int], rates: Rates) -> None:
        self._limits = limits
        self._utc_us = utc_us
        self._throttle_pause = ThrottlePause()
        self._concurrency = AdaptiveConcurrency(limits.max_concurrency)
        self._breaker = CircuitBreaker(limits.max_concurrency)
        self._rates = rates
        self.active_rows = 0
        self.max_in_flight = limits.max_concurrency
        self.is_calm = False
        self.is_paced = True
        self._has_more_input = True
        self._has_succeeded = False
        self._last_failure = ""
        self._suspect: RetryState | None = None
        self._pending_suspects: list[RetryState] = []
        self._pending_exhausted: list[RetryState] = []
        self._rows_without_audio: set[RetryState] = set()
        self.stop_reason: StoppedError | None = None
        self.decisions: list[tuple[RetryState, Disposition]] = []
        self.notices = Notices(limits.max_outage_s)

    def input_exhausted(self) -> None:
        """Record that no more rows will start: the active rows can be judged only by each other."""
        self._has_more_input = False

    def on_row_end(self, row: RetryState, now_s: float) -> None:
        """Forget a row that is no longer active; decide if only held rows are left."""
        for pending in (self._pending_suspects, self._pending_exhausted):
            if row in pending:
                pending.remove(row)  # the task that waited for its disposition was cancelled
        self._decide_if_all_pending(now_s)

    def delay_s(self, now_s: float, waiting: int = 1) -> float:
        """Return the seconds until the next of the waiting attempts may be sent; 0 or less is now.

        Infinity is until the rates change. A too long outage stops the run.
        """
        self._check_outage(now_s)
        self._stop_for_pause(self._rates.pause_until_s - now_s)
        self._check_store()
        return max(
            self._rates.pause_until_s - now_s,
            self._throttle_pause.delay_s(now_s),
            self._breaker.delay_s(now_s),
            self._rates.delay_s(now_s, waiting),
        )

    def on_sent(self, row: RetryState, now_s: float) -> None:
        """Record that a row's attempt is sent now."""
        self._rates.book(now_s, row.characters)
        self._breaker.on_sent(now_s)
        self.notices.on_sent(now_s)

    def on_success(self, now_s: float, *, sent_at_s: float) -> None:
        """Record a success: it shows that the failures of held rows are their own."""
        self._throttle_pause.on_success(sent_at_s)
        self._rates.on_success(sent_at_s)
        self._concurrency.on_success()
        self._has_succeeded = True
        self._rows_without_audio.clear()
        outage_s = self._breaker.outage_s(now_s)
        self._breaker.on_success(now_s, sent_at_s=sent_at_s)
        if not self._breaker.is_open:
            self.notices.on_recovery(outage_s)
        self._clear_suspicion()
        if self._pending_exhausted:
            self._decide(self._pending_exhausted, Disposition.REJECT)
        self._set_calm(is_calm=self._has_recovered(now_s))

    def _has_recovered(self, now_s: float) -> bool:
        """Return whether no failure has an effect any more, after a success."""
        is_at_full_rate = self._concurrency.is_at_maximum and self._throttle_pause.is_reset(now_s)
        return is_at_full_rate and not (self._breaker.has_failures or self.notices.is_open or self.stop_reason)

    def _set_calm(self, *, is_calm: bool) -> None:
        self.is_calm = is_calm
        self.on_rates()
        self.max_in_flight = self._concurrency.limit if self.stop_reason is None else 0

    def on_rates(self) -> None:
        """Take notice that the rates have changed."""
        self._throttle_pause.first_pause_s = self._rates.first_pause_s
        self.is_paced = self._rates.is_limited or not self.is_calm

    def on_failure(self, row: RetryState, error: ServiceError, now_s: float, *, sent_at_s: float) -> Disposition:
        """Record a failure; return the disposition of its row."""
        disposition = self._judge(row, error, now_s, sent_at_s)
        self._set_calm(is_calm=False)
        return disposition

    def _judge(self, row: RetryState, error: ServiceError, now_s: float, sent_at_s: float) -> Disposition:
        if isinstance(error, ThrottledError):
            return self._on_throttle(error, now_s, sent_at_s)
        is_without_audio = isinstance(error, UnreadableError) or error.code in _WITHOUT_AUDIO_CODES
        if is_without_audio and (disposition := self._on_missing_audio(row, error, now_s)) is not None:
            return disposition
        if isinstance(error, TransientError):
            return self._on_transient(row, error, now_s)
        if isinstance(error, FatalError):
            self._stop_for(error)
            return Disposition.FATAL
        if isinstance(error, SuspectError):
            return self._on_suspect(row, error, now_s)
        self._clear_suspicion()  # the service judged this text or these parameters, so it serves requests
        return Disposition.REJECT

    def stop(self, reason: StoppedError) -> None:
        """Permit no more attempts; the first reason stays."""
        if self.stop_reason is None:
            self.stop_reason = reason
        self._set_calm(is_calm=False)

    def _on_throttle(self, error: ThrottledError, now_s: float, sent_at_s: float) -> Disposition:
        self._concurrency.on_throttle(is_new=self._throttle_pause.is_new(sent_at_s))
        pause_s = self._throttle_pause.on_throttle(now_s, sent_at_s=sent_at_s, retry_after_s=error.retry_after_s)
        self._rates.on_throttle(sent_at_s=sent_at_s, retry_after_s=error.retry_after_s)
        if not self._stop_for_pause(pause_s) and pause_s:
            self.notices.on_pause(now_s, pause_s)
        return Disposition.RETRY_NOW

    def _stop_for_pause(self, pause_s: float) -> bool:
        """Stop the run if the service asks for too long a pause; return whether it does."""
        if pause_s <= self._limits.max_pause_s:
            return False
        until = datetime.fromtimestamp(self._utc_us() / 1e6 + pause_s, UTC)
        reason = f"the service asks for a pause of {pause_s:.0f} s, until {until:%Y-%m-%d %H:%M:%S} UTC"
        hint = "run again then: what is done is kept"
        self.stop(StoppedError(reason, stopped_by="service", hint=hint, until=until))
        return True

    def _on_transient(self, row: RetryState, error: TransientError, now_s: float) -> Disposition:
        was_never_sent = error.http_status is None and not error.may_be_billed
        self._breaker.on_failure(row, now_s, was_sent=not was_never_sent)
        self._last_failure = error.message
        if not was_never_sent and self._breaker.contradicted_streaks(row) >= self._limits.max_attempts:
            # Without this rule, a few neighbouring rows that always fail would cause outages without end.
            return Disposition.REJECT
        if self._breaker.is_open:
            self._decide(self._pending_exhausted, Disposition.RETRY_NOW)
            self._check_outage(now_s)
            is_last = not was_never_sent and self._is_last_to_fail(row, now_s)
            return Disposition.REJECT if is_last else Disposition.RETRY_NOW
        if was_never_sent or self._breaker.own_failures(row) < self._limits.max_attempts:
            row.retries += 1
            return Disposition.RETRY
        return self._hold(row, self._pending_exhausted, now_s)

    def _on_missing_audio(self, row: RetryState, error: ServiceError, now_s: float) -> Disposition | None:
        """Return the disposition of an answer without audio: it is never an outage, and is bought twice at most.

        None leaves the answer to the general rules: it may be transient (a page, an empty, cut or non-HTTP answer).
        """
        may_be_transient = error.code in _MAYBE_TRANSIENT_CODES
        if may_be_transient and self._has_succeeded:
            return None
        self._rows_without_audio.add(row)
        max_rows = _MAX_DAMAGED_ROWS_AT_START if error.code in _DAMAGED_CODES else _MAX_ROWS_WITHOUT_AUDIO_AT_START
        if len(self._rows_without_audio) >= (_MAX_ROWS_WITHOUT_AUDIO_LATER if self._has_succeeded else max_rows):
            rows = len(self._rows_without_audio)
            reason = f"the answers to {rows} rows in succession have no audio: {error.message} [code {error.code}]"
            self.stop(StoppedError(reason, stopped_by="service", hint=error.hint))
            self._decide(self._pending_suspects, Disposition.FATAL)
            return Disposition.FATAL
        if may_be_transient:
            return None
        row.answers_without_audio += 1
        if isinstance(error, TransientError) and row.answers_without_audio == 1:
            row.retries += 1
            return Disposition.RETRY
        return Disposition.REJECT if self._has_succeeded else self._hold(row, self._pending_suspects, now_s)

    def _on_suspect(self, row: RetryState, error: SuspectError, now_s: float) -> Disposition:
        if self._suspect is not None and self._suspect is not row:
            self._stop_for(error)
            self._decide(self._pending_suspects, Disposition.FATAL)
            return Disposition.FATAL
        self._suspect = row
        return self._hold(row, self._pending_suspects, now_s)

    def _hold(self, row: RetryState, pending: list[RetryState], now_s: float) -> Disposition:
        if self.active_rows <= 1:
            return Disposition.REJECT
        pending.append(row)
        self._decide_if_all_pending(now_s)
        return Disposition.PENDING

    def _decide_if_all_pending(self, now_s: float) -> None:
        """Decide about held rows when all active rows are held, so that no other outcome will come."""
        pending_rows = len(self._pending_suspects) + len(self._pending_exhausted)
        if not pending_rows or pending_rows < self.active_rows:
            return
        if self._pending_suspects:  # as they end, this is called again for the others
            self._decide(self._pending_suspects, Disposition.REJECT)
        elif self.active_rows == 1:
            self._decide(self._pending_exhausted, Disposition.REJECT)
        else:
            self._breaker.trip(now_s)
            self._decide(self._pending_exhausted, Disposition.RETRY_NOW)

    def _clear_suspicion(self) -> None:
        self._suspect = None
        if self._pending_suspects:
            self._decide(self._pending_suspects, Disposition.REJECT)

    def _decide(self, pending: list[RetryState], disposition: Disposition) -> None:
        self.decisions.extend((row, disposition) for row in pending)
        pending.clear()

    def _stop_for(self, error: ServiceError) -> None:
        reason = f"the service refuses every request: {error.message} [code {error.code}]"
        self.stop(StoppedError(reason, stopped_by="service", hint=error.hint))

    def _is_last_to_fail(self, row: RetryState, now_s: float) -> bool:
        """Return whether a row is among the last of a run, which all fail although the service served other rows.

        No further outcome will show the cause; without this rule, two rows that always fail would never end a run.
        """
        if self._has_more_input or self.stop_reason is not None:
            return False
        has_waited = self._breaker.outage_s(now_s) > self._limits.max_outage_s * _LAST_ROWS_OUTAGE_SHARE
        are_few = self.active_rows < MIN_FAILING_ROWS and self._has_succeeded
        return has_waited and (are_few or self._breaker.contradicted_streaks(row) > 0)

    def _check_outage(self, now_s: float) -> None:
        """Announce an outage, and stop the run after a long outage."""
        if not self._breaker.is_open:
            return
        outage_s = self._breaker.outage_s(now_s)
        self.notices.on_outage(outage_s, self._last_failure)
        if outage_s > self._limits.max_outage_s:
            reason = f"the service has not been usable for {outage_s:.0f} s: {self._last_failure}"
            self.stop(StoppedError(reason, stopped_by="outage", hint=_LATER_HINT))

    def _check_store(self) -> None:
        """Stop the run after a long time without the account store."""
        if self._rates.away_s > self._limits.max_outage_s:
            self.stop(store_away_error(self._rates.away_s))

"""Choose the rule that applies to a request, and the error that it answers with."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from email.utils import formatdate
from typing import Any

from tts_pipeline.emulator.request import RefusalError
from tts_pipeline.emulator.rules import NO_FAULT, Rule


class _RuleState:
    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.seen = 0
        self.hits = 0
        self._random = random.Random(rule.seed)

    def matches(self, text: str, age_s: float) -> bool:
        if not self._meets_conditions(text, age_s):
            return False
        self.seen += 1
        if self._is_its_turn(self.seen - self.rule.after):
            self.hits += 1
            return True
        return False

    def _meets_conditions(self, text: str, age_s: float) -> bool:
        rule = self.rule
        if rule.text is not None and rule.text not in text:
            return False
        return age_s >= rule.from_s and (rule.until_s is None or age_s < rule.until_s)

    def _is_its_turn(self, turn: int) -> bool:
        rule = self.rule
        if turn < 1 or turn % rule.every or (rule.first is not None and turn > rule.first):
            return False
        if rule.ratio is not None and self._random.random() >= rule.ratio:
            return False
        return rule.count is None or self.hits < rule.count


class Faults:
    """The rules in force; the clock is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.put(())

    def put(self, rules: Sequence[Rule]) -> None:
        """Replace all rules; restart their time and their counts."""
        self._states = [_RuleState(rule) for rule in rules]
        self._since = self._clock()

    def match(self, text: str, *, is_redirected: bool = False) -> Rule:
        """Return the first rule that applies to a request, else ``NO_FAULT``; a redirect applies only once."""
        if not self._states:
            return NO_FAULT
        age_s = self._clock() - self._since
        candidates = [state for state in self._states if not (is_redirected and state.rule.what == "redirect")]
        return next((state.rule for state in candidates if state.matches(text, age_s)), NO_FAULT)

    def summary(self) -> list[dict[str, Any]]:
        """Return each rule as it was put, with ``seen`` (requests that met its text and time) and ``hits``."""
        return [{**state.rule.payload, "seen": state.seen, "hits": state.hits} for state in self._states]


def refusal_of(rule: Rule) -> RefusalError | None:
    """Return the error that a rule answers with; None for a rule with a spoken answer."""
    if rule.what == "throttle":
        return throttle_error(_retry_after(rule))
    if rule.what == "refuse":
        return RefusalError(400, "DataInspectionFailed", "Input text data may contain inappropriate content.")
    if rule.what == "error":
        return RefusalError(rule.status, rule.code, rule.message)
    return None


def _retry_after(rule: Rule) -> dict[str, str]:
    if rule.retry_after_s is None:
        return {}
    if rule.retry_after_date:
        return {"Retry-After": formatdate(time.time() + rule.retry_after_s, usegmt=True)}
    return {"Retry-After": f"{rule.retry_after_s:g}"}


def throttle_error(headers: Mapping[str, str] | None = None) -> RefusalError:
    """Return the refusal of a request that came too early."""
    message = "Requests rate limit exceeded, please try again later."
    return RefusalError(429, "Throttling.RateQuota", message, headers)

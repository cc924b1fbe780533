from __future__ import annotations

from typing import Any

import pytest

from tts_pipeline.emulator.faults import Faults, refusal_of
from tts_pipeline.emulator.rules import parse_rules


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now_s = 50.0

    def __call__(self) -> float:
        return self.now_s


def hits(rule: dict[str, Any], texts: list[str]) -> list[int]:
    """Return the numbers, from 1, of the texts that the rule holds for."""
    faults = Faults()
    faults.put(parse_rules([{"what": "error"} | rule]))
    return [number for number, text in enumerate(texts, 1) if faults.match(text).what == "error"]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({}, [1, 2, 3, 4, 5, 6, 7, 8]),
        ({"every": 3}, [3, 6]),
        ({"first": 2}, [1, 2]),
        ({"after": 5}, [6, 7, 8]),
        ({"after": 2, "first": 3}, [3, 4, 5]),
        ({"count": 2}, [1, 2]),
        ({"every": 2, "count": 2}, [2, 4]),
        ({"text": "odd"}, [1, 3, 5, 7]),
        ({"text": "odd", "every": 2}, [3, 7]),
        ({"text": "odd", "after": 3}, [7]),
        ({"ratio": 0}, []),
        ({"ratio": 1}, [1, 2, 3, 4, 5, 6, 7, 8]),
    ],
)
def test_conditions_choose_requests(rule: dict[str, Any], expected: list[int]) -> None:
    """All conditions must hold; the counting ones count the requests that suit the rule."""
    assert hits(rule, ["odd", "even"] * 4) == expected


def test_a_ratio_is_the_same_for_the_same_seed() -> None:
    """Chance is repeatable, near its ratio, and another seed is another chance."""
    once, again, other = (hits({"ratio": 0.3, "seed": seed}, ["x"] * 1_000) for seed in (1, 1, 2))
    assert once == again != other
    assert 250 < len(once) < 350


def test_a_rule_holds_only_in_its_time() -> None:
    """``from_s`` and ``until_s`` count from when the rules were put."""
    clock = Clock()
    faults = Faults(clock)
    faults.put(parse_rules([{"what": "error", "from_s": 2, "until_s": 4}]))
    holds = []
    for _ in range(6):
        holds.append(faults.match("x").what == "error")
        clock.now_s += 1
    assert holds == [False, False, True, True, False, False]


def test_the_first_rule_that_holds_wins() -> None:
    """A rule further down sees only what the ones above let pass."""
    faults = Faults()
    faults.put(parse_rules([{"what": "refuse", "text": "bad"}, {"what": "slow", "every": 2}]))
    assert [faults.match(text).what for text in ("bad", "good", "bad", "good")] == [
        "refuse",
        "nothing",
        "refuse",
        "slow",
    ]
    assert faults.summary() == [
        {"what": "refuse", "text": "bad", "seen": 2, "hits": 2},
        {"what": "slow", "every": 2, "seen": 2, "hits": 1},
    ]


def test_no_rules_no_faults() -> None:
    """Without rules all goes well, also after they were taken away."""
    faults = Faults()
    assert faults.match("x").what == "nothing"
    faults.put(parse_rules([{"what": "error"}]))
    faults.put(())
    assert faults.match("x").what == "nothing"


@pytest.mark.parametrize(
    ("rule", "status", "code", "headers"),
    [
        ({"what": "throttle"}, 429, "Throttling.RateQuota", {}),
        ({"what": "throttle", "retry_after_s": 0.5}, 429, "Throttling.RateQuota", {"Retry-After": "0.5"}),
        ({"what": "throttle", "retry_after_s": 3600}, 429, "Throttling.RateQuota", {"Retry-After": "3600"}),
        ({"what": "refuse"}, 400, "DataInspectionFailed", {}),
        ({"what": "error"}, 500, "InternalError", {}),
        ({"what": "error", "status": 403, "code": "AccessDenied"}, 403, "AccessDenied", {}),
    ],
)
def test_errors_are_answered_as_the_service_does(rule: dict[str, Any], status: int, code: str, headers: Any) -> None:
    """Each kind has its status, its code and its headers."""
    refusal = refusal_of(parse_rules([rule])[0])
    assert refusal is not None
    assert (refusal.status, refusal.code, refusal.headers) == (status, code, headers)


def test_slow_and_cut_are_spoken() -> None:
    """These kinds answer with audio."""
    assert [refusal_of(rule) for rule in parse_rules([{"what": "slow"}, {"what": "cut"}])] == [None, None]

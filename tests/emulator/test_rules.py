from __future__ import annotations

from typing import Any

import pytest

from tts_pipeline.emulator.request import RefusalError
from tts_pipeline.emulator.rules import parse_rules


def test_a_rule_has_the_usual_values_of_its_kind() -> None:
    """Errors are not charged, cuts are, slow is a second; a rule says otherwise."""
    error, cut, slow, billed = parse_rules(
        [{"what": "error"}, {"what": "cut"}, {"what": "slow"}, {"what": "error", "charge": True, "delay_s": 2}]
    )
    assert (error.charge, error.status, error.delay_s) == (False, 500, 0)
    assert (cut.charge, cut.after_bytes) == (True, None)
    assert slow.delay_s == 1
    assert (billed.charge, billed.delay_s) == (True, 2)


@pytest.mark.parametrize(
    ("payload", "part"),
    [
        ({"what": "error"}, "list"),
        (["error"], "object"),
        ([{}], "throttle, error"),
        ([{"what": ["error"]}], "throttle, error"),
        ([{"what": "explode"}], "throttle, error"),
        ([{"what": "throttle", "after_bytes": 3}], "retry_after_s"),
        ([{"what": "cut", "afterbytes": 3}], "after_bytes"),
        ([{"what": "slow", "payload": {}}], "delay_s"),
        ([{"what": "slow", "ratio": 1.5}], "from 0 to 1"),
        ([{"what": "slow", "every": 0}], "from 1"),
        ([{"what": "slow", "every": True}], "whole"),
        ([{"what": "slow", "count": 1.5}], "whole"),
        ([{"what": "slow", "text": 3}], "string"),
        ([{"what": "cut", "charge": 1}], "true or false"),
        ([{"what": "error", "status": 99}], "200 to 599"),
    ],
)
def test_what_is_not_known_is_refused_with_what_is(payload: Any, part: str) -> None:
    """A misspelt rule never silently does nothing."""
    with pytest.raises(RefusalError) as exc_info:
        parse_rules(payload)
    assert exc_info.value.status == 400
    assert part in exc_info.value.message

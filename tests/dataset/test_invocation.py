from __future__ import annotations

from tests.builders import FLASH_PRICE, NOW_US
from tts_pipeline.dataset.claims import claim_of
from tts_pipeline.dataset.invocation import Invocation, new_journal_id


def test_journal_ids_sort_by_time_and_are_never_the_same() -> None:
    """Journal ids sort in the order of their creation."""
    ids = [new_journal_id() for _ in range(100)]
    assert len(set(ids)) == 100
    assert [journal_id[:16] for journal_id in ids] == sorted(journal_id[:16] for journal_id in ids)
    assert {len(journal_id) for journal_id in ids} == {24}


def test_a_new_journal_comes_after_those_that_are_there() -> None:
    """It also sorts after them when the clock was set back."""
    earlier = [new_journal_id(now_ns=lambda: 2_000), new_journal_id(now_ns=lambda: 1_000)]
    later = new_journal_id(earlier, now_ns=lambda: 500)
    assert later > max(earlier)
    assert new_journal_id([*earlier, later], now_ns=lambda: 500)[:16] > later[:16]
    assert new_journal_id(earlier, now_ns=lambda: 9_000) > later


def test_a_claim_has_all_that_a_bill_needs_without_the_journal() -> None:
    """It names the invocation, the account and the currency; its bounds are not known yet."""
    invocation = Invocation("i", "local", "m", "team", {"p": FLASH_PRICE}, {"run": "nightly"}, "fingerprint")
    claim = claim_of(invocation.journal_header(0, "j"), NOW_US, invocation.currency)
    assert (claim.journal_id, claim.invocation_id, claim.currency) == ("j", "i", "CNY")
    assert (claim.service, claim.model, claim.account, claim.tags) == ("local", "m", "team", {"run": "nightly"})
    assert (claim.characters_upper_bound, claim.cost_upper_bound) == (0, None)
    assert claim.opened_at_us == NOW_US

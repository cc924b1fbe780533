from __future__ import annotations

import os
from dataclasses import replace
from decimal import Decimal

from tts_pipeline.dataset.claims import Claim, claim_name, claim_names, read_claim, write_claim
from tts_pipeline.storage.store import Store

CLAIM = Claim("j1", "i1", 1, 500, Decimal("0.040000000"), "CNY", "local", "m", None)


def test_a_claim_is_read_back_with_who_and_where(store: Store) -> None:
    """Money is exact; host and process are those of the writer."""
    write_claim(store, 7, CLAIM)
    claim = read_claim(store, claim_name(7, "j1"))
    assert claim is not None
    assert claim.process == os.getpid()
    assert claim.host
    assert replace(claim, host="", process=0) == CLAIM


def test_a_claim_without_a_price_has_no_cost(store: Store) -> None:
    """An unknown cost stays unknown; a missing claim is None."""
    write_claim(store, 7, replace(CLAIM, cost_upper_bound=None, currency=None))
    claim = read_claim(store, claim_name(7, "j1"))
    assert claim is not None
    assert (claim.cost_upper_bound, claim.currency) == (None, None)
    assert read_claim(store, claim_name(8, "j1")) is None


def test_claims_are_found_by_their_part(store: Store) -> None:
    """All claims of a part are found, and none of a part whose number begins alike."""
    for part, journal in ((1, "a"), (1, "b"), (10, "c"), (100_001, "d"), (10_000, "e")):
        write_claim(store, part, replace(CLAIM, journal_id=journal))
    assert claim_names(store, 1) == [claim_name(1, "a"), claim_name(1, "b")]
    assert claim_names(store, 10_000) == [claim_name(10_000, "e")]
    assert claim_names(store, 2) == []

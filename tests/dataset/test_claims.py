from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import msgspec
import orjson
import pytest

from tests.machine import patience
from tts_pipeline.dataset.claims import Claim, claim_name, claim_names, read_claim, write_claim
from tts_pipeline.storage.json_files import read_fields
from tts_pipeline.storage.local_store import LocalStore
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


@dataclass
class _EarlierClaim:
    """As an earlier version knew it, but for what is the same."""

    journal_id: str
    characters_upper_bound: int


def test_versions_read_each_others_claims(store: Store) -> None:
    """A claim of an earlier version does not wait; an earlier version ignores the mark, and the checksum holds."""
    write_claim(store, 7, replace(CLAIM, is_waiting=True))
    data = store.read(claim_name(7, "j1"))
    assert data is not None
    values = read_fields(data, "here").values
    assert msgspec.convert(values, _EarlierClaim) == _EarlierClaim("j1", 500)
    del values["is_waiting"]
    store.write(claim_name(7, "j1"), orjson.dumps(values))
    claim = read_claim(store, claim_name(7, "j1"))
    assert claim is not None
    assert not claim.is_waiting


_FIRST_CLAIMS = """
import os, sys, threading
from pathlib import Path
from tts_pipeline.dataset.claims import read_claim
from tts_pipeline.storage.local_store import LocalStore

def read(store, name, barrier):
    barrier.wait()
    assert read_claim(store, name) is not None

def in_threads():
    sys.setswitchinterval(1e-6)
    store, barrier = LocalStore(Path(sys.argv[1])), threading.Barrier(4)
    threads = [threading.Thread(target=read, args=(store, sys.argv[2], barrier)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

died = 0
for _ in range(int(sys.argv[3])):
    child = os.fork()
    if not child:
        in_threads()
        os._exit(0)
    died += os.waitpid(child, 0)[1] != 0
print(died)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
def test_the_first_claims_of_a_process_may_be_read_by_several_threads(tmp_path: Path) -> None:
    """Each fork is a process that has read none before."""
    write_claim(LocalStore(tmp_path), 7, CLAIM)
    command = [sys.executable, "-c", _FIRST_CLAIMS, str(tmp_path), claim_name(7, "j1"), "200"]
    ran = subprocess.run(command, check=True, capture_output=True, text=True, timeout=patience(60))
    assert ran.stdout == "0\n"

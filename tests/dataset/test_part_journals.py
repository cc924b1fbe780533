"""A damaged journal never makes the bill too small, and the user is warned."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tests.builders import descriptor_of
from tests.datasets import Bench
from tts_pipeline.dataset.claims import claim_names
from tts_pipeline.dataset.names import parse_journal_id
from tts_pipeline.dataset.part_journals import QUARANTINE_SUFFIX, journal_cost, journal_paths
from tts_pipeline.dataset.recovery import collect_orphans
from tts_pipeline.dataset.spending import total_spend
from tts_pipeline.storage.store import Store
from tts_pipeline.wal.journal import FRAME_HEADER

LINE = 7
"""Characters of each text; the claim on the part is for all four rows."""

DESCRIPTOR = descriptor_of(4, 500, {"model": "m"})


@pytest.fixture
def bench(tmp_path: Path, store: Store) -> Bench:
    """A journal of four rows that were spoken and not published, as a kill leaves it."""
    bench = Bench.of(tmp_path, store)
    bench.leave_open()
    return bench


def _path(bench: Bench) -> Path:
    (path,) = journal_paths(bench.journals, 0)
    return path


def _damage(bench: Bench, pattern: bytes) -> None:
    """Flip a bit at the first occurrence of a pattern."""
    data = bytearray(_path(bench).read_bytes())
    data[data.index(pattern)] ^= 1
    _path(bench).write_bytes(data)


def _at_most(bench: Bench) -> int:
    return sum(row["characters_upper_bound"] for row in bench.usage())


def test_what_is_hidden_by_damage_is_on_the_bill(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """An unreadable intent hides its answer: the claim bounds its spending, and the user is warned."""
    _damage(bench, b'"r1"')
    assert (
        total_spend(bench.store, DESCRIPTOR, bench.journals, bench.folder / "locks").characters_upper_bound == 4 * LINE
    )
    (replay,) = bench.replays()
    assert replay.finished_keys() == {("r0", 0), ("r2", 0), ("r3", 0)}
    assert caplog.messages[0].startswith(f"the journal {_path(bench)} is damaged: ")
    assert f"at their upper bound, {LINE} characters" in caplog.messages[0]
    bench.run()
    assert _at_most(bench) == 5 * LINE, "the row that was hidden was bought again"
    assert bench.read("speech/part-00000.parquet")["utterance_id"].to_pylist() == ["r0", "r1", "r2", "r3"]


def test_a_journal_that_was_cut_is_as_long_on_the_bill_as_it_was_on_the_disk(bench: Bench) -> None:
    """A cut at any byte, between records or within one, hides at most the rest of the claim."""
    path = _path(bench)
    whole = path.read_bytes()
    header_bytes = whole.index(b'{"kind":"intent"') - FRAME_HEADER.size
    for size_bytes in (*range(header_bytes, len(whole), 97), whole.rindex(b'{"kind":"intent"') - FRAME_HEADER.size):
        path.write_bytes(whole[:size_bytes])
        (replay,) = bench.replays()
        assert journal_cost(replay).characters_upper_bound == 4 * LINE, size_bytes
    bench.run()
    assert _at_most(bench) >= 4 * LINE + LINE, "the last row at least was bought again"
    assert not list(bench.journals.iterdir())


@pytest.mark.parametrize("length", ["", "x", "-1", "9" * 30, None])
def test_a_damaged_length_tells_nothing(bench: Bench, length: str | None) -> None:
    """The journal is read as it is, and a link is not followed."""
    synced = _path(bench).with_suffix(".synced")
    synced.unlink()
    if length is None:
        synced.symlink_to("/dev/zero")
    else:
        synced.write_text(length)
    (replay,) = bench.replays()
    assert (replay.unaccounted, len(replay.finished_keys())) == (None, 4)
    bench.run()
    assert _at_most(bench) == 4 * LINE


def test_audio_that_is_damaged_is_bought_again_and_billed_once_each(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """The cost of the first purchase is known: nothing on the bill is unknown."""
    data = _path(bench).read_bytes()
    _damage(bench, data[data.index(b"RIFF") + 50 :][:40])
    with caplog.at_level(logging.WARNING):
        bench.run()
    assert "the audio of 1 records has changed" in caplog.messages[0]
    assert (_at_most(bench), {row["outcome"] for row in bench.usage()}) == (5 * LINE, {"succeeded"})


@pytest.mark.parametrize("how", ["header", "another's"])
def test_a_journal_that_does_not_tell_whose_it_is_counts_as_lost(
    bench: Bench, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is set aside, not removed; its claim counts as its spending, for a cap and on the bill."""
    path = _path(bench)
    if how == "header":
        _damage(bench, b'"open"')
    else:
        path = path.rename(path.with_name("part-00000-0000.journal"))
    assert (
        total_spend(bench.store, DESCRIPTOR, bench.journals, bench.folder / "locks").characters_upper_bound == 4 * LINE
    )
    if how == "header":
        assert bench.replays() == []
        assert path.with_suffix(QUARANTINE_SUFFIX).exists()
        assert "was set aside" in caplog.messages[0]
    bench.committer.account_for_lost_journals(0, bench.replays())
    assert _at_most(bench) == 4 * LINE


def test_usage_that_was_published_before_the_damage_holds(bench: Bench) -> None:
    """It comes from the whole journal: a damaged one neither replaces it nor adds to it."""
    bench.committer.suspend_part(bench.rows(), bench.replays())
    before = bench.usage()
    assert claim_names(bench.store, 0) == []
    _damage(bench, b'"r1"')
    (replay,) = bench.replays()
    bench.committer.suspend_part(bench.rows(), [replay])
    assert bench.usage() == before


def test_where_no_claim_is_left_a_gap_holds_as_many_attempts_as_fit(bench: Bench) -> None:
    """Each of them counts like the largest known attempt."""
    bench.store.remove(claim_names(bench.store, 0)[0])
    _damage(bench, b'"r1"')
    (replay,) = bench.replays()
    assert replay.unaccounted is not None
    assert replay.unaccounted.characters_upper_bound == (replay.unread_bytes // 256 + 1) * LINE
    assert replay.unaccounted.cost_upper_bound


def test_damage_in_a_part_that_is_done_is_on_the_bill(bench: Bench) -> None:
    """A kill left the journal after its marker, and no other process read it."""
    journal_id = parse_journal_id(_path(bench).name)
    _damage(bench, b'"r1"')
    collect_orphans(bench.store, bench.journals, bench.leases, {0}, lambda _: "fingerprint")
    assert _at_most(bench) == 4 * LINE
    assert journal_paths(bench.journals, 0) == []
    assert {row["journal_id"] for row in bench.usage()} == {journal_id}

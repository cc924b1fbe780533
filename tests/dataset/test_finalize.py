from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path

import orjson
import pytest
import yaml

from tests.builders import cost_of, descriptor_of
from tests.datasets import Bench
from tts_pipeline.dataset.commit import marker_name
from tts_pipeline.dataset.descriptor import Descriptor
from tts_pipeline.dataset.finalize import committed_parts, dataset_card, dataset_totals, finalize, is_finalized
from tts_pipeline.dataset.growth import create_or_extend_descriptor
from tts_pipeline.dataset.totals import Totals
from tts_pipeline.errors import StorageError
from tts_pipeline.storage.local_store import LocalStore
from tts_pipeline.storage.store import Store


def _bench_with_descriptor(tmp_path: Path, store: Store, *, rows: int = 10) -> tuple[Bench, Descriptor]:
    bench = Bench.of(tmp_path, store, rows=rows, part_rows=4)
    job = {"model": "qwen3-tts-flash", "service": "local"}
    descriptor = descriptor_of(rows, 4, job, bench.source.fingerprint())
    return bench, create_or_extend_descriptor(store, descriptor)


def test_nothing_is_finalized_before_all_parts_are_done(tmp_path: Path, store: Store) -> None:
    """The error names some missing parts; no card and no ``parts.json`` is written."""
    bench, descriptor = _bench_with_descriptor(tmp_path, store)
    bench.run(1)
    with pytest.raises(StorageError, match="2 of 3 parts are not done: part-00000, part-00002"):
        finalize(store, descriptor)
    assert not is_finalized(store, descriptor)
    assert store.read("README.md") is None
    assert committed_parts(store, descriptor) == {1}


def test_a_finalized_dataset_tells_its_parts_and_totals(tmp_path: Path, store: Store) -> None:
    """``parts.json`` adds the markers up and lists every part's files; a second finalize is safe."""
    bench, descriptor = _bench_with_descriptor(tmp_path, store)
    for number in (2, 0, 1):
        bench.run(number, refused=["r5"])
    finalize(store, descriptor)
    manifest = store.read("parts.json")
    assert is_finalized(store, descriptor)
    values = orjson.loads(manifest or b"")
    assert [part["part"] for part in values["parts"]] == [0, 1, 2]
    assert "speech/part-00001.parquet" in values["parts"][1]["files"]
    expected = Totals(
        rows=10,
        speech=9,
        rejects=1,
        attempts=10,
        characters_billed=63,
        characters_upper_bound=63,
        cost=cost_of(63),
        cost_upper_bound=cost_of(63),
        currency="CNY",
        audio_ms=72,
    )
    assert dataset_totals(store, descriptor) == expected
    assert committed_parts(store, descriptor) == {0, 1, 2}
    finalize(store, descriptor)
    assert store.read("parts.json") == manifest


def test_totals_of_an_unfinished_dataset_have_the_usage_of_open_parts(tmp_path: Path, store: Store) -> None:
    """The spending in a part left open by an orderly stop counts, and nothing counts twice."""
    bench, descriptor = _bench_with_descriptor(tmp_path, store)
    bench.run(0)

    async def stop_early() -> None:
        async with bench.part(1) as part:
            await bench.say(part, part.todo[0])
            await part.intend(bench.attempt(part.todo[1]), None)

    asyncio.run(stop_early())
    bench.committer.suspend_part(bench.rows(1), bench.replays(1))
    totals = dataset_totals(store, descriptor)
    assert (totals.rows, totals.speech, totals.attempts, totals.unknown_attempts) == (10, 4, 6, 1)
    assert (totals.characters_billed, totals.characters_upper_bound) == (35, 42)
    assert (totals.cost, totals.cost_upper_bound) == (cost_of(35), cost_of(42))


def test_a_dataset_whose_files_are_gone_is_not_finalized(tmp_path: Path, store: Store) -> None:
    """The error names a missing file that a marker lists, with the remedy."""
    bench, descriptor = _bench_with_descriptor(tmp_path, store, rows=4)
    bench.run(0)
    store.remove("speech/part-00000.parquet")
    with pytest.raises(StorageError, match=r"1 files of the dataset are gone: speech/part-00000\.parquet"):
        finalize(store, descriptor)


def test_a_dataset_of_no_rows_can_be_finalized(tmp_path: Path, store: Store) -> None:
    """It has no parts and no tables, and all totals are zero."""
    _, descriptor = _bench_with_descriptor(tmp_path, store, rows=0)
    finalize(store, descriptor)
    assert dataset_totals(store, descriptor) == Totals()


def test_parts_are_known_by_number_however_many_there_are(tmp_path: Path) -> None:
    """A sixth digit belongs to the number, too."""
    store = LocalStore(tmp_path)
    descriptor = descriptor_of(200_000, 1, {})
    for number in (7, 10_000, 100_001):
        store.write(marker_name(number), b"{}")
    assert committed_parts(store, descriptor) == {7, 10_000, 100_001}


def test_the_card_names_what_is_there(tmp_path: Path, store: Store) -> None:
    """Its head has a configuration for each readable table, speech as the default; its body says synthetic."""
    bench, descriptor = _bench_with_descriptor(tmp_path, store)
    for number in range(3):
        bench.run(number, refused=["r5"])
    finalize(store, descriptor)
    card = (store.read("README.md") or b"").decode()
    _, head, body = card.split("---\n", 2)
    values = yaml.safe_load(head)
    assert values["configs"] == [
        {"config_name": "speech", "data_files": "speech/*.parquet", "default": True},
        {"config_name": "rejects", "data_files": "rejects/*.parquet"},
    ]
    assert values["language"] == ["en"]
    assert "synthetic" in values["tags"]
    assert "Every voice in this dataset is synthetic: made from text by the model `qwen3-tts-flash`" in body
    assert "9 utterances, 0.00 hours; 1 rejected" in body
    assert "voices: Cherry (9)" in body
    assert "63 characters billed, cost 0.00504 CNY" in body


def test_the_card_names_no_table_without_files() -> None:
    """The card refers to no missing folder, and calls an unknown cost unknown."""
    card = dataset_card(descriptor_of(0, 500, {"model": "m", "service": "s"}), Totals(rejects=1), [])
    values = yaml.safe_load(card.split("---\n", 2)[1])
    assert [config["config_name"] for config in values["configs"]] == ["rejects"]
    assert "language" not in values
    assert "voices: none" in card
    assert "cost unknown" in card


def test_the_card_takes_no_markup_from_names() -> None:
    """A voice, a language or a model is plain text, whatever it holds; a partly unknown cost says so."""
    voices = {"<img src=x>[a](b)\n# Title": 1, "Eldric Sage": 2}
    marker = {"voices": voices, "languages": {"no": 1, "en\nlicense: mit": 1}}
    descriptor = descriptor_of(3, 500, {"model": "m`<b>", "service": "s"})
    totals = Totals(speech=3, cost=Decimal(1), currency="CNY", characters_without_price=7)
    _, head, body = dataset_card(descriptor, totals, [marker]).split("---\n", 2)
    assert yaml.safe_load(head)["language"] == ["en\nlicense: mit", "no"]
    assert "- voices: \\<img src=x\\>\\[a\\](b) # Title (1), Eldric Sage (2)\n" in body
    assert "`m'<b>`" in body
    assert "cost 1 CNY, beside 7 characters without a price" in body

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.builders import DESCRIPTOR
from tests.datasets import Bench
from tts_pipeline.dataset.claims import Claim, claim_name, read_claim, write_claim
from tts_pipeline.dataset.commit import marker_name
from tts_pipeline.dataset.descriptor import DESCRIPTOR_FILE, MANIFEST_FILE, read_descriptor
from tts_pipeline.dataset.finalize import committed_parts, finalize, read_markers
from tts_pipeline.dataset.generations import GENERATIONS_FOLDER, SWAP_FILE, resume_swap, unfinished_generations
from tts_pipeline.dataset.growth import create_or_extend_descriptor
from tts_pipeline.dataset.names import file_names, parse_journal_id, parse_part_number
from tts_pipeline.errors import StorageError, TtsPipelineError
from tts_pipeline.storage.json_files import CHECKSUM, JsonFields, json_bytes, read_fields
from tts_pipeline.storage.local_store import LocalStore
from tts_pipeline.storage.store import Store

_HOSTILE: tuple[Any, ...] = (
    *(None, True, -1, 2**63, 1e300, -0.5, "NaN", "-1", "1e400", "../../x", "a\0b"),
    *([], {}, [None], {"a": []}, [[]], ["../victim"]),
)


def test_what_was_written_is_read_and_what_was_changed_is_not() -> None:
    """Any changed byte is an error that names the file; a file of an earlier version has no checksum."""
    data = json_bytes({"characters": 123, "cost": Decimal("0.5"), "tags": {"a": "b"}})
    assert read_fields(data, "x.json").values == {"characters": 123, "cost": "0.5", "tags": {"a": "b"}}
    assert read_fields(b'{"characters":123}', "x.json").count("characters") == 123
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1
        if CHECKSUM.encode() in changed:  # else it has none, and what it lacks or says is looked at value by value
            with pytest.raises(StorageError, match=r"x\.json is damaged"):
                read_fields(bytes(changed), "x.json")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 2_000, b'"x"', b"NaN"])
def test_what_is_no_object_is_damaged(data: bytes) -> None:
    """Empty, cut, not an object, not UTF-8, too deep."""
    with pytest.raises(StorageError, match=r"x\.json is damaged"):
        read_fields(data, "x.json")


def test_each_kind_of_value_refuses_the_others() -> None:
    """A flag is no number, a number is no text; an amount is finite, not negative, and has nine decimals at most."""
    sound: dict[str, tuple[Any, ...]] = {"count": (0, 2**63 - 1), "text": ("", "x"), "amount": (None, "0", "0.1")}
    hostile = (*_HOSTILE, "Infinity", "1e-10", 10**30)
    for way, values in sound.items():
        for value in values:
            read = getattr(JsonFields({"x": value}, "x.json"), way)("x")
            assert read == (Decimal(value) if way == "amount" and value else value)
        for value in hostile:
            if (way == "text" and isinstance(value, str)) or (way == "amount" and value is None):
                continue
            with pytest.raises(StorageError, match=r"x\.json is damaged"):
                getattr(JsonFields({"x": value}, "x.json"), way)("x")


@pytest.mark.parametrize(
    "name",
    [
        *("part-x.json", "part-00001.", "part-1.json", "part-000001.json", "part-99999999999-j.json", "part--1.json"),
        *("part-00001-../x.json", "part-00001-a b.json", "x", "PART-00001.json", "part-00001-a-1.segment"),
    ],
)
def test_a_name_that_no_dataset_gives_is_told(name: str, store: Store) -> None:
    """A wrong number or journal name is an error that names the file."""
    for read in (parse_part_number, parse_journal_id):
        with pytest.raises(StorageError, match="is not the name of a dataset file"):
            read(f"claims/{name}")
    if "/" not in name:
        store.write(f"claims/{name}", b"{}")
        with pytest.raises(StorageError, match="is not the name of a dataset file"):
            file_names(store, "claims")


def _places(values: Any) -> list[tuple[Any, Any]]:
    """Return every place in a value, with its container."""
    places: list[tuple[Any, Any]] = []
    for key in values if isinstance(values, dict) else range(len(values)) if isinstance(values, list) else ():
        places += [(values, key), *_places(values[key])]
    return places


_READERS: dict[str, Callable[[Store], object]] = {
    DESCRIPTOR_FILE: read_descriptor,
    MANIFEST_FILE: lambda store: committed_parts(store, read_descriptor(store) or DESCRIPTOR),
    marker_name(0): lambda store: read_markers(store, [0]),
    claim_name(0, "j"): lambda store: read_claim(store, claim_name(0, "j")),
}


@pytest.fixture
def dataset(tmp_path: Path) -> Store:
    """Return a dataset with each kind of file: a descriptor, a marker, a manifest and a claim."""
    bench = Bench.of(tmp_path, LocalStore(tmp_path / "out"), rows=2)
    descriptor = replace(DESCRIPTOR, rows=2, part_rows=2, job={**DESCRIPTOR.job, "service": "s"})
    create_or_extend_descriptor(bench.store, descriptor)
    bench.run(0)
    finalize(bench.store, descriptor)
    write_claim(bench.store, 0, Claim("j", "i", 1, 5, Decimal("0.1"), "CNY", "s", "m", None, {"a": "b"}))
    return bench.store


@pytest.mark.parametrize("name", _READERS)
def test_whatever_a_file_says_only_errors_of_ours_come(dataset: Store, name: str) -> None:
    """Every value is removed, and replaced by each hostile value, with a matching checksum."""
    values = orjson.loads(dataset.read(name) or b"")
    del values[CHECKSUM]
    _READERS[name](dataset)
    errors = list[tuple[Any, TtsPipelineError]]()
    for owner, key in _places(values):
        before = owner[key]
        for value in _HOSTILE:
            owner[key] = value
            dataset.write(name, json_bytes(values), durable=False)
            try:
                _READERS[name](dataset)
            except TtsPipelineError as error:
                errors.append((key, error))
        owner[key] = before
    assert len(errors) > len(_HOSTILE)
    assert all(name in error.message and error.hint for key, error in errors if key != "format_version")
    assert {type(error) for key, error in errors if key != "format_version"} == {StorageError}


@pytest.mark.parametrize(
    "change",
    [
        *({"files": [name]} for name in ("../victim", "/victim", "usage/../../victim", "usage/x", "claims/x", 3, None)),
        *({"given_up": [number]} for number in ("../../victim", "2", 0, -1, 1.5, True, None, 10**9)),
        *({"generation": number} for number in ("../victim", 0, True, None)),
        *({"descriptor": value} for value in ("{}", "", None, '{"format_version": 1}')),
        *({"instead_of": value} for value in ("../victim", -1, None)),
        {"files": None},
    ],
)
def test_a_swap_does_nothing_outside_of_the_dataset(dataset: Store, change: dict[str, Any]) -> None:
    """A swap with an invalid path, number or descriptor is an error; nothing is moved or removed."""
    descriptor = (dataset.read(DESCRIPTOR_FILE) or b"").decode()
    swap = {"generation": 2, "instead_of": 1, "given_up": [], "files": [], "descriptor": descriptor}
    dataset.write(SWAP_FILE, json_bytes(swap | change), durable=False)
    before = {folder: dataset.names(folder) for folder in ("", "usage", "speech", "done")}
    with pytest.raises(TtsPipelineError, match=r"swap\.json|is of format"):
        resume_swap(dataset)
    assert {folder: dataset.names(folder) for folder in before} == before


def test_a_folder_of_generations_holds_nothing_else(store: Store) -> None:
    """A generation with an unknown name is an error: the bill would omit it."""
    store.write(f"{GENERATIONS_FOLDER}/2/dataset.json", b"x")
    assert unfinished_generations(store) == [2]
    for name in ("2x", "\u0663", "02"):
        store.write(f"{GENERATIONS_FOLDER}/{name}/dataset.json", b"x")
        with pytest.raises(StorageError, match="is not the name of a generation"):
            unfinished_generations(store)
        store.remove_folder(f"{GENERATIONS_FOLDER}/{name}")

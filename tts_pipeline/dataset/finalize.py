"""Finalize a dataset: check that all parts are done, add them up, and write its card and manifest; or reopen it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from tts_pipeline.dataset.commit import marker_name
from tts_pipeline.dataset.descriptor import DESCRIPTOR_FILE, MANIFEST_FILE, Descriptor, read_descriptor
from tts_pipeline.dataset.names import file_names, is_valid_name, parse_part_number, part_name
from tts_pipeline.dataset.price_rows import check_price_row, distinct_prices
from tts_pipeline.dataset.totals import Totals, parse_totals
from tts_pipeline.dataset.usage_files import usage_cost
from tts_pipeline.errors import StorageError, printable
from tts_pipeline.models import HOUR_MS
from tts_pipeline.schema import TABLES
from tts_pipeline.storage.daemon_threads import FILE_READERS, DaemonExecutor
from tts_pipeline.storage.json_files import json_bytes, read_fields
from tts_pipeline.storage.lease import Leases
from tts_pipeline.storage.store import Store

CARD_FILE = "README.md"


def _read_manifest(store: Store, descriptor: Descriptor) -> Mapping[str, Any] | None:
    """Read the manifest, ``parts.json``; return None without a manifest, or with one from before the dataset grew."""
    data = store.read(MANIFEST_FILE)
    if data is None:
        return None
    manifest = read_fields(data, store.describe(MANIFEST_FILE), "remove it and run again: it is rebuilt from done/")
    numbers = [part.count("part") if "part" in part.values else None for part in manifest.objects("parts")]
    if any(number not in (None, index) for index, number in enumerate(numbers)):
        raise manifest.damage_error("its parts are not in order")
    return manifest.values if len(manifest.items("parts")) >= descriptor.parts else None


def is_finalized(store: Store, descriptor: Descriptor) -> bool:
    """Return whether the dataset is finalized."""
    return _read_manifest(store, descriptor) is not None


def committed_parts(store: Store, descriptor: Descriptor) -> set[int]:
    """Return the parts that have a marker; costs one read when the dataset is finalized, else one listing."""
    if is_finalized(store, descriptor):
        return set(range(descriptor.parts))
    return {parse_part_number(name) for name in file_names(store, "done", "part-")}


def dataset_totals(store: Store, descriptor: Descriptor) -> Totals:
    """Add up the dataset: the markers of its done parts, and the published usage of its other parts."""
    manifest = _read_manifest(store, descriptor)
    if manifest is not None:
        return parse_totals(store.describe(MANIFEST_FILE), manifest["totals"])
    totals = _sum_totals(store, descriptor, read_markers(store, committed_parts(store, descriptor)))
    totals.rows = descriptor.rows
    return totals


def _sum_totals(store: Store, descriptor: Descriptor, markers: Iterable[Mapping[str, Any]]) -> Totals:
    """Add up markers, the usage files that no marker lists, and the spending of earlier generations.

    Unlisted usage comes from open parts, and from processes that worked on a part which another process published.
    """
    totals = parse_totals(store.describe(DESCRIPTOR_FILE), descriptor.carried_totals or {})
    listed_files = set[str]()
    for marker in markers:
        listed_files.update(marker["files"])
        totals.add(totals_of_marker(store, marker))
    for name in file_names(store, "usage"):
        is_ours = name.startswith("part-") and f"usage/{name}" not in listed_files
        if is_ours and (data := store.read(f"usage/{name}")) is not None:
            totals.add(usage_cost(data, store.describe(f"usage/{name}")))
    return totals


def totals_of_marker(store: Store, marker: Mapping[str, Any]) -> Totals:
    """Return the totals of a part that is done.

    Raises:
        StorageError: They are impossible.
    """
    return parse_totals(store.describe(marker_name(marker["part"])), marker["totals"])


def finalize(store: Store, descriptor: Descriptor) -> None:
    """Finalize a dataset: write its card, then ``parts.json``. Safe to repeat.

    Raises:
        StorageError: Parts have no marker, or files listed in markers are missing; the message names up to five. Or
            another process has grown the dataset.
    """
    committed_numbers = committed_parts(store, descriptor)
    missing_parts = [number for number in range(descriptor.parts) if number not in committed_numbers]
    if missing_parts:
        examples = ", ".join(part_name(number) for number in missing_parts[:5])
        raise StorageError(
            f"{len(missing_parts)} of {descriptor.parts} parts are not done: {examples}",
            hint="run the job again, then publish",
        )
    current = read_descriptor(store)
    if current is not None and current.parts > descriptor.parts:
        raise StorageError(f"the dataset at {store.root} has grown meanwhile", hint="run the job again, then publish")
    markers = read_markers(store, range(descriptor.parts))
    if len(markers) != descriptor.parts:
        raise StorageError(f"markers in {store.describe('done')} are gone", hint="run the job again, then publish")
    _refuse_missing_files(store, markers)
    totals = _sum_totals(store, descriptor, markers)
    store.write(CARD_FILE, dataset_card(descriptor, totals, markers).encode())
    manifest = {
        "totals": totals.to_json(),
        "prices": distinct_prices(row for marker in markers for row in marker.get("prices", ())),
        "parts": [{name: marker[name] for name in ("part", "totals", "files")} for marker in markers],
    }
    store.write(MANIFEST_FILE, json_bytes(manifest))


def _refuse_missing_files(store: Store, markers: Iterable[Mapping[str, Any]]) -> None:
    files = {f"{folder}/{name}" for folder in TABLES for name in store.names(folder)}
    missing_files = sorted(name for marker in markers for name in marker["files"] if name not in files)
    if missing_files:
        raise StorageError(
            f"{len(missing_files)} files of the dataset are gone: {', '.join(missing_files[:5])}",
            hint="restore them, or remove the markers of their parts in done/ and run the job again",
        )


def read_markers(store: Store, numbers: Iterable[int]) -> list[dict[str, Any]]:
    """Read markers in parallel, because each is a round trip on an object store; omit those that do not exist."""
    with DaemonExecutor(FILE_READERS, "markers") as readers:
        marker_data = readers.map(lambda number: (number, store.read(marker_name(number))), sorted(numbers))
        return [_parse_marker(store, number, data) for number, data in marker_data if data is not None]


def _parse_marker(store: Store, number: int, data: bytes) -> dict[str, Any]:
    location = store.describe(marker_name(number))
    marker = read_fields(data, location, "restore it, or remove it and run again: the part's speech is kept")
    if marker.count("part") != number:
        raise marker.damage_error(f"it is the marker of {part_name(marker.count('part'))}")
    parse_totals(location, marker.object("totals").values)
    for name, facts in ((name, marker.object("files").object(name)) for name in marker.object("files").values):
        folder, _, file_name = name.partition("/")
        if not is_valid_name(folder, file_name) or parse_part_number(file_name) != number:
            raise marker.damage_error(f"{name!r} is not a file of the part")
        facts.count("bytes")
        facts.text("sha256")
    for counts in ("voices", "languages"):
        marker.object(counts).counts()
    for row in marker.objects("prices") if "prices" in marker else ():
        check_price_row(row)
    return marker.values


def reopen_rejected_parts(store: Store, leases: Leases, numbers: Iterable[int]) -> set[int]:
    """Reopen the parts with rejects among the finished parts ``numbers``, and return them. Blocking.

    A run may die at any instant, because the changes have an order. First the manifest is removed, so that a dataset is
    never finalized while one of its parts is open; then the markers of the parts. From then on a part is open, and a
    plain run finishes it: its speech file stays and its rows are done, its usage files stay forever, and only its
    rejects are left to do. The commit then writes, as usual, the usage of the new journal, the new rejects table (or
    removes it), the speech table with the old and the new rows, replaced atomically, and the marker.
    """
    rejected_parts = {marker["part"] for marker in read_markers(store, numbers) if marker["totals"]["rejects"]}
    if rejected_parts:
        store.remove(MANIFEST_FILE)
    for number in sorted(rejected_parts):
        with leases.hold(part_name(number), wait=True):
            leases.check()
            store.remove(marker_name(number))
    return rejected_parts


def dataset_card(descriptor: Descriptor, totals: Totals, markers: Iterable[Mapping[str, Any]]) -> str:
    """Return the dataset's card; its YAML head lets Hugging Face's ``load_dataset`` open the tables by name."""
    voices: Counter[str] = Counter()
    languages: Counter[str] = Counter()
    for marker in markers:
        voices.update(marker["voices"])
        languages.update(marker["languages"])
    tags = sorted(language for language in languages if language)
    # Usage is omitted: datasets 5.2 supports no maps, and would fail to open this configuration.
    tables = [name for name, count in (("speech", totals.speech), ("rejects", totals.rejects)) if count]
    return "\n".join([*_front_matter(tables, tags), "", *_card_text(descriptor, totals, voices, languages)]) + "\n"


def _front_matter(tables: list[str], tags: list[str]) -> list[str]:
    lines = ["---", "configs:"]
    for name in tables:
        lines += [f"- config_name: {name}", f"  data_files: {name}/*.parquet"]
        lines += ["  default: true"] if name == "speech" else []
    if tags:
        lines += [
            "language:",
            *(f"- {tag if _PLAIN_YAML.fullmatch(tag) else orjson.dumps(tag).decode()}" for tag in tags),
        ]
    return [*lines, "tags:", "- audio", "- text-to-speech", "- synthetic", "---"]


def _card_text(
    descriptor: Descriptor, totals: Totals, voices: Mapping[str, int], languages: Mapping[str, int]
) -> list[str]:
    job = descriptor.job
    cost = "unknown" if totals.cost is None else f"{totals.cost.normalize():f} {totals.currency}"
    if totals.cost is not None and totals.characters_without_price:
        cost += f", beside {totals.characters_without_price} characters without a price"
    return [
        "# Synthetic speech",
        "",
        f"Every voice in this dataset is synthetic: made from text by the model `{escape_code_span(job['model'])}` "
        f"on the service `{escape_code_span(job['service'])}` with tts-pipeline.",
        "",
        f"- {totals.speech} utterances, {totals.audio_ms / HOUR_MS:.2f} hours; {totals.rejects} rejected",
        f"- voices: {_join_counts(voices)}",
        f"- languages: {_join_counts(languages)}",
        f"- {totals.characters_billed} characters billed, cost {cost}",
        "",
        "Tables: `speech/` (audio, words, provenance), `usage/` (one row per request: the bill), `rejects/`. "
        "A table without rows has no file.",
    ]


def _join_counts(counts: Mapping[str, int]) -> str:
    entries = ((escape_markdown(name) or "left to the service", count) for name, count in sorted(counts.items()))
    return ", ".join(f"{name} ({count})" for name, count in entries) or "none"


_PLAIN_YAML = re.compile(r"(?!no$)[A-Za-z0-9-]+")
"""Plain scalars that YAML reads as text; it would read ``no``, Norwegian, as false."""

_MARKUP = re.compile(r"[\\`*_\[\]<>|~&]")


def escape_markdown(value: str) -> str:
    """Escape a value so that Markdown shows it without markup, on one line."""
    return _MARKUP.sub(r"\\\g<0>", printable(value))


def escape_code_span(value: str) -> str:
    """Escape a value for use between backticks in Markdown."""
    return printable(value).replace("`", "'")

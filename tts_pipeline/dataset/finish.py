"""The dataset as a whole: which parts are done, what they add up to, and its seal: ``parts.json`` and the card."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from tts_pipeline.daemon_threads import DaemonExecutor
from tts_pipeline.dataset.descriptor import NAME, SEAL, Descriptor, read_descriptor
from tts_pipeline.dataset.json_files import json_bytes, read_fields
from tts_pipeline.dataset.names import file_names, is_valid_name, parse_part_number, part_name
from tts_pipeline.dataset.price_rows import distinct, price_row_of
from tts_pipeline.dataset.publish import marker_name
from tts_pipeline.dataset.store import Store
from tts_pipeline.dataset.totals import Totals, totals_at
from tts_pipeline.dataset.usage_files import usage_totals
from tts_pipeline.errors import StorageError, printable
from tts_pipeline.schema import TABLES

CARD = "README.md"
MARKER_READERS = 16


def _seal(store: Store, descriptor: Descriptor) -> Mapping[str, Any] | None:
    """Read the seal; None when there is none, or one from before the dataset grew.

    Raises:
        StorageError: It is damaged.
    """
    data = store.read(SEAL)
    if data is None:
        return None
    sealed = read_fields(data, store.describe(SEAL), "remove it, and run again: it is made anew from done/")
    numbers = [part.count("part") if "part" in part.values else None for part in sealed.objects("parts")]
    if any(number not in (None, place) for place, number in enumerate(numbers)):
        raise sealed.damage_error("its parts do not follow one another")
    return sealed.values if len(sealed.items("parts")) >= descriptor.parts else None


def is_finished(store: Store, descriptor: Descriptor) -> bool:
    """Return whether the dataset is sealed."""
    return _seal(store, descriptor) is not None


def done_parts(store: Store, descriptor: Descriptor) -> set[int]:
    """Return the parts that have a marker; one look when the dataset is sealed, else one listing."""
    if is_finished(store, descriptor):
        return set(range(descriptor.parts))
    return {parse_part_number(name) for name in file_names(store, "done", "part-")}


def dataset_totals(store: Store, descriptor: Descriptor) -> Totals:
    """Add up the dataset: the markers of its done parts and the published usage of the others.

    Raises:
        StorageError: The destination failed.
    """
    sealed = _seal(store, descriptor)
    if sealed is not None:
        return totals_at(store.describe(SEAL), sealed["totals"])
    totals = _added(store, descriptor, read_markers(store, done_parts(store, descriptor)))
    totals.rows = descriptor.rows
    return totals


def _added(store: Store, descriptor: Descriptor, markers: Iterable[Mapping[str, Any]]) -> Totals:
    """Add up markers, the usage that none of them tells of, and what earlier generations spent.

    Such usage is that of open parts, and of whoever worked on a part when another had published it: a bill is whole.
    """
    totals = totals_at(store.describe(NAME), descriptor.carried or {})
    for _, one in totals_by_part(store, markers):
        totals.add(one)
    return totals


def totals_by_part(store: Store, markers: Iterable[Mapping[str, Any]]) -> Iterator[tuple[int, Totals]]:
    """Yield what markers tell, and the usage that none of them tells of, each with its part's number. Blocking.

    Args:
        store: The destination.
        markers: Of all parts that have one.

    Raises:
        StorageError: The destination failed.
    """
    told = set[str]()
    for marker in markers:
        told.update(marker["files"])
        yield marker["part"], totals_at(store.describe(marker_name(marker["part"])), marker["totals"])
    for name in file_names(store, "usage"):
        is_ours = name.startswith("part-") and f"usage/{name}" not in told
        if is_ours and (data := store.read(f"usage/{name}")) is not None:
            yield parse_part_number(name), usage_totals(data, store.describe(f"usage/{name}"))


def finish(store: Store, descriptor: Descriptor) -> None:
    """Seal a dataset: the card, then ``parts.json``, last. Harmless when done again.

    Raises:
        StorageError: Parts have no marker yet, or files that a marker tells of are gone; names some. Or another
            process has grown the dataset.
    """
    done = done_parts(store, descriptor)
    missing = [number for number in range(descriptor.parts) if number not in done]
    if missing:
        shown = ", ".join(part_name(number) for number in missing[:5])
        raise StorageError(
            f"{len(missing)} of {descriptor.parts} parts are not done: {shown}", hint="run the job again, then publish"
        )
    there = read_descriptor(store)
    if there is not None and there.parts > descriptor.parts:
        raise StorageError(f"the dataset at {store.root} has grown meanwhile", hint="run the job again, then publish")
    markers = read_markers(store, range(descriptor.parts))
    if len(markers) != descriptor.parts:
        raise StorageError(f"markers in {store.describe('done')} are gone", hint="run the job again, then publish")
    _refuse_lost_files(store, markers)
    totals = _added(store, descriptor, markers)
    store.write(CARD, dataset_card(descriptor, totals, markers).encode())
    sealed = {
        "totals": totals.to_json(),
        "prices": distinct(row for marker in markers for row in marker.get("prices", ())),
        "parts": [{name: marker[name] for name in ("part", "totals", "files")} for marker in markers],
    }
    store.write(SEAL, json_bytes(sealed))


def _refuse_lost_files(store: Store, markers: Iterable[Mapping[str, Any]]) -> None:
    there = {f"{folder}/{name}" for folder in TABLES for name in store.names(folder)}
    lost = sorted(name for marker in markers for name in marker["files"] if name not in there)
    if lost:
        raise StorageError(
            f"{len(lost)} files of the dataset are gone: {', '.join(lost[:5])}",
            hint="restore them, or remove the markers of their parts in done/ and run the job again",
        )


def read_markers(store: Store, numbers: Iterable[int]) -> list[dict[str, Any]]:
    """Read markers, many at a time: on an object store each is a round trip. Those that are not there are left out.

    Raises:
        StorageError: The destination failed, or one is damaged.
    """
    with DaemonExecutor(MARKER_READERS, "markers") as readers:
        found = readers.map(lambda number: (number, store.read(marker_name(number))), sorted(numbers))
        return [_marker(store, number, data) for number, data in found if data is not None]


def _marker(store: Store, number: int, data: bytes) -> dict[str, Any]:
    place = store.describe(marker_name(number))
    marker = read_fields(data, place, "restore it, or remove it and run again: the part's rows that are speech stay")
    if marker.count("part") != number:
        raise marker.damage_error(f"it is the marker of {part_name(marker.count('part'))}")
    totals_at(place, marker.object("totals").values)
    for name, facts in ((name, marker.object("files").object(name)) for name in marker.object("files").values):
        folder, _, short = name.partition("/")
        if not is_valid_name(folder, short) or parse_part_number(short) != number:
            raise marker.damage_error(f"{name!r} is not a file of the part")
        facts.count("bytes")
        facts.text("sha256")
    for counts in ("voices", "languages"):
        marker.object(counts).counts()
    for row in marker.objects("prices") if "prices" in marker else ():
        price_row_of(row)
    return marker.values


def dataset_card(descriptor: Descriptor, totals: Totals, markers: Iterable[Mapping[str, Any]]) -> str:
    """Return the dataset's card: its YAML head makes Hugging Face's ``load_dataset`` open tables by name."""
    voices: Counter[str] = Counter()
    languages: Counter[str] = Counter()
    for marker in markers:
        voices.update(marker["voices"])
        languages.update(marker["languages"])
    tags = sorted(language for language in languages if language)
    # Without usage: datasets 5.2 knows no maps, and a configuration that cannot be opened is none.
    present = [name for name, count in (("speech", totals.speech), ("rejects", totals.rejects)) if count]
    return "\n".join([*_head(present, tags), "", *_body(descriptor, totals, voices, languages)]) + "\n"


def _head(present: list[str], tags: list[str]) -> list[str]:
    lines = ["---", "configs:"]
    for name in present:
        lines += [f"- config_name: {name}", f"  data_files: {name}/*.parquet"]
        lines += ["  default: true"] if name == "speech" else []
    if tags:
        lines += ["language:", *(f"- {tag if _PLAIN.fullmatch(tag) else orjson.dumps(tag).decode()}" for tag in tags)]
    return [*lines, "tags:", "- audio", "- text-to-speech", "- synthetic", "---"]


def _body(descriptor: Descriptor, totals: Totals, voices: Mapping[str, int], languages: Mapping[str, int]) -> list[str]:
    job = descriptor.job
    cost = "unknown" if totals.cost is None else f"{totals.cost.normalize():f} {totals.currency}"
    if totals.cost is not None and totals.characters_without_price:
        cost += f", beside {totals.characters_without_price} characters without a price"
    return [
        "# Synthetic speech",
        "",
        f"Every voice in this dataset is synthetic: made from text by the model `{as_code(job['model'])}` on the "
        f"service `{as_code(job['service'])}` with tts-pipeline.",
        "",
        f"- {totals.speech} utterances, {totals.audio_ms / 3_600_000:.2f} hours; {totals.rejects} rejected",
        f"- voices: {_listed(voices)}",
        f"- languages: {_listed(languages)}",
        f"- {totals.characters_billed} characters billed, cost {cost}",
        "",
        "Tables: `speech/` (audio, words, provenance), `usage/` (one row per request: the bill), `rejects/`. "
        "A table without rows has no file.",
    ]


def _listed(counts: Mapping[str, int]) -> str:
    named = ((as_text(name) or "left to the service", count) for name, count in sorted(counts.items()))
    return ", ".join(f"{name} ({count})" for name, count in named) or "none"


_PLAIN = re.compile(r"(?!no$)[A-Za-z0-9-]+")
"""What YAML reads as a text; Norwegian would be false."""

_MARKUP = re.compile(r"[\\`*_\[\]<>|~&]")


def as_text(value: str) -> str:
    """Return a value as Markdown shows it: without markup, on one line."""
    return _MARKUP.sub(r"\\\g<0>", printable(value))


def as_code(value: str) -> str:
    """Return a value that stands between backticks in Markdown."""
    return printable(value).replace("`", "'")

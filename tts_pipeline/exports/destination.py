"""The destination of an export: its owner, and whether it is complete."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import orjson

from tts_pipeline.errors import ConfigurationError
from tts_pipeline.storage.store import Store

_MANIFEST = re.compile(r"[\w-]*manifest\.json|speech_[\w-]+\.jsonl\.gz")
"""Names of manifests, of whatever format: nothing else is removed because it is told of."""

EXPORT_FILE = "export.json"
"""Says what an export is. Written when one begins, and again when it is whole."""


def begin_export(
    store: Store, as_: str, options: dict[str, Any], manifests: Sequence[str]
) -> tuple[bool, Sequence[str]]:
    """Take a destination; return whether an earlier export came to its end there, and the manifests that are to go.

    Those are of the earlier export, and this one does not write them. ``options`` are the other settings of this one.
    """
    existing = _read(store)
    if existing is None and not store.is_empty():
        raise ConfigurationError(
            f"the destination {store.root} is not empty and holds no export", hint="name a new or empty folder"
        )
    if existing is not None and existing.get("as") != as_:
        raise ConfigurationError(
            f"the destination {store.root} holds an export as {existing.get('as')}, not as {as_}",
            hint="name a folder of its own for each format",
        )
    existing = existing or {}
    manifest_names = existing.get("manifests")
    names = [name for name in manifest_names if isinstance(name, str)] if isinstance(manifest_names, list) else []
    stale = [name for name in names if name not in manifests and _MANIFEST.fullmatch(name)]
    # Until they are removed they are told: this export may be killed, and have other splits the next time.
    _write(store, as_, {**options, "manifests": [*manifests, *stale]}, is_finished=False)
    return bool(existing.get("finished")), stale


def finish_export(store: Store, as_: str, options: dict[str, Any], manifests: Sequence[str]) -> None:
    """Record that the export is whole."""
    _write(store, as_, {**options, "manifests": list(manifests)}, is_finished=True)


def _read(store: Store) -> dict[str, Any] | None:
    data = store.read(EXPORT_FILE)
    if data is None:
        return None
    try:
        values = orjson.loads(data)
    except orjson.JSONDecodeError:
        values = None
    return values if isinstance(values, dict) else {}


def _write(store: Store, as_: str, options: dict[str, Any], *, is_finished: bool) -> None:
    values = {"format_version": 1, "as": as_, "finished": is_finished, **options}
    store.write(EXPORT_FILE, orjson.dumps(values, option=orjson.OPT_INDENT_2))

"""Record in an export's destination which export owns it, and whether that export is complete."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import orjson

from tts_pipeline.errors import ConfigurationError
from tts_pipeline.storage.store import Store

_MANIFEST = re.compile(r"[\w-]*manifest\.json|speech_[\w-]+\.jsonl\.gz")
"""Names of manifests in any format: no other file is removed because ``export.json`` names it."""

EXPORT_FILE = "export.json"
"""The file with an export's settings, written at its start, and again when it is complete."""


def begin_export(
    store: Store, as_: str, options: dict[str, Any], manifests: Sequence[str]
) -> tuple[bool, Sequence[str]]:
    """Claim a destination; return whether an earlier export finished there, and its stale manifests.

    Stale manifests are those that this export does not write. ``options`` are the other settings of this export.

    Raises:
        ConfigurationError: The destination holds other files, or an export in another format. Never retried.
    """
    existing = _read(store)
    if existing is None and not store.is_empty():
        raise ConfigurationError(
            f"the destination {store.root} is not empty and holds no export", hint="give a new or empty folder"
        )
    if existing is not None and existing.get("as") != as_:
        raise ConfigurationError(
            f"the destination {store.root} holds an export as {existing.get('as')}, not as {as_}",
            hint="give each format its own folder",
        )
    existing = existing or {}
    manifest_names = existing.get("manifests")
    names = [name for name in manifest_names if isinstance(name, str)] if isinstance(manifest_names, list) else []
    stale = [name for name in names if name not in manifests and _MANIFEST.fullmatch(name)]
    # Stale manifests are listed until they are removed: this export may be killed, and have other splits next time.
    _write(store, as_, {**options, "manifests": [*manifests, *stale]}, is_finished=False)
    return bool(existing.get("finished")), stale


def finish_export(store: Store, as_: str, options: dict[str, Any], manifests: Sequence[str]) -> None:
    """Record that the export is complete."""
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

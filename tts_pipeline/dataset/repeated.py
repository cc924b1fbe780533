"""Requests that a job would make more than once: found when it is planned, as 64-bit hashes, and kept for its runs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tts_pipeline.dataset.replay import Key
from tts_pipeline.dataset.rows import Voicing
from tts_pipeline.dataset.store import LocalStore, storage_errors
from tts_pipeline.models import Utterance
from tts_pipeline.wire.request import STREAM_PARAMETER

Hashes = npt.NDArray[np.int64]
"""Hashes in ascending order, each once: 8 bytes for each request that stands more than once."""


_MOST_BEGUN = 10_000


class RequestHash:
    """Hashes what tells one row's requests from another's; alike in every process and version of Python.

    Rows of one hash are nearly always of one request and take; two in ten million that are not, only by chance.

    Args:
        voicing: Which parameters differ from row to row; the others are the same for the whole job.
    """

    def __init__(self, voicing: Voicing) -> None:
        known = voicing.card.parameters
        switches = {STREAM_PARAMETER, *(name for name in known if not known[name].in_body)}
        self._voicing = voicing
        self._names = sorted(voicing.layout.parameter_columns().keys() - switches)
        self._begun: dict[tuple[object, ...], hashlib.blake2b] = {}

    def of_utterance(self, utterance: Utterance) -> int:
        """Return the hash of an utterance."""
        asked = (utterance.take, *(utterance.parameters.get(name) for name in self._names))
        return int.from_bytes(self._digest(utterance.text, asked), "little", signed=True)

    def of_rows(self, rows: pa.Table, keys: Sequence[Key]) -> Hashes:
        """Return the hashes of those rows that would be sent, which have a text.

        Args:
            rows: Rows of the source; a column each for the text and the parameters is enough.
            keys: What names each row.

        Raises:
            ConfigurationError: The value of a parameter is not allowed.
        """
        fixed, varying = self._voicing.fixed, dict(self._voicing.varying(rows))
        columns = [[fixed.get(name) if value is None else value for value in varying[name]] for name in self._names]
        every_asked = zip((take for _, take in keys), *columns, strict=True)
        every_text = self._voicing.layout.texts(rows)
        digests = [
            self._digest(text, asked)
            for text, asked in zip(every_text, every_asked, strict=True)
            if text and not text.isspace()
        ]
        return np.frombuffer(b"".join(digests), "<i8").astype(np.int64)

    def _digest(self, text: str, asked: tuple[object, ...]) -> bytes:
        begun = self._begun.get(asked)
        if begun is None:
            if len(self._begun) >= _MOST_BEGUN:
                self._begun.clear()
            begun = self._begun[asked] = hashlib.blake2b(repr(asked).encode(), digest_size=8)
        hasher = begun.copy()  # in half the time of a new one
        hasher.update(text.encode("utf-8", "surrogatepass"))
        return hasher.digest()


def save_repeated(folder: Path, fingerprint: str, hashes: Hashes) -> None:
    """Keep the hashes of a job's repeated requests for its later runs. Blocking.

    Raises:
        StorageError: The disk failed.
    """
    LocalStore(folder).write(_name(fingerprint), hashes.astype("<i8").tobytes())


def load_repeated(folder: Path, fingerprint: str) -> Hashes | None:
    """Return the hashes that were kept of a job; None when there are none, or the file is damaged. Blocking."""
    path = folder / _name(fingerprint)
    with storage_errors(f"reading {path}"):
        try:
            hashes = np.fromfile(path, "<i8")
        except FileNotFoundError:
            return None
        is_whole = path.stat().st_size == hashes.nbytes
    return hashes.astype(np.int64) if is_whole and bool(np.all(hashes[1:] > hashes[:-1])) else None


def remove_repeated(folder: Path) -> None:
    """Remove what was kept of jobs: they are done. Blocking.

    Raises:
        StorageError: The disk failed.
    """
    with storage_errors(f"removing what was kept in {folder}"):
        for path in folder.glob("repeated-*"):
            path.unlink(missing_ok=True)


def _name(fingerprint: str) -> str:
    return f"repeated-{fingerprint[:16]}"

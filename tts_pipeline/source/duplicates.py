"""Duplicate requests of a job, found at planning as 64-bit hashes and stored for its runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import compress, repeat
from zlib import adler32, crc32

import numpy as np
import pyarrow as pa

from tts_pipeline.models import Utterance, UtteranceKey
from tts_pipeline.source.columns import TAKE, UtteranceMapper
from tts_pipeline.storage.hash_partitions import Hashes
from tts_pipeline.storage.store import Store
from tts_pipeline.wire.request import STREAM_PARAMETER

DUPLICATES_FILE = ".repeated"
"""The file of the hashes, until the job is done; hidden, because it is not a part of the dataset."""

_HASH_BYTES = 8
_MAX_SEEDS = 10_000


class RequestHasher:
    """Hashes what tells one row's requests from another's; alike in every process and version of Python.

    It is two checksums side by side, in half the time of a cryptographic hash, for planning goes through every row.
    Rows of one hash are nearly always of one request and take. Where they are not, one waits for the other in vain.
    """

    def __init__(self, mapper: UtteranceMapper) -> None:
        parameters = mapper.card.parameters
        unsent = {STREAM_PARAMETER, *(name for name in parameters if not parameters[name].in_body)}
        self._mapper = mapper
        self._names = sorted(mapper.roles.parameter_columns().keys() - unsent)
        self._seeds: dict[tuple[object, ...], int] = {}

    def hash_utterance(self, utterance: Utterance) -> int:
        """Return the hash of an utterance."""
        seed = self._seed((utterance.take, *(utterance.parameters.get(name) for name in self._names)))
        return int(_hashes([utterance.text.encode("utf-8", "surrogatepass")], [seed])[0])

    def hash_rows(self, rows: pa.Table, keys: Sequence[UtteranceKey]) -> Hashes:
        """Return the hashes of those rows that would be sent, which have a text.

        A column each for the text and the parameters is enough.
        """
        # As bytes: they need not be decoded only to be encoded again.
        column = rows.column(self._mapper.roles.columns.text).cast(pa.large_string()).cast(pa.large_binary())
        texts = column.to_pylist()
        has_text = [text and not text.isspace() for text in texts]
        return _hashes(list(compress(texts, has_text)), list(compress(self._seeds_of(rows, keys), has_text)))

    def _seeds_of(self, rows: pa.Table, keys: Sequence[UtteranceKey]) -> Iterable[int]:
        if not self._names and TAKE not in self._mapper.roles.columns.parameters:
            return repeat(self._seed((0,)), len(keys))
        fixed, varying = self._mapper.fixed, dict(self._mapper.varying_parameters(rows))
        columns = [[fixed.get(name) if value is None else value for value in varying[name]] for name in self._names]
        return map(self._seed, zip((take for _, take in keys), *columns, strict=True))

    def _seed(self, values: tuple[object, ...]) -> int:
        if any(isinstance(value, dict | list) for value in values):
            return crc32(repr(values).encode("utf-8", "surrogatepass"))
        seed = self._seeds.get(values)
        if seed is None:
            if len(self._seeds) >= _MAX_SEEDS:
                self._seeds.clear()
            seed = self._seeds[values] = crc32(repr(values).encode())
        return seed


def _hashes(texts: Sequence[bytes], seeds: Sequence[int]) -> Hashes:
    high = np.fromiter(map(adler32, texts, seeds), np.uint64, len(texts))
    low = np.fromiter(map(crc32, texts, seeds), np.uint64, len(texts))
    return (high << np.uint64(32) | low).view(np.int64)


def save_duplicate_hashes(store: Store, fingerprint: str, hashes: Hashes) -> None:
    """Keep the hashes of a job's repeated requests, in place of those kept before. Blocking.

    They are kept at the destination: whoever goes on elsewhere, and each of many shards, need not look through the
    whole source.
    """
    store.write(DUPLICATES_FILE, bytes.fromhex(fingerprint) + hashes.astype("<i8").tobytes())


def load_duplicate_hashes(store: Store, fingerprint: str) -> Hashes | None:
    """Return the hashes that were kept of a job; None when there are none, or the file is damaged. Blocking."""
    data, prefix = store.read(DUPLICATES_FILE), bytes.fromhex(fingerprint)
    if data is None or not data.startswith(prefix) or len(data) % _HASH_BYTES:
        return None
    hashes = np.frombuffer(data, "<i8", offset=len(prefix)).astype(np.int64)
    return hashes if bool(np.all(hashes[1:] > hashes[:-1])) else None

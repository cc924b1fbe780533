"""Find a job's duplicate requests at planning, as 64-bit hashes, and store them for its runs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress, repeat
from zlib import adler32, crc32

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tts_pipeline.models import Utterance
from tts_pipeline.source.columns import ColumnRoles, UtteranceMapper
from tts_pipeline.storage.hash_partitions import SortedHashes
from tts_pipeline.storage.store import Store
from tts_pipeline.wire.request import STREAM_PARAMETER

DUPLICATES_FILE = ".repeated"
"""The file of the hashes, kept until the job is done; hidden, because it is not part of the dataset."""

_HASH_BYTES = 8
_MAX_SEEDS = 10_000


class RequestHasher:
    """Hashes the take, text and varying parameters of a row, alike in every process and version of Python.

    The hash joins two checksums, in half the time of a cryptographic hash.
    Rows with the same hash nearly always have the same request and take. If not, one row waits for the other in vain.
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

    @property
    def roles(self) -> ColumnRoles:
        """The columns of the source."""
        return self._mapper.roles

    def transient_hashes(self, rows: pa.Table) -> npt.NDArray[np.int64]:
        """Return hashes that hold in this process alone, in a third of the time of ``hash_rows``.

        Rows of one request have the same hash; so do all rows without a text.
        """
        texts = self._texts(rows)
        seeds = self._seeds_of(rows)
        requests = texts if seeds is None else zip(texts, seeds, strict=True)
        return np.fromiter(map(hash, requests), np.int64, len(texts))

    def hash_rows(self, rows: pa.Table) -> npt.NDArray[np.int64]:
        """Return the hashes of the rows that have a text; other rows are never sent.

        ``rows`` needs only the columns of the text and the parameters.
        """
        texts = [text or b"" for text in self._texts(rows)]
        has_text = [text and not text.isspace() for text in texts]
        seeds = self._seeds_of(rows) or repeat(self._seed((0,)), len(texts))
        return _hashes(list(compress(texts, has_text)), list(compress(seeds, has_text)))

    def _texts(self, rows: pa.Table) -> list[bytes | None]:
        """Return the texts as bytes, so that they are not decoded only to be encoded again."""
        column = rows.column(self.roles.columns.text)
        return [text for chunk in column.chunks for text in _as_bytes(chunk).to_pylist()]

    def _seeds_of(self, rows: pa.Table) -> list[int] | None:
        """Return the seed of each row; None if all rows have that of the take 0."""
        takes = self.roles.takes(rows)
        if not self._names and takes is None:
            return None
        fixed, varying = self._mapper.fixed, dict(self._mapper.varying_parameters(rows))
        columns = [[fixed.get(name) if value is None else value for value in varying[name]] for name in self._names]
        return list(map(self._seed, zip(takes or repeat(0, rows.num_rows), *columns, strict=True)))

    def _seed(self, values: tuple[object, ...]) -> int:
        if any(isinstance(value, dict | list) for value in values):
            return crc32(repr(values).encode("utf-8", "surrogatepass"))
        seed = self._seeds.get(values)
        if seed is None:
            if len(self._seeds) >= _MAX_SEEDS:
                self._seeds.clear()
            seed = self._seeds[values] = crc32(repr(values).encode())
        return seed


def _as_bytes(texts: pa.Array) -> pa.Array:
    if pa.types.is_string(texts.type):
        return texts.view(pa.binary())  # a cast would import Arrow's functions, which takes 25 ms
    return texts.cast(pa.large_string()).view(pa.large_binary())


def _hashes(texts: Sequence[bytes], seeds: Sequence[int]) -> npt.NDArray[np.int64]:
    high = np.fromiter(map(adler32, texts, seeds), np.uint64, len(texts))
    low = np.fromiter(map(crc32, texts, seeds), np.uint64, len(texts))
    return (high << np.uint64(32) | low).view(np.int64)


def save_duplicate_hashes(store: Store, fingerprint: str, hashes: SortedHashes) -> None:
    """Store the hashes of a job's duplicate requests, in place of earlier ones. Blocking.

    They are stored at the destination, so that no shard, and no run on another machine, need scan the whole source.
    """
    store.write(DUPLICATES_FILE, bytes.fromhex(fingerprint) + hashes.astype("<i8").tobytes())


def load_duplicate_hashes(store: Store, fingerprint: str) -> SortedHashes | None:
    """Return the stored hashes of a job; None when the file is missing, damaged, or another job's. Blocking."""
    data, prefix = store.read(DUPLICATES_FILE), bytes.fromhex(fingerprint)
    if data is None or not data.startswith(prefix) or len(data) % _HASH_BYTES:
        return None
    hashes = np.frombuffer(data, "<i8", offset=len(prefix)).astype(np.int64)
    return hashes if bool(np.all(hashes[1:] > hashes[:-1])) else None

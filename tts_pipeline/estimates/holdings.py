"""Audio that was bought before: which requests of a job need no purchase, told by names and indexes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum

import numpy as np

from tts_pipeline.client.takes import is_worth_keeping
from tts_pipeline.config import AudioSettings, QualityPolicy
from tts_pipeline.dataset.answers import FileCache, request_hash
from tts_pipeline.dataset.kept import JobCache, request_hashes
from tts_pipeline.dataset.published import PublishedSpeech
from tts_pipeline.dataset.repeated import load_repeated
from tts_pipeline.dataset.reuse import CacheLocation, CacheTier
from tts_pipeline.job.prepared import Prepared
from tts_pipeline.job.rebuild import OldJournals
from tts_pipeline.models import Card, Parameters, Service
from tts_pipeline.wire.request import build_request


class Origin(IntEnum):
    """Where the audio of a request is."""

    NOWHERE = 0
    OWN = 1
    """Bought for another row of the same job."""
    REUSED = 2
    """Bought by another job."""
    PAID = 3
    """In a journal of this job, segment by segment."""


class Holdings:
    """Finds the requests whose audio is held already, as a run would; takes 8 to 12 bytes of memory an answer.

    No audio is read, unless the policy rejects some: then it is read with its flags, and counts if it passes.

    Args:
        shelves: Where audio is held, in the order in which a run looks.
        quality: Audio that this policy would not keep is not taken.
        service: Part of a request's key.
        card: Part of a request's key.
    """

    def __init__(self, shelves: Sequence[CacheTier], quality: QualityPolicy, service: Service, card: Card) -> None:
        self._shelves = [_Listed(shelf) if _is_unlisted(shelf) else shelf for shelf in shelves]
        self._quality = quality
        self._rejects = "reject" in quality.actions.values()
        self._service = service
        self._card = card

    def __bool__(self) -> bool:
        return bool(self._shelves)

    def origin(self, text: str, parameters: Parameters, take: int) -> Origin:
        """Return where the audio of one request is.

        Raises:
            StorageError: A place cannot be read. Blocking.
        """
        key = build_request(self._service, self._card, text, parameters).request_key
        label = next((shelf.label for shelf in self._shelves if self._has(shelf, key, take)), None)
        if label is None:
            return Origin.NOWHERE
        return Origin.REUSED if label else Origin.OWN

    def _has(self, shelf: CacheTier, request_key: str, take: int) -> bool:
        if not shelf.may_have(request_key, take):
            return False
        if not self._rejects:
            return True
        found = shelf.get(request_key, take)
        return found is not None and is_worth_keeping(self._quality, found.answer, None)


def shelves_of(places: Iterable[CacheLocation | OldJournals], audio: AudioSettings) -> list[CacheTier]:
    """Open places where audio was bought before; one where nothing is yet stays as it is. Blocking.

    Raises:
        ConfigurationError: One of them cannot be read.
    """
    return [place.open(audio) for place in places if isinstance(place, OldJournals) or not place.is_new]


def own_shelves(prepared: Prepared) -> list[CacheTier]:
    """Open what a job bought for its repeated requests; nothing where it is known to have none. Blocking.

    Raises:
        StorageError: The disk or the destination failed.
    """
    repeated = load_repeated(prepared.store, prepared.descriptor.fingerprint)
    if repeated is not None and not len(repeated):
        return []
    kept = JobCache(prepared.kept)
    if not kept.is_new:
        return [kept]
    published = PublishedSpeech(prepared.store, prepared.descriptor, prepared.job.audio, label="")
    return [published] if len(published) else []


def _is_unlisted(shelf: CacheTier) -> bool:
    return isinstance(shelf, FileCache) and not isinstance(shelf, JobCache)


class _Listed:
    """A reuse store whose names were listed once: a look at each request would take a round trip each."""

    def __init__(self, shelf: CacheTier) -> None:
        assert isinstance(shelf, FileCache)
        self.label = shelf.label
        self.get = shelf.get
        self._hashes = request_hashes(shelf)

    def may_have(self, request_key: str, take: int) -> bool:
        wanted = np.uint64(request_hash(request_key, take))
        place = int(np.searchsorted(self._hashes, wanted))
        return place < len(self._hashes) and self._hashes[place] == wanted

"""Locate audio that was bought before, by file names and indexes, so that its requests are not counted as purchases."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum

from tts_pipeline.cache.cache_location import CacheLocation, CacheTier
from tts_pipeline.cache.dataset_cache import DatasetCache
from tts_pipeline.cache.file_cache import FileCache, request_hash
from tts_pipeline.cache.job_cache import JobCache, request_hashes
from tts_pipeline.card import Card, Endpoint
from tts_pipeline.client.retakes import is_worth_keeping
from tts_pipeline.config import AudioSettings, QualityPolicy
from tts_pipeline.dataset.reader import DatasetReader
from tts_pipeline.job.prepared_job import PreparedJob
from tts_pipeline.job.rebuild import OldGeneration
from tts_pipeline.models import Parameters
from tts_pipeline.source.duplicates import load_duplicate_hashes
from tts_pipeline.wire.request import RequestBuilder


class AudioOrigin(IntEnum):
    """The place of a request's audio."""

    NOWHERE = 0
    THIS_JOB = 1
    """Bought for another row of the same job."""
    OTHER_JOB = 2
    """Bought by another job."""
    JOURNAL = 3
    """In a journal of this job, segment by segment."""


class AudioLocator:
    """Finds the requests whose audio exists already, as a run would; takes 8 to 12 bytes of memory for each answer.

    Audio is read only if the quality policy rejects a flag: then audio counts if it passes the policy.
    """

    def __init__(self, tiers: Sequence[CacheTier], quality: QualityPolicy, service: Endpoint, card: Card) -> None:
        self._tiers = [_ListedTier(tier) if _needs_listing(tier) else tier for tier in tiers]
        self._quality = quality
        self._is_strict = "reject" in quality.actions.values()
        self._requests = RequestBuilder(service, card)

    def __bool__(self) -> bool:
        return bool(self._tiers)

    def locate(self, text: str, parameters: Parameters, take: int) -> AudioOrigin:
        """Return the place of one request's audio. Blocking."""
        key = self._requests.build(text, parameters).request_key
        label = next((tier.label for tier in self._tiers if self._has(tier, key, take)), None)
        if label is None:
            return AudioOrigin.NOWHERE
        return AudioOrigin.OTHER_JOB if label else AudioOrigin.THIS_JOB

    def _has(self, tier: CacheTier, request_key: str, take: int) -> bool:
        if not tier.may_have(request_key, take):
            return False
        if not self._is_strict:
            return True
        cached = tier.get(request_key, take)
        return cached is not None and is_worth_keeping(self._quality, cached.answer, None)


def open_tiers(locations: Iterable[CacheLocation | OldGeneration], audio: AudioSettings) -> list[CacheTier]:
    """Open the caches of earlier audio; a new, empty cache is not opened. Blocking."""
    return [
        location.open(audio) for location in locations if isinstance(location, OldGeneration) or not location.is_new
    ]


def open_own_tiers(prepared: PreparedJob) -> list[CacheTier]:
    """Open the audio that a job bought for its repeated requests; none if it is known to have none. Blocking."""
    duplicate_hashes = load_duplicate_hashes(prepared.store, prepared.descriptor.fingerprint)
    if duplicate_hashes is not None and not len(duplicate_hashes):
        return []
    job_cache = JobCache(prepared.job_cache_dir)
    if not job_cache.is_new:
        return [job_cache]
    dataset_cache = DatasetCache(DatasetReader(prepared.store, prepared.descriptor), prepared.job.audio, label="")
    return [dataset_cache] if len(dataset_cache) else []


def _needs_listing(tier: CacheTier) -> bool:
    return isinstance(tier, FileCache) and not isinstance(tier, JobCache)


class _ListedTier:
    """A reuse store whose names are listed once, since a look-up of each request would take a round trip each."""

    def __init__(self, tier: CacheTier) -> None:
        assert isinstance(tier, FileCache)
        self.label = tier.label
        self.get = tier.get
        self._hashes = request_hashes(tier)

    def may_have(self, request_key: str, take: int) -> bool:
        return request_hash(request_key, take) in self._hashes

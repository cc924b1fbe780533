"""The caches of a job."""

from __future__ import annotations

from tts_pipeline.cache.dataset_cache import DatasetCache
from tts_pipeline.cache.job_cache import JobCache
from tts_pipeline.cache.tiered import TieredCache
from tts_pipeline.dataset.reader import DatasetReader
from tts_pipeline.job.prepared_job import PreparedJob


def open_cache(prepared: PreparedJob, job_cache: JobCache | None) -> TieredCache | None:
    """Open the places where a job's audio may be already; None when there are none. Blocking.

    Args:
        prepared: The job.
        job_cache: What it bought for its repeated requests; None when it has none.

    Raises:
        ConfigurationError: One of them cannot be read, or not be made.
        StorageError: The disk or the destination failed.
    """
    tiers = [location.open(prepared.job.audio) for location in prepared.cache_locations]
    if job_cache is None:
        return TieredCache(tiers) if tiers else None
    if job_cache.is_new:  # another machine's work, or a dataset that was finished and has grown: its done parts tell
        own_speech = DatasetCache(DatasetReader(prepared.store, prepared.descriptor), prepared.job.audio, label="")
        tiers = [own_speech, *tiers] if len(own_speech) else tiers
    job_cache.create()
    return TieredCache(tiers, job_cache)

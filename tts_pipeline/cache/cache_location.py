"""Find and open cached audio at a location: a dataset or a reuse store, recognised by its files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tts_pipeline.cache.dataset_cache import DatasetCache
from tts_pipeline.cache.file_cache import FORMAT_VERSION, MARKER, FileCache
from tts_pipeline.config import AudioSettings
from tts_pipeline.dataset.descriptor import Descriptor, format_version_of, read_descriptor
from tts_pipeline.dataset.reader import DatasetReader
from tts_pipeline.errors import ConfigurationError, StorageError, cause_of, without_passwords
from tts_pipeline.log import logger
from tts_pipeline.models import CachedAudio
from tts_pipeline.storage.location import is_local
from tts_pipeline.storage.open_store import open_store
from tts_pipeline.storage.store import Store


class CacheTier(Protocol):
    """A place that holds bought audio for reuse."""

    label: str

    def may_have(self, request_key: str, take: int) -> bool:
        """Return whether the tier may have the audio of a request; never blocks."""

    def get(self, request_key: str, take: int) -> CachedAudio | None:
        """Return the audio bought for a request; None when the tier lacks it. Blocking."""


@dataclass(frozen=True, slots=True)
class CacheLocation:
    """An inspected location, which can be opened.

    ``label`` is the location as given, without a password. A location without a descriptor is a reuse store.
    """

    store: Store
    label: str
    descriptor: Descriptor | None
    is_new: bool

    def create(self) -> None:
        """Make a new location a reuse store; an existing one stays as it is. Blocking."""
        if self.is_new:
            logger.warning("%s is not a reuse store yet: this run makes it one, for the audio that it buys", self.label)
            with _as_configuration_error(self.label):
                FileCache(self.store).create()

    def open(self, audio: AudioSettings) -> CacheTier:
        """Open the location; a dataset whose audio does not fit ``audio`` offers none. Blocking."""
        if self.descriptor is None:
            return FileCache(self.store, self.label)
        with _as_configuration_error(self.label):
            speech = DatasetCache(DatasetReader(self.store, self.descriptor), audio, self.label)
        if not len(speech):
            logger.warning(
                "no audio can be reused from the dataset %s: it has no speech yet, or its audio was converted to a "
                "format that this job does not use",
                self.label,
            )
        return speech


def find_cache(location: str | os.PathLike[str], staging: Path | None = None) -> CacheLocation:
    """Inspect a location of cached audio, and write nothing. Blocking.

    An empty location becomes a reuse store later. ``staging`` is that of ``open_store``.

    Raises:
        ConfigurationError: The location is neither a dataset nor a reuse store, has another version, or cannot be read.
    """
    text = os.fspath(location)
    label = text if is_local(text) else re.sub(r"(?<=://)[^/@]*@", "", without_passwords(text))
    with _as_configuration_error(label):
        store = open_store(location, staging)
        descriptor = read_descriptor(store)
        if descriptor is not None:
            return CacheLocation(store, label, descriptor, is_new=False)
        marker = store.read(MARKER)
        if marker is None and not store.is_empty():
            raise ConfigurationError(
                f"{label} is neither a dataset nor a reuse store, and not empty",
                hint="give `reuse` a dataset, a reuse store, or a new folder for one",
            )
    if marker is not None:
        _check_version(label, marker)
    return CacheLocation(store, label, None, is_new=marker is None)


def _check_version(label: str, marker: bytes) -> None:
    version = format_version_of(marker)
    if version != FORMAT_VERSION:
        raise ConfigurationError(
            f"the reuse store {label} is of format {version!r}, not {FORMAT_VERSION}",
            hint="use the version of tts-pipeline that made it, or another store",
        )


@contextmanager
def _as_configuration_error(label: str) -> Iterator[None]:
    """Translate StorageError: before the first request, a location that cannot be used is a wrong setting."""
    try:
        yield
    except StorageError as error:
        raise ConfigurationError(
            f"cannot use {label} for `reuse`: {error.message}", hint="check it, or leave it out"
        ) from cause_of(error)

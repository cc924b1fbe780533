"""Rebuild a dataset in its place: make a new generation, reuse the audio of the others, and swap it in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tts_pipeline.cache.cache_location import CacheLocation, CacheTier
from tts_pipeline.cache.journal_cache import JournalCache
from tts_pipeline.config import AudioSettings
from tts_pipeline.dataset.descriptor import Descriptor, read_descriptor
from tts_pipeline.dataset.generations import (
    SWAP_FILE,
    generation_at,
    resume_swap,
    swap_in,
    totals_to_carry,
    unfinished_generations,
)
from tts_pipeline.dataset.growth import Growth, check_descriptor
from tts_pipeline.dataset.recovery import commit_all_usage
from tts_pipeline.errors import ConfigurationError, StorageError
from tts_pipeline.storage.lease import Leases
from tts_pipeline.storage.local_store import remove_folder
from tts_pipeline.storage.store import Store


@dataclass(frozen=True, slots=True)
class OldGeneration:
    """The journals of another generation, whose audio can be reused."""

    folder: Path
    descriptor: Descriptor
    label: str

    def create(self) -> None:
        """Do nothing: the journals exist."""

    def open(self, audio: AudioSettings) -> CacheTier:
        """Read the journals. Blocking."""
        try:
            return JournalCache(self.folder, self.descriptor, audio, self.label)
        except StorageError as error:
            raise ConfigurationError(
                f"cannot reuse the audio of the journals in {self.folder}: {error.message}", hint=error.hint
            ) from error


@dataclass(frozen=True, slots=True)
class Rebuild:
    """A new generation beside the one in place; ``work_dir`` holds the journals of the generation in place."""

    home: Store
    work_dir: Path
    number: int

    @property
    def store(self) -> Store:
        """The store of the new generation."""
        return generation_at(self.home, self.number)

    def work_dir_of(self, number: int) -> Path:
        """Return the work folder of a generation that is not in place."""
        return self.work_dir / f"generation-{number}"

    def cache_locations(self) -> tuple[CacheLocation | OldGeneration, ...]:
        """Return the sources of reusable audio: the other generations' parts and unpublished journals. Blocking."""
        locations: list[CacheLocation | OldGeneration] = []
        for store, journals in self._other_generations():
            descriptor = read_descriptor(store)
            if descriptor is not None:
                label = f"generation {descriptor.generation}"
                locations += [
                    CacheLocation(store, label, descriptor, is_new=False),
                    OldGeneration(journals, descriptor, label),
                ]
        return tuple(locations)

    def carry_over(self, leases: Leases) -> dict[str, object]:
        """Publish the usage of the other generations; return their totals for the new descriptor. Blocking."""
        for store, journals in self._other_generations():
            commit_all_usage(store, journals, leases)
        return totals_to_carry(self.home, [generation_at(self.home, number) for number in self._abandoned_numbers()])

    def swap(self, leases: Leases) -> None:
        """Put the finished new generation in place. Blocking.

        Raises:
            StorageError: The destination failed, or another process works on the dataset; the next run continues.
        """
        with leases.hold_exclusive():
            self.carry_over(leases)
            for _, journals in self._other_generations():
                remove_folder(journals)  # their usage is published, and their audio is reused
            leases.check()
            swap_in(self.home, self.number)
            _remove_work(self.work_dir)

    def _other_generations(self) -> Iterator[tuple[Store, Path]]:
        yield self.home, self.work_dir / "journals"
        for number in self._abandoned_numbers():
            yield generation_at(self.home, number), self.work_dir_of(number) / "journals"

    def _abandoned_numbers(self) -> list[int]:
        return [number for number in unfinished_generations(self.home) if number != self.number]


def complete_swap(home: Store, work_dir: Path, leases: Leases) -> None:
    """Complete the swap of generations that an earlier run began but did not finish, if any. Blocking."""
    if home.exists(SWAP_FILE):
        with leases.hold_exclusive():
            resume_swap(home)
            _remove_work(work_dir)


def _remove_work(work_dir: Path) -> None:
    for folder in work_dir.glob("generation-*"):
        remove_folder(folder)


def find_rebuild(home: Store, work_dir: Path, target: Descriptor, growth: Growth) -> Rebuild | None:
    """Return the generation to make; None if the dataset in place matches the job, or does not exist.

    A generation that was begun for the same job and source is continued. Writes nothing. Blocking.

    ``work_dir`` holds the journals of the generation in place; ``target`` describes the present job.
    """
    existing = read_descriptor(home)
    if existing is None or _matches(home, target, growth):
        return None
    unfinished_numbers = unfinished_generations(home)
    latest = max([existing.generation, *unfinished_numbers])
    is_resumed = latest in unfinished_numbers and _matches(generation_at(home, latest), target, growth)
    return Rebuild(home, work_dir, latest if is_resumed else latest + 1)


def _matches(store: Store, target: Descriptor, growth: Growth) -> bool:
    try:
        check_descriptor(store, target, growth)
    except ConfigurationError:
        return False
    return True

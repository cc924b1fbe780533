"""Rebuild a dataset in its place: the new generation, the audio that it reuses, and the swap."""

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
    """Journals of a generation that is not gone on with; audio can be taken from them."""

    folder: Path
    descriptor: Descriptor
    label: str

    def create(self) -> None:
        """There is nothing to make."""

    def open(self, audio: AudioSettings) -> CacheTier:
        """Read them. Blocking."""
        try:
            return JournalCache(self.folder, self.descriptor, audio, self.label)
        except StorageError as error:
            raise ConfigurationError(
                f"cannot take audio from {self.folder}: {error.message}", hint=error.hint
            ) from error


@dataclass(frozen=True, slots=True)
class Rebuild:
    """A generation that is made beside the one in place, whose journals are in ``work_dir``."""

    home: Store
    work_dir: Path
    number: int

    @property
    def store(self) -> Store:
        """Where the new generation is made."""
        return generation_at(self.home, self.number)

    def work_dir_of(self, number: int) -> Path:
        """Return where a generation that is not in place keeps its journals and all that goes with them."""
        return self.work_dir / f"generation-{number}"

    def cache_locations(self) -> tuple[CacheLocation | OldGeneration, ...]:
        """Return where audio is taken from: what other generations published, and what they did not. Blocking."""
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
        """Account for all that the other generations spent, and return it for the new one's descriptor. Blocking."""
        for store, journals in self._other_generations():
            commit_all_usage(store, journals, leases)
        return totals_to_carry(self.home, [generation_at(self.home, number) for number in self._abandoned_numbers()])

    def swap(self, leases: Leases) -> None:
        """Put the new generation in place, when it is finished. Blocking.

        Raises:
            StorageError: The destination failed, or another process works on the dataset; run again to go on.
        """
        with leases.hold_exclusive():
            self.carry_over(leases)
            for _, journals in self._other_generations():
                remove_folder(journals)  # their usage is published, and what they held is taken
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
    """Go on with putting a generation in place, where a run died over it. Blocking."""
    if home.exists(SWAP_FILE):
        with leases.hold_exclusive():
            resume_swap(home)
            _remove_work(work_dir)


def _remove_work(work_dir: Path) -> None:
    for folder in work_dir.glob("generation-*"):
        remove_folder(folder)


def find_rebuild(home: Store, work_dir: Path, target: Descriptor, growth: Growth) -> Rebuild | None:
    """Return the generation that is to be made; None when the dataset in place is the wanted one, or there is none.

    One that was begun for the same job and source is gone on with. Writes nothing. Blocking.

    ``work_dir`` holds the journals of the generation in place; ``target`` describes the job of today.
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

"""Check audio format names that are read from files: they become file names, so only known names are accepted."""

from __future__ import annotations

from collections.abc import Iterable

from tts_pipeline.audio.identify import KNOWN_FORMATS
from tts_pipeline.errors import StorageError


def check_audio_formats(names: Iterable[object], file_name: str) -> None:
    """Refuse audio formats that this package never writes."""
    for name in names:
        if name not in KNOWN_FORMATS:
            raise StorageError(
                f"{file_name} has audio of an unknown format: {str(name)[:40]!r}",
                hint="the file is damaged, or somebody else wrote it: restore it, or leave it out",
            )

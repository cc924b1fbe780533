"""The formats of an export."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass

from tts_pipeline.errors import ConfigurationError, did_you_mean


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """One of them.

    Args:
        help: For people.
        has_files: Whether there is an audio file for each utterance.
        library: The format's own, through which it is written; it comes with the extra that is named like the format.
            None where there is none.
    """

    help: str
    has_files: bool = True
    library: str | None = None


FORMATS: Mapping[str, ExportFormat] = {
    "huggingface": ExportFormat("Parquet by split and a dataset card: load_dataset, the hub", False, "datasets"),
    "files": ExportFormat("an audio file for each utterance, and index.parquet"),
    "nemo": ExportFormat("audio files and manifests for NVIDIA NeMo"),
    "lhotse": ExportFormat("audio files and recordings, supervisions and cuts for lhotse", True, "lhotse"),
}


def check_export_format(name: str) -> None:
    """Make sure that a dataset can be exported so, here.

    Raises:
        ConfigurationError: There is no such format, or its library is not installed.
    """
    if name not in FORMATS:
        raise ConfigurationError(
            f"a dataset cannot be exported as {name!r}",
            hint=f"{did_you_mean(name, FORMATS)}It is one of {', '.join(FORMATS)}",
        )
    library = FORMATS[name].library
    if library is not None and importlib.util.find_spec(library) is None:
        raise ConfigurationError(
            f"an export as {name} is written by {library}, which is not installed",
            hint=f"pip install 'tts-pipeline[{name}]'",
        )

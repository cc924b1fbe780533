"""List the formats of an export, and check that the libraries that write them are installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping

from tts_pipeline.errors import ConfigurationError, did_you_mean

LIBRARIES: Mapping[str, str | None] = {"huggingface": "datasets", "files": None, "nemo": None, "lhotse": "lhotse"}
"""Format -> the library that writes it, which the extra of the format's name installs; None if none is needed."""


def has_audio_files(name: str) -> bool:
    """Return whether an export of a format has an audio file for each utterance."""
    return name != "huggingface"


def check_export_format(name: str) -> None:
    """Check that this installation can write a format.

    Raises:
        ConfigurationError: The format is unknown, or its library is not installed. Never retried.
    """
    if name not in LIBRARIES:
        raise ConfigurationError(
            f"a dataset cannot be exported as {name!r}",
            hint=f"{did_you_mean(name, LIBRARIES)}The formats are {', '.join(LIBRARIES)}",
        )
    library = LIBRARIES[name]
    if library is not None and importlib.util.find_spec(library) is None:
        raise ConfigurationError(
            f"an export as {name} needs the library {library}, which is not installed",
            hint=f"install it: pip install 'tts-pipeline[{name}]'",
        )

"""The public names."""

from __future__ import annotations

import subprocess
import sys

import tts_pipeline


def test_every_public_name_is_there() -> None:
    """What ``__all__`` names can be had, and nothing is missing from the table of homes."""
    for name in tts_pipeline.__all__:
        assert getattr(tts_pipeline, name) is not None
    assert dir(tts_pipeline) == tts_pipeline.__all__


def test_importing_the_package_loads_nothing_heavy() -> None:
    """A shell completion or a scheduler that only imports the package pays for nothing."""
    code = (
        "import sys, tts_pipeline; print(sorted({'pyarrow', 'polars', 'aiohttp', 'httpx', 'rich'} & set(sys.modules)))"
    )
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert printed.strip() == "[]"

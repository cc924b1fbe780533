"""The public names."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import tts_pipeline
import tts_pipeline.emulator
import tts_pipeline.job


@pytest.mark.parametrize(
    "package", [tts_pipeline, tts_pipeline.emulator, tts_pipeline.job], ids=lambda package: package.__name__
)
def test_every_public_name_is_there(package: ModuleType) -> None:
    """Type checkers, ``dir``, ``__all__`` and whoever asks for a name see the same names."""
    tree = ast.walk(ast.parse(Path(str(package.__file__)).read_text(encoding="utf-8")))
    typed = sorted(
        alias.name for node in tree if isinstance(node, ast.ImportFrom) for alias in node.names if alias.asname
    )
    assert dir(package) == package.__all__ == typed
    assert all(getattr(package, name) is not None for name in dir(package))


def test_importing_the_package_loads_nothing_heavy() -> None:
    """A shell completion or a scheduler that only imports the package pays for nothing."""
    code = (
        "import sys, tts_pipeline; print(sorted({'pyarrow', 'polars', 'aiohttp', 'httpx', 'rich'} & set(sys.modules)))"
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert output.strip() == "[]"

"""Names that are loaded when they are first used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import tts_pipeline.job
from tts_pipeline.lazy_imports import lazy_names


def test_a_name_comes_from_its_home_and_nothing_before_it_is_used() -> None:
    """A home that is not there hurts only who asks for what it holds."""
    load, _, names = lazy_names("house", {"string": "digits hexdigits", "no_such_module": "lost"})
    assert names == ["digits", "hexdigits", "lost"]
    assert load("digits") == "0123456789"
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        load("lost")


def test_any_other_name_is_missing_in_pythons_own_words() -> None:
    """The error names the package, not this machinery."""
    with pytest.raises(AttributeError, match=r"module 'tts_pipeline\.job' has no attribute 'nothing'"):
        getattr(tts_pipeline.job, "nothing")  # noqa: B009 (mypy knows that it is not there)


def test_saying_how_a_job_is_run_loads_nothing_that_runs_it() -> None:
    """``RunOptions``, ``Job`` and ``Shard`` are values: a scheduler makes them over and over."""
    code = (
        "import sys; from tts_pipeline import Job, RunOptions, Shard;"
        "print(sorted({'pyarrow', 'polars', 'aiohttp', 'httpx', 'numpy', 'asyncio'} & set(sys.modules)))"
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert output.strip() == "[]"

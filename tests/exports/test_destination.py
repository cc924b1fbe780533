"""The destination of an export."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tts_pipeline.dataset.generations import SWAP_FILE
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.exports import export


def test_an_export_says_what_it_is(dataset: Path, tmp_path: Path) -> None:
    """Of which dataset, with which settings, and that it is whole."""
    export(dataset, tmp_path / "out", as_="files", where="take = 0", split={"train": np.float64(1)})
    assert json.loads((tmp_path / "out" / "export.json").read_text()) == {
        "format_version": 1,
        "as": "files",
        "finished": True,
        "dataset": str(dataset),
        "name": None,
        "where": "take = 0",
        "split": {"train": 1.0},
        "audio_format": "as-received",
        "sample_rate_hz": None,
        "manifests": [],
    }


def test_a_folder_that_holds_something_else_is_refused(dataset: Path, tmp_path: Path) -> None:
    """The dataset itself, too; nothing is written."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    for folder in (tmp_path / "mine", dataset):
        before = sorted(folder.rglob("*"))
        with pytest.raises(ConfigurationError, match="is not empty and holds no export"):
            export(dataset, folder, as_="files")
        assert sorted(folder.rglob("*")) == before


def test_a_folder_holds_one_format(dataset: Path, tmp_path: Path) -> None:
    """Another one has a folder of its own."""
    export(dataset, tmp_path / "out", as_="files")
    with pytest.raises(ConfigurationError, match="holds an export as files, not as nemo"):
        export(dataset, tmp_path / "out", as_="nemo")


def test_what_is_no_dataset_is_refused(tmp_path: Path) -> None:
    """With what one is."""
    with pytest.raises(ConfigurationError, match=r"no dataset at .*it holds dataset\.json"):
        export(tmp_path / "nothing", tmp_path / "out", as_="files")
    assert list(tmp_path.iterdir()) == []


def test_a_dataset_that_is_being_replaced_is_refused(dataset: Path, tmp_path: Path) -> None:
    """It is of two generations for as long as that takes."""
    (dataset / SWAP_FILE).parent.mkdir()
    (dataset / SWAP_FILE).touch()
    with pytest.raises(ConfigurationError, match="being replaced"):
        export(dataset, tmp_path / "out", as_="files")

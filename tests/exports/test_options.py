"""Options of an export, checked before anything is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tts_pipeline.errors import ConfigurationError
from tts_pipeline.exports import export
from tts_pipeline.exports.options import ExportOptions


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"as_": "hugingface"}, "Did you mean 'huggingface'"),
        ({"as_": "huggingface", "name": "{utterance_id}"}, "has no audio files to name"),
        ({"as_": "nemo", "name": "{utterance_id}.{ext}"}, "use 'audio/{utterance_id}.{ext}'"),
        ({"as_": "files", "audio_format": "mp4"}, "unknown audio format 'mp4'"),
        ({"as_": "files", "sample_rate_hz": 7}, "cannot have 7 samples"),
        ({"as_": "files", "split": "train=2"}, "add up to 1 at most"),
        ({"as_": "files", "where": "nothing = 1"}, "no column 'nothing'"),
        ({"as_": "files", "name": "{nothing}"}, "{nothing} is not a known field"),
        ({"as_": "files", "name": "{text:d}"}, "cannot be formatted as 'd'"),
    ],
)
def test_a_wrong_setting_is_told_before_anything_is_written(
    dataset: Path, tmp_path: Path, settings: dict[str, str], message: str
) -> None:
    """Every one of them."""
    with pytest.raises(ConfigurationError) as exc_info:
        export(dataset, tmp_path / "out", **settings)  # type: ignore[arg-type]  # any of the settings
    assert message in str(exc_info.value)
    assert not (tmp_path / "out").exists()


def _options(as_: str, **changes: Any) -> ExportOptions:
    values = {"name": None, "where": None, "split": None, "audio_format": "as-received", "sample_rate_hz": None}
    return ExportOptions(as_, **{**values, **changes})


@pytest.mark.parametrize(
    ("as_", "changes", "name"),
    [
        ("files", {}, "u1.wav"),
        ("nemo", {}, "audio/u1.wav"),
        ("lhotse", {}, "audio/u1.wav"),
        ("files", {"split": "train=1"}, "train/u1.wav"),
        ("nemo", {"split": "train=1"}, "audio/train/u1.wav"),
        ("files", {"split": "train=1", "name": "{voice}/{utterance_id}.{ext}"}, "anna/u1.wav"),
    ],
)
def test_files_are_named_by_their_ids_unless_told_otherwise(as_: str, changes: dict[str, Any], name: str) -> None:
    """Beside manifests in a folder of their own, and in one for each split."""
    values = {"utterance_id": "u1", "take": 0, "voice": "anna"}
    template = _options(as_, **changes).template()
    assert template.file_name({**values, "ext": "wav", "split": "train"}).render(is_taken=False) == name


def test_what_the_destination_remembers_are_plain_values() -> None:
    """The format stands beside them, and shares may have been NumPy's."""
    memory = _options("files", split={"train": np.float64(0.5)}, where="take = 0").to_json("s3://bucket/dataset")
    assert json.loads(json.dumps(memory)) == memory
    assert (memory["dataset"], memory["split"], memory["where"]) == ("s3://bucket/dataset", {"train": 0.5}, "take = 0")
    assert "as_" not in memory

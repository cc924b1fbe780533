"""The specimens, made once."""

from __future__ import annotations

import pytest

from tests.mutations.specimens import Specimens, make_specimens
from tts_pipeline.emulator.local_service import LocalService


@pytest.fixture(scope="package")
def specimens(tone_service: LocalService, tmp_path_factory: pytest.TempPathFactory) -> Specimens:
    return make_specimens(tmp_path_factory.mktemp("specimens") / "made", tone_service)

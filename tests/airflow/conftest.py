"""Airflow as a library for the tests of single operators, and one real Airflow for those of whole DAGs."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest

from tests.airflow.home import Airflow, airflow_in
from tts_pipeline.emulator.local_service import LocalService

# Before Airflow is first imported: it configures the process and writes into its home when that happens.
os.environ["_AIRFLOW__AS_LIBRARY"] = "1"
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="airflow-home-")
atexit.register(shutil.rmtree, os.environ["AIRFLOW_HOME"], ignore_errors=True)

KEY = "sk-of-the-airflow-tests"


def connection(url: str, **extra: Any) -> str:
    """Return a connection of type ``speech`` as JSON."""
    return json.dumps({"conn_type": "speech", "host": url, "password": KEY, "extra": extra})


@pytest.fixture
def service(tone_service: LocalService, monkeypatch: pytest.MonkeyPatch) -> LocalService:
    """A service that hums, with an empty bill and no faults, as the connection ``speech_default``."""
    monkeypatch.setenv("AIRFLOW_CONN_SPEECH_DEFAULT", connection(tone_service.url))
    return tone_service


@pytest.fixture(scope="session")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    """A real Airflow with a database, shared; its runs differ by where ``speech_root`` is."""
    with airflow_in(tmp_path_factory.mktemp("airflow")) as running:
        yield running

"""The local speech service for tests: always a real process, never a stand-in."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import settings

from tests.patience import patience
from tests.s3 import s3_server
from tts_pipeline.emulator.local import LocalService
from tts_pipeline.emulator.options import EmulatorOptions

StartEmulator = Callable[..., LocalService]
"""``emulator(**options)`` with the fields of ``EmulatorOptions``."""

settings.register_profile("tests", deadline=None)  # an example takes as long as the machine needs
settings.load_profile("tests")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Scale what a test may take, by ``timeout`` in pyproject.toml or its own mark."""
    for item in items:
        mark = item.get_closest_marker("timeout")
        given = mark.args[0] if mark else config.getoption("timeout")
        seconds = float(config.getini("timeout") if given is None else given)
        item.add_marker(pytest.mark.timeout(patience(seconds)), append=False)


_SHARED = ("espeak_service", "tone_service")


def _skip_without_espeak(options: EmulatorOptions) -> None:
    if options.voice_mode == "espeak" and importlib.util.find_spec("espeakng_loader") is None:
        pytest.skip("espeakng-loader is not installed (pip install 'tts-pipeline[local]')")


@pytest.fixture
def emulator() -> Iterator[StartEmulator]:
    """Start services of the test's own: ``emulator(voice_mode="tone", latency_ms=20)``; they end with the test."""
    with ExitStack() as running:

        def start(**options: Any) -> LocalService:
            chosen = EmulatorOptions(**options)
            _skip_without_espeak(chosen)
            return running.enter_context(LocalService(chosen))

        yield start


def _shared(options: EmulatorOptions) -> Iterator[LocalService]:
    _skip_without_espeak(options)
    with LocalService(options) as local:
        yield local


@pytest.fixture(scope="session")
def espeak_service() -> Iterator[LocalService]:
    """One service that really speaks, shared; every test that names it finds its bill and its faults empty."""
    yield from _shared(EmulatorOptions(speakers=1))


@pytest.fixture(scope="session")
def tone_service() -> Iterator[LocalService]:
    """One service that hums, shared; every test that names it finds its bill and its faults empty."""
    yield from _shared(EmulatorOptions(voice_mode="tone"))


@pytest.fixture(autouse=True)
def _clean_shared_services(request: pytest.FixtureRequest) -> Iterator[None]:
    """Before a test, for its bill; after it, because a fixture of a wider scope speaks before the next is cleaned."""
    services: list[LocalService] = [request.getfixturevalue(name) for name in _SHARED if name in request.fixturenames]
    _clean(services)
    yield
    _clean(services)


def _clean(services: list[LocalService]) -> None:
    for service in services:
        service.clear_faults()
        service.reset_bill()


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mapping[str, str]]:
    """An S3 server with one bucket, ``bucket``, that this process and those it starts find."""
    s3fs = pytest.importorskip("s3fs")
    with s3_server() as environ:
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        s3fs.S3FileSystem().mkdir("bucket")
        yield environ
        s3fs.S3FileSystem.clear_instance_cache()

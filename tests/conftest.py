"""Fixtures of many tests: the local speech service, always a real process, and destinations of both kinds."""

from __future__ import annotations

import importlib.util
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

import fsspec
import pytest
from hypothesis import settings

from tests.machine import patience, s3_server
from tests.postgres import AccountDatabase, PostgresServer, running_server
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.emulator.options import EmulatorOptions
from tts_pipeline.storage.open_store import open_store
from tts_pipeline.storage.store import Store

pytest.register_assert_rewrite("tests.bills", "tests.bill_runs")

StartEmulator = Callable[..., LocalService]
"""``emulator(**options)`` with the fields of ``EmulatorOptions``."""

for _variable in ("TTS_ACCOUNT_STORE", "TTS_LEDGER"):  # of the processes that tests start, too
    os.environ.setdefault(_variable, "none")

settings.register_profile("tests", deadline=None)  # an example takes as long as the machine needs
settings.load_profile("tests")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Scale what a test may take, by ``timeout`` in pyproject.toml or its own mark; and let slow ones begin early."""
    for item in items:
        mark = item.get_closest_marker("timeout")
        timeout_s = mark.args[0] if mark else config.getoption("timeout")
        seconds = float(config.getini("timeout") if timeout_s is None else timeout_s)
        item.add_marker(pytest.mark.timeout(patience(seconds)), append=False)
    items[:] = _slow_ones_first(items, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))


def _slow_ones_first(items: list[pytest.Item], workers: int) -> list[pytest.Item]:
    """Deal the modules with slow tests out to the workers, each at the front of its share; whole modules share setups.

    ``--dist worksteal`` gives each worker an equal run of the items, and takes from the ends of these later.
    """
    slow: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("slow"):
            slow.setdefault(item.nodeid.partition("::")[0], []).append(item)
    modules = sorted(slow.values(), key=lambda module: (module[0].path.name not in _LONGEST, -len(module)))
    quick = [item for item in items if not item.get_closest_marker("slow")]
    shares: list[list[pytest.Item]] = [list(chain(*modules[number::workers])) for number in range(workers)]
    for number, share in enumerate(shares):
        end = len(items) * (number + 1) // workers - len(items) * number // workers
        share += [quick.pop() for _ in range(min(len(quick), max(0, end - len(share))))]
    return [*chain(*shares), *quick]


_LONGEST = ("test_fleet.py", "test_standalone.py")
"""They wait for Airflow most of their time."""

_SHARED = ("espeak_service", "tone_service")


def _skip_without_espeak(options: EmulatorOptions) -> None:
    if options.voice_mode == "espeak" and importlib.util.find_spec("espeakng_loader") is None:
        pytest.skip("espeakng-loader is not installed (pip install 'tts-pipeline[local]')")


@pytest.fixture
def emulator() -> Iterator[StartEmulator]:
    """Start services of the test's own: ``emulator(voice_mode="tone", latency_ms=20)``; they end with the test."""
    with ExitStack() as running:

        def start(**options: Any) -> LocalService:
            emulator_options = EmulatorOptions(**options)
            _skip_without_espeak(emulator_options)
            return running.enter_context(LocalService(emulator_options))

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


@pytest.fixture(scope="session")
def _s3_server() -> Iterator[Mapping[str, str]]:
    pytest.importorskip("s3fs")
    with s3_server() as environ:
        yield environ


@pytest.fixture
def s3(_s3_server: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Mapping[str, str]]:
    """An S3 server with one empty bucket, ``bucket``, that this process and those it starts find."""
    import s3fs

    for name, value in _s3_server.items():
        monkeypatch.setenv(name, value)
    forget = Request(f"{_s3_server['AWS_ENDPOINT_URL']}/moto-api/reset", method="POST")
    build_opener(ProxyHandler({})).open(forget, timeout=patience(30)).close()
    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().mkdir("bucket")
    yield _s3_server
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty destination, once in a folder and once on an fsspec file system."""
    if request.param == "local":
        yield open_store(tmp_path / "destination", tmp_path / "staging")
        return
    url = f"memory://{uuid.uuid4().hex}/destination"
    yield open_store(url, tmp_path / "staging")
    filesystem, path = fsspec.core.url_to_fs(url)
    if filesystem.exists(path):
        filesystem.rm(path, recursive=True)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server, shared; whoever stops it starts it again."""
    with running_server() as server:
        yield server


@pytest.fixture
def postgres(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of an empty PostgreSQL database of the test's own, with a password."""
    with postgres_server.database() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def account_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AccountDatabase]:
    """An empty database for an account store, once in SQLite and once in PostgreSQL."""
    is_sqlite = request.param == "sqlite"
    place = str(tmp_path / "account" / "account.db") if is_sqlite else request.getfixturevalue("postgres")
    database = AccountDatabase(place)
    yield database
    database.close()


@pytest.fixture
def anyio_backend() -> str:
    """Coroutine tests marked with ``anyio`` (its pytest plugin comes with httpx) run on asyncio, and only there."""
    return "asyncio"

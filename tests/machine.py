"""The machine below the tests: how long they wait for it, its ports, small disks, sudden deaths, and an S3 server."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tts_pipeline.storage.local_store import LocalStore

FACTOR = float(os.environ.get("TTS_TEST_PATIENCE") or 1)
"""For a machine that is busy with something else: ``TTS_TEST_PATIENCE=4 make test``."""


def patience(seconds: float) -> float:
    """Return a bound of time that only tells waiting from not waiting: on a busy machine it is longer.

    What a test promises in seconds is not such a bound, nor is a rest between two looks.
    """
    return seconds * FACTOR


LEASE_S = patience(3.0)
"""A short lease, so that a test waits little for the end of a dead process's. A busy machine may give a live process no
time for a second, and a run whose lease has ended stops."""


def free_port() -> int:
    """Return a port that nobody is given by chance meanwhile: below those that a system hands out."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class SmallDisk:
    """A disk in memory, of its own size, that can really be full.

    Args:
        folder: Where it is mounted.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def resize(self, kilobytes: int) -> None:
        """Make it smaller or larger, with what is on it."""
        _mount("-o", f"remount,size={kilobytes}k", str(self.folder))

    def make_read_only(self) -> None:
        """Let nobody write to it, not even root."""
        _mount("-o", "remount,ro", str(self.folder))


@contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[SmallDisk]:
    """Mount a disk of so many kilobytes for the length of a ``with``; skip the test without the right to mount."""
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    try:
        _mount("-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder))
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("cannot mount a small disk here")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


class DiedError(Exception):
    """The process is gone."""


class DyingStore(LocalStore):
    """A destination whose process dies before a change; all stores of the process count together."""

    changes_left = 10_000

    def _count(self) -> None:
        DyingStore.changes_left -= 1
        if DyingStore.changes_left < 0:
            raise DiedError

    def remove(self, name: str) -> None:
        self._count()
        super().remove(name)

    def remove_folder(self, folder: str) -> None:
        self._count()
        super().remove_folder(folder)

    def move(self, name: str, to: str) -> None:
        self._count()
        super().move(name, to)

    def write(self, name: str, data: bytes, *, durable: bool = True) -> None:
        self._count()
        super().write(name, data, durable=durable)

    def stage(self, name: str, *, is_new: bool = False) -> Any:
        self._count()
        return super().stage(name, is_new=is_new)


_SERVE_S3 = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(*server.get_host_and_port(), flush=True)
sys.stdin.read()
"""


@contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """Start a real S3 API server (moto), empty, in a process of its own; it ends with the ``with``.

    Yields the environment variables by which clients find it.
    """
    command = [sys.executable, "-W", "ignore", "-c", _SERVE_S3]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        host, port = process.stdout.readline().split()
        try:
            yield {
                "AWS_ENDPOINT_URL": f"http://{host}:{port}",
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_EC2_METADATA_DISABLED": "true",
                "AWS_CONFIG_FILE": os.devnull,
                "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            }
        finally:
            process.kill()

"""The page as a process: told where, stopped by a signal."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest

from tests.browse.conftest import served
from tests.browse.test_app import get
from tests.cli.conftest import PROGRAM
from tests.machine import patience
from tts_pipeline.catalog.service import is_loopback_host


def test_it_answers_on_this_machine_only(site: str) -> None:
    """Unless it is told otherwise, on the loopback address, at a free port."""
    assert site.startswith("http://127.0.0.1:")
    assert get(site, "/").status == 200


def test_a_port_can_be_chosen(dataset: Path) -> None:
    """It is the one that is served; SIGTERM ends it in good order (``served`` looks)."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with served(dataset, "--port", str(port)) as url:
        assert url == f"http://127.0.0.1:{port}/"
        assert get(url, "/api/dataset").status == 200


@pytest.mark.parametrize(
    ("host", "near"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("192.168.1.7", False),
        ("box", False),
    ],
)
def test_who_else_can_hear_is_known(host: str, near: bool) -> None:
    """Only addresses of the machine itself are for nobody else."""
    assert is_loopback_host(host) is near


def refused(*argv: str) -> str:
    """Run ``browse`` to its end and return what it tells."""
    result = subprocess.run(
        [*PROGRAM, "browse", *argv], capture_output=True, text=True, timeout=patience(60), check=False
    )
    assert (result.returncode, result.stdout) == (2, "")
    return result.stderr


def test_a_taken_port_is_told(dataset: Path) -> None:
    """Status 2, with what to do."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        message = refused(str(dataset), "--port", str(listener.getsockname()[1]))
    assert "choose another port" in message


def test_a_place_without_a_dataset_is_told(tmp_path: Path) -> None:
    """Status 2, before anything is served."""
    assert "there is no dataset" in refused(str(tmp_path))

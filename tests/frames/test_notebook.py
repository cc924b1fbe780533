"""In a real notebook, with an event loop of its own."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient

from tests.conftest import StartEmulator
from tests.machine import patience

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebooks" / "first_dataset.ipynb"

CELL = """
import asyncio
import polars as pl
import tts_pipeline as tts

assert asyncio.get_running_loop()
service = tts.Service(base_url={url!r}, auth="none")
lines = pl.DataFrame({{"text": [f"Line {{number}}." for number in range(200)]}})
spoken = lines.pipe(tts.synthesize, service, model="qwen3-tts-flash", voice="Cherry")
"""


@pytest.fixture
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))


@pytest.fixture
def kernel(_own_folders: None) -> Iterator[KernelManager]:
    """A kernel that was started, as a notebook has one."""
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel()
    yield manager
    manager.shutdown_kernel(now=True)


def _answer(client: BlockingKernelClient, message_id: str) -> dict[str, Any]:
    while True:
        message: dict[str, Any] = client.get_shell_msg(timeout=patience(30))
        if message["parent_header"]["msg_id"] == message_id:  # else it answers whether the kernel is ready
            return dict(message["content"])


@pytest.mark.slow
@pytest.mark.usefixtures("_own_folders")
@pytest.mark.skipif(importlib.util.find_spec("espeakng_loader") is None, reason="espeakng-loader is not installed")
def test_the_notebook_of_the_documentation_runs_top_to_bottom(tmp_path: Path) -> None:
    """Without an error, and its frames and its progress are shown."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]  # of nbformat
    NotebookClient(notebook, timeout=patience(120), resources={"metadata": {"path": tmp_path}}).execute()
    outputs = str([cell.get("outputs") for cell in notebook.cells])
    assert "4 of 4 rows" in outputs
    assert "EmptyText" in outputs
    assert "(50, None)" in outputs


@pytest.mark.slow
def test_an_interrupted_cell_stops_in_good_order(kernel: KernelManager, emulator: StartEmulator) -> None:
    """The cell says why it stopped; run again it buys what was not bought, and nothing twice."""
    local = emulator(voice_mode="tone", tone_bytes=4_000, latency_ms=200)
    client = kernel.blocking_client()
    client.start_channels()
    client.wait_for_ready(timeout=patience(60))
    cell = CELL.format(url=local.url)
    message_id = client.execute(cell)
    while local.bill()["charged"] < 40:
        assert kernel.is_alive()
    kernel.interrupt_kernel()
    stopped = _answer(client, message_id)
    assert stopped["ename"] == "StoppedError"
    assert "interrupted" in stopped["evalue"]
    assert local.bill()["received"] < 200
    finished = client.execute_interactive(cell, timeout=patience(60), output_hook=lambda _: None)["content"]
    client.stop_channels()
    assert finished["status"] == "ok"
    assert local.bill()["received"] == 200

from __future__ import annotations

import importlib.util
import json
import os
import select
import signal
import socket
import subprocess
import sys
from urllib.parse import urlsplit

import pytest

from tests.machine import patience
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.emulator.options import EmulatorOptions
from tts_pipeline.errors import ConfigurationError

TONE = EmulatorOptions(voice_mode="tone")


def start(*words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tts_pipeline.emulator", "--voice-mode=tone", *words]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def url_of(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    return str(json.loads(process.stdout.readline())["url"])


def is_listening(url: str) -> bool:
    host, port = urlsplit(url).netloc.split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def test_the_service_lives_as_long_as_the_with() -> None:
    """Ready inside, gone after."""
    with LocalService(TONE) as local:
        assert local.url.startswith("http://127.0.0.1:")
        assert local.bill()["received"] == 0
    assert not is_listening(local.url)


def test_closing_twice_is_harmless() -> None:
    """Also a service that never started can be closed."""
    local = LocalService(TONE)
    local.close()
    local.start()
    local.close()
    local.close()


def test_a_port_that_is_taken_is_said() -> None:
    """The reason comes back from the process, with the way out."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"127.0.0.1:{port}.*port"):
            LocalService(EmulatorOptions(voice_mode="tone", port=port)).start()


def test_without_espeak_the_way_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing voice is a clear error before anything starts; tones need none."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(ConfigurationError, match=r"pip install 'tts-pipeline\[local\]'"):
        LocalService().start()
    with LocalService(TONE) as local:
        assert local.url


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_good_order(number: signal.Signals) -> None:
    """SIGTERM and Ctrl-C end the process with status 0."""
    with start() as process:
        url = url_of(process)
        process.send_signal(number)
        assert process.wait(patience(10)) == 0
    assert not is_listening(url)


@pytest.mark.skipif(sys.platform != "linux", reason="waits for a process of another parent by pidfd")
def test_it_dies_with_a_parent_that_is_killed() -> None:
    """A parent that had no chance to say anything leaves no service behind."""
    program = (
        "import os, signal\n"
        "from tts_pipeline.emulator.local_service import LocalService\n"
        "from tts_pipeline.emulator.options import EmulatorOptions\n"
        "local = LocalService(EmulatorOptions(voice_mode='tone')); local.start()\n"
        "print(local.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert parent.wait(patience(10)) == -signal.SIGKILL
    assert _ends(child)


def test_an_interrupt_from_the_terminal_does_not_reach_it() -> None:
    """Ctrl-C goes to a group of processes; the service is in one of its own, so that answers still come."""
    with LocalService(TONE) as local:
        assert os.getpgid(local.pid) != os.getpgid(0)


def _ends(pid: int) -> bool:
    """Wait until a process that is not a child of ours is gone."""
    descriptor = os.pidfd_open(pid)
    try:
        return bool(select.select([descriptor], [], [], 10)[0])
    finally:
        os.close(descriptor)

"""Where processor time goes."""

from __future__ import annotations

import threading
import time
from collections import defaultdict

import pytest

from benchmarks.profile import module_of
from benchmarks.sampler import Sampler


def _burn(seconds: float) -> None:
    until_s = time.thread_time() + seconds
    while time.thread_time() < until_s:
        pass


def test_a_thread_is_charged_what_its_clock_says() -> None:
    """Two threads that burn different amounts are told apart, and nothing of either is lost."""
    sampler = Sampler(lambda filename: "test" if filename == __file__ else None)
    end = threading.Event()

    def work() -> None:
        _burn(0.1)
        end.wait()  # a thread that has ended has no clock any more

    thread = threading.Thread(target=work, name="worker_0")
    with sampler.running():
        thread.start()
        _burn(0.3)
        end.set()
    thread.join()
    assert 0.25 < sampler.spent_s["main", "test"] < 0.45
    assert 0.05 < sampler.spent_s["worker", "test"] < 0.25


def test_a_main_thread_that_waits_hides_nobody() -> None:
    """What a thread does while the main thread waits for it is sampled all along, not found in one heap at the end."""
    sampler = Sampler(lambda filename: "test" if filename == __file__ else None)
    looks = 0

    class Counting(defaultdict[tuple[str, str], float]):
        def __missing__(self, _: tuple[str, str]) -> float:
            return 0.0

        def __setitem__(self, key: tuple[str, str], value: float) -> None:
            nonlocal looks
            looks += key == ("event-loop", "test")
            super().__setitem__(key, value)

    sampler.spent_s = Counting()
    thread = threading.Thread(target=_burn, args=(0.2,), name="event-loop-0")
    with sampler.running():
        thread.start()
        thread.join()
    assert looks > 1


def test_a_thread_that_ends_before_the_first_sample_is_charged(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of a thread ends with it: what it did since the last sample, or without any, is told by itself."""
    monkeypatch.setattr("benchmarks.sampler._SAMPLE_INTERVAL_S", 1_000)
    sampler = Sampler(module_of)
    thread = threading.Thread(target=_burn, args=(0.02,), name="publisher-0")
    with sampler.running():
        thread.start()
        thread.join()
    assert sampler.spent_s["publisher", "other"] >= 0.02


def test_modules_are_ours_and_libraries() -> None:
    """A file of ours is told by its module, a library's by its name, and what serves many by nobody."""
    assert module_of("/a/tts_pipeline/wire/response.py") == "wire/response.py"
    assert module_of("/v/lib/python3.11/site-packages/httpx_aiohttp/transport.py") == "httpx"
    assert module_of("/usr/lib/python3.11/asyncio/events.py") == "asyncio/events.py"
    assert module_of("/usr/lib/python3.11/selectors.py") == "asyncio/selectors.py"
    assert module_of("/usr/lib/python3.11/json/decoder.py") is None
    assert module_of("<frozen importlib._bootstrap>") is None

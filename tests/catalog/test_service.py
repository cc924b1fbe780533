from __future__ import annotations

import pickle
from dataclasses import replace

import pytest

from tts_pipeline.catalog import Catalog, Service, find_service
from tts_pipeline.catalog.service import is_loopback, normalise_url
from tts_pipeline.errors import ConfigurationError

KEY = "sk-very-secret"


@pytest.mark.parametrize(
    ("url", "normalised"),
    [
        ("https://a.example", "https://a.example"),
        ("https://a.example/", "https://a.example"),
        ("https://a.example/v1", "https://a.example"),
        ("https://a.example/v1/", "https://a.example"),
        ("https://a.example/v1/audio/speech", "https://a.example"),
        ("https://a.example/gate/v1", "https://a.example/gate"),
        ("https://a.example/gate/v2", "https://a.example/gate/v2"),
        ("HTTPS://A.Example:443/v1", "https://a.example"),
        ("http://localhost:8080/v1", "http://localhost:8080"),
        ("http://localhost:80", "http://localhost"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        (" https://a.example\n", "https://a.example"),
    ],
)
def test_urls_have_one_form(url: str, normalised: str) -> None:
    """However a service's URL is written, the same service has the same name; normalising twice changes nothing."""
    assert normalise_url(url) == normalised
    assert normalise_url(normalised) == normalised


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a.example",
        "https://",
        "https:///path",
        "https://a.example:port",
        "https://a.example:99999",
        "https://[::1",
        "https://user@a.example",
        f"https://user:{KEY}@a.example",
        f"https://a.example/?key={KEY}",
        f"https://a.example/#{KEY}",
    ],
)
def test_urls_that_are_refused(url: str) -> None:
    """What is no http URL, or may hide a key, is refused; and the message does not repeat a key."""
    with pytest.raises(ConfigurationError) as exc_info:
        Service(base_url=url)
    assert KEY not in str(exc_info.value)


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://localhost:1", True),
        ("http://127.0.0.1", True),
        ("http://127.8.9.1:80/x", True),
        ("http://[::1]:1", True),
        ("http://localhost.example", False),
        ("http://127.0.0.1.example", False),
        ("http://10.0.0.1", False),
        ("http://0.0.0.0", False),
        ("", False),
    ],
)
def test_loopback_is_this_machine_only(url: str, loopback: bool) -> None:
    """Only what surely stays on this machine counts; names are not resolved."""
    assert is_loopback(url) is loopback


def test_a_service_of_ones_own() -> None:
    """URL and key are enough; the URL is its name, and the key is in no repr."""
    service = Service(base_url="https://a.example/v1", api_key=KEY)
    assert (service.name, service.base_url, service.api_key) == ("https://a.example", "https://a.example", KEY)
    assert KEY not in repr(service)


def test_a_key_is_not_sent_over_plain_http() -> None:
    """Refused where anybody on the way can read it, allowed on this machine."""
    with pytest.raises(ConfigurationError, match="never sent over plain http") as exc_info:
        Service(base_url="http://a.example", api_key=KEY)
    assert KEY not in str(exc_info.value)
    assert Service(base_url="http://127.0.0.1:1", api_key=KEY).api_key == KEY


def test_a_service_can_be_copied_and_sent_to_another_process() -> None:
    """The local service gets its URL by replace; workers get services by pickle."""
    local = replace(Service(base_url="", name="local", auth="none"), base_url="http://127.0.0.1:8765/v1")
    assert (local.name, local.base_url) == ("local", "http://127.0.0.1:8765")
    assert pickle.loads(pickle.dumps(local)) == local


def test_named_finds_the_key_in_the_environment(catalog: Catalog) -> None:
    """One call gives a service that can be used; without its key, an error that names the variable."""
    service = find_service("modelstream", catalog=catalog, environ={"MODELSTREAM_API_KEY": KEY})
    assert (service.base_url, service.api_key) == ("https://api.modelstream.ai", KEY)
    with pytest.raises(ConfigurationError, match="set BAZE_API_KEY"):
        find_service("baze", catalog=catalog, environ={})


def test_named_reads_the_process_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without arguments the built-in catalog and the process's environment are used."""
    monkeypatch.setenv("BAZE_API_KEY", KEY)
    assert find_service("baze").api_key == KEY

from __future__ import annotations

import pytest

from tts_pipeline.card import Endpoint
from tts_pipeline.catalog import Catalog, Service
from tts_pipeline.catalog.keys import environment, with_key
from tts_pipeline.errors import ConfigurationError

KEY = "sk-very-secret"


@pytest.mark.parametrize(
    ("service", "variable"),
    [
        ("modelstream", "MODELSTREAM_API_KEY"),
        ("baze", "BAZE_API_KEY"),
        ("dashscope", "DASHSCOPE_API_KEY"),
        ("openai", "OPENAI_API_KEY"),
        ("https://gateway.example", "TTS_API_KEY"),
        ("http://127.0.0.1:9", "TTS_API_KEY"),
    ],
)
def test_each_service_has_its_own_variable(catalog: Catalog, service: str, variable: str) -> None:
    """A key goes to the service it belongs to, and to no other."""
    environ = {name: f"key of {name}" for name in ("TTS_API_KEY", "OPENAI_API_KEY", variable)}
    assert with_key(catalog.service(service), environ).api_key == f"key of {variable}"


@pytest.mark.parametrize("environ", [{}, {"BAZE_API_KEY": ""}, {"BAZE_API_KEY": " \n"}, {"TTS_API_KEY": KEY}])
def test_a_missing_key_names_the_variable(catalog: Catalog, environ: dict[str, str]) -> None:
    """Not set, empty, or set for another service: the error says what to set."""
    with pytest.raises(ConfigurationError, match=r"'baze' needs a key .*set BAZE_API_KEY"):
        with_key(catalog.service("baze"), environ)


def test_white_space_around_a_key_is_dropped(catalog: Catalog) -> None:
    """A key read from a file brings its line end along."""
    assert with_key(catalog.service("baze"), {"BAZE_API_KEY": f" {KEY}\n"}).api_key == KEY


@pytest.mark.parametrize("key", ["sk-ké", "sk-a\nX-Header: b", "sk-\x7f"])
def test_a_key_that_no_header_can_carry(catalog: Catalog, key: str) -> None:
    """It is refused before anything is sent, and not shown."""
    with pytest.raises(ConfigurationError, match="no header can carry") as exc_info:
        with_key(catalog.service("baze"), {"BAZE_API_KEY": key})
    assert "sk-" not in str(exc_info.value)


def test_a_callers_key_wins(catalog: Catalog) -> None:
    """A service that has a key, from a connection for example, keeps it."""
    service = Service(base_url="https://gateway.example", api_key=KEY)
    assert with_key(service, {"TTS_API_KEY": "another"}).api_key == KEY


def test_loopback_by_url_may_go_without(catalog: Catalog) -> None:
    """A server on this machine mostly has no key; elsewhere one is needed."""
    assert with_key(catalog.service("http://localhost:9"), {}).auth == "none"
    with pytest.raises(ConfigurationError, match="set TTS_API_KEY"):
        with_key(catalog.service("https://gateway.example"), {})


def test_no_authentication_gets_no_key(catalog: Catalog) -> None:
    """A service that takes no key is not given one, whatever the environment holds."""
    assert with_key(catalog.service("local"), {"TTS_API_KEY": KEY}).api_key is None


def test_plain_http_is_refused(catalog: Catalog) -> None:
    """Also for a service that was made without the catalog's class."""
    for service in (catalog.service("http://gateway.example"), Endpoint("mine", "http://gateway.example")):
        with pytest.raises(ConfigurationError, match="never sent over plain http") as exc_info:
            with_key(service, {"TTS_API_KEY": KEY})
        assert KEY not in str(exc_info.value)


def test_environment_is_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one place that reads it sees what is set."""
    monkeypatch.setenv("TTS_API_KEY", KEY)
    assert environment()["TTS_API_KEY"] == KEY

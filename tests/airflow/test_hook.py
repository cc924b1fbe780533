"""A connection becomes a service with its key and its limits; the key stays where it is."""

from __future__ import annotations

import logging

import pytest

pytest.importorskip("airflow.sdk", reason="apache-airflow is not installed (pip install 'tts-pipeline[airflow]')")

from airflow.sdk._shared.secrets_masker import redact

from tests.airflow.conftest import KEY, connection
from tts_pipeline.airflow.hook import SpeechHook
from tts_pipeline.config import Limits
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.errors import ConfigurationError

_VARIABLE = "AIRFLOW_CONN_SPEECH_DEFAULT"


def _hook_with(monkeypatch: pytest.MonkeyPatch, value: str) -> SpeechHook:
    monkeypatch.setenv(_VARIABLE, value)
    return SpeechHook()


def test_a_name_is_looked_up_in_the_catalog(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its URL is the catalog's, the key the connection's, the label goes into the bill."""
    service = _hook_with(monkeypatch, connection("modelstream", account="newsroom")).get_conn()
    assert (service.name, service.base_url) == ("modelstream", "https://api.modelstream.ai")
    assert (service.api_key, service.account) == (KEY, "newsroom")
    assert _hook_with(monkeypatch, connection("modelstream", account=4711)).get_conn().account == "4711"


def test_a_url_is_a_service_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named by its URL; the dialect is as the form says."""
    service = _hook_with(monkeypatch, connection("https://gateway.example/v1", dialect="dashscope")).get_conn()
    assert (service.name, service.dialect) == ("https://gateway.example", "dashscope")


def test_a_connection_may_need_a_query_and_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an object, or as the text that the form makes of one; anything else is said with its name."""
    fields = {"query": '{"api-version": "1"}', "headers": {"X-Region": "eu"}, "key_header": "api-key"}
    service = _hook_with(monkeypatch, connection("https://gateway.example", **fields)).get_conn()
    assert (service.query, service.headers) == ({"api-version": "1"}, {"x-region": "eu"})
    assert (service.key_header, service.api_key) == ("api-key", KEY)
    for wrong in ("api-version=1", "[]", '{"a": 1}'):
        with pytest.raises(ConfigurationError, match="query of the connection 'speech_default'"):
            _hook_with(monkeypatch, connection("https://gateway.example", query=wrong)).get_conn()


def test_another_way_to_a_known_service_keeps_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """So a dataset goes on when the gateway moves."""
    service = _hook_with(monkeypatch, connection("https://proxy.example/tts/", service="baze")).get_conn()
    assert (service.name, service.base_url) == ("baze", "https://proxy.example/tts")


@pytest.mark.parametrize(
    ("uri", "url"),
    [
        (f"speech://:{KEY}@127.0.0.1:8765", "http://127.0.0.1:8765"),
        (f"speech://:{KEY}@gateway.example:8443", "https://gateway.example:8443"),
        (f"speech://:{KEY}@https%3A%2F%2Fgateway.example%2Ftts", "https://gateway.example/tts"),
        (f"speech://:{KEY}@modelstream", "https://api.modelstream.ai"),
    ],
)
def test_a_connection_may_be_a_uri(monkeypatch: pytest.MonkeyPatch, uri: str, url: str) -> None:
    """As Airflow writes them."""
    service = _hook_with(monkeypatch, uri).get_conn()
    assert (service.base_url, service.api_key) == (url, KEY)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ('{"conn_type": "speech", "host": "modelstream"}', "password of the connection 'speech_default'"),
        ('{"conn_type": "speech", "password": "sk-unused"}', "names no service"),
        (connection("modelsteram"), "Did you mean 'modelstream'"),
        (connection("local"), "tts-pipeline emulate"),
        (connection("http://gateway.example"), "plain http"),
    ],
)
def test_what_is_wrong_is_said_without_the_key(monkeypatch: pytest.MonkeyPatch, value: str, message: str) -> None:
    """And where to mend it."""
    monkeypatch.delenv("MODELSTREAM_API_KEY", raising=False)
    with pytest.raises(ConfigurationError, match=message) as exc_info:
        _hook_with(monkeypatch, value).get_conn()
    assert "sk-" not in str(exc_info.value)


def test_a_connection_that_is_not_there_is_a_wrong_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """It will not be there when the task is tried again; the message says where to make it."""
    monkeypatch.delenv(_VARIABLE, raising=False)
    with pytest.raises(ConfigurationError, match=r"no connection 'speech_default'.*Admin, Connections"):
        SpeechHook().get_conn()


def test_the_stricter_limit_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """An account's limits are a ceiling; the timeout is the connection's where it gives one."""
    hook = _hook_with(monkeypatch, connection("modelstream", max_concurrency=4, requests_per_minute="180", timeout_s=9))
    limits = hook.limits(Limits(max_concurrency=32, requests_per_minute=60, characters_per_minute=1_000))
    assert (limits.max_concurrency, limits.requests_per_minute, limits.characters_per_minute) == (4, 60, 1_000)
    assert limits.timeout_s == 9
    assert SpeechHook().limits().requests_per_minute == 180
    assert _hook_with(monkeypatch, connection("modelstream")).limits() == Limits()


@pytest.mark.parametrize("value", ["many", -1, 0, "0", "nan", "inf"])
def test_a_limit_is_a_number_above_0(monkeypatch: pytest.MonkeyPatch, value: object) -> None:
    """Anything else is said, with its name."""
    with pytest.raises(ConfigurationError, match="requests_per_minute of the connection 'speech_default'"):
        _hook_with(monkeypatch, connection("modelstream", requests_per_minute=value)).limits()


@pytest.mark.parametrize("place", ["password", "password with white space", "environment"])
def test_the_key_is_masked_from_the_first_look(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    """In what Airflow prints, in a repr, in the log; wherever it came from."""
    key = f"sk-{place.replace(' ', '-')}-masked-from-the-first-look"  # none begins with another: Airflow masks either
    monkeypatch.setenv("MODELSTREAM_API_KEY", key)
    password = {"password": key, "password with white space": f" {key} ", "environment": ""}[place]
    hook = _hook_with(monkeypatch, connection("modelstream").replace(KEY, password))
    with caplog.at_level(logging.DEBUG):
        service = hook.get_conn()
    assert service.api_key == key
    assert key not in f"{service!r} {hook!r} {caplog.text}"
    assert redact(f"it is {key}") == "it is ***"


def test_testing_a_connection_buys_nothing(service: LocalService) -> None:
    """The service is asked for what it does not charge for."""
    good, message = SpeechHook().test_connection()
    assert good, message
    assert service.bill()["requests"] == 0


def test_testing_a_connection_tells_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """No service there; no such service."""
    assert _hook_with(monkeypatch, connection("http://127.0.0.1:9")).test_connection()[0] is False
    good, message = _hook_with(monkeypatch, connection("nowhere")).test_connection()
    assert (good, "unknown service" in message) == (False, True)

"""A company's certificates and proxy, with a real proxy and real TLS; only the proxy knows the hosts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from tests.client.certificates import Authority, serving_tls
from tests.client.proxy import Proxy, proxying
from tests.client.scripted_server import (
    CARD,
    HELLO,
    KEY,
    LIMITS,
    ScriptedServer,
    Step,
    answer,
    instant_clock,
    outcomes,
    say_hello,
    serving,
    speech_body,
    url_body,
    wav,
)
from tts_pipeline.attempt import Outcome
from tts_pipeline.card import Endpoint
from tts_pipeline.client.attempt_log import MemoryAttemptLog
from tts_pipeline.client.client import SpeechClient
from tts_pipeline.errors import ConfigurationError, FatalError, PermanentError, ServiceError, StoppedError, SuspectError
from tts_pipeline.http.probe import probe
from tts_pipeline.models import Speech

HOST = "speech.example"
VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, "ssl_cert_file", "ssl_cert_dir"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@asynccontextmanager
async def behind_proxy(
    authority: Authority, *steps: Step, otherwise: Step | None = None, login: str | None = None
) -> AsyncIterator[tuple[Proxy, ScriptedServer]]:
    """Run a service that is reachable only through a proxy, under a name that only the proxy knows."""
    context = authority.context(HOST, "files.example")
    async with serving_tls(context, *steps, otherwise=otherwise) as server:
        port = int(server.url.rpartition(":")[2])
        async with proxying(Proxy({HOST: port, "files.example": port}, login)) as proxy:
            yield proxy, server


def service_of(authority: Authority | None = None, proxy: str | None = None, url: str = f"https://{HOST}") -> Endpoint:
    ca_file = None if authority is None else str(authority.file)
    return Endpoint("s", url, api_key=KEY, ca_file=ca_file, proxy=proxy)


@pytest.mark.parametrize("variable", ["ca_file", "SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_an_authority_of_ones_own_is_trusted(
    authority: Authority, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If it is configured for the service, or for all programs of this machine."""

    async def main() -> Speech | ServiceError | StoppedError:
        async with serving_tls(authority.context("127.0.0.1", days=1)) as server:
            if variable != "ca_file":
                monkeypatch.setenv(variable, str(authority.file if variable[-1] == "E" else authority.folder))
            return (await say_hello(service_of(authority if variable == "ca_file" else None, url=server.url)))[0]

    assert isinstance(asyncio.run(main()), Speech)


@pytest.mark.parametrize(
    ("host", "fields", "words"),
    [
        ("127.0.0.1", {"days": -1}, ("expired", "clock")),
        ("other.example", {}, ("not valid for '127.0.0.1'", "another host's")),
        ("127.0.0.1", {"self_signed": True}, ("self-signed certificate", "SSL_CERT_FILE")),
    ],
)
def test_a_certificate_is_wrong_in_its_own_way(
    authority: Authority, host: str, fields: dict[str, Any], words: tuple[str, ...]
) -> None:
    """Each fault is fatal immediately, unsent, with the way out."""

    async def main() -> None:
        async with serving_tls(authority.context(host, **fields)) as server:
            error, log = await say_hello(service_of(authority, url=server.url))
        assert isinstance(error, FatalError)
        assert (error.code, server.requests) == ("UntrustedCertificate", [])
        assert all(word in str(error) for word in words)
        assert outcomes(log) == [(Outcome.FAILED, "UntrustedCertificate", None, 0, 0)]

    asyncio.run(main())


@pytest.mark.parametrize("name", ["no-such.pem", "empty.pem"])
@pytest.mark.parametrize("variable", ["ca_file", "SSL_CERT_FILE"])
def test_certificates_that_cannot_be_read_are_a_setting(
    authority: Authority, variable: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error comes before anything is sent, and names the file."""
    file = authority.folder / name
    if name == "empty.pem":
        file.write_text("")
    if variable != "ca_file":
        monkeypatch.setenv(variable, str(file))
    service = replace(service_of(), ca_file=str(file) if variable == "ca_file" else None)
    with pytest.raises(ConfigurationError, match=f"{variable}.*{name}.*cannot be read"):
        SpeechClient(service, CARD)


@pytest.mark.parametrize("variable", ["proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("login", [None, "me:p%40ss-word-42"])
def test_a_proxy_is_on_the_way_to_the_service_and_its_audio(
    authority: Authority,
    variable: str,
    login: str | None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Through a tunnel: it sees neither the key nor the text, and its login is shown nowhere."""

    async def main() -> None:
        steps = answer(200, url_body("https://files.example/a.wav")), answer(200, wav())
        async with behind_proxy(authority, *steps, login=login and login.replace("%40", "@")) as (proxy, server):
            url = proxy.url if login is None else proxy.url.replace("p@ss", "p%40ss")
            if variable != "proxy":
                monkeypatch.setenv(variable, url)
            service = service_of(authority, url if variable == "proxy" else None)
            speech, _ = await say_hello(service)
        assert isinstance(speech, Speech)
        assert [line.rsplit(" ", 1)[0] for line in proxy.request_lines] == [
            f"CONNECT {HOST}:443",
            "CONNECT files.example:443",
        ]
        assert KEY.encode() not in b"".join(proxy.heads)
        assert ["authorization" in request.headers for request in server.requests] == [True, False]
        assert "ss-word" not in repr(service) + caplog.text

    with caplog.at_level(logging.DEBUG):
        asyncio.run(main())


@pytest.mark.parametrize("setting", ["NO_PROXY", "none", "loopback"])
def test_a_proxy_is_passed_by(authority: Authority, setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """For listed hosts, for a service that says so, and always for this machine."""

    async def main() -> None:
        async with serving_tls(authority.context("localhost", "127.0.0.1")) as server:
            monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
            monkeypatch.setenv("NO_PROXY", "speech.example" if setting == "loopback" else "")
            speech, _ = await say_hello(service_of(authority, "none" if setting == "none" else None, server.url))
        assert isinstance(speech, Speech)

    asyncio.run(main())


def test_plain_requests_go_through_it_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service without a key may use plain http; the proxy can then read its requests."""

    async def main() -> None:
        async with serving(answer(200, speech_body())) as server:
            port = int(server.url.rpartition(":")[2])
            async with proxying(Proxy({"speech.example": port})) as proxy:
                monkeypatch.setenv("http_proxy", proxy.url)
                speech, _ = await say_hello(Endpoint("s", f"http://speech.example:{port}", auth="none"))
        assert isinstance(speech, Speech)
        assert proxy.request_lines == [f"POST http://speech.example:{port}/v1/audio/speech HTTP/1.1"]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("status", "code"), [(407, "ProxyRefused"), (403, "ProxyRefused"), (405, "ProxyRefused"), (502, "ConnectionFailed")]
)
def test_a_proxy_that_refuses_is_named(authority: Authority, status: int, code: str) -> None:
    """Its refusal is fatal immediately, its own trouble is transient; nothing was sent, nothing is billed."""

    async def main() -> None:
        async with proxying(Proxy({}, status=status)) as proxy:
            url = proxy.url.replace("//", "//me:made-up-word@")
            service = service_of(authority, url)
            log = MemoryAttemptLog()
            limits = replace(LIMITS, max_outage_s=0)
            async with SpeechClient(service, CARD, limits, clock=instant_clock()) as client:
                with pytest.raises((ServiceError, StoppedError)) as exc_info:
                    await client.synthesize(HELLO, log)
        assert {outcome[1:] for outcome in outcomes(log)} == {(code, None, 0, 0)}
        assert f"the proxy 127.0.0.1 opens no connection to {HOST}: it answered with status {status}" in str(
            exc_info.value
        )
        assert "made-up" not in str(exc_info.value)
        assert (code == "ProxyRefused") == isinstance(exc_info.value, FatalError)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("url", "requests"),
    [
        ("https://10.0.0.1/a.wav", 1),
        ("https://169.254.169.254/latest", 1),
        ("https://127.0.0.1:9/a.wav", 1),
        ("https://[::1]/a.wav", 1),
        ("https://2130706433/a.wav", 1),
        ("https://0x7f.1/a.wav", 1),
        ("https://localhost/a.wav", 1),
        ("https://intranet/a.wav", 1),
        ("https://files.corp.internal/a.wav", 1),
        ("https://printer.local./a.wav", 1),
    ],
)
def test_no_answer_leads_the_proxy_inside(authority: Authority, url: str, requests: int) -> None:
    """The proxy resolves names, so names are checked by themselves, and addresses as always."""

    async def main() -> None:
        async with behind_proxy(authority, answer(200, url_body(url))) as (proxy, _):
            error, _ = await say_hello(service_of(authority, proxy.url))
        assert isinstance(error, PermanentError)
        assert (error.code, len(proxy.request_lines)) == ("RefusedUrl", requests)

    asyncio.run(main())


def test_a_proxy_that_refuses_the_audios_host_is_not_paid_for_twice(authority: Authority) -> None:
    """The answer is on the bill; a second row with the same end stops the run."""

    async def main() -> None:
        async with behind_proxy(authority, otherwise=answer(200, url_body("https://files.example/a"))) as (proxy, _):
            proxy.refused_hosts = {"files.example"}
            error, log = await say_hello(service_of(authority, proxy.url))
        assert isinstance(error, SuspectError)
        assert (error.code, len(log.attempts)) == ("ProxyRefused", 1)

    asyncio.run(main())


def test_a_probe_goes_the_same_way(authority: Authority) -> None:
    """A probe uses the same certificates, proxy, query and headers."""

    async def main() -> None:
        async with behind_proxy(authority, otherwise=answer(200, b"{}")) as (proxy, server):
            service = replace(
                service_of(authority, proxy.url), query={"v": "1"}, headers={"x-a": "b"}, key_header="api-key"
            )
            assert await asyncio.to_thread(probe, service) == 200
        (request,) = server.requests
        assert (request.path, request.headers["x-a"], request.headers["api-key"]) == ("/v1/models?v=1", "b", KEY)
        assert "authorization" not in request.headers

    asyncio.run(main())

"""Failed TLS handshakes are reported immediately, against real servers with certificates made for the test."""

from __future__ import annotations

import asyncio

import pytest

from tests.client.certificates import Authority, serving_tls
from tests.client.scripted_server import (
    KEY,
    ScriptedServer,
    answer,
    outcomes,
    say_hello,
    serving,
    url_body,
)
from tts_pipeline.attempt import Outcome
from tts_pipeline.card import Endpoint
from tts_pipeline.errors import FatalError, SuspectError


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def service_at(server: ScriptedServer) -> Endpoint:
    return Endpoint("s", server.url, api_key=KEY)


def test_a_certificate_that_nobody_vouches_for_is_fatal_at_once(authority: Authority) -> None:
    """One attempt, never sent, never billed; the error names the host, the reason and the way out."""

    async def main() -> None:
        async with serving_tls(authority.context("127.0.0.1")) as server:
            error, ledger = await say_hello(service_at(server))
        assert isinstance(error, FatalError)
        assert (error.code, error.may_be_billed, server.requests) == ("UntrustedCertificate", False, [])
        assert "the certificate of 127.0.0.1 is not trusted: unable to get local issuer certificate" in str(error)
        assert "ca_file" in str(error)
        assert "SSL_CERT_FILE" in str(error)
        assert outcomes(ledger) == [(Outcome.FAILED, "UntrustedCertificate", None, 0, 0)]

    asyncio.run(main())


def test_plain_http_at_an_https_address_is_fatal_at_once() -> None:
    """The port speaks another protocol, and no wait changes that."""

    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n")
        writer.close()

    async def main() -> None:
        async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            error, ledger = await say_hello(Endpoint("s", f"https://127.0.0.1:{port}", api_key=KEY))
        assert isinstance(error, FatalError)
        assert (error.code, error.may_be_billed) == ("TlsFailed", False)
        assert "does not speak TLS at this port" in str(error)
        assert len(ledger.attempts) == 1

    asyncio.run(main())


def test_an_untrusted_host_of_audio_is_not_bought_again(authority: Authority) -> None:
    """The attempt is billed and its row rejected; two such rows in succession stop the run."""

    async def main() -> None:
        async with serving_tls(authority.context("127.0.0.1")) as files, serving() as server:
            server.steps = [answer(200, url_body(files.url + "/a.wav"))]
            error, ledger = await say_hello(service_at(server))
        assert isinstance(error, SuspectError)
        assert (error.code, error.may_be_billed) == ("UntrustedCertificate", True)
        assert [outcome[4] for outcome in outcomes(ledger)] == [6]

    asyncio.run(main())

"""An authority and certificates, made when the tests run, and a real TLS server that uses them."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.client.scripted_server import ScriptedServer, Step

_TODAY = datetime.now(UTC)


class Authority:
    """Signs certificates.

    Attributes:
        file: Its own certificate, to be trusted.
        folder: The same, as OpenSSL looks for it in a folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = _name("Authority of a test")
        self._name = name
        certificate = (
            _builder(name, self._key, 30)
            .issuer_name(name)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.file = folder / "authority.pem"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        self.folder = folder / "authorities"
        self.folder.mkdir()
        hashed = subprocess.run(
            ["openssl", "x509", "-hash", "-noout", "-in", self.file], capture_output=True, text=True, check=True
        )
        (self.folder / f"{hashed.stdout.strip()}.0").write_bytes(self.file.read_bytes())

    def context(self, *hosts: str, days: int = 30, self_signed: bool = False) -> ssl.SSLContext:
        """Return the TLS context of a server for these hosts; fewer than 0 days is expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(hosts[0])
        issuer, signer = (name, key) if self_signed else (self._name, self._key)
        names = x509.SubjectAlternativeName([_alternative(host) for host in hosts])
        certificate = (_builder(name, key, days).issuer_name(issuer).add_extension(names, critical=False)).sign(
            signer, hashes.SHA256()
        )
        file = self._folder / f"{certificate.serial_number}.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context


def _name(words: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, words)])


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _builder(name: x509.Name, key: ec.EllipticCurvePrivateKey, days: int) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_TODAY - timedelta(days=60))
        .not_valid_after(_TODAY + timedelta(days=days))
    )


@asynccontextmanager
async def serving_tls(
    context: ssl.SSLContext, *steps: Step, otherwise: Step | None = None
) -> AsyncIterator[ScriptedServer]:
    """Run a scripted server that speaks TLS on a free port of this machine."""
    scripted = ScriptedServer(*steps, otherwise=otherwise)
    server = await asyncio.start_server(scripted.serve, "127.0.0.1", 0, ssl=context)
    scripted.url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield scripted
    finally:
        server.close()
        await scripted.close()
        await server.wait_closed()

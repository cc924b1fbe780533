"""Load trusted TLS certificates, and classify failed handshakes by type and code."""

from __future__ import annotations

import os
import ssl
from functools import lru_cache

from tts_pipeline.catalog.route import Route
from tts_pipeline.errors import ConfigurationError, FatalError

_AUTHORITY_CODES = frozenset({2, 18, 19, 20, 21})
_DATE_CODES = frozenset({9, 10})
_HOST_CODES = frozenset({62, 64})
"""X509_V_ERR codes of OpenSSL 3 (x509_vfy.h): issuer or self-signed; not yet valid or expired; host or IP address."""

_LASTING_REASONS = frozenset(
    {
        *("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE"),
        *("UNSUPPORTED_PROTOCOL", "NO_PROTOCOLS_AVAILABLE", "TLSV1_ALERT_PROTOCOL_VERSION", "NO_SHARED_CIPHER"),
        *("SSLV3_ALERT_HANDSHAKE_FAILURE", "TLSV13_ALERT_CERTIFICATE_REQUIRED", "SSLV3_ALERT_BAD_CERTIFICATE"),
        *("TLSV1_UNRECOGNIZED_NAME", "TLSV1_ALERT_UNKNOWN_CA", "TLSV1_ALERT_INSUFFICIENT_SECURITY"),
    }
)
"""Reasons of OpenSSL 3 (sslerr.h) that recur at every try; a handshake that was cut has none of them."""

_NOT_TLS_REASONS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE"})


def check_certificates(route: Route) -> None:
    """Refuse a route whose files of certificates cannot be used; see ``tls_context``. Others cannot be wrong."""
    if route.ca_file or route.cert_file or route.cert_dir:
        tls_context(route)


def tls_context(route: Route) -> ssl.SSLContext:
    """Return the TLS context of a route, with its trusted authorities; certifi's if the route names none.

    Raises:
        ConfigurationError: A file or folder of certificates cannot be read, or holds none.
    """
    return _context(route.ca_file, route.cert_file, route.cert_dir)


@lru_cache(maxsize=8)
def _context(ca_file: str | None, cert_file: str | None, cert_dir: str | None) -> ssl.SSLContext:
    """Load the certificates once: this takes 15 ms, and every transport needs them."""
    for setting, file in (("ca_file of the service", ca_file), ("SSL_CERT_FILE", cert_file)):
        if file:
            _refuse_unreadable(setting, file)
    if cert_dir and not any(map(os.path.isdir, cert_dir.split(os.pathsep))):
        raise ConfigurationError(f"SSL_CERT_DIR names {cert_dir!r}, which is not a folder")
    if cert_file or cert_dir:
        context = ssl.create_default_context(cafile=cert_file, capath=cert_dir)
    else:
        import httpx  # takes 26 ms: many services are reached without TLS

        context = httpx.create_ssl_context(trust_env=False)
    if ca_file:
        context.load_verify_locations(cafile=ca_file)
    return context


def _refuse_unreadable(setting: str, file: str) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=file)
    except OSError as error:  # also ssl.SSLError
        reason = "it holds no certificates in PEM" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigurationError(f"{setting} names {file!r}, which cannot be read: {reason}") from None


def tls_failure(error: BaseException | None, host: str) -> FatalError | None:
    """Return the error of a handshake that fails the same way every time; None for any other failure.

    Its code is ``UntrustedCertificate`` or ``TlsFailed``. Nothing was sent, so nothing is billed.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return FatalError(
            f"the certificate of {host} is not trusted: {error.verify_message}",
            code="UntrustedCertificate",
            may_be_billed=False,
            hint=_hint_for(error.verify_code),
        )
    reason = getattr(error, "reason", None) if isinstance(error, ssl.SSLError) else None
    if reason not in _LASTING_REASONS:
        return None
    is_not_tls = reason in _NOT_TLS_REASONS
    return FatalError(
        f"{host} {'does not speak TLS at this port' if is_not_tls else 'refuses the TLS handshake'}: {reason}",
        code="TlsFailed",
        may_be_billed=False,
        hint="check the address: its port, and whether it is http or https" if is_not_tls else None,
    )


def _hint_for(verify_code: int) -> str:
    if verify_code in _DATE_CODES:
        return "the operator of the service has to renew it; check this machine's clock too"
    if verify_code in _HOST_CODES:
        return "check the service's address: the certificate is another host's"
    if verify_code in _AUTHORITY_CODES:
        return (
            "if a company's proxy or a private authority signed it, give that authority's certificate: ca_file of the "
            "service, or SSL_CERT_FILE in the environment"
        )
    return "ask the operator of the service, or of the proxy in between"

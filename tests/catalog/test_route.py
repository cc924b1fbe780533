"""Which proxy is on the way to an address, and whose certificates are trusted, from what the environment says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tts_pipeline.catalog.catalog import load_catalog
from tts_pipeline.catalog.entries import read_service
from tts_pipeline.catalog.route import Route, route_of
from tts_pipeline.catalog.service import Service
from tts_pipeline.catalog.toml_table import parse_toml
from tts_pipeline.errors import ConfigurationError

SERVICE = Service(base_url="https://speech.example", auth="none")
P, Q = "http://p.example:1", "http://q.example:2"


@pytest.mark.parametrize(
    ("environ", "https", "http"),
    [
        ({}, None, None),
        ({"HTTPS_PROXY": P}, P, None),
        ({"HTTP_PROXY": P}, None, P),
        ({"ALL_PROXY": P}, P, P),
        ({"all_proxy": P, "HTTPS_PROXY": Q}, Q, P),
        ({"https_proxy": P, "HTTPS_PROXY": Q}, P, None),
        ({"https_proxy": "", "HTTPS_PROXY": Q}, None, None),
        ({"HTTPS_PROXY": "p.example:1"}, P, None),
        ({"HTTPS_PROXY": "p.example"}, "http://p.example", None),
        ({"HTTPS_PROXY": "https://me:word@p.example/"}, "https://me:word@p.example/", None),
        ({"https_proxy": P, "NO_PROXY": "*"}, None, None),
    ],
)
def test_the_environment_names_a_proxy(environ: dict[str, str], https: str | None, http: str | None) -> None:
    """One for each scheme, or one for all; lower case first, and nothing is none."""
    route = route_of(SERVICE, environ)
    assert (route.proxy_for("https://speech.example"), route.proxy_for("http://speech.example/x")) == (https, http)


@pytest.mark.parametrize(
    ("no_proxy", "url", "straight"),
    [
        ("example", "https://speech.example", True),
        (".example", "https://speech.example", True),
        ("*.example", "https://speech.example", True),
        ("SPEECH.example", "https://speech.EXAMPLE/x", True),
        ("other, speech.example", "https://speech.example", True),
        ("other speech.example", "https://speech.example", True),
        ("speech.example:443", "https://speech.example", True),
        ("speech.example:8443", "https://speech.example:8443", True),
        ("speech.example.", "https://speech.example", True),
        ("speech.example", "https://speech.example.", True),
        ("", "https://localhost.", True),
        ("", "https://0.0.0.0", True),
        ("10.0.0.0/8", "https://10.1.2.3", True),
        ("10.1.2.3", "https://10.1.2.3", True),
        ("fd00::/8", "https://[fd00::1]", True),
        ("[fd00::1]:443", "https://[fd00::1]", True),
        ("speech.example:8443", "https://speech.example", False),
        ("ech.example", "https://speech.example", False),
        ("speech.example.evil", "https://speech.example", False),
        ("10.0.0.0/8", "https://11.0.0.1", False),
        ("10.0.0.0/8", "https://speech.example", False),
        ("/", "https://speech.example", False),
        (":", "https://speech.example", False),
        ("", "https://localhost", True),
        ("", "https://a.localhost", True),
        ("", "https://127.9.9.9:1", True),
        ("", "https://[::1]", True),
        ("", "https://[::ffff:127.0.0.1]", True),
    ],
)
def test_hosts_are_passed_by(no_proxy: str, url: str, straight: bool) -> None:
    """Names and all names in them, addresses and networks, with a port or any; this machine always."""
    route = route_of(SERVICE, {"ALL_PROXY": P, "NO_PROXY": no_proxy})
    assert route.proxy_for(url) == (None if straight else P)


def test_a_services_own_proxy_goes_first() -> None:
    """For it and its audio, whatever the environment says; but never to this machine."""
    environ = {"ALL_PROXY": P, "NO_PROXY": "*"}
    own = route_of(replace(SERVICE, proxy=Q), environ)
    assert [own.proxy_for(f"{scheme}://any.example") for scheme in ("http", "https")] == [Q, Q]
    assert own.proxy_for("http://127.0.0.1:8000") is None
    assert route_of(replace(SERVICE, proxy="none"), {"ALL_PROXY": P}).proxy_for("https://any.example") is None


@pytest.mark.parametrize(
    "proxy", ["socks5://me:word@p:1", "http://", "http://p:word", "http://p:1/word", "a word", "\n"]
)
def test_what_is_no_proxy_is_a_setting(proxy: str) -> None:
    """Named by where it was given, and never shown: it may hold a login. A service on this machine does not mind."""
    with pytest.raises(ConfigurationError, match="proxy of the service is not the address") as own_error:
        replace(SERVICE, proxy=proxy)
    with pytest.raises(ConfigurationError, match="ALL_PROXY is not the address") as environment_error:
        route_of(SERVICE, {"ALL_PROXY": proxy})
    assert "word" not in str(own_error.value) + str(environment_error.value)
    local = Service(base_url="http://127.0.0.1:8765", auth="none")
    assert route_of(local, {"ALL_PROXY": proxy, "SSL_CERT_FILE": "/no/such"}) == Route()


def test_a_login_is_shown_nowhere() -> None:
    """Neither in a service nor in a route, and it is known, so that it can be redacted."""
    service = replace(SERVICE, proxy="http://me:p%40ss@p.example:1")
    route = route_of(service, {})
    assert "ss@" not in repr(service) + repr(route)
    assert route.passwords == {"p%40ss", "p@ss"}
    assert (service, hash(service)) == (SERVICE, hash(SERVICE))


def test_a_catalog_names_both() -> None:
    """A relative file is beside the catalog, wherever the command is run."""
    content = 'base_url = "https://speech.example"\nauth = "none"\nproxy = "http://p.example:1"\nca_file = "own/ca.pem"'
    service = read_service("mine", parse_toml(content, "/etc/tts/mine.toml"))
    assert (service.proxy, service.ca_file) == (P, "/etc/tts/own/ca.pem")
    built_in = load_catalog().services.values()
    assert {(service.proxy, service.ca_file) for service in built_in} == {(None, None)}

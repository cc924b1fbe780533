"""Where a redirect of the request leads, from its status and its ``Location`` alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts_pipeline.errors import FatalError, ServiceError
from tts_pipeline.wire.redirect import REDIRECTS, redirect_url
from tts_pipeline.wire.response import Response

ROUTE = "/v1/audio/speech"
HTTPS = "https://api.example" + ROUTE


def redirected_to(status: int, location: str | None, url: str = HTTPS) -> str | None:
    return redirect_url(url, Response(status, {} if location is None else {"location": location}, b""))


@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize(
    ("url", "location", "target"),
    [
        (HTTPS, HTTPS + "/", HTTPS + "/"),
        (HTTPS, "/v1/audio/speech/", HTTPS + "/"),
        (HTTPS, "speech/", "https://api.example/v1/audio/speech/"),
        (HTTPS, "?again=1", HTTPS + "?again=1"),
        (HTTPS, "https://api.example:443/other#part", "https://api.example:443/other"),
        (HTTPS, "//API.example/other", "https://API.example/other"),
        (HTTPS, "/caf\xe9 x", "https://api.example/caf%E9%20x"),
        ("http://api.example" + ROUTE, HTTPS, HTTPS),
        ("http://127.0.0.1:8000" + ROUTE, "http://127.0.0.1:8000/x", "http://127.0.0.1:8000/x"),
        ("https://[::1]:8000" + ROUTE, "https://[::1]:8000/x", "https://[::1]:8000/x"),
    ],
)
def test_the_same_request_goes_to_the_same_host(status: int, url: str, location: str, target: str) -> None:
    """With the key: the same host and port, or https in place of http on their own ports."""
    assert redirected_to(status, location, url) == target


@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize(
    ("url", "location"),
    [
        (HTTPS, "https://other.example" + ROUTE),
        (HTTPS, "https://sub.api.example" + ROUTE),
        (HTTPS, "https://api.example.evil.example" + ROUTE),
        (HTTPS, "https://api.example:8443" + ROUTE),
        (HTTPS, "http://api.example" + ROUTE),
        (HTTPS, "https://user:pass@api.example" + ROUTE),
        (HTTPS, "https://api.example@evil.example" + ROUTE),
        (HTTPS, "http://127.0.0.1" + ROUTE),
        (HTTPS, "http://169.254.169.254/latest/meta-data"),
        (HTTPS, "ftp://api.example/x"),
        (HTTPS, "file:///etc/passwd"),
        (HTTPS, "javascript:alert(1)"),
        (HTTPS, "https://api.example:port/"),
        (HTTPS, "https://api.example:0/"),
        (HTTPS, "https://[broken"),
        (HTTPS, ""),
        (HTTPS, None),
        ("http://127.0.0.1:8000" + ROUTE, "https://127.0.0.1:8443" + ROUTE),
        ("http://127.0.0.1:8000" + ROUTE, "http://127.0.0.1:8001" + ROUTE),
        ("http://127.0.0.1:8000" + ROUTE, "http://localhost:8000" + ROUTE),
    ],
)
def test_no_key_goes_anywhere_else(status: int, url: str, location: str | None) -> None:
    """Another host or port, plain http, another scheme, a login, or nothing at all: told, and nothing was billed."""
    with pytest.raises(FatalError) as exc_info:
        redirected_to(status, location, url)
    error = exc_info.value
    assert (error.code, error.http_status, error.may_be_billed) == ("Redirected", status, False)
    assert "the service's address redirects" in error.message
    assert "pass" not in error.message.replace("passwd", "")


@pytest.mark.parametrize("status", [301, 302, 303])
@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("http://api.example" + ROUTE, HTTPS),
        ("http://api.example" + ROUTE, HTTPS + "/"),
        (HTTPS, HTTPS + "/?key=secret"),
        (HTTPS, "https://www.api.example" + ROUTE),
        (HTTPS, "https://gateway.example/openai/v1/audio/speech"),
        (HTTPS, "https://user:secret@gateway.example" + ROUTE),
    ],
)
def test_a_redirect_to_the_same_route_is_the_services_address(status: int, url: str, location: str) -> None:
    """No audio is there: it is told which address to use, without what may be a secret."""
    with pytest.raises(FatalError) as exc_info:
        redirected_to(status, location, url)
    assert exc_info.value.code == "Redirected"
    address = location.replace("user:secret@", "").replace("?key=secret", "")
    assert exc_info.value.message.endswith(f"redirects to {address}")
    assert "secret" not in str(exc_info.value)


@pytest.mark.parametrize("status", [301, 302, 303])
@pytest.mark.parametrize(
    "location", ["https://files.example/a.wav?Signature=x", "/files/a.wav", "https://api.example/", "ftp://x", "", None]
)
def test_a_redirect_to_anything_else_may_be_audio(status: int, location: str | None) -> None:
    """As services point to what they made; whether it may be visited is judged there."""
    assert redirected_to(status, location) is None


@given(st.sampled_from(sorted(REDIRECTS)), st.text(max_size=60) | st.from_regex(r"(https?:)?//[^ ]{0,40}"))
def test_whatever_a_location_says_the_key_stays_at_home(status: int, location: str) -> None:
    """Never another exception, and never another host."""
    try:
        target = redirected_to(status, location)
    except ServiceError as error:
        target, message = None, error.message
    else:
        message = ""
    assert message.isprintable()
    assert target is None or target.lower().startswith(("https://api.example/", "https://api.example:443"))

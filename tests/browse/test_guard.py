"""Under which names the page is served."""

from __future__ import annotations

import pytest

from tts_pipeline.browse.guard import is_own_name


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1:8080", True),
        ("localhost:8080", True),
        ("LOCALHOST", True),
        ("[::1]:8080", True),
        ("192.168.1.7", True),
        ("box.lan:80", True),
        ("evil.example:8080", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example", False),
        ("user@evil.example", False),
        ("127.0.0.1@evil.example", False),
        ("[::1", False),
        ("", False),
    ],
)
def test_only_addresses_and_the_chosen_name_are_served(host: str, own: bool) -> None:
    """A site whose own name leads to this machine is refused."""
    assert is_own_name(host, "box.lan") is own

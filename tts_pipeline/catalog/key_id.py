"""Tell keys apart without showing them."""

from __future__ import annotations

from hashlib import blake2b

NO_KEY = "none"
"""The id of a service without a key."""

_PURPOSE = b"tts-pipeline key id"


def key_id(api_key: str) -> str:
    """Return 8 hex digits that are always the same for a key, and from which it cannot be found."""
    return blake2b(api_key.encode(), key=_PURPOSE, digest_size=4).hexdigest() if api_key else NO_KEY

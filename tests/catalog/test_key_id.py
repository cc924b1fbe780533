"""The id of a key is the same for a key wherever it is, and tells nothing else of it."""

from __future__ import annotations

import re

from tts_pipeline.catalog.key_id import NO_KEY, key_id


def test_the_id_of_a_key_never_changes() -> None:
    """It is in usage tables of years: this value is not to be adapted to the code."""
    assert key_id("sk-0123456789abcdef") == "666d4e7d"


def test_ids_tell_keys_apart() -> None:
    """A thousand keys have a thousand ids, of 8 hex digits each."""
    ids = {key_id(f"sk-{number}") for number in range(1_000)}
    assert len(ids) == 1_000
    assert all(re.fullmatch("[0-9a-f]{8}", one) for one in ids)


def test_no_key_has_no_id() -> None:
    """A service without authentication."""
    assert key_id("") == NO_KEY

"""The limits of the local service as a rehearsal."""

from __future__ import annotations

import pytest

from tts_pipeline.card import Endpoint
from tts_pipeline.catalog.rehearsal import rehearsal_warning

LOCAL = Endpoint(name="local", base_url="http://127.0.0.1:1", auth="none")


@pytest.mark.parametrize(
    ("text", "language", "is_warned"),
    [
        ("こんにちは。", None, True),
        ("日本国憲法", "ja", True),
        ("日本国憲法", "ja-JP", True),
        ("こんにちは。", "zh", False),
        ("你好。", None, False),
        ("Hello.", None, False),
    ],
)
def test_the_local_service_cannot_rehearse_japanese(text: str, language: str | None, is_warned: bool) -> None:
    """Which is said of Japanese, by its language or its kana, and of no other service."""
    warning = rehearsal_warning(LOCAL, text, language)
    assert (warning is not None) == is_warned
    assert rehearsal_warning(Endpoint(name="baze", base_url="https://baze.example"), text, language) is None

"""Ways to speak to the service as any client would."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.machine import patience

Say = Callable[..., httpx.Response]
"""``say(url, "text", voice="Cherry")``: one request, whatever the answer."""


@pytest.fixture
def say() -> Iterator[Say]:
    """Send one request with the given parameters and return the answer, whatever it is."""
    with httpx.Client(trust_env=False, timeout=patience(30)) as client:

        def send(
            url: str, text: str = "Hello world.", *, query: str = "", key: str | None = None, **parameters: Any
        ) -> Any:
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            body = {"model": "qwen3-tts-flash", "input": text} | parameters
            return client.post(f"{url}/v1/audio/speech{query}", json=body, headers=headers)

        yield send


def audio_of(answer: httpx.Response) -> bytes:
    """Return the audio inside an answer."""
    return base64.b64decode(answer.json()["output"]["audio"]["data"], validate=True)

"""A service whose answers never have audio is detected soon, at little cost, and reported."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from tts_pipeline.catalog import Service, load_catalog
from tts_pipeline.client.attempt_log import MemoryAttemptLog
from tts_pipeline.client.client import SpeechClient
from tts_pipeline.config import Limits
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.errors import ServiceError, StoppedError, TtsPipelineError
from tts_pipeline.models import Utterance

LIMITS = Limits(max_concurrency=4, retry_wait_s=0.01)


def run(service: LocalService, *rules: dict[str, object]) -> list[TtsPipelineError | None]:
    """Speak 30 texts together; return each error, None for speech."""
    service.set_faults(rules)
    service.reset_bill()
    endpoint = Service(base_url=service.url, name="local", auth="none")

    async def main() -> list[TtsPipelineError | None]:
        async with SpeechClient(endpoint, load_catalog().card(endpoint, "qwen3-tts-flash"), LIMITS) as client:

            async def say(number: int) -> TtsPipelineError | None:
                try:
                    await client.synthesize(
                        Utterance(f"u{number}", f"Text {number}", {"voice": "Cherry"}), MemoryAttemptLog()
                    )
                except (ServiceError, StoppedError) as error:
                    return error
                return None

            return await asyncio.gather(*map(say, range(30)))

    return asyncio.run(main())


@pytest.mark.parametrize("shape", ["unreadable", "no_audio", "bad_base64", "billed_failure"])
def test_a_run_without_any_audio_stops_at_once(tone_service: LocalService, shape: str) -> None:
    """After three rows and the attempts then in flight; no row is rejected, and the error names the keys."""
    errors = run(tone_service, {"what": "shape", "shape": shape})
    assert all(isinstance(error, StoppedError) or getattr(error, "code", None) for error in errors)
    stops = [error for error in errors if isinstance(error, StoppedError)]
    assert len(stops) >= 20
    assert {error.stopped_by for error in stops} == {"service"}
    assert all("JSON with the keys " in error.message for error in stops)
    assert tone_service.bill()["charged"] <= 3 + 2 * LIMITS.max_concurrency


@pytest.mark.parametrize("wire", ["no_http", "broken_chunk", "huge_head", "gzip_twice"])
def test_a_run_whose_answers_cannot_be_read_stops_at_once(tone_service: LocalService, wire: str) -> None:
    """Not an outage of 15 minutes with probes that may be billed: the hint comes after three rows."""
    errors = run(tone_service, {"what": "shape", "wire": wire})
    stops = [error for error in errors if isinstance(error, StoppedError)]
    assert len(stops) >= 15
    assert {error.stopped_by for error in stops} == {"service"}
    assert tone_service.bill()["charged"] <= 3 + 3 * LIMITS.max_concurrency


@pytest.mark.parametrize(("shape", "purchases"), [("unreadable", 1), ("no_audio", 2)])
def test_a_row_without_audio_among_others_costs_little(tone_service: LocalService, shape: str, purchases: int) -> None:
    """An unreadable answer is bought once, an empty one twice; other rows go on, and no outage begins."""
    errors = run(tone_service, {"what": "shape", "shape": shape, "text": "Text 7"})
    assert [number for number, error in enumerate(errors) if error is not None] == [7]
    assert tone_service.bill()["charged"] == 29 + purchases


def test_a_page_in_place_of_answers_stops_at_once(tone_service: LocalService) -> None:
    """The address is another server's; its page does not count as an outage."""
    page = {"what": "error", "status": 200, "body": "<html><title>Console</title></html>"}
    kinds = Counter(type(error) for error in run(tone_service, page))
    assert kinds[StoppedError] >= 20
    assert tone_service.bill()["received"] <= 3 + 2 * LIMITS.max_concurrency

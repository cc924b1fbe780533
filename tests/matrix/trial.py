"""One text, said by a client to the local service that misbehaves by rules; both bills are held against one another."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any

import pytest

from tests.machine import patience
from tts_pipeline.attempt import Outcome, Settlement
from tts_pipeline.audio.quality import FLAGS
from tts_pipeline.card import Card, Endpoint
from tts_pipeline.catalog import Service, load_catalog
from tts_pipeline.client.attempt_log import MemoryAttemptLog
from tts_pipeline.client.client import SpeechClient
from tts_pipeline.config import Limits
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.emulator.rules import SHAPES
from tts_pipeline.errors import (
    ServiceError,
    StoppedError,
)
from tts_pipeline.flow.clock import Clock
from tts_pipeline.models import Speech, Utterance

TEXT = "Twelve words, and each of them has its own place."
Rule = dict[str, Any]
Parameters = Mapping[str, Any]
AS_JSON: Parameters = {"voice": "Cherry"}
AS_STREAM: Parameters = {"voice": "Cherry", "stream": True}
BOTH = pytest.mark.parametrize("parameters", [AS_JSON, AS_STREAM], ids=["json", "sse"])


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of one utterance, in the client and on both bills."""

    result: Speech | ServiceError | StoppedError
    settlements: list[Settlement]
    bill: dict[str, Any]

    @property
    def speech(self) -> Speech:
        """The speech; fails the test where there is none."""
        assert isinstance(self.result, Speech), repr(self.result)
        return self.result

    @property
    def flags(self) -> tuple[str, ...]:
        """The flags of the speech, without those of its sound: a hum is no speech, and is heard not to be."""
        return tuple(flag for flag in self.speech.quality if flag not in FLAGS)

    @property
    def codes(self) -> list[str | None]:
        """How each attempt ended, None is well."""
        return [settlement.error_code for settlement in self.settlements]


def quick_clock() -> Clock:
    """Return a clock that is put forward by whoever waits."""
    skipped_s = [0.0]

    async def sleep(seconds: float) -> None:
        skipped_s[0] += seconds
        await asyncio.sleep(0)

    return Clock(monotonic_s=lambda: time.monotonic() + skipped_s[0], sleep=sleep)


@cache
def card_of(service: Endpoint) -> Card:
    return load_catalog().card(service, "qwen3-tts-flash")


def run_trial(
    service: LocalService,
    parameters: Parameters,
    *rules: Rule,
    text: str = TEXT,
    limits: Limits = Limits(max_attempts=2, timeout_s=patience(20)),
) -> Trial:
    """Say one text to a service that misbehaves by these rules, and hold the two bills against one another."""
    service.set_faults(rules)
    service.reset_bill()
    log = MemoryAttemptLog()
    endpoint = Service(base_url=service.url, name="local", auth="none")

    async def main() -> Speech | ServiceError | StoppedError:
        async with SpeechClient(endpoint, card_of(endpoint), limits, clock=quick_clock(), random=Random(1)) as client:
            try:
                return await client.synthesize(Utterance("a", text, parameters), log)
            except (ServiceError, StoppedError) as error:
                return error

    result = asyncio.run(main())
    trial = Trial(result, [log.settlements[attempt.attempt_id] for attempt in log.attempts], service.bill())
    _check_bill(trial)
    return trial


def _check_bill(trial: Trial) -> None:
    """Every request is in the log; what was charged is between what is confirmed and what is possible."""
    billed = sum(settlement.characters_billed for settlement in trial.settlements)
    at_most = sum(settlement.characters_upper_bound for settlement in trial.settlements)
    assert trial.bill["received"] == sum(settlement.error_code != "Redirected" for settlement in trial.settlements)
    assert billed <= trial.bill["characters"] <= at_most
    if all(settlement.outcome is Outcome.SUCCEEDED for settlement in trial.settlements):
        assert billed == trial.bill["characters"] == at_most


UNUSABLE = {
    "sse_cut": "CutStream",
    "no_audio": "NoAudio",
    "billed_failure": "NoAudio",
    "empty": "EmptyBody",
}
"""Shapes of a 200 that brings no audio, where another answer may."""
UNREADABLE = ("bad_base64", "unreadable")
"""Shapes of a 200 that is whole, and that nobody will ever read."""
GOOD = [shape for shape in SHAPES if shape not in (*UNUSABLE, *UNREADABLE)]
UNNAMED = ("unknown_name", "list_of_chunks")
"""Shapes in which audio is found by its first bytes only: samples without a header have none."""
UNREPORTED = {shape for shape in GOOD if shape[:4] not in ("ali_", "hex", "hex_") and shape != "audio_url_object"}
"""Shapes that say nothing of the characters they cost."""

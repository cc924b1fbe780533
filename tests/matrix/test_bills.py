"""Every shape of an answer, with every report that cannot be true, under a cap: the bill holds what was charged."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest

from tests.matrix.trial import GOOD, UNREPORTED
from tts_pipeline.attempt import Outcome
from tts_pipeline.catalog import Service, load_catalog
from tts_pipeline.client.attempt_log import MemoryAttemptLog
from tts_pipeline.client.client import SpeechClient
from tts_pipeline.config import BudgetCap, Limits
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.errors import ServiceError, StoppedError
from tts_pipeline.flow.budget import Budget
from tts_pipeline.flow.spend_tally import SpendTally
from tts_pipeline.models import Utterance
from tts_pipeline.money import Cost

TEXTS = [f"Line {number}, of a tale about nothing at all." for number in range(5)]
CATALOG = load_catalog()
CAPS = {"qwen3-tts-flash": Decimal("0.02"), "qwen-tts": Decimal("0.04")}
"""In CNY: enough for six texts, or for two that are billed by token at their most."""

LIES: Mapping[str, dict[str, Any]] = {
    "nothing": {"report_ratio": 0},
    "ten times": {"report_ratio": 10},
    "absurdly much": {"usage": {"characters": 2**53, "input_tokens": 2**53, "output_tokens": 2**53}},
    "a wrong total": {"usage": {"characters": 0, "total_tokens": 1}},
    "no counts": {"usage": {"characters": -7, "input_tokens": -7, "output_tokens": 43.5}},
}
"""What is reported in place of the truth, and cannot be true."""

TRUTHS: Mapping[str, dict[str, Any]] = {
    "as we count": {},
    "three times as much": {"charge_ratio": 3},
    "no tokens": {"usage": {"input_tokens": None, "output_tokens": None, "total_tokens": None}},
}
"""What is charged and reported so, or reported in a way that tells nothing."""


def _say(service: LocalService, model: str, rule: Mapping[str, Any]) -> tuple[MemoryAttemptLog, Cost, Decimal]:
    """Say texts to a service under a cap; returns the attempts, what is spent, and what the service charged."""
    service.set_faults([{"what": "shape", **rule}])
    service.reset_bill()
    endpoint = Service(base_url=service.url, name="gateway", auth="none")
    card = CATALOG.card(endpoint, model)
    (price,) = card.prices
    log, spent = MemoryAttemptLog(), Cost()
    budget = Budget(BudgetCap(CAPS[model], "CNY"), SpendTally(spent), by_token=card.billing == "tokens")
    limits = Limits(max_attempts=1, max_concurrency=64, requests_per_minute=1e6)

    async def buy(client: SpeechClient, text: str) -> None:
        with suppress(ServiceError, StoppedError):
            await client.synthesize(Utterance(text, text, {"voice": "Cherry"}), log)

    async def main() -> None:
        async with SpeechClient(endpoint, card, limits, budget=budget) as client:
            await asyncio.gather(*(buy(client, text) for text in TEXTS))

    asyncio.run(main())
    bill = service.bill()
    tokens = [bill[f"{kind}_tokens"] * (getattr(price, f"per_1m_{kind}_tokens") or 0) for kind in ("input", "output")]
    charged = sum(tokens, bill["characters"] * (price.per_10k_characters or Decimal(0)) * 100) / 1_000_000
    return log, spent, charged


@pytest.mark.parametrize("model", CAPS)
@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
@pytest.mark.parametrize("shape", [*(shape for shape in GOOD if shape not in UNREPORTED), "openai_sse", "no_audio"])
def test_what_cannot_be_true_is_between_confirmed_and_possible(
    tone_service: LocalService, shape: str, lie: dict[str, Any], model: str
) -> None:
    """A lie makes the bill neither short nor wrong, and the cap is passed by no more than what one answer claims."""
    log, spent, charged = _say(tone_service, model, {"shape": shape, **lie})
    settled = list(log.settlements.values())
    assert 0 < charged <= CAPS[model]
    assert spent.cost is not None
    assert spent.cost_upper_bound is not None
    assert spent.cost <= charged <= spent.cost_upper_bound
    assert spent.cost_upper_bound == sum(settlement.cost_upper_bound or 0 for settlement in settled)
    assert spent.cost_upper_bound <= CAPS[model] or len(settled) == 1
    if shape in {"ali_data", "ali_url", "ali_sse", {"qwen-tts": "openai_sse"}.get(model, "audio_url_object")}:
        assert all(settlement.implausible for settlement in settled if settlement.outcome is Outcome.SUCCEEDED)
        assert spent.cost


@pytest.mark.parametrize("model", CAPS)
@pytest.mark.parametrize("truth", TRUTHS.values(), ids=TRUTHS)
@pytest.mark.parametrize("shape", ["ali_data", "audio_url_object"])
def test_what_can_be_true_is_the_bill(
    tone_service: LocalService, shape: str, truth: dict[str, Any], model: str
) -> None:
    """A service that counts otherwise, or tells nothing of use, spends no more than the cap; nothing is flagged."""
    log, spent, charged = _say(tone_service, model, {"shape": shape, **truth})
    assert spent.cost is not None
    assert spent.cost_upper_bound is not None
    assert 0 < charged <= spent.cost_upper_bound <= CAPS[model]
    assert spent.cost <= charged
    if model == "qwen3-tts-flash":
        assert spent.cost == charged == spent.cost_upper_bound
        assert not any(settlement.implausible for settlement in log.settlements.values())

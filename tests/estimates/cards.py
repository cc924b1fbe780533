"""Models for tests: one that takes everything there is to take, in the units that a test wants."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

from tts_pipeline.card import Card, Endpoint, Parameter
from tts_pipeline.models import Price

SERVICE = Endpoint(name="studio", base_url="https://studio.example", auth="none", maker=True)
PRICE = Price("studio-list", "EUR", "list", per_10k_characters=Decimal(2))
CARD = Card(
    service="studio",
    model="narrator",
    parameters={
        "voice": Parameter("voice", "string", choices=("anna", "bert")),
        "language": Parameter("language", "string", choices=("Auto", "English", "Chinese", "German")),
        "speed": Parameter("speed", "number", minimum=Decimal("0.5"), maximum=Decimal(2)),
        "style": Parameter("style", "string"),
        "stream": Parameter("stream", "boolean", in_body=False),
    },
    languages={"en": "English", "zh": "Chinese", "de": "German"},
    language_parameter="language",
    billing="han_double",
    prices=(PRICE,),
)
TODAY = date(2026, 3, 10)


def card(**changes: Any) -> Card:
    """Return the card with other values."""
    return replace(CARD, **changes)

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from schemas.request_body import request_schema, schema_files
from tts_pipeline.catalog import Catalog, load_catalog

FOLDER = Path(__file__).parents[2] / "schemas" / "requests"
FLASH = ("modelstream", "qwen3-tts-flash")
INSTRUCT = ("baze", "qwen3-tts-instruct-flash")
SAMPLES: list[tuple[tuple[str, str], dict[str, Any], bool]] = [
    (FLASH, {}, True),
    (FLASH, {"voice": "Cherry", "speed": 0.7, "volume": 0.3, "sample_rate": 24000, "response_format": "pcm"}, True),
    (FLASH, {"enable_timestamp": False, "language_type": "Auto"}, True),
    (FLASH, {"input": ""}, False),
    (FLASH, {"input": "x" * 601}, False),
    (FLASH, {"speed": 0.75}, False),
    (FLASH, {"sample_rate": "24000"}, False),
    (FLASH, {"instructions": "softly"}, False),
    (FLASH, {"model": "tts-1"}, False),
    (INSTRUCT, {"voice": "Eldric Sage", "instructions": "softly", "optimize_instructions": False}, True),
    (INSTRUCT, {}, False),
    (INSTRUCT, {"voice": "Cherry", "stream": True}, False),
    (("openai", "tts-1"), {"voice": "alloy", "speed": 0.25}, True),
    (("openai", "tts-1"), {"voice": "alloy", "speed": 4.5}, False),
    (("openai", "gpt-4o-mini-tts"), {"voice": "marin", "stream_format": "sse"}, True),
]


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    """The built-in catalog."""
    return load_catalog()


def test_files_are_what_the_cards_say(catalog: Catalog) -> None:
    """schemas/requests holds exactly the schemas of the built-in cards; write it anew after changing a card."""
    written = {file.name: file.read_text(encoding="utf-8") for file in FOLDER.glob("*.json")}
    assert written == schema_files(catalog)


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.json")), ids=lambda file: file.stem)
def test_schemas_are_valid(file: Path) -> None:
    """Each file is itself a JSON Schema of the draft it names."""
    Draft202012Validator.check_schema(json.loads(file.read_text(encoding="utf-8")))


@pytest.mark.parametrize(("place", "fields", "valid"), SAMPLES)
def test_sample_bodies(catalog: Catalog, place: tuple[str, str], fields: dict[str, Any], valid: bool) -> None:
    """A body that the card allows validates, one that it refuses does not."""
    card = catalog.cards[place]
    body = {"model": card.model, "input": "Hello.", **fields}
    assert Draft202012Validator(request_schema(card)).is_valid(body) is valid


def test_a_permissive_card_takes_more(catalog: Catalog) -> None:
    """Where any parameter is let through, the schema lets it through."""
    card = catalog.card(catalog.service("https://gateway.example"), "somebodys-model")
    body = {"model": "somebodys-model", "input": "Hello.", "mood": "calm"}
    assert Draft202012Validator(request_schema(card)).is_valid(body)

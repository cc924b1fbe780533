"""Build the JSON Schemas of request bodies from model cards."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal

from tts_pipeline.card import Card, Parameter
from tts_pipeline.catalog.catalog import Catalog
from tts_pipeline.catalog.entries import LOCAL

DRAFT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, object]


def request_schema(card: Card) -> Schema:
    """Return the JSON Schema (draft 2020-12) of a model's request body for ``/v1/audio/speech``.

    A step is written as the list of its values: most validators check ``multipleOf`` 0.1 with binary floats, and refuse
    0.3. The card is of a service with the ``openai`` dialect.
    """
    body = {name: parameter for name, parameter in card.parameters.items() if parameter.in_body}
    return {
        "$schema": DRAFT,
        "title": f"Request body of {card.model} on {card.service}",
        "description": card.source,
        "type": "object",
        "properties": {
            "model": {"const": card.model},
            "input": _input(card),
            **{name: _property(parameter) for name, parameter in body.items()},
        },
        "required": ["model", "input", *(name for name, parameter in body.items() if parameter.required)],
        "additionalProperties": card.permissive,
    }


def schema_files(catalog: Catalog) -> Mapping[str, str]:
    """Return file name (``<model>.json``) -> content for each model of a remote service with the ``openai`` dialect."""
    services = [name for name, service in catalog.services.items() if service.dialect == "openai" and name != LOCAL]
    cards = [card for card in catalog.cards.values() if card.service in services]
    return {f"{card.model}.json": _json(request_schema(card)) for card in cards}


def _json(schema: Schema) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _input(card: Card) -> Schema:
    schema: Schema = {"type": "string", "description": "The text to speak.", "minLength": 1}
    if card.input_limit is not None and card.input_unit == "characters":
        schema["maxLength"] = card.input_limit
    return schema


def _property(parameter: Parameter) -> Schema:
    schema: Schema = {"type": parameter.type, "description": _description(parameter)}
    steps = _steps(parameter)
    if parameter.choices is not None:
        schema["enum"] = list(parameter.choices)
    elif steps:
        schema["enum"] = steps
    else:
        bounds = {"minimum": parameter.minimum, "maximum": parameter.maximum}
        schema.update({key: _number(bound) for key, bound in bounds.items() if bound is not None})
    return schema


def _description(parameter: Parameter) -> str:
    labels = "; ".join(f"{choice}: {label}" for choice, label in parameter.labels.items())
    return f"{parameter.description} {labels}." if labels else parameter.description


def _steps(parameter: Parameter) -> list[int | float]:
    low, high, step = parameter.minimum, parameter.maximum, parameter.step
    if low is None or high is None or step is None:
        return []
    return [_number(low + step * count) for count in range(int((high - low) / step) + 1)]


def _number(exact: Decimal) -> int | float:
    return int(exact) if exact == exact.to_integral_value() else float(exact)

"""Convert a parameter's value to its type and to the form that is sent, and check whether it is allowed."""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from tts_pipeline.card import Parameter, ParameterType
from tts_pipeline.models import ParameterValue

_NUMBER = re.compile(r"-?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_BOOLEANS = {"true": True, "false": False}
_MAX_DIGITS = 18
"""Numbers beyond 10^18 are not parameters of speech, and would be slow to expand."""

_MAX_DEPTH = 16
"""The deepest nesting of objects; no speech service reaches 4."""


class JsonText(str):
    """An object or a list of a column, as JSON: hashable, so that it can be counted, and distinct from a text."""

    __slots__ = ()


def to_json_text(value: object) -> JsonText | None:
    """Return a row's object or list as JSON, without null fields, which count as unset; None for None."""
    return None if value is None else JsonText(json.dumps(_without_nulls(value), ensure_ascii=False, default=str))


def _without_nulls(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(name): _without_nulls(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        if value and all(isinstance(item, tuple) and len(item) == 2 for item in value):  # an Arrow map
            return _without_nulls(dict(value))
        return [_without_nulls(item) for item in value]
    return value


def coerce(kind: ParameterType, value: object) -> ParameterValue | None:
    """Convert a value to a parameter's type without loss; return None if it does not have the type.

    Text from a shell or a template counts as the value that it spells: ``"1.2"`` is a number, ``"false"`` a boolean. A
    whole number is an integer in any spelling (``1``, ``1.0``, ``"1"``), so that equal requests are equal bytes. True
    is a boolean, never 1.
    """
    match kind:
        case "string":
            return value if isinstance(value, str) and not isinstance(value, JsonText) else None
        case "object":
            structure = _to_structure(value)
            return structure if isinstance(structure, dict) else None
        case "array":
            structure = _to_structure(value)
            return structure if isinstance(structure, list) else None
        case "boolean":
            spelled = _BOOLEANS.get(value.casefold()) if isinstance(value, str) else None
            return value if isinstance(value, bool) else spelled
        case "number":
            return _json_number(_to_decimal(value))
        case "integer":
            number = _json_number(_to_decimal(value))
            return number if isinstance(number, int) else None


def has_type(kind: ParameterType, value: object) -> bool:
    """Return whether a value has a parameter's type itself, not as text that spells it."""
    return coerce(kind, value) is not None and (kind == "string" or not isinstance(value, str))


def coerce_untyped(value: object) -> ParameterValue | None:
    """Convert a value for a parameter of unknown type to a JSON value; return None if that is impossible.

    Text that spells a JSON object or list becomes one: a shell, a template or a column of texts cannot give it
    otherwise.
    """
    structure = _to_structure(value)
    if structure is not None:
        return structure
    if isinstance(value, str | bool):
        return value
    return _json_number(_to_decimal(value))


def from_text(text: str) -> ParameterValue:
    """Read the value of a parameter of unknown type from a shell, as JSON; text that is not JSON stays text.

    ``5`` is a number, ``true`` a boolean, ``"5"`` in quotes is the text 5, ``{"id": "x"}`` an object, and ``warm`` is
    the text warm.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    json_value = coerce_untyped(value)
    return text if json_value is None else json_value


def is_structure(value: object) -> bool:
    """Return whether a value is an object or a list, or text that spells one."""
    return _to_structure(value) is not None


def _to_structure(value: object) -> dict[str, Any] | list[Any] | None:
    """Return an object or a list as it is sent, with sorted names, so that equal requests are equal bytes."""
    if isinstance(value, str):
        if value.lstrip()[:1] not in ("{", "["):
            return None
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if not isinstance(value, Mapping | list | tuple):
        return None
    try:
        structure: dict[str, Any] | list[Any] = _to_json(value, _MAX_DEPTH)
    except ValueError:
        return None
    return structure


def _to_json(value: object, depth: int) -> Any:
    if depth and isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        return {name: _to_json(value[name], depth - 1) for name in sorted(value)}
    if depth and isinstance(value, list | tuple):
        return [_to_json(item, depth - 1) for item in value]
    if value is None or isinstance(value, str | bool):
        return value
    number = _json_number(_to_decimal(value))
    if number is None:
        raise ValueError("not JSON")
    return number


def is_allowed(parameter: Parameter, value: ParameterValue) -> bool:
    """Return whether a value of the right type is among a parameter's choices and within its range and step."""
    if parameter.choices is not None and value not in parameter.choices:
        return False
    if not isinstance(value, int | float) or isinstance(value, bool):
        return True
    number = Decimal(str(value))
    low, high, step = parameter.minimum, parameter.maximum, parameter.step
    in_range = (low is None or number >= low) and (high is None or number <= high)
    return in_range and (step is None or (number - (low or 0)) % step == 0)


def expectation(parameter: Parameter) -> str:
    """Describe the values that a parameter takes, for an error message."""
    if parameter.choices is not None:
        return f"one of {', '.join(map(repr, parameter.choices))}"
    article = "an" if parameter.type in ("integer", "object", "array") else "a"
    text = f"{article} {parameter.type}"
    if parameter.minimum is not None:
        text += f" from {parameter.minimum}"
    if parameter.maximum is not None:
        text += f" to {parameter.maximum}"
    return f"{text} in steps of {parameter.step}" if parameter.step is not None else text


def _to_decimal(value: object) -> Decimal | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | Decimal):
        number = Decimal(value)
    elif isinstance(value, float):
        number = Decimal(_shortest_repr(value))
    elif isinstance(value, str) and _NUMBER.fullmatch(value):
        number = Decimal(value)
    else:
        return None
    return number if number.is_finite() and abs(number.adjusted()) <= _MAX_DIGITS else None


def _shortest_repr(value: float) -> str:
    """Return a float as its user wrote it: a float32 column holds 1.2 as 1.2000000476837158, not a multiple of 0.1."""
    if math.isfinite(value) and abs(value) < 1e38 and _as_float32(value) == value:
        spellings = (f"{value:.{digits}g}" for digits in range(1, 10))
        return next((text for text in spellings if _as_float32(float(text)) == value), repr(value))
    return repr(value)


def _as_float32(value: float) -> float:
    return float(struct.unpack("f", struct.pack("f", value))[0])


def _json_number(number: Decimal | None) -> int | float | None:
    if number is None:
        return None
    return int(number) if number == number.to_integral_value() else float(number)

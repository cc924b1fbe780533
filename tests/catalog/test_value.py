from __future__ import annotations

import json
import struct
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts_pipeline.card import Parameter, ParameterType
from tts_pipeline.catalog.value import coerce, coerce_untyped, expectation, from_text, is_allowed

SPEED = Parameter("speed", "number", minimum=Decimal("0.5"), maximum=Decimal(2), step=Decimal("0.1"))


def float32(value: float) -> float:
    return float(struct.unpack("f", struct.pack("f", value))[0])


@pytest.mark.parametrize(
    ("kind", "value", "sent"),
    [
        ("number", 1, 1),
        ("number", 1.0, 1),
        ("number", "1", 1),
        ("number", "1.20", 1.2),
        ("number", ".5", 0.5),
        ("number", "1e3", 1000),
        ("number", Decimal("1.2"), 1.2),
        ("number", float32(1.2), 1.2),
        ("number", True, None),
        ("number", "fast", None),
        ("number", "", None),
        ("number", " 1", None),
        ("number", "1_0", None),
        ("number", "٣", None),
        ("number", "nan", None),
        ("number", float("nan"), None),
        ("number", float("inf"), None),
        ("number", "1e999", None),
        ("number", 10**40, None),
        ("number", None, None),
        ("integer", 24000, 24000),
        ("integer", 24000.0, 24000),
        ("integer", "24000", 24000),
        ("integer", 24000.5, None),
        ("integer", False, None),
        ("boolean", False, False),
        ("boolean", "false", False),
        ("boolean", "True", True),
        ("boolean", 0, None),
        ("boolean", "no", None),
        ("string", "Cherry", "Cherry"),
        ("string", "", ""),
        ("string", 5, None),
        ("string", b"Cherry", None),
    ],
)
def test_values_are_brought_to_their_type(kind: ParameterType, value: object, sent: object) -> None:
    """Text that spells a number or a boolean counts as one; a boolean is never a number; nothing is guessed."""
    result = coerce(kind, value)
    assert result == sent
    assert type(result) is type(sent)


@given(st.integers(5, 20), st.sampled_from(["float64", "float32", "text", "decimal"]))
def test_every_tenth_is_in_step_however_it_is_held(tenths: int, form: str) -> None:
    """0.3 is a multiple of 0.1, also as a binary float and from a float32 column; all are sent alike."""
    text = f"{tenths / 10:.1f}"
    forms = {"float64": float(text), "float32": float32(float(text)), "text": text, "decimal": Decimal(text)}
    value = coerce("number", forms[form])
    assert value is not None
    assert is_allowed(SPEED, value)
    assert json.dumps(value) == text.removesuffix(".0")


@pytest.mark.parametrize("value", [0.4, 0.45, 0.55, 2.1, 3, -1, 0.1])
def test_values_outside_range_or_step(value: float) -> None:
    """Beyond the bounds, or between two steps."""
    assert not is_allowed(SPEED, value)


def test_steps_count_from_the_minimum() -> None:
    """With a minimum of 0.25 and steps of 0.5, 0.75 is allowed and 0.5 is not."""
    offset = Parameter("p", "number", minimum=Decimal("0.25"), step=Decimal("0.5"))
    assert is_allowed(offset, 0.75)
    assert not is_allowed(offset, 0.5)


def test_choices() -> None:
    """Only what is listed, exactly as it is written."""
    voice = Parameter("voice", "string", choices=("Cherry", "Eldric Sage"))
    assert is_allowed(voice, "Eldric Sage")
    assert not is_allowed(voice, "cherry")


@pytest.mark.parametrize(
    ("parameter", "text"),
    [
        (SPEED, "a number from 0.5 to 2 in steps of 0.1"),
        (Parameter("rate", "integer", minimum=Decimal(1)), "an integer from 1"),
        (Parameter("top", "number", maximum=Decimal(4)), "a number to 4"),
        (Parameter("text", "string"), "a string"),
        (Parameter("rate", "integer", choices=(24000, 16000)), "one of 24000, 16000"),
    ],
)
def test_expectation_in_words(parameter: Parameter, text: str) -> None:
    """An error says what would have been right."""
    assert expectation(parameter) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("1.50", 1.5),
        ("true", True),
        ('"5"', "5"),
        ("warm", "warm"),
        ("[1]", [1]),
        ("null", "null"),
        ("NaN", "NaN"),
        ("", ""),
    ],
)
def test_unknown_parameters_are_read_as_json_would(text: str, value: object) -> None:
    """A number, a boolean or a quoted text; anything else is the text as typed."""
    result = from_text(text)
    assert result == value
    assert type(result) is type(value)


@given(st.text() | st.booleans() | st.integers() | st.floats() | st.none() | st.decimals() | st.binary())
def test_any_value_is_sent_as_json_or_refused(value: object) -> None:
    """Whatever a column holds, what comes out is JSON's, or nothing."""
    for sent in (coerce_untyped(value), *(coerce(kind, value) for kind in ("string", "number", "integer", "boolean"))):
        assert sent is None or json.loads(json.dumps(sent, allow_nan=False)) == sent

"""Check parameters against a model card before anything is sent."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tts_pipeline.card import Card, Parameter
from tts_pipeline.catalog.card import LANGUAGE_TAG
from tts_pipeline.catalog.keywords import refuse_keyword
from tts_pipeline.catalog.value import coerce, coerce_untyped, expectation, from_text, is_allowed, is_structure
from tts_pipeline.errors import ConfigurationError, did_you_mean
from tts_pipeline.models import ParameterValue

MAX_EXAMPLES = 10
"""Distinct bad values of a column that an error message shows."""

_MAX_REPR_CHARACTERS = 60
"""A longer value is cut: a wrong column may hold whole texts."""


def check_parameters(
    card: Card,
    parameters: Mapping[str, ParameterValue],
    unchecked: Collection[str] = (),
    *,
    from_columns: Collection[str] = (),
) -> dict[str, ParameterValue]:
    """Check the parameters that apply to every row; return them as they are sent, in the same order.

    Text that spells a number or a boolean counts as one; a language may be a BCP-47 tag. ``unchecked`` parameters may
    have a value, or a name, that the card does not know; the type of a known parameter is still checked. A required
    parameter in ``from_columns``, which a column carries row by row, is not missing.

    Raises:
        ConfigurationError: A parameter is unknown, missing or has a bad value; the message names it and its allowed
            values.
    """
    wire_values = {name: _check_value(card, name, value, unchecked) for name, value in parameters.items()}
    for parameter in card.parameters.values():
        if parameter.required and parameter.name not in wire_values and parameter.name not in from_columns:
            raise ConfigurationError(
                f"{_model_on_service(card)} needs the parameter {parameter.name!r}",
                hint=f"it takes {expectation(parameter)}",
            )
    return wire_values


def check_column(
    card: Card,
    name: str,
    counts: Mapping[object, int],
    unchecked: Collection[str] = (),
    *,
    has_fixed_value: bool = False,
) -> dict[object, ParameterValue]:
    """Check the values of a column that carries a parameter row by row; return each as it is sent.

    ``counts`` has the number of rows of each distinct value. Rows with None leave the parameter unset; if it
    ``has_fixed_value``, they get the value for all rows. The result has no entry for None. ``unchecked`` is as in
    :func:`check_parameters`.

    Raises:
        ConfigurationError: Values are bad; the message lists them with their row counts, the most frequent first.
    """
    parameter = _find_parameter(card, name, unchecked)
    unset = counts.get(None, 0)
    if unset and parameter and parameter.required and not has_fixed_value:
        raise ConfigurationError(
            f"{unset} {_row_noun(unset)} without the parameter {name!r}, which {_model_on_service(card)} needs",
            hint=f"fill the column, or give a value for all rows; it takes {expectation(parameter)}",
        )
    is_unchecked = name in unchecked
    wire_values = {
        value: _wire_value(card, parameter, value, is_unchecked=is_unchecked) for value in counts if value is not None
    }
    bad = [value for value, wire_value in wire_values.items() if wire_value is None]
    if bad:
        raise _bad_values(card, name, parameter, {value: counts[value] for value in bad})
    return {value: wire_value for value, wire_value in wire_values.items() if wire_value is not None}


def parameter_from_text(card: Card, name: str, text: str) -> ParameterValue:
    """Read a parameter's value from a shell, as in ``speed=1.2``.

    The card's type decides. For a parameter that the card does not know, ``5`` is a number, ``true`` a boolean and
    ``"5"``, in quotes, text. :func:`check_parameters` then checks whether the value is allowed.

    Raises:
        ConfigurationError: The text does not spell a value of the parameter's type.
    """
    parameter = card.parameters.get(name)
    if parameter is None:
        return from_text(text)
    value = coerce(parameter.type, text)
    if value is None:
        raise _bad_value(card, name, parameter, text)
    if parameter.type == "string" and is_structure(text):
        raise ConfigurationError(
            f"{name!r} cannot be an object or a list on {_model_on_service(card)}",
            hint=f"it takes {expectation(parameter)}; give a text that looks like one in a job file or from Python",
        )
    return value


def language_tag(card: Card, parameters: Mapping[str, ParameterValue]) -> str | None:
    """Return the BCP-47 tag of the requested language; None leaves it to the service (not given, or ``Auto``)."""
    word = parameters.get(card.language_parameter or "")
    return find_language_tag(card.languages, word) if isinstance(word, str) else None


def find_language_name(languages: Mapping[str, str], tag: str) -> str | None:
    """Return the service's word for a BCP-47 tag in any case; None when no tag of the card fits.

    Subtags are dropped from the end until a tag fits (RFC 4647, lookup): ``zh-CN`` finds ``Chinese`` under ``zh``. An
    underscore, as in a locale's name, counts as a hyphen.
    """
    name_by_tag = {card_tag.lower(): name for card_tag, name in languages.items()}
    subtags = tag.replace("_", "-").lower().split("-")
    prefixes = ("-".join(subtags[:count]) for count in range(len(subtags), 0, -1))
    return next((name_by_tag[prefix] for prefix in prefixes if prefix in name_by_tag), None)


def find_language_tag(languages: Mapping[str, str], name: str) -> str | None:
    """Return the BCP-47 tag of a service's word for a language.

    An unknown word that looks like a tag (``yue``) is returned unchanged; None for any other word, such as ``Auto``.
    """
    for tag, card_name in languages.items():
        if card_name == name:
            return tag
    # The pattern allows 2 or 3 letters: longer words (Thai, Dutch) are names of languages, not tags.
    return name if LANGUAGE_TAG.fullmatch(name) else None


def _check_value(card: Card, name: str, value: object, unchecked: Collection[str]) -> ParameterValue:
    parameter = _find_parameter(card, name, unchecked)
    wire_value = _wire_value(card, parameter, value, is_unchecked=name in unchecked)
    if wire_value is None:
        raise _bad_value(card, name, parameter, value)
    return wire_value


def _find_parameter(card: Card, name: str, unchecked: Collection[str]) -> Parameter | None:
    """Return the card's parameter; None for an unknown parameter that may be sent all the same."""
    if name in card.parameters or name in unchecked:
        return card.parameters.get(name)
    refuse_keyword(name)
    if card.permissive:
        return None
    hint = f"{did_you_mean(name, card.parameters)}It takes {', '.join(card.parameters)}; {_unchecked_hint(name)}"
    raise ConfigurationError(f"{_model_on_service(card)} has no parameter {name!r}", hint=hint)


def _wire_value(card: Card, parameter: Parameter | None, value: object, *, is_unchecked: bool) -> ParameterValue | None:
    """Return a value as it is sent; None for a bad value."""
    if parameter is None:
        return coerce_untyped(value)
    wire_value = coerce(parameter.type, value)
    own_words = (*card.languages.values(), *(parameter.choices or ()))
    if parameter.name == card.language_parameter and isinstance(wire_value, str) and wire_value not in own_words:
        wire_value = find_language_name(card.languages, wire_value) or wire_value
    return wire_value if wire_value is None or is_unchecked or is_allowed(parameter, wire_value) else None


def _bad_value(card: Card, name: str, parameter: Parameter | None, value: object) -> ConfigurationError:
    return ConfigurationError(
        f"{name!r} cannot be {_short_repr(value)} on {_model_on_service(card)}",
        hint=_allowed_hint(card, parameter, value),
    )


def _bad_values(card: Card, name: str, parameter: Parameter | None, bad: Mapping[object, int]) -> ConfigurationError:
    frequent = sorted(bad, key=lambda value: (-bad[value], str(value)))
    examples = [f"{_short_repr(value)} ({bad[value]} {_row_noun(bad[value])})" for value in frequent[:MAX_EXAMPLES]]
    others = frequent[MAX_EXAMPLES:]
    if others:
        examples.append(f"and {len(others)} more ({sum(bad[value] for value in others)} rows)")
    return ConfigurationError(
        f"the column for {name!r} has values that {_model_on_service(card)} does not take: {', '.join(examples)}",
        hint=_allowed_hint(card, parameter, frequent[0]),
    )


def _allowed_hint(card: Card, parameter: Parameter | None, value: object) -> str:
    if parameter is None:
        return "it takes a string, a number or a boolean, or an object or a list of these"
    near = did_you_mean(str(value)[:_MAX_REPR_CHARACTERS], map(str, parameter.choices or ()))
    tags = f", or a tag: {', '.join(card.languages)}" if parameter.name == card.language_parameter else ""
    # ``unchecked`` does not help against a wrong type, which is always refused.
    unchecked_hint = f"; {_unchecked_hint(parameter.name)}" if coerce(parameter.type, value) is not None else ""
    return f"{near}It takes {expectation(parameter)}{tags}{unchecked_hint}"


def _short_repr(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_REPR_CHARACTERS else f"{text[:_MAX_REPR_CHARACTERS]}..."


def _unchecked_hint(name: str) -> str:
    return f"if the service knows better, name it in `unchecked={[name]}`"


def _model_on_service(card: Card) -> str:
    return f"{card.model} on {card.service}"


def _row_noun(count: int) -> str:
    return "row" if count == 1 else "rows"

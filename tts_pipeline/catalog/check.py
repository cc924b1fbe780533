"""Checking parameters against a card, before anything is sent."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tts_pipeline.catalog.keywords import refuse_keyword
from tts_pipeline.catalog.language import service_word, tag_of
from tts_pipeline.catalog.value import allows, expectation, from_text, is_structure, typed, untyped
from tts_pipeline.errors import ConfigurationError, did_you_mean
from tts_pipeline.models import Card, Parameter, ParameterValue

MAX_SHOWN = 10
"""Distinct bad values of a column that an error message shows."""

_SHOWN_CHARACTERS = 60
"""A longer value is cut: it may be a whole text, when the wrong column was named."""


def check_parameters(
    card: Card,
    parameters: Mapping[str, ParameterValue],
    unchecked: Collection[str] = (),
    *,
    from_columns: Collection[str] = (),
) -> dict[str, ParameterValue]:
    """Check the parameters that hold for every row.

    Args:
        card: What the model takes.
        parameters: By the service's own names; text that spells a number or a boolean counts as one, a language may
            be a BCP-47 tag.
        unchecked: Parameters that may have a value, or a name, that the card does not know; a known one's type is
            checked all the same.
        from_columns: Parameters that a column carries, row by row: a required one is not missing then.

    Returns:
        The parameters as they are sent, in the same order.

    Raises:
        ConfigurationError: An unknown parameter, a bad value or a missing one; names it and what is allowed.
    """
    sent = {name: _checked(card, name, value, unchecked) for name, value in parameters.items()}
    for parameter in card.parameters.values():
        if parameter.required and parameter.name not in sent and parameter.name not in from_columns:
            raise ConfigurationError(
                f"{_model(card)} needs the parameter {parameter.name!r}", hint=f"it takes {expectation(parameter)}"
            )
    return sent


def check_column(
    card: Card,
    parameter: str,
    counts: Mapping[object, int],
    unchecked: Collection[str] = (),
    *,
    has_fixed_value: bool = False,
) -> dict[object, ParameterValue]:
    """Check the values of a column that carries a parameter row by row.

    Args:
        card: What the model takes.
        parameter: The parameter's name.
        counts: Distinct value -> number of rows; None is a row that leaves the parameter unset.
        unchecked: As in :func:`check_parameters`.
        has_fixed_value: True where a row that leaves it unset gets a value that holds for all rows.

    Returns:
        Distinct value -> value as it is sent; without None.

    Raises:
        ConfigurationError: Names the distinct bad values with their row counts, the most frequent first.
    """
    known = _known(card, parameter, unchecked)
    unset = counts.get(None, 0)
    if unset and known and known.required and not has_fixed_value:
        raise ConfigurationError(
            f"{unset} {_rows(unset)} without {parameter!r}, which {_model(card)} needs",
            hint=f"fill the column, or give a value for all rows; it takes {expectation(known)}",
        )
    free = parameter in unchecked
    sent = {value: _sent(card, known, value, free=free) for value in counts if value is not None}
    bad = [value for value, out in sent.items() if out is None]
    if bad:
        raise _bad_values(card, parameter, known, {value: counts[value] for value in bad})
    return {value: out for value, out in sent.items() if out is not None}


def parameter_from_text(card: Card, name: str, text: str) -> ParameterValue:
    """Read a parameter's value from a shell, as in ``--set speed=1.2``.

    Args:
        card: What the model takes; its type decides. Of a parameter it does not know, ``5`` is a number, ``true`` a
            boolean and ``"5"``, in quotes, text.
        name: The parameter.
        text: What was typed.

    Returns:
        The value; whether it is allowed, :func:`check_parameters` says.

    Raises:
        ConfigurationError: The text does not spell a value of the parameter's type.
    """
    known = card.parameters.get(name)
    if known is None:
        return from_text(text)
    value = typed(known.type, text)
    if value is None:
        raise _bad_value(card, name, known, text)
    if known.type == "string" and is_structure(text):
        raise ConfigurationError(
            f"{name!r} cannot be an object or a list on {_model(card)}",
            hint=f"it takes {expectation(known)}; a text that looks like one is given in a job file or from Python",
        )
    return value


def language_tag(card: Card, parameters: Mapping[str, ParameterValue]) -> str | None:
    """Tell the language in which a text is to be spoken.

    Args:
        card: What the model takes.
        parameters: As they are sent.

    Returns:
        A BCP-47 tag; None when it is left to the service (not given, or ``Auto``).
    """
    word = parameters.get(card.language_parameter or "")
    return tag_of(card.languages, word) if isinstance(word, str) else None


def _checked(card: Card, name: str, value: object, unchecked: Collection[str]) -> ParameterValue:
    known = _known(card, name, unchecked)
    sent = _sent(card, known, value, free=name in unchecked)
    if sent is None:
        raise _bad_value(card, name, known, value)
    return sent


def _known(card: Card, name: str, unchecked: Collection[str]) -> Parameter | None:
    """Return the card's parameter; None for one that may be sent all the same."""
    if name in card.parameters or name in unchecked:
        return card.parameters.get(name)
    refuse_keyword(name)
    if card.permissive:
        return None
    hint = f"{did_you_mean(name, card.parameters)}It takes {', '.join(card.parameters)}; {_way_out(name)}"
    raise ConfigurationError(f"{_model(card)} has no parameter {name!r}", hint=hint)


def _sent(card: Card, known: Parameter | None, value: object, *, free: bool) -> ParameterValue | None:
    """Return what is sent for a value; None for a bad one."""
    if known is None:
        return untyped(value)
    sent = typed(known.type, value)
    if known.name == card.language_parameter and isinstance(sent, str):
        sent = _word(card, known, sent)
    return sent if sent is None or free or allows(known, sent) else None


def _word(card: Card, known: Parameter, given: str) -> str:
    if given in card.languages.values() or given in (known.choices or ()):
        return given
    return service_word(card.languages, given) or given


def _bad_value(card: Card, name: str, known: Parameter | None, value: object) -> ConfigurationError:
    return ConfigurationError(
        f"{name!r} cannot be {_shown(value)} on {_model(card)}", hint=_allowed(card, known, value)
    )


def _bad_values(card: Card, name: str, known: Parameter | None, bad: Mapping[object, int]) -> ConfigurationError:
    frequent = sorted(bad, key=lambda value: (-bad[value], str(value)))
    shown = [f"{_shown(value)} ({bad[value]} {_rows(bad[value])})" for value in frequent[:MAX_SHOWN]]
    rest = frequent[MAX_SHOWN:]
    if rest:
        shown.append(f"and {len(rest)} more ({sum(bad[value] for value in rest)} rows)")
    return ConfigurationError(
        f"the column for {name!r} has values that {_model(card)} does not take: {', '.join(shown)}",
        hint=_allowed(card, known, frequent[0]),
    )


def _allowed(card: Card, known: Parameter | None, given: object) -> str:
    if known is None:
        return "it takes a string, a number or a boolean, or an object or a list of these"
    near = did_you_mean(str(given)[:_SHOWN_CHARACTERS], map(str, known.choices or ()))
    tags = f", or a tag: {', '.join(card.languages)}" if known.name == card.language_parameter else ""
    # A wrong type is refused in any case, so there is no way out to offer.
    way_out = f"; {_way_out(known.name)}" if typed(known.type, given) is not None else ""
    return f"{near}It takes {expectation(known)}{tags}{way_out}"


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN_CHARACTERS else f"{shown[:_SHOWN_CHARACTERS]}..."


def _way_out(name: str) -> str:
    return f"if the service knows better, name {name} with --unchecked"


def _model(card: Card) -> str:
    return f"{card.model} on {card.service}"


def _rows(count: int) -> str:
    return "row" if count == 1 else "rows"

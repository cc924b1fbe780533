"""Unite several cards into a card that takes every parameter of any of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from tts_pipeline.card import Card, Parameter
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.models import ParameterValue


def unite_cards(cards: Sequence[Card]) -> Card | None:
    """Return the card that takes all that any of several cards takes; None for no cards.

    Parameters, their values, their ranges and the languages are united; a parameter is required only if every card
    requires it. All other fields (limit, billing, prices) are the first card's.

    Raises:
        ConfigurationError: A parameter has different types, or is in the body of only some cards' requests.
    """
    if not cards:
        return None
    names = dict.fromkeys(name for card in cards for name in card.parameters)
    languages: dict[str, str] = {}
    for card in cards:
        languages = {**languages, **{tag: word for tag, word in card.languages.items() if tag not in languages}}
    return replace(
        cards[0],
        parameters={name: _unite_parameter(name, cards) for name in names},
        languages=languages,
        language_parameter=next((card.language_parameter for card in cards if card.language_parameter), None),
        permissive=any(card.permissive for card in cards),
    )


def _unite_parameter(name: str, cards: Sequence[Card]) -> Parameter:
    parameters = [card.parameters[name] for card in cards if name in card.parameters]
    first = parameters[0]
    if any((other.type, other.in_body) != (first.type, first.in_body) for other in parameters):
        raise ConfigurationError(f"parameter {name!r} has different types in the cards to unite")
    return replace(
        first,
        required=len(parameters) == len(cards) and all(parameter.required for parameter in parameters),
        choices=_unite_choices(parameters),
        labels={key: label for parameter in reversed(parameters) for key, label in parameter.labels.items()},
        minimum=_widest_bound([parameter.minimum for parameter in parameters], lowest=True),
        maximum=_widest_bound([parameter.maximum for parameter in parameters], lowest=False),
        step=first.step if all(_has_same_steps(first, other) for other in parameters) else None,
    )


def _unite_choices(parameters: Sequence[Parameter]) -> tuple[ParameterValue, ...] | None:
    choice_lists = [parameter.choices for parameter in parameters if parameter.choices is not None]
    if len(choice_lists) < len(parameters):
        return None
    choices_in_order: list[ParameterValue] = []
    choices_in_order.extend(choice for choices in choice_lists for choice in choices if choice not in choices_in_order)
    return tuple(choices_in_order)


def _widest_bound(bounds: Sequence[Decimal | None], *, lowest: bool) -> Decimal | None:
    set_bounds = [bound for bound in bounds if bound is not None]
    if len(set_bounds) < len(bounds):
        return None
    return min(set_bounds) if lowest else max(set_bounds)


def _has_same_steps(first: Parameter, other: Parameter) -> bool:
    if first.step is None or first.step != other.step or first.minimum is None or other.minimum is None:
        return False
    return (first.minimum - other.minimum) % first.step == 0

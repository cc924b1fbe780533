"""The union of several cards: what any of them takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from tts_pipeline.errors import ConfigurationError
from tts_pipeline.models import Card, Parameter, ParameterValue


def union(cards: Sequence[Card]) -> Card | None:
    """Make the card that takes what any of several cards takes.

    Parameters, their values, their ranges and the languages are united, a parameter is required only where every card
    requires it; everything else (limit, billing, prices) is the first card's.

    Args:
        cards: The cards, the leading one first.

    Returns:
        The union; None for no cards.

    Raises:
        ConfigurationError: A parameter has different types, or differs in where it is sent.
    """
    if not cards:
        return None
    names = dict.fromkeys(name for card in cards for name in card.parameters)
    languages: dict[str, str] = {}
    for card in cards:
        languages = {**languages, **{tag: word for tag, word in card.languages.items() if tag not in languages}}
    return replace(
        cards[0],
        parameters={name: _united(name, cards) for name in names},
        languages=languages,
        language_parameter=next((card.language_parameter for card in cards if card.language_parameter), None),
        permissive=any(card.permissive for card in cards),
    )


def _united(name: str, cards: Sequence[Card]) -> Parameter:
    known = [card.parameters[name] for card in cards if name in card.parameters]
    first = known[0]
    if any((other.type, other.in_body) != (first.type, first.in_body) for other in known):
        raise ConfigurationError(f"parameter {name!r} differs in type among the cards to be united")
    return replace(
        first,
        required=len(known) == len(cards) and all(parameter.required for parameter in known),
        choices=_choices(known),
        labels={key: label for parameter in reversed(known) for key, label in parameter.labels.items()},
        minimum=_bound([parameter.minimum for parameter in known], lowest=True),
        maximum=_bound([parameter.maximum for parameter in known], lowest=False),
        step=first.step if all(_same_grid(first, other) for other in known) else None,
    )


def _choices(known: Sequence[Parameter]) -> tuple[ParameterValue, ...] | None:
    listed = [parameter.choices for parameter in known if parameter.choices is not None]
    if len(listed) < len(known):
        return None
    united: list[ParameterValue] = []
    united.extend(choice for choices in listed for choice in choices if choice not in united)
    return tuple(united)


def _bound(bounds: Sequence[Decimal | None], *, lowest: bool) -> Decimal | None:
    stated = [bound for bound in bounds if bound is not None]
    if len(stated) < len(bounds):
        return None
    return min(stated) if lowest else max(stated)


def _same_grid(one: Parameter, other: Parameter) -> bool:
    if one.step is None or one.step != other.step or one.minimum is None or other.minimum is None:
        return False
    return (one.minimum - other.minimum) % one.step == 0

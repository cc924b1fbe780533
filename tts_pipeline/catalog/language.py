"""Languages: BCP-47 tags as people write them, and the names that a service uses."""

from __future__ import annotations

from collections.abc import Mapping

from tts_pipeline.catalog.card import LANGUAGE_TAG


def find_language_name(languages: Mapping[str, str], tag: str) -> str | None:
    """Find the service's word for a language tag.

    Subtags are dropped from the end until one fits (RFC 4647, lookup): ``zh-CN`` finds ``Chinese`` under ``zh``.

    Args:
        languages: Tag -> word, of a card.
        tag: A BCP-47 tag in any case; an underscore, as in a locale's name, counts as a hyphen.

    Returns:
        The word; None when no tag of the card fits.
    """
    known = {card_tag.lower(): name for card_tag, name in languages.items()}
    subtags = tag.replace("_", "-").lower().split("-")
    prefixes = ("-".join(subtags[:count]) for count in range(len(subtags), 0, -1))
    return next((known[prefix] for prefix in prefixes if prefix in known), None)


def find_language_tag(languages: Mapping[str, str], name: str) -> str | None:
    """Find the BCP-47 tag of what is sent to the service.

    Args:
        languages: Tag -> word, of a card.
        name: The service's word, or one that the card does not know.

    Returns:
        The card's tag; an unknown word that itself looks like a tag (``yue``) as it is; None for any other, ``Auto``
        for example.
    """
    for tag, card_name in languages.items():
        if card_name == name:
            return tag
    # Longer words are names of languages, not tags: Thai and Dutch would pass for one otherwise.
    return name if LANGUAGE_TAG.fullmatch(name) else None

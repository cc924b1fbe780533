from __future__ import annotations

import pytest

from tts_pipeline.catalog.checks import find_language_name, find_language_tag

LANGUAGES = {"zh": "Chinese", "pt-BR": "Brazilian", "pt": "Portuguese", "de": "German"}


@pytest.mark.parametrize(
    ("tag", "word"),
    [
        ("zh", "Chinese"),
        ("zh-CN", "Chinese"),
        ("ZH-hant-tw", "Chinese"),
        ("zh_CN", "Chinese"),
        ("pt-BR", "Brazilian"),
        ("pt-PT", "Portuguese"),
        ("nl", None),
        ("German", None),
        ("", None),
    ],
)
def test_tags_are_looked_up_from_the_longest(tag: str, word: str | None) -> None:
    """Subtags are dropped from the end until one fits; case does not matter; a word is not a tag."""
    assert find_language_name(LANGUAGES, tag) == word


@pytest.mark.parametrize(
    ("word", "tag"),
    [("German", "de"), ("Brazilian", "pt-BR"), ("Auto", None), ("yue", "yue"), ("yue-HK", "yue-HK"), ("Thai", None)],
)
def test_the_tag_of_what_is_sent(word: str, tag: str | None) -> None:
    """The card's tag for its word; an unknown word only where it is itself a tag; Auto has none."""
    assert find_language_tag(LANGUAGES, word) == tag

from __future__ import annotations

import pytest

from tts_pipeline.card import Card
from tts_pipeline.catalog import Catalog
from tts_pipeline.catalog.checks import (
    check_column,
    check_parameters,
    find_language_name,
    find_language_tag,
    language_tag,
    parameter_from_text,
)
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.models import ParameterValue


@pytest.fixture
def flash(catalog: Catalog) -> Card:
    """qwen3-tts-flash on modelstream."""
    return catalog.cards["modelstream", "qwen3-tts-flash"]


@pytest.fixture
def instruct(catalog: Catalog) -> Card:
    """qwen3-tts-instruct-flash on baze."""
    return catalog.cards["baze", "qwen3-tts-instruct-flash"]


@pytest.fixture
def permissive(catalog: Catalog) -> Card:
    """The card of an unknown model on a service by URL."""
    return catalog.card(catalog.service("https://gateway.example"), "somebodys-model")


def test_good_parameters_are_sent_in_their_own_types(flash: Card) -> None:
    """Numbers as numbers, booleans as booleans, languages in the service's word, the order kept."""
    parameters: dict[str, ParameterValue] = {
        "speed": "1.20",
        "voice": "Cherry",
        "language_type": "zh-CN",
        "sample_rate": "16000",
        "enable_timestamp": "false",
        "volume": 0.3,
    }
    assert list(check_parameters(flash, parameters).items()) == [
        ("speed", 1.2),
        ("voice", "Cherry"),
        ("language_type", "Chinese"),
        ("sample_rate", 16000),
        ("enable_timestamp", False),
        ("volume", 0.3),
    ]


def test_an_explicit_false_is_kept(instruct: Card) -> None:
    """False is a value, not the absence of one."""
    values = check_parameters(instruct, {"voice": "Eldric Sage", "optimize_instructions": False})
    assert values["optimize_instructions"] is False


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"voice": "cherry"}, "Did you mean 'Cherry'"),
        ({"voice": "Ethan"}, "It takes one of 'Cherry', 'Chelsie', 'Zhibao', 'Bingjiao', 'Stella', 'Aiden'"),
        ({"voice": 5}, "'voice' cannot be 5"),
        ({"speed": 0.55}, r"a number from 0\.5 to 2 in steps of 0\.1"),
        ({"speed": 2.5}, "'speed' cannot be 2.5"),
        ({"speed": True}, "'speed' cannot be True"),
        ({"sample_rate": 44100}, "It takes one of 24000, 16000"),
        ({"enable_timestamp": 1}, "It takes a boolean"),
        ({"language_type": "de"}, "or a tag: zh, en"),
        ({"speech": 1.0}, "has no parameter 'speech' .*Did you mean 'speed'"),
        ({"instructions": "softly"}, "has no parameter 'instructions'"),
    ],
)
def test_bad_parameters_are_refused(flash: Card, parameters: dict[str, ParameterValue], message: str) -> None:
    """The error names the parameter, what is allowed, and the nearest right name."""
    with pytest.raises(ConfigurationError, match=message):
        check_parameters(flash, parameters)


def test_a_required_parameter_must_come_from_somewhere(instruct: Card) -> None:
    """Fixed for all rows, or from a column."""
    with pytest.raises(ConfigurationError, match="needs the parameter 'voice'"):
        check_parameters(instruct, {})
    assert check_parameters(instruct, {}, from_columns=["voice"]) == {}


def test_unchecked_lets_values_and_names_through(flash: Card) -> None:
    """What the lists do not know passes by name; what they do know is still brought to its form."""
    parameters: dict[str, ParameterValue] = {"voice": "Ethan", "language_type": "zh", "speed": "2.55", "dialect": "wu"}
    values = check_parameters(flash, parameters, ["voice", "language_type", "speed", "dialect"])
    assert values == {"voice": "Ethan", "language_type": "Chinese", "speed": 2.55, "dialect": "wu"}


def test_unchecked_still_checks_the_type(flash: Card) -> None:
    """A word where a number belongs is wrong in any case, so no way out is offered."""
    with pytest.raises(ConfigurationError, match="'speed' cannot be 'fast'") as exc_info:
        check_parameters(flash, {"speed": "fast"}, ["speed"])
    assert "unchecked=" not in str(exc_info.value)


def test_a_permissive_card_takes_any_parameter(permissive: Card) -> None:
    """Unknown parameters pass as they are, but only in forms that JSON has."""
    assert check_parameters(permissive, {"mood": "calm", "seed": 5}) == {"mood": "calm", "seed": 5}
    with pytest.raises(ConfigurationError, match="a string, a number or a boolean"):
        check_parameters(permissive, {"seed": float("nan")})


def test_a_good_column_maps_values_to_what_is_sent(flash: Card) -> None:
    """Each distinct value once; None is a row that leaves it unset."""
    counts: dict[object, int] = {"zh-CN": 5, "Chinese": 3, "Auto": 1, None: 2}
    assert check_column(flash, "language_type", counts) == {"zh-CN": "Chinese", "Chinese": "Chinese", "Auto": "Auto"}
    assert check_column(flash, "speed", {1.2: 5, 2: 1}) == {1.2: 1.2, 2: 2}


def test_bad_values_of_a_column_come_with_their_row_counts(flash: Card) -> None:
    """The most frequent first, good values not named."""
    with pytest.raises(ConfigurationError) as exc_info:
        check_column(flash, "voice", {"Cherry": 90, "cherry": 3, "Bob": 40, "Ann": 1})
    assert "'Bob' (40 rows), 'cherry' (3 rows), 'Ann' (1 row)" in str(exc_info.value)
    assert "90" not in str(exc_info.value)


def test_many_bad_values_are_counted_not_listed(flash: Card) -> None:
    """Ten are shown, the rest are summed up."""
    with pytest.raises(ConfigurationError, match=r"'v09' \(91 rows\), and 90 more \(4095 rows\)"):
        check_column(flash, "voice", {f"v{number:02}": 100 - number for number in range(100)})


def test_a_long_bad_value_is_cut(flash: Card) -> None:
    """The wrong column may hold whole texts: no error repeats one."""
    with pytest.raises(ConfigurationError) as exc_info:
        check_column(flash, "voice", {"secret text " * 100: 1})
    assert len(exc_info.value.message) < 200


@pytest.mark.parametrize("value", [float("nan"), b"Cherry", ("Cherry",), 5])
def test_a_column_of_another_type(flash: Card, value: object) -> None:
    """Whatever a column holds, a value that is no voice is a clear error."""
    with pytest.raises(ConfigurationError, match=r"\(2 rows\)"):
        check_column(flash, "voice", {value: 2})


def test_rows_without_a_required_parameter(instruct: Card) -> None:
    """An error with their number, unless a fixed value stands in."""
    counts: dict[object, int] = {"Cherry": 5, None: 2}
    with pytest.raises(ConfigurationError, match="2 rows without the parameter 'voice'"):
        check_column(instruct, "voice", counts)
    assert check_column(instruct, "voice", counts, has_fixed_value=True) == {"Cherry": "Cherry"}


def test_an_unknown_column_parameter(flash: Card, permissive: Card) -> None:
    """It is refused like a fixed one, and passes where that would."""
    with pytest.raises(ConfigurationError, match="Did you mean 'voice'"):
        check_column(flash, "voise", {"Cherry": 1})
    assert check_column(flash, "mood", {"calm": 1}, ["mood"]) == {"calm": "calm"}
    assert check_column(permissive, "mood", {"calm": 1}) == {"calm": "calm"}


def test_text_from_a_shell(flash: Card, permissive: Card) -> None:
    """The card's type decides; without one the text is read as JSON would."""
    assert parameter_from_text(flash, "speed", "1.2") == 1.2
    assert parameter_from_text(flash, "voice", "5") == "5"
    assert parameter_from_text(permissive, "seed", "5") == 5
    assert parameter_from_text(permissive, "stream", "true") is True
    with pytest.raises(ConfigurationError, match="'speed' cannot be 'quick'"):
        parameter_from_text(flash, "speed", "quick")


@pytest.mark.parametrize(
    ("parameters", "tag"),
    [
        ({"language_type": "Chinese"}, "zh"),
        ({"language_type": "Auto"}, None),
        ({}, None),
        ({"language_type": "Cantonese"}, None),
        ({"language_type": "yue"}, "yue"),
    ],
)
def test_language_is_a_tag_or_none(flash: Card, parameters: dict[str, ParameterValue], tag: str | None) -> None:
    """Null when it is left to the service."""
    assert language_tag(flash, parameters) == tag


def test_a_card_without_languages(catalog: Catalog) -> None:
    """A model that takes no language leaves it to itself."""
    assert language_tag(catalog.cards["openai", "tts-1"], {"voice": "alloy"}) is None


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

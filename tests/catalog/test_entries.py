from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from tts_pipeline.catalog.entries import read_parameter, read_price, read_service
from tts_pipeline.catalog.toml_table import parse_toml
from tts_pipeline.errors import ConfigurationError

HTTPS = 'base_url = "https://x.example"\n'
PRICE = 'currency = "CNY"\n'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('key_variable = "X_KEY"', "base_url is missing"),
        (HTTPS, "key_variable must be the name of an environment variable"),
        (HTTPS + 'key_variable = "sk-1234"', "key_variable must be the name of an environment variable"),
        (HTTPS + 'key_variable = "X_KEY"\napi_key = "sk-1234"', "api_key is not a known key"),
        (HTTPS + 'auth = "basic"', "auth must be one of 'bearer', 'none'"),
        (HTTPS + 'auth = "none"\ndialect = "opnai"', "dialect must be one of .*Did you mean 'openai'"),
        ('base_url = ""\nauth = "none"', "base_url must be the service's URL"),
    ],
)
def test_mistakes_in_a_service(content: str, message: str) -> None:
    """A service needs a URL and, unless it takes none, the name of the variable with its key, never the key."""
    with pytest.raises(ConfigurationError, match=message) as exc_info:
        read_service("mine", parse_toml(content, "a.toml"))
    assert "sk-1234" not in str(exc_info.value)


@pytest.mark.parametrize("name", ["", "a/b", "*"])
def test_names_that_no_service_can_have(name: str) -> None:
    """A slash parts service and model in a reference, and a star stands for any service."""
    with pytest.raises(ConfigurationError, match="must have a name without a slash"):
        read_service(name, parse_toml(HTTPS + 'auth = "none"', "a.toml"))


def test_only_the_local_service_has_no_url() -> None:
    """It gets one when it is started."""
    assert read_service("local", parse_toml('base_url = ""\nauth = "none"', "a.toml")).base_url == ""


def test_a_price_with_dates() -> None:
    """Dates are days; the basis is the layer's unless the table says otherwise."""
    content = PRICE + "per_10k_characters = 0.8\neffective_from = 2026-01-01\neffective_until = 2026-07-01"
    price = read_price("p", parse_toml(content, "a.toml"), "user")
    assert (price.per_10k_characters, price.basis) == (Decimal("0.8"), "user")
    assert (price.effective_from, price.effective_until) == (date(2026, 1, 1), date(2026, 7, 1))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("per_10k_characters = 1", "currency is missing"),
        ('currency = "yuan"\nper_10k_characters = 1', "currency must be three capitals"),
        (PRICE, "must be given alone, or"),
        (PRICE + "per_1m_input_tokens = 1", "must be given alone, or"),
        (
            PRICE + "per_10k_characters = 1\nper_1m_input_tokens = 1\nper_1m_output_tokens = 1",
            "must be given alone, or",
        ),
        (PRICE + "per_10k_characters = -1", "per_10k_characters must not be negative"),
        (PRICE + "per_10k_characters = 1e30", "per_10k_characters must be 1,000,000,000 at most"),
        (PRICE + "per_10k_characters = nan", "per_10k_characters must be a number"),
        (PRICE + 'per_10k_characters = "1"', "per_10k_characters must be a number"),
        (
            PRICE + "per_10k_characters = 1\neffective_from = 2026-01-01\neffective_until = 2026-01-01",
            "effective_until must be after effective_from",
        ),
        (PRICE + 'per_10k_characters = 1\ntimezone = "Asia/Shangai"', "timezone is not one: no time zone"),
        (PRICE + 'per_10k_characters = 1\ntimezone = ""', "timezone is not one"),
    ],
)
def test_mistakes_in_a_price(content: str, message: str) -> None:
    """A price is by characters or by both kinds of tokens, in one currency, for one day at least."""
    with pytest.raises(ConfigurationError, match=message):
        read_price("p", parse_toml(content, "a.toml"), "user")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "type is missing"),
        ('type = "text"', "type must be one of"),
        ('type = "integer"\nchoices = ["1"]', "choices must be an array of values of the type integer"),
        ('type = "integer"\nchoices = [1.5]', "choices must be an array of values of the type integer"),
        ('type = "string"\nchoices = ["a", "a"]', "choices must be an array without repetitions"),
        ('type = "string"\nminimum = 1', "minimum is for numbers"),
        ('type = "number"\nminimum = 2\nmaximum = 1', "maximum must not be below minimum"),
        ('type = "number"\nstep = 0.1', "step must be above 0 and needs a minimum"),
        ('type = "number"\nminimum = 0\nstep = 0', "step must be above 0"),
        ('type = "string"\nchoices = ["a"]\nlabels = { b = "x" }', "labels.b is a label for a value"),
    ],
)
def test_mistakes_in_a_parameter(content: str, message: str) -> None:
    """Choices have the parameter's type, ranges are for numbers, labels are for choices."""
    with pytest.raises(ConfigurationError, match=message):
        read_parameter("p", parse_toml(content, "a.toml"))


def test_numeric_choices_are_numbers_as_sent() -> None:
    """24000 stays an integer, 0.5 becomes the float that JSON carries."""
    assert read_parameter("p", parse_toml('type = "number"\nchoices = [1, 0.5]', "a")).choices == (1, 0.5)

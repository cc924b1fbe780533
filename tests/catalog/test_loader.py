from __future__ import annotations

from pathlib import Path

import pytest

from tests.catalog.conftest import LoadText
from tts_pipeline.catalog import load_catalog
from tts_pipeline.catalog.loader import BUILT_IN, built_in_layer
from tts_pipeline.errors import ConfigurationError


def test_every_data_file_is_read() -> None:
    """No file lies beside the built-in ones unread."""
    data = Path(load_catalog.__code__.co_filename).with_name("data")
    assert {file.stem for file in data.glob("*.toml")} == set(BUILT_IN)
    assert {"local", "modelstream", "baze"} <= set(built_in_layer().services)


def test_a_users_entries_add_and_replace(load_text: LoadText) -> None:
    """What has a new name is added; what has a known one takes its place; the rest stays."""
    catalog = load_text("""
        [services.baze]
        base_url = "https://elsewhere.example/v1"
        key_variable = "BAZE_API_KEY"
        [services.mine]
        base_url = "https://mine.example"
        auth = "none"
        [prices.less]
        currency = "CNY"
        per_10k_characters = 0.5
        [[cards]]
        service = "mine"
        model = "qwen3-tts-flash"
        like = ["modelstream/qwen3-tts-flash"]
        input_limit = 100
        [[cards]]
        service = "modelstream"
        model = "qwen3-tts-flash"
        like = ["modelstream/qwen3-tts-flash"]
        prices = ["less"]
    """)
    assert catalog.services["baze"].base_url == "https://elsewhere.example"
    assert catalog.cards["mine", "qwen3-tts-flash"].input_limit == 100
    (price,) = catalog.cards["modelstream", "qwen3-tts-flash"].prices
    assert (str(price.per_10k_characters), price.basis) == ("0.5", "user")
    assert ("openai", "tts-1") in catalog.cards


def test_the_id_of_a_price_means_one_price_for_good(load_text: LoadText) -> None:
    """It stands in every bill: a user's price cannot take a built-in one's."""
    with pytest.raises(ConfigurationError, match=r"prices\.openai-tts-1 is already the id of another price"):
        load_text("""
            [prices.openai-tts-1]
            currency = "USD"
            per_10k_characters = 0.1
        """)


CARD = '[[cards]]\nservice = "local"\nmodel = "m"\n'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (CARD + CARD, r"cards\[1\]\.model has a second card: local/m"),
        ('[[cards]]\nservice = "lokal"\nmodel = "m"', r"unknown service 'lokal' \(Did you mean 'local'"),
        (CARD + 'like = ["openai/tts1"]', r"cards\[0\]\.like names an unknown card 'openai/tts1' \(Did you mean"),
        (CARD + 'like = ["local/m"]', r"cards\[0\]\.like names an unknown card 'local/m'"),
        (CARD + 'like = ["local/n"]\n[[cards]]\nservice = "local"\nmodel = "n"\nlike = ["local/m"]', "leads back"),
        (CARD + 'prices = ["aliyun-qwen-ttss"]', r"names an unknown price .*Did you mean 'aliyun-qwen-tts'"),
        ('[[cards]]\nmodel = "m"', r"cards\[0\]\.service is missing"),
        ("[servces.x]\n", r"servces is not a known key \(Did you mean 'services'"),
        ("cards = 3", r"cards must be tables, each written \[\[cards\]\]"),
        ("services = 3", r"services must be a table"),
        ("[services]\nx = 3", r"services\.x must be a table"),
    ],
)
def test_mistakes_name_file_and_key(load_text: LoadText, content: str, message: str) -> None:
    """A mistake in a user's catalog says in which file, at which key, and what was expected."""
    with pytest.raises(ConfigurationError, match=r"mine\.toml: .*" + message):
        load_text(content)

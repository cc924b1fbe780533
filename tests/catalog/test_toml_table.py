from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from tts_pipeline.catalog.toml_table import TomlTable, parse_toml, read_toml
from tts_pipeline.errors import ConfigurationError


def table(content: str) -> TomlTable:
    return parse_toml(content, "a.toml")


def test_numbers_are_exact() -> None:
    """A price of 0.1 is a tenth, not the nearest binary fraction."""
    assert table("price = 0.1").decimal("price") == Decimal("0.1")
    assert table("price = 3").decimal("price") == Decimal(3)


@pytest.mark.parametrize(
    ("content", "read", "expected"),
    [
        ("k = 1", lambda t: t.text("k"), "a string"),
        ("k = 'z'", lambda t: t.one_of("k", ("x", "y")), "one of 'x', 'y'"),
        ("k = 1", lambda t: t.boolean("k", default=False), "true or false"),
        ("k = 0", lambda t: t.positive_integer("k"), "an integer of 1 or more"),
        ("k = true", lambda t: t.positive_integer("k"), "an integer of 1 or more"),
        ("k = nan", lambda t: t.decimal("k"), "a number"),
        ("k = true", lambda t: t.decimal("k"), "a number"),
        ("k = '1'", lambda t: t.decimal("k"), "a number"),
        ("k = 2026-01-01T00:00:00", lambda t: t.day("k"), "a date such as 2026-01-31"),
        ("k = ['a', 1]", lambda t: t.text_array("k"), "an array of strings"),
        ("k = ['a', 'a']", lambda t: t.text_array("k"), "an array without repetitions"),
        ("k = []", lambda t: t.array("k"), "an array that is not empty"),
        ("k = 1", lambda t: t.table("k"), "a table"),
    ],
)
def test_a_wrong_type_says_what_was_expected(content: str, read: Callable[[TomlTable], object], expected: str) -> None:
    """Every reader refuses what is not of its type, naming file, key and type."""
    with pytest.raises(ConfigurationError, match=f"a.toml: k must be {expected}"):
        read(table(content))


def test_what_is_not_given_is_none() -> None:
    """A key that is absent is None, or the default, and nothing more."""
    empty = table("")
    assert [
        empty.text("k"),
        empty.positive_integer("k"),
        empty.decimal("k"),
        empty.day("k"),
        empty.text_array("k"),
    ] == [None] * 5
    assert empty.boolean("k", default=True)
    assert (empty.text_table("k"), list(empty.tables("k")), empty.array_of_tables("k")) == ({}, [], [])


def test_unknown_keys_are_mistakes_and_values_stay_secret() -> None:
    """What nobody asked for is refused with the known keys; its value, perhaps a service's key, is not shown."""
    read = table("colour = 'sk-secret'\nvoice = 'x'")
    read.text("color")
    read.text("voice")
    with pytest.raises(ConfigurationError, match="Did you mean 'color'") as exc_info:
        read.refuse_unknown_keys()
    assert "sk-secret" not in str(exc_info.value)


def test_a_missing_key_is_named_with_its_place() -> None:
    """Inner tables know where they are."""
    (_, inner), *_ = table("[outer.inner]\n").tables("outer")
    with pytest.raises(ConfigurationError, match=r"a\.toml: outer\.inner\.k is missing"):
        inner.require("k")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """No file, no UTF-8 and no TOML are mistakes of the user's, not crashes."""
    with pytest.raises(ConfigurationError, match=r"absent\.toml cannot be read: No such file"):
        read_toml(tmp_path / "absent.toml")
    (tmp_path / "latin.toml").write_bytes(b"k = '\xe4'")
    with pytest.raises(ConfigurationError, match=r"latin\.toml cannot be read: it is not UTF-8"):
        read_toml(tmp_path / "latin.toml")
    (tmp_path / "broken.toml").write_text("a = 1\nb = = 2")
    with pytest.raises(ConfigurationError, match=r"broken\.toml is not TOML: .*line 2"):
        read_toml(tmp_path / "broken.toml")

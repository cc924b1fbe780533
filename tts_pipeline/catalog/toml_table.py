"""Read TOML strictly: every error names the file, the key and the expected value."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import TypeVar

from tts_pipeline.errors import ConfigurationError, did_you_mean

Value = TypeVar("Value")


class TomlTable:
    """One TOML table whose keys are read by name; a key that was never read is a mistake.

    Numbers with a point are read as exact decimals. ``path`` is the dotted path of the table in the file; empty for the
    outermost.
    """

    def __init__(self, values: dict[str, object], file: str, path: str = "") -> None:
        self.file = file
        self.path = path
        self._values = values
        self._known_keys: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def require(self, key: str) -> str:
        """Return the key; refuse a table without it."""
        if key not in self._values:
            raise self.error(key, "is missing")
        return key

    def text(self, key: str) -> str | None:
        """Read a string; None without one."""
        return self._typed(key, str, "a string")

    def one_of(self, key: str, known: Sequence[str]) -> str | None:
        """Read a string that is one of ``known``; None without one."""
        value = self.text(key)
        if value is not None and value not in known:
            raise self._type_error(key, f"one of {', '.join(map(repr, known))}", did_you_mean(value, known))
        return value

    def boolean(self, key: str, *, default: bool) -> bool:
        """Read a boolean."""
        value = self._typed(key, bool, "true or false")
        return default if value is None else value

    def positive_integer(self, key: str) -> int | None:
        """Read an integer of 1 or more; None without one."""
        number = self._typed(key, int, "an integer of 1 or more")
        if number is not None and number < 1:
            raise self._type_error(key, "an integer of 1 or more")
        return number

    def decimal(self, key: str) -> Decimal | None:
        """Read a finite number, exactly; None without one."""
        if type(self._values.get(key)) is int:
            return Decimal(self._typed(key, int, "a number") or 0)
        number = self._typed(key, Decimal, "a number")
        if number is not None and not number.is_finite():
            raise self._type_error(key, "a number")
        return number

    def day(self, key: str) -> date | None:
        """Read a date such as ``2026-01-31``; None without one."""
        return self._typed(key, date, "a date such as 2026-01-31")

    def text_array(self, key: str) -> tuple[str, ...] | None:
        """Read an array of different strings; None without one."""
        value = self._typed(key, list, "an array of strings")
        if value is None:
            return None
        if not all(isinstance(item, str) for item in value):
            raise self._type_error(key, "an array of strings")
        if len(set(value)) < len(value):
            raise self._type_error(key, "an array without repetitions")
        return tuple(value)

    def array(self, key: str) -> list[object] | None:
        """Read a non-empty array of any values; None without one."""
        value = self._typed(key, list, "an array that is not empty")
        if value == []:
            raise self._type_error(key, "an array that is not empty")
        return value

    def text_table(self, key: str) -> dict[str, str]:
        """Read a table of strings; empty without one."""
        table = self.table(key)
        return {name: table.text(name) or "" for name in table.names()} if table else {}

    def table(self, key: str) -> TomlTable | None:
        """Read an inner table; None without one."""
        value = self._typed(key, dict, "a table")
        return None if value is None else TomlTable(value, self.file, self.dotted_key(key))

    def tables(self, key: str) -> Iterator[tuple[str, TomlTable]]:
        """Yield the names and tables of a table of tables; nothing without one."""
        outer = self.table(key) or TomlTable({}, self.file)
        for name in outer.names():
            if (inner := outer.table(name)) is not None:
                yield name, inner

    def array_of_tables(self, key: str) -> list[TomlTable]:
        """Read ``[[key]]`` tables; empty without any."""
        expected = f"tables, each written [[{key}]]"
        value = self._typed(key, list, expected) or []
        if not all(isinstance(item, dict) for item in value):
            raise self._type_error(key, expected)
        return [TomlTable(item, self.file, f"{self.dotted_key(key)}[{index}]") for index, item in enumerate(value)]

    def names(self) -> tuple[str, ...]:
        """Return the names in the table, in the order of the file."""
        return tuple(self._values)

    def dotted_key(self, key: str) -> str:
        """Return the dotted path of a key in the file; that of the table itself for an empty key."""
        return ".".join(part for part in (self.path, key) if part)

    def refuse_unknown_keys(self) -> None:
        """Refuse keys that were never read; call it after reading the last key."""
        for key in self._values:
            if key not in self._known_keys:
                keys = ", ".join(sorted(self._known_keys))
                raise self.error(key, "is not a known key", f"{did_you_mean(key, self._known_keys)}known here: {keys}")

    def error(self, key: str, problem: str, hint: str = "") -> ConfigurationError:
        """Return the error with file and key, without the value, which may be an API key by mistake."""
        return ConfigurationError(f"{self.file}: {self.dotted_key(key)} {problem}", hint=hint.strip() or None)

    def _typed(self, key: str, kind: type[Value], expected: str) -> Value | None:
        """Read a value of exactly one type: true is not an integer, and a time of day is not a date."""
        self._known_keys.add(key)
        value = self._values.get(key)
        if value is None or type(value) is kind:
            return value
        raise self._type_error(key, expected)

    def _type_error(self, key: str, expected: str, hint: str = "") -> ConfigurationError:
        return self.error(key, f"must be {expected}", hint)


def read_toml(file: Path) -> TomlTable:
    """Return the outermost table of a TOML file in UTF-8."""
    try:
        return parse_toml(file.read_text(encoding="utf-8"), str(file))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(f"{file} cannot be read: {reason}") from None


def parse_toml(content: str, file: str) -> TomlTable:
    """Parse TOML; messages name the ``file``, and line and column of a mistake."""
    try:
        return TomlTable(tomllib.loads(content, parse_float=Decimal), file)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{file} is not TOML: {error}") from None

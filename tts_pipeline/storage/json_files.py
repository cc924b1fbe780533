"""Write JSON files of a dataset with a checksum, and check them value by value when they are read.

A disk may damage the files, and anybody with write access to the destination may change them. The checksum shows
damage; checks of types, ranges and names refuse impossible values. Files of earlier versions have no checksum.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

import orjson

from tts_pipeline.errors import StorageError
from tts_pipeline.money import NANO

CHECKSUM = "checksum"
MAX_COUNT = 2**63 - 1
_MAX_AMOUNT = Decimal(10) ** 18
RESTORE_HINT = "restore it from a copy"


def json_bytes(values: Mapping[str, Any], *, option: int = 0) -> bytes:
    """Return the bytes of a JSON file: the values, then their checksum. Money becomes text."""
    plain = orjson.loads(orjson.dumps(values, default=str))
    return orjson.dumps({**plain, CHECKSUM: sha256_of(plain)}, option=option)


def sha256_of(values: Any) -> str:
    """Return the hexadecimal hash of a JSON value, whatever the order of its names."""
    return hashlib.sha256(orjson.dumps(values, option=orjson.OPT_SORT_KEYS)).hexdigest()


def read_fields(data: bytes, path: str, hint: str = RESTORE_HINT) -> JsonFields:
    """Parse a JSON file, and verify its checksum if it has one.

    Raises:
        StorageError: The file is not a JSON object, or its checksum does not match.
    """
    try:
        values = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise StorageError(f"{path} is damaged: {error}", hint=hint) from error
    fields = JsonFields(values, path, hint)
    if CHECKSUM in fields.values and fields.values.pop(CHECKSUM) != sha256_of(fields.values):
        raise fields.damage_error("its checksum does not match")
    return fields


class JsonFields:
    """A JSON object whose values are checked on access; each method raises StorageError for an invalid value."""

    def __init__(self, values: object, path: str, hint: str = RESTORE_HINT) -> None:
        self.path = path
        self._hint = hint
        if not isinstance(values, dict):
            raise self.damage_error("it is not a JSON object")
        self.values: dict[str, Any] = values

    def damage_error(self, reason: str) -> StorageError:
        """Return the error for a damaged file."""
        return StorageError(f"{self.path} is damaged: {reason}", hint=self._hint)

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def _value(self, name: str, expected_type: type | tuple[type, ...]) -> Any:
        value = self.values.get(name)
        if not isinstance(value, expected_type) or (isinstance(value, bool) and expected_type is int):
            raise self.damage_error(f"{name!r} is {'missing' if name not in self.values else repr(value)[:100]}")
        return value

    def count(self, name: str, *, minimum: int = 0, maximum: int = MAX_COUNT) -> int:
        """Return an integer within bounds."""
        value: int = self._value(name, int)
        if not minimum <= value <= maximum:
            raise self.damage_error(f"{name!r} is {value}")
        return value

    def text(self, name: str) -> str:
        """Return a text."""
        value: str = self._value(name, str)
        return value

    def text_or_none(self, name: str) -> str | None:
        """Return a text; None for null."""
        return None if self._is_null(name) else self.text(name)

    def _is_null(self, name: str) -> bool:
        return name in self.values and self.values[name] is None

    def amount(self, name: str, *, limit: Decimal = _MAX_AMOUNT) -> Decimal | None:
        """Return an amount of money, stored as text with at most nine decimals; None for null."""
        if self._is_null(name):
            return None
        try:
            value = Decimal(self.text(name))
            is_valid = value.is_finite() and 0 <= value < limit and value == value.quantize(NANO)
        except InvalidOperation:
            is_valid = False
        if not is_valid:
            raise self.damage_error(f"{name!r} is {self.text(name)[:100]!r}")
        return value

    def items(self, name: str) -> list[Any]:
        """Return a list."""
        value: list[Any] = self._value(name, list)
        return value

    def objects(self, name: str) -> list[JsonFields]:
        """Return a list of objects."""
        return [JsonFields(value, f"{self.path} ({name})", self._hint) for value in self.items(name)]

    def object(self, name: str) -> JsonFields:
        """Return an object."""
        return JsonFields(self._value(name, dict), f"{self.path} ({name})", self._hint)

    def counts(self) -> dict[str, int]:
        """Return all values as counts."""
        return {name: self.count(name) for name in self.values}

"""Make file names from ids that are safe on any disk and in any store.

A name depends on its row alone, unless several rows have the same name: then the first of them in the dataset gets it.
A changed name has a mark at the end of its stem, ``~`` and 64 bits of the hash of id and take, so that names of
different rows never clash: ``a/b`` becomes ``a_b~1f0c...``. A name that looks marked gets a mark too.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Any

import regex

from tts_pipeline.errors import ConfigurationError, did_you_mean

MAX_COMPONENT_BYTES = 200
"""The longest name of a folder or a file. Disks allow 255 bytes, and a file has a longer name while it is written."""

MAX_NAME_BYTES = 800
"""The longest path below the destination. S3 allows 1,024 bytes, the destination's folder included."""

NULL_TEXT = "_"
"""The text of a null in a name."""

# Characters with a meaning for Windows, shells or URLs, and invisible ones. Separators are replaced earlier.
_UNSAFE = regex.compile(r'[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\\/:*?"<>|]')
_EDGES = re.compile(r"^[.\s]+|[.\s]+$")
# https://learn.microsoft.com/windows/win32/fileio/naming-a-file (read 2026-11)
_RESERVED = re.compile(r"(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[0-9¹²³])\s*(\.|$)", re.IGNORECASE)
_MARK = re.compile(r"~[0-9a-f]{16}$")
_OWN_SUFFIXES = (".parquet", ".json", ".jsonl.gz")
"""Endings of the index and the manifests, which lie beside the audio."""


@dataclass(frozen=True, slots=True)
class FileName:
    """A name in parts, with the mark that makes it unique; ``is_marked`` if the name differs from its template."""

    stem: str
    extension: str
    mark: str
    is_marked: bool

    def render(self, *, is_taken: bool) -> str:
        """Return the name, with its mark if it needs one; ``is_taken`` if an earlier row has the same name."""
        mark = self.mark if self.is_marked or is_taken else ""
        return f"{self.stem}{mark}{self.extension}"


@dataclass(frozen=True, slots=True)
class NameTemplate:
    """A template such as ``{utterance_id}.{ext}``, with its pieces as ``string.Formatter`` parses them."""

    text: str
    pieces: tuple[tuple[str, str | None, str], ...]

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the template's fields, each once."""
        return tuple(dict.fromkeys(field for _, field, _ in self.pieces if field is not None))

    def file_name(self, values: Mapping[str, Any]) -> FileName:
        """Return the name of a row from its values by field, with ``utterance_id``, ``take`` and ``ext`` among them."""
        texts = [(literal, self._text(values[field], spec) if field else "") for literal, field, spec in self.pieces]
        raw_name = "".join(literal + text for literal, text in texts)
        flat_name = "".join(literal + re.sub(r"[\\/]", "_", text) for literal, text in texts)
        extension = f".{values['ext']}"
        mark = mark_of(values["utterance_id"], values["take"])
        components = flat_name.removesuffix(extension).split("/")
        max_bytes = min(MAX_COMPONENT_BYTES, MAX_NAME_BYTES // len(components))
        max_stem_bytes = max_bytes - len(mark) - len(extension)
        stem = "/".join(
            [*(_safe(component, max_bytes) for component in components[:-1]), _safe(components[-1], max_stem_bytes)]
        )
        if not flat_name.endswith(extension):
            extension = ""
        name = stem + extension
        is_marked = name != raw_name or _MARK.search(stem) or ("/" not in name and name.lower().endswith(_OWN_SUFFIXES))
        return FileName(stem, extension, mark, bool(is_marked))

    def _text(self, value: Any, spec: str) -> str:
        if value is None:
            return NULL_TEXT
        try:
            return format(value, spec)
        except (TypeError, ValueError) as error:
            raise ConfigurationError(
                f"`name={self.text!r}`: {value!r} cannot be formatted as {spec!r}: {error}",
                hint="leave out the format after the colon, or use one that fits the column's type",
            ) from error


def parse_template(text: str) -> NameTemplate:
    """Parse a template: a format string of plain fields that does not lead out of the destination."""
    try:
        pieces = list(Formatter().parse(text))
    except ValueError as error:
        raise _template_error(text, str(error)) from error
    for _, field, spec, conversion in pieces:
        # A format string can read attributes of objects: only plain columns are allowed.
        if field is not None and (not re.fullmatch(r"\w+", field) or conversion or "{" in (spec or "")):
            raise _template_error(text, f"{{{field}}} is not a plain column")
    shape = "".join(literal + ("x" if field is not None else "") for literal, field, _, _ in pieces)
    if any(part in {"", ".", ".."} for part in shape.split("/")):
        raise _template_error(text, "it must be a path below the destination")
    return NameTemplate(text, tuple((literal, field, spec or "") for literal, field, spec, _ in pieces))


def check_fields(template: NameTemplate, known: Sequence[str]) -> None:
    """Check that every field of a template is known."""
    for field in template.fields:
        if field not in known:
            raise ConfigurationError(
                f"`name={template.text!r}`: {{{field}}} is not a known field",
                hint=f"{did_you_mean(field, known)}The fields are {', '.join(known)}",
            )


def mark_of(utterance_id: str, take: int) -> str:
    """Return the mark that distinguishes one row's name from all others."""
    return "~" + hashlib.sha256(f"{take}:{utterance_id}".encode()).hexdigest()[:16]


def is_file_name(name: str) -> bool:
    """Return whether a name is a path below an export's folder."""
    return "\0" not in name and not {"", ".", ".."} & {*name.split("/")}


def canonical_name(name: str) -> str:
    """Return one form for all names that are the same file on some disk: those that differ in case or Unicode form."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def _safe(text: str, max_bytes: int) -> str:
    """Return text as the name of one folder or file, of at most ``max_bytes`` bytes."""
    visible = _UNSAFE.sub("_", unicodedata.normalize("NFC", text))
    name = _EDGES.sub(lambda ends: "_" * len(ends[0]), visible) or NULL_TEXT
    if _RESERVED.match(name):
        name = f"_{name}"
    data = name.encode()
    return name if len(data) <= max_bytes else data[:max_bytes].decode(errors="ignore")


def _template_error(text: str, reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"`name={text!r}` cannot be used: {reason}", hint="use a template such as '{voice}/{utterance_id}.{ext}'"
    )

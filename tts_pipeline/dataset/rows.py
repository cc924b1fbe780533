"""Where utterances are found in the source's rows, and which of its columns pass through to the tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tts_pipeline.catalog.check import check_column
from tts_pipeline.catalog.value import nested
from tts_pipeline.config import MAX_TEXT_CHARACTERS, InputColumns
from tts_pipeline.dataset.replay import UtteranceKey
from tts_pipeline.dataset.source import stem_of
from tts_pipeline.errors import ConfigurationError, did_you_mean
from tts_pipeline.models import Card, Parameters, ParameterValue, Utterance
from tts_pipeline.schema import SPEECH, opens_in_hugging_face

TAKE = "take"


class Layout:
    """The source's columns by their role, checked against its schema.

    Args:
        columns: Which column is what.
        schema: The source's.

    Raises:
        ConfigurationError: A column is missing, of the wrong type, or would collide with one of the speech table's.
    """

    def __init__(self, columns: InputColumns, schema: pa.Schema) -> None:
        self.columns = columns
        self.schema = schema
        require_columns(columns, schema)
        unknown = sorted(set(columns.rename) - set(schema.names))
        if unknown:
            hint = did_you_mean(unknown[0], schema.names) + f"the columns are {_listed(schema.names)}"
            raise ConfigurationError(
                f"--rename names a column that the source does not have: {unknown[0]!r}", hint=hint
            )
        self.passed_through = passed_through(columns, schema)
        _refuse_collisions([field.name for _, field in self.passed_through])

    @property
    def input_schema(self) -> pa.Schema:
        """The source's columns as rejects have them: under the names of ``rename`` where they differ in case only."""
        counts = Counter(name.lower() for name in self.schema.names)
        names = [
            self.columns.rename.get(name, name) if counts[name.lower()] > 1 else name for name in self.schema.names
        ]
        return pa.schema([field.with_name(name) for field, name in zip(self.schema, names, strict=True)])

    def refuse_alike(self) -> None:
        """Make sure that no two columns of a table differ in case only. Datasets of before may have some.

        Raises:
            ConfigurationError: Two do.
        """
        _refuse_alike([(field.name, name) for name, field in self.passed_through], [column.name for column in SPEECH])
        _refuse_alike(zip(self.input_schema.names, self.schema.names, strict=True))

    def texts(self, rows: pa.Table) -> list[str | None]:
        """Return the texts of rows."""
        return _values(rows, self.columns.text)

    def keys(self, rows: pa.Table, located: Sequence[tuple[str, int]]) -> list[UtteranceKey]:
        """Return what names each row's utterance.

        Args:
            rows: Rows of the source.
            located: Each row's file and its place in that file, as ``Source.locate`` tells them.
        """
        if self.columns.generate_ids:
            ids = [f"{stem_of(name)}:{place}" for name, place in located]
        else:
            ids = [str(value) for value in _values(rows, self.columns.utterance_id)]
        column = self.columns.parameters.get(TAKE)
        takes = [0] * len(ids) if column is None else [int(take or 0) for take in _values(rows, column)]
        return list(zip(ids, takes, strict=True))

    def naming_columns(self) -> list[str]:
        """Return the columns of ids, takes and parameters, each once: what is looked at before anything is sent."""
        ids = [] if self.columns.generate_ids else [self.columns.utterance_id]
        return list(dict.fromkeys([*ids, *self.columns.parameters.values()]))

    def parameter_columns(self) -> dict[str, str]:
        """Return the voice parameters that are taken from columns, with their columns; ``take`` is none of them."""
        return {name: column for name, column in self.columns.parameters.items() if name != TAKE}


@dataclass(frozen=True, slots=True)
class Voicing:
    """How rows become utterances: the card that says what is allowed, and what is the same for all rows.

    Args:
        layout: Where things are.
        card: What is allowed.
        fixed: Parameters that are the same for all rows; a row's own value goes before.
        unchecked: Parameters whose values are not held against the card's lists.
    """

    layout: Layout
    card: Card
    fixed: Parameters
    unchecked: Collection[str] = ()

    def utterances(self, rows: pa.Table, keys: Sequence[UtteranceKey]) -> list[Utterance]:
        """Return the utterances of rows; a null text becomes an empty one, a null parameter is not set."""
        varying = self.varying(rows)
        texts = self.layout.texts(rows)
        made = []
        for place, (text, (utterance_id, take)) in enumerate(zip(texts, keys, strict=True)):
            own = {name: value for name, values in varying if (value := values[place]) is not None}
            # A longer one is refused unsaid: what is behind that is not held while the part is open.
            held = (text or "")[: MAX_TEXT_CHARACTERS + 1]
            made.append(Utterance(utterance_id, held, {**self.fixed, **own} if own else self.fixed, take))
        return made

    def varying(self, rows: pa.Table) -> list[tuple[str, list[ParameterValue | None]]]:
        """Return each parameter that is taken from a column, with what is sent for each row; None is not set there.

        Raises:
            ConfigurationError: Some values are not allowed; says which, in how many of these rows.
        """
        return [self._values(rows, name, column) for name, column in self.layout.parameter_columns().items()]

    def _values(self, rows: pa.Table, name: str, column: str) -> tuple[str, list[ParameterValue | None]]:
        given = parameter_values(rows, column)
        sent = self.check(name, Counter(given))
        return name, [sent.get(value) for value in given]

    def check(self, name: str, counts: Mapping[Any, int]) -> dict[Any, ParameterValue]:
        """Return what is sent for each distinct value of a parameter's column.

        Raises:
            ConfigurationError: Some values are not allowed; says which, in how many rows.
        """
        return check_column(self.card, name, counts, self.unchecked, has_fixed_value=name in self.fixed)


def passed_through(columns: InputColumns, schema: pa.Schema) -> tuple[tuple[str, pa.Field], ...]:
    """Return the source's columns that the speech table has as well: the source's name of each, and what it becomes."""
    used = {columns.text, *columns.parameters.values()}
    if not columns.generate_ids:
        used.add(columns.utterance_id)
    return tuple((f.name, f.with_name(columns.rename.get(f.name, f.name))) for f in schema if f.name not in used)


def hugging_face_note(passed: Iterable[tuple[str, pa.Field]]) -> str | None:
    """Say which columns keep Hugging Face ``datasets`` from opening the speech table; None is none.

    Args:
        passed: As ``passed_through`` gives them.
    """
    closed = [(source, field) for source, field in passed if not opens_in_hugging_face(field.type)]
    if not closed:
        return None
    shown = ", ".join(f"{field.name!r} ({field.type})" for _, field in closed)
    dropped = " ".join(f"--drop {source}" for source, _ in closed)
    return f"Hugging Face datasets cannot open the column {shown}: convert it, or leave it out by {dropped}"


def require_columns(columns: InputColumns, schema: pa.Schema) -> None:
    """Check that the columns an utterance is made of are there, with types that fit.

    Raises:
        ConfigurationError: One is missing, stands twice or is of the wrong type.
    """
    _require(schema, columns.text, _TEXT)
    if not columns.generate_ids:
        _require(schema, columns.utterance_id, _ID)
    for parameter, column in columns.parameters.items():
        _require(schema, column, _TAKE if parameter == TAKE else _parameter(parameter))


def parameter_values(rows: pa.Table, column: str) -> list[Any]:
    """Return the values of a parameter's column; objects and lists as ``Nested``, so that they can be counted."""
    values = _values(rows, column)
    return [nested(value) for value in values] if _is_nested(rows.schema.field(column).type) else values


def _values(rows: pa.Table, column: str) -> list[Any]:
    found: list[Any] = rows.column(column).to_pylist()
    return found


@dataclass(frozen=True, slots=True)
class _Role:
    """What a column is for, which types fit, and what to do when there is none."""

    name: str
    fits: Callable[[pa.DataType], bool]
    wanted: str
    hint: str


def _require(schema: pa.Schema, column: str, role: _Role) -> None:
    places = schema.get_all_field_indices(column)
    if not places:
        raise ConfigurationError(
            f"the source has no column {column!r} for {role.name}; its columns are {_listed(schema.names)}",
            hint=did_you_mean(column, schema.names) + role.hint,
        )
    if len(places) > 1:
        raise ConfigurationError(f"the source has {len(places)} columns named {column!r}", hint="rename one of them")
    found = schema.field(column).type
    if not role.fits(found.value_type if pa.types.is_dictionary(found) else found):
        raise ConfigurationError(
            f"column {column!r} for {role.name} is of type {found}, not {role.wanted}",
            hint="convert it, or name another column",
        )


def _is_text(found: pa.DataType) -> bool:
    return bool(pa.types.is_string(found) or pa.types.is_large_string(found) or pa.types.is_string_view(found))


def _is_integer(found: pa.DataType) -> bool:
    return bool(pa.types.is_integer(found))


def _is_id(found: pa.DataType) -> bool:
    return _is_text(found) or _is_integer(found)


def _is_scalar(found: pa.DataType) -> bool:
    is_other = pa.types.is_floating(found) or pa.types.is_boolean(found) or pa.types.is_null(found)
    return bool(is_other) or _is_id(found)


def _is_nested(found: pa.DataType) -> bool:
    is_list = pa.types.is_list(found) or pa.types.is_large_list(found) or pa.types.is_fixed_size_list(found)
    return bool(is_list or pa.types.is_struct(found) or pa.types.is_map(found))


def _is_parameter(found: pa.DataType) -> bool:
    return _is_scalar(found) or _is_nested(found) or isinstance(found, pa.JsonType)


_TEXT = _Role("the text", _is_text, "string", "use --text-column NAME")
_ID = _Role(
    "the id", _is_id, "string or integer", "use --id-column NAME, or --generate-ids to make ids from file and row"
)
_TAKE = _Role("the take", _is_integer, "integer", "use --column take=COLUMN")


def _parameter(name: str) -> _Role:
    wanted = "string, number, boolean, struct or list"
    return _Role(f"the parameter {name!r}", _is_parameter, wanted, f"use --column {name}=COLUMN")


def _refuse_collisions(names: Sequence[str]) -> None:
    own = {column.name for column in SPEECH}
    clashes = [name for name in names if name in own]
    if clashes:
        raise ConfigurationError(
            f"the source's column {clashes[0]!r} has the name of a column of the speech table",
            hint=f"use --rename {clashes[0]}=NEW, for example --rename {clashes[0]}=source_{clashes[0]}",
        )
    doubled = [name for name, count in Counter(names).items() if count > 1]
    if doubled:
        raise ConfigurationError(f"two columns would be named {doubled[0]!r}", hint="mend --rename, or the source")


def _refuse_alike(columns: Iterable[tuple[str, str]], own: Iterable[str] = ()) -> None:
    """Refuse names that are one but for case, given with the source's name of each; ``own`` are ours."""
    taken = {name.lower(): name for name in own}
    for name, source in columns:
        other = taken.setdefault(name.lower(), name)
        if other != name:
            raise ConfigurationError(
                f"the source's column {source!r} would differ in case only from the column {other!r}, which DuckDB, "
                "Spark and others take for the same",
                hint=f"use --rename {source}=NEW, for example --rename {source}=source_{source}, or --drop {source}",
            )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:12])
    return shown + (f" and {len(names) - 12} more" if len(names) > 12 else "")

"""Plan an export: select the rows of a dataset, their splits and their values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tts_pipeline.config import AudioSettings
from tts_pipeline.dataset.names import parse_part_number
from tts_pipeline.dataset.reader import DatasetReader, RowGroup
from tts_pipeline.exports.splits import Splits
from tts_pipeline.report.filters import Filter
from tts_pipeline.schema import SPEECH, speech_schema

KEY = ("utterance_id", "take")
EXT, SPLIT = "ext", "split"
"""The fields of a name template besides the columns."""

OnRows = Callable[[int, int], None]
"""Called with the number of the dataset's rows that are done, and the number of all."""


@dataclass(frozen=True, slots=True)
class ExportPlan:
    """A checked export of the speech files of finished parts; a filter of None exports all rows.

    ``has_splits`` is False if ``splits`` is one split for all rows.
    """

    dataset: DatasetReader
    files: Sequence[str]
    audio: AudioSettings
    splits: Splits
    has_splits: bool
    filter: Filter | None
    on_rows: OnRows

    def groups(self, columns: tuple[str, ...]) -> Iterator[tuple[RowGroup, list[ExportRow]]]:
        """Yield each row group with its exported rows and their values in ``columns``."""
        filter_columns = self.filter.columns if self.filter else ()
        rows_done, total_rows = 0, self._source_rows()
        names = tuple(dict.fromkeys((*KEY, *columns, *filter_columns)))
        for group in self.dataset.row_groups(self.files, names):
            yield group, self._select(group, columns)
            rows_done += group.rows.num_rows
            self.on_rows(rows_done, total_rows)
        self.on_rows(total_rows, total_rows)

    @property
    def parts_left(self) -> int:
        """Parts of the dataset that are not finished."""
        return self.dataset.descriptor.parts - len(self.dataset.parts)

    def schema(self) -> pa.Schema | None:
        """Return the schema of the speech table; None if no part is finished yet. Blocking."""
        if not self.files:
            return None
        own = {column.name for column in SPEECH}
        return speech_schema(field for field in self.dataset.schema(self.files[0]) if field.name not in own)

    def _source_rows(self) -> int:
        return sum(len(self.dataset.descriptor.row_range(parse_part_number(name))) for name in self.files)

    def _select(self, group: RowGroup, columns: tuple[str, ...]) -> list[ExportRow]:
        mask = self.filter.mask(group.rows) if self.filter else [True] * group.rows.num_rows
        if not any(mask):
            return []
        values = group.rows.select(list(dict.fromkeys((*KEY, *columns)))).to_pylist()
        rows = (
            (position, row, self.splits.of(row["utterance_id"]))
            for position, row in enumerate(values)
            if mask[position]
        )
        return [ExportRow(position, split, row) for position, row, split in rows if split is not None]


@dataclass(frozen=True, slots=True)
class ExportRow:
    """An exported row: its position in its row group, its split, and its values by column."""

    position: int
    split: str
    values: Mapping[str, Any]


def audio_bytes(audio: pa.Array, position: int) -> bytes:
    """Return one row's audio."""
    data: bytes = audio[position].as_py()
    return data

"""What is exported, and as what: the settings of an export, checked against its dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tts_pipeline.config import AudioSettings
from tts_pipeline.exports.filters import Filter
from tts_pipeline.exports.splits import Splits
from tts_pipeline.exports.table import Group, SpeechTable

KEY = ("utterance_id", "take")
EXT, SPLIT = "ext", "split"
"""What a name may be made of beside the columns."""

OnRows = Callable[[int, int], None]
"""Told how many of the dataset's rows were gone through, and how many there are."""


@dataclass(frozen=True, slots=True)
class Plan:
    """An export that can be made.

    Args:
        table: What is exported.
        audio: The format and the sample rate that it is to have.
        splits: Which split a row is in.
        has_splits: Whether splits were asked for.
        filter: Which rows are exported; None is all.
        on_rows: For a display.
    """

    table: SpeechTable
    audio: AudioSettings
    splits: Splits
    has_splits: bool
    filter: Filter | None
    on_rows: OnRows

    def groups(self, columns: tuple[str, ...]) -> Iterator[tuple[Group, list[Chosen]]]:
        """Yield row groups with those of their rows that are exported, and their values in these columns."""
        looked_at = self.filter.columns if self.filter else ()
        done, rows = 0, self.table.source_rows
        names = tuple(dict.fromkeys((*KEY, *columns, *looked_at)))
        for group in self.table.groups(names):
            yield group, self._chosen(group, columns)
            done += group.rows.num_rows
            self.on_rows(done, rows)
        self.on_rows(rows, rows)

    def _chosen(self, group: Group, columns: tuple[str, ...]) -> list[Chosen]:
        is_in = self.filter.chosen(group.rows) if self.filter else [True] * group.rows.num_rows
        if not any(is_in):
            return []
        values = group.rows.select(list(dict.fromkeys((*KEY, *columns)))).to_pylist()
        rows = ((place, row, self.splits.of(row["utterance_id"])) for place, row in enumerate(values) if is_in[place])
        return [Chosen(place, split, row) for place, row, split in rows if split is not None]


@dataclass(frozen=True, slots=True)
class Chosen:
    """A row that is exported.

    Args:
        place: In its row group.
        split: Its split.
        values: Its values, by column.
    """

    place: int
    split: str
    values: Mapping[str, Any]


def bytes_at(audio: pa.Array, place: int) -> bytes:
    """Return one row's audio."""
    data: bytes = audio[place].as_py()
    return data

"""A condition on usage rows in SQL, in which ``tag:KEY`` is a column."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from tts_pipeline.report.facts import KEYS, MARKS, tag
from tts_pipeline.report.filters import Filter, Subject, parse_filter
from tts_pipeline.report.keys import TAG_PREFIX, check_tags, distinct_tag_keys, tag_name
from tts_pipeline.schema import usage_schema

_SUBJECT = Subject("usage", "tag:team = 'radio' AND model = 'qwen3-tts-flash'")
_TAG = re.compile(r"""('(?:[^']|'')*'|"(?:[^"]|"")*")|\b(tag:[\w.-]+)""")
_NO_KEYS = frozenset({"started_at", "tags"})


@dataclass(frozen=True, slots=True)
class Where:
    """A condition on usage rows: its filter, the columns that it reads, and the tags among these."""

    filter: Filter
    columns: Sequence[str]
    tags: Sequence[str]

    @property
    def is_of_groups(self) -> bool:
        """Whether all rows with the same keys meet the condition, or none does."""
        return _NO_KEYS.isdisjoint(self.columns) and set(KEYS).issuperset(self.columns)

    def select(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """Return the rows, or the groups of rows, that meet the condition."""
        columns = rows.collect_schema().names()
        tagged = rows.with_columns(tag(key).alias(TAG_PREFIX + key) for key in self.tags)
        return self.filter.apply(tagged).select(columns)

    def check_tags(self, rows: pl.LazyFrame) -> None:
        """Check that each tag of the condition is a tag of some row, if there are rows. Blocking.

        Raises:
            ConfigurationError: No row has the tag.
        """
        if self.tags and not rows.head(1).collect().is_empty():
            check_tags(self.tags, distinct_tag_keys(rows).collect(engine="streaming").to_series())


def read_where(text: str) -> Where:
    """Read a condition such as ``tag:team = 'radio'``; a key with other signs is quoted: ``"tag:cost centre" = '7'``.

    Raises:
        ConfigurationError: It is no condition on one row of the usage table; the message names what is wrong.
    """
    parsed = parse_filter(_TAG.sub(lambda match: match[1] or f'"{match[2]}"', text), _SUBJECT)
    tags = [key for key in map(tag_name, parsed.columns) if key is not None]
    fields = [field for field in usage_schema() if field.name != "tags"]
    names = [pa.field(TAG_PREFIX + key, pa.string()) for key in tags]
    marks = [pa.field(name, pa.bool_()) for name in MARKS]
    parsed.check(pa.schema([*fields, *names, *marks, pa.field("dataset", pa.string())]))
    return Where(parsed, [name for name in parsed.columns if tag_name(name) is None], tags)

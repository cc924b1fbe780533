"""Add usage up to small groups, from which the page computes every breakdown, and remember the groups of each file."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from threading import Lock
from typing import TypeVar

import polars as pl

from tts_pipeline.report.bill import collect_usage
from tts_pipeline.report.facts import add_up
from tts_pipeline.report.figures import GROUPS, group_facts
from tts_pipeline.report.keys import UTC_NAME

KEYS = ("model", "account", "key_id", "door", "voice", "dataset")
"""The columns to break a bill down by, beside tags."""

SHOWN = (
    *("requests", "retries", "characters_billed", "characters_upper_bound", "cost", "cost_upper_bound"),
    *("without_cost", "open_parts", "implausible", "cost_in_question"),
)
"""The measures that the page shows. To leave out the others saves a quarter of the time."""

File = TypeVar("File", bound=Hashable)
_REMEMBERED = 16


@dataclass(frozen=True, slots=True)
class Grouping:
    """How a bill is grouped in time: by steps of a time zone's wall clock."""

    timezone: str = UTC_NAME
    step: timedelta = timedelta(days=1)

    def group(self, facts: pl.LazyFrame) -> pl.DataFrame:
        """Group facts by the ``start`` of their step, ``KEYS``, tags, failure, and what reports need. Blocking.

        ``start`` is a time of the wall clock, without a time zone.

        Raises:
            StorageError: Usage cannot be read, or is damaged.
        """
        at = pl.col("started_at")
        local = at if self.timezone == UTC_NAME else at.dt.convert_time_zone(self.timezone)
        start = local.dt.replace_time_zone(None).dt.truncate(f"{int(self.step.total_seconds())}s")
        names = (*KEYS, "error_code", "tags")
        keys = {"start": start, **{name: pl.col(name) for name in names}}
        (groups,) = collect_usage([group_facts(facts, keys, SHOWN)])
        return groups


def add_groups(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Add up groups of the same grouping."""
    whole = pl.concat(parts, how="vertical_relaxed")
    keys = ("start", *KEYS, "error_code", "tags", *GROUPS)
    return add_up(whole.lazy(), {name: pl.col(name) for name in keys}, SHOWN).collect()


class GroupMemory:
    """Groups of usage files by period and grouping. Thread-safe.

    A file never changes under its name and size: of a bill that has grown, only the new files are read.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._known: OrderedDict[Hashable, tuple[frozenset[Hashable], pl.DataFrame]] = OrderedDict()

    def groups(
        self,
        bill: Hashable,
        files: Collection[File],
        read: Callable[[Collection[File]], pl.DataFrame],
    ) -> pl.DataFrame:
        """Return the groups of all ``files`` of a ``bill``; ``read`` returns those of some files. Blocking."""
        with self._lock:
            now = frozenset(files)
            before, groups = self._known.get(bill, (frozenset[Hashable](), None))
            if groups is None or not before <= now:
                groups = read(now)
            elif before != now:
                groups = add_groups([groups, read(now - before)])
            self._known[bill] = now, groups
            self._known.move_to_end(bill)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
            return groups

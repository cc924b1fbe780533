"""Check the amounts of usage rows, and tell what a usage file knows of its journal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from tts_pipeline.attempt import Outcome
from tts_pipeline.dataset.totals import damaged_amounts
from tts_pipeline.ledger.manifest import UsageRank
from tts_pipeline.schema import USAGE
from tts_pipeline.storage.parquet import conform_columns, open_parquet
from tts_pipeline.storage.store import Store

if TYPE_CHECKING:
    import polars as pl

_BOUNDED = (("characters_billed", "characters_upper_bound"), ("cost", "cost_upper_bound"))
AMOUNTS = tuple(name for pair in _BOUNDED for name in pair)
CHECKED = (*AMOUNTS, "list_cost", "audio_ms")
"""The columns that ``check_amounts`` looks at."""
_CLAIM = "claim-"
"""The beginning of an attempt's id that stands for the whole claim of a journal."""


def check_amounts(table: pa.Table, location: str) -> None:
    """Check that the amounts of usage rows are possible; nulls are.

    Raises:
        StorageError: An amount is negative, or a confirmed amount is above its upper bound.
    """
    for name in CHECKED:
        if name in table.column_names:
            lowest = pc.min(table.column(name)).as_py()
            if lowest is not None and lowest < 0:
                raise damaged_amounts(location)
    for confirmed, upper_bound in _BOUNDED:
        if pc.any(pc.greater(table.column(confirmed), table.column(upper_bound))).as_py():
            raise damaged_amounts(location)


def has_possible_amounts(rows: pl.DataFrame) -> bool:
    """Return whether the amounts of a frame are possible, as far as it has their columns; see ``check_amounts``."""
    lowest = (rows.get_column(name).min() for name in CHECKED if name in rows.columns)
    if any(amount is not None and amount < 0 for amount in lowest):  # type: ignore[operator]
        return False
    pairs = (pair for pair in _BOUNDED if set(pair).issubset(rows.columns))
    return not any((rows[confirmed] > rows[upper_bound]).any() for confirmed, upper_bound in pairs)


def rank_of(store: Store, name: str) -> UsageRank:
    """Return the rank of a usage file among the files of its journal. Blocking."""
    columns = ("attempt_id", "outcome")
    with open_parquet(store, name) as parquet:
        table = parquet.read(columns=list(columns), use_threads=False)
    settled, claims, _ = count_outcomes([conform_columns(table, columns, USAGE, store.describe(name))])
    return UsageRank(settled, -claims)


def count_outcomes(tables: Iterable[pa.Table]) -> tuple[int, int, int]:
    """Return how many rows are settled, stand for a whole claim, and are unknown (claims included)."""
    settled = claims = unknown = 0
    for table in tables:
        unknowns = table.filter(pc.equal(table.column("outcome"), Outcome.UNKNOWN.value))
        unknown += unknowns.num_rows
        settled += table.num_rows - unknowns.num_rows
        claims += pc.sum(pc.starts_with(unknowns.column("attempt_id"), _CLAIM)).as_py() or 0
    return settled, claims, unknown

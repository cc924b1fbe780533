"""The names that a report groups by: columns, days and months of a time zone, and tags."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from tts_pipeline.errors import ConfigurationError, did_you_mean
from tts_pipeline.report.facts import tag, tag_keys

TAG_PREFIX = "tag:"
"""The prefix of a tag's name among the columns of a report."""

UTC_NAME = "UTC"

_TIMES = ("month", "day", "hour")
_COLUMNS = (
    *("model", "voice", "service", "account", "key_id", "dataset", "door", "kind", "outcome", "error_code"),
    *("price_basis", "invocation_id"),
)
_OF_REQUESTS = frozenset({"outcome", "error_code", "price_basis"})
NAMES = (*_TIMES, *_COLUMNS)
"""The names beside tags."""


@dataclass(frozen=True, slots=True)
class Key:
    """One name to group by.

    ``column`` is what each row of facts is grouped by first, as ``expression`` of their keys. ``value`` is the key's
    value by then: tags are taken apart once for each set of tags, not once for each request.
    """

    name: str
    column: str
    expression: pl.Expr
    value: pl.Expr

    @property
    def is_of_requests(self) -> bool:
        """Whether only what was sent has the key, and reused audio has not."""
        return self.name in _OF_REQUESTS


def read_keys(by: Iterable[str], timezone: str = UTC_NAME) -> list[Key]:
    """Return the keys of names; days, hours and months are those of a time zone, by its IANA name.

    Raises:
        ConfigurationError: A name is unknown.
    """
    return [_key(name, timezone) for name in dict.fromkeys(by)]


def check_tags(names: Sequence[str], known: pl.Series) -> None:
    """Check that each of these tags is among the ``known`` keys.

    Raises:
        ConfigurationError: No request has one of the tags, which may be misspelt.
    """
    keys = set(known.to_list())
    for name in names:
        if name not in keys:
            known_keys = f"Their tags are {', '.join(sorted(keys))}" if keys else "They have no tags at all"
            hint = f"{did_you_mean(name, keys)}{known_keys}"
            raise ConfigurationError(f"none of these requests has the tag {name!r}", hint=hint)


def check_key_tags(groups: pl.DataFrame, keys: Sequence[Key]) -> None:
    """Check that each tag among the keys is a tag of some group, if there are groups; see ``check_tags``."""
    tags = [tagged for key in keys if (tagged := tag_name(key.name)) is not None]
    if tags and groups.height:
        check_tags(tags, groups.select(tag_keys().unique()).to_series())


def distinct_tag_keys(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Return the keys of all tags as one column, each once."""
    return rows.group_by("tags").agg().select(tag_keys().unique().alias("key"))


def tag_name(name: str) -> str | None:
    """Return the tag that a name names; None for a column."""
    return name.removeprefix(TAG_PREFIX) if name.startswith(TAG_PREFIX) and name != TAG_PREFIX else None


def _key(name: str, timezone: str) -> Key:
    tagged = tag_name(name)
    if tagged is not None:
        return Key(name, "tags", pl.col("tags"), tag(tagged))
    if name in _COLUMNS:
        return Key(name, name, pl.col(name), pl.col(name))
    if name not in _TIMES:
        hint = (
            f"{did_you_mean(name, NAMES) or f'A tag is {TAG_PREFIX}{name}. '}Known: {', '.join(NAMES)}, {TAG_PREFIX}KEY"
        )
        raise ConfigurationError(f"usage cannot be grouped by {name!r}", hint=hint)
    started_at = pl.col("started_at")
    local = started_at if timezone == UTC_NAME else started_at.dt.convert_time_zone(timezone)
    times: Mapping[str, pl.Expr] = {
        "month": local.dt.date().dt.truncate("1mo"),
        "day": local.dt.date(),
        "hour": local.dt.truncate("1h"),
    }
    return Key(name, name, times[name], pl.col(name).dt.strftime("%Y-%m") if name == "month" else pl.col(name))

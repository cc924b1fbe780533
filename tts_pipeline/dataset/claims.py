"""Claims at the destination: which journal has opened a part, and the most that it may spend."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from tts_pipeline.dataset.names import file_names, parse_part_number, part_name
from tts_pipeline.storage.json_files import json_bytes, read_fields
from tts_pipeline.storage.store import Store


@dataclass(frozen=True, slots=True)
class Claim:
    """Which journal has opened a part, since when, and what it may spend at most.

    Args:
        journal_id: The journal.
        invocation_id: The execution that opened it.
        opened_at_us: Microseconds since 1970 UTC.
        characters_upper_bound: It will not spend more than this without raising the claim first.
        cost_upper_bound: The same in money; None without a price.
        currency: Of the cost.
        service: For the bill, should the journal be lost.
        model: For the bill, should the journal be lost.
        account: For the bill, should the journal be lost.
        tags: For the bill, should the journal be lost.
        host: The machine that holds the journal.
        process: The process there.
    """

    journal_id: str
    invocation_id: str
    opened_at_us: int
    characters_upper_bound: int
    cost_upper_bound: Decimal | None
    currency: str | None
    service: str
    model: str
    account: str | None
    tags: Mapping[str, str] = field(default_factory=dict)
    host: str = ""
    process: int = 0


def write_claim(store: Store, part: int, claim: Claim) -> None:
    """Put a claim at the destination, replacing an earlier one of the same journal."""
    values = {name: getattr(claim, name) for name in Claim.__dataclass_fields__}
    values |= {"host": socket.gethostname(), "process": os.getpid()}
    store.write(claim_name(part, claim.journal_id), json_bytes(values))


def read_claim(store: Store, name: str) -> Claim | None:
    """Read a claim by its full name; None when it is gone.

    Raises:
        StorageError: It is damaged: what was spent under it is not known.
    """
    data = store.read(name)
    if data is None:
        return None
    fields = read_fields(data, store.describe(name), "restore it: it tells what may have been spent")
    claim = Claim(
        journal_id=fields.text("journal_id"),
        invocation_id=fields.text("invocation_id"),
        opened_at_us=fields.count("opened_at_us", maximum=_MAX_INSTANT_US),
        characters_upper_bound=fields.count("characters_upper_bound"),
        cost_upper_bound=fields.amount("cost_upper_bound", limit=_COST_LIMIT),
        currency=fields.text_or_none("currency"),
        service=fields.text("service"),
        model=fields.text("model"),
        account=fields.text_or_none("account"),
        tags=fields.object("tags").texts() if "tags" in fields else {},
        host=fields.text("host") if "host" in fields else "",
        process=fields.count("process") if "process" in fields else 0,
    )
    if name != claim_name(parse_part_number(name), claim.journal_id):
        raise fields.damage_error(f"it is the claim of journal {claim.journal_id!r}")
    return claim


_MAX_INSTANT_US = 253_402_300_799_999_999
"""The end of the year 9999, in microseconds since 1970: a table holds no later moment."""

_COST_LIMIT = Decimal(10) ** 9
"""A cost in the usage table has nine digits before its point."""


def claim_name(part: int, journal_id: str) -> str:
    """Return a claim's name within the dataset."""
    return f"claims/{part_name(part)}-{journal_id}.json"


def claim_names(store: Store, part: int) -> list[str]:
    """Return the names of all claims on a part."""
    return [f"claims/{name}" for name in file_names(store, "claims", f"{part_name(part)}-")]

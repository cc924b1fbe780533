"""Read and write claims at the destination: each bounds the spending of one journal."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated

import msgspec

from tts_pipeline.dataset.names import file_names, parse_part_number, part_name
from tts_pipeline.models import Count
from tts_pipeline.storage.json_files import json_bytes, read_fields
from tts_pipeline.storage.store import Store
from tts_pipeline.wal.records import JournalHeader

CLAIMS = "claims"
"""The folder of claims within the dataset."""

InstantUs = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799_999_999)]
"""Microseconds since 1970 UTC, to the end of the year 9999: a table holds no later instant."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A journal of a part, and the most that it may spend before it raises the claim.

    The cost is None without a price. Service, model, account and tags are for the bill, if the journal is lost.
    ``is_waiting`` states that nothing of the claim can come back: it is spent, none of its attempts is in flight, and
    its process waits for the money of others. Earlier versions neither write nor read it,
    ``door`` and ``key_id``.
    """

    journal_id: str
    invocation_id: str
    opened_at_us: InstantUs
    characters_upper_bound: Count
    cost_upper_bound: Decimal | None
    currency: str | None
    service: str
    model: str
    account: str | None
    tags: Mapping[str, str] = field(default_factory=dict)
    host: str = ""
    process: Count = 0
    is_waiting: bool = False
    door: str = ""
    key_id: str = ""


# msgspec learns a dataclass when it first meets it: a process died in which two threads did so at once (0.22.0).
msgspec.json.Decoder(Claim)


def claim_of(
    header: JournalHeader, opened_at_us: int, currency: str | None, characters: int = 0, cost: Decimal | None = None
) -> Claim:
    """Return the claim of a journal on at most these characters and this cost."""
    bound = opened_at_us, characters, cost, currency
    owner = header.service, header.model, header.account, header.tags
    return Claim(header.journal_id, header.invocation_id, *bound, *owner, door=header.door, key_id=header.key_id)


def write_claim(store: Store, part: int, claim: Claim) -> None:
    """Write a claim to the destination; it replaces an earlier claim of the same journal."""
    values = {name: getattr(claim, name) for name in Claim.__dataclass_fields__}
    values |= {"host": socket.gethostname(), "process": os.getpid()}
    store.write(claim_name(part, claim.journal_id), json_bytes(values))


def read_claim(store: Store, name: str) -> Claim | None:
    """Read a claim by its full name; return None when it is gone.

    Raises:
        StorageError: The claim is damaged, so the spending under it is unknown.
    """
    data = store.read(name)
    if data is None:
        return None
    fields = read_fields(data, store.describe(name), "restore the file: it limits the spending of its journal")
    fields.amount("cost_upper_bound", limit=_COST_LIMIT)
    try:
        claim = msgspec.convert(fields.values, Claim)
    except msgspec.ValidationError as error:
        raise fields.damage_error(str(error)) from error
    if name != claim_name(parse_part_number(name), claim.journal_id):
        raise fields.damage_error(f"it is the claim of journal {claim.journal_id!r}")
    return claim


_COST_LIMIT = Decimal(10) ** 9
"""A cost in the usage table has at most nine digits before its decimal point."""


def claim_name(part: int, journal_id: str) -> str:
    """Return a claim's name within the dataset."""
    return f"{CLAIMS}/{part_name(part)}-{journal_id}.json"


def claim_names(store: Store, part: int) -> list[str]:
    """Return the names of all claims on a part."""
    return [f"{CLAIMS}/{name}" for name in file_names(store, CLAIMS, f"{part_name(part)}-")]

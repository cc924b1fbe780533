"""Say whose account a job spends on, and which dataset it writes."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

from tts_pipeline.card import Endpoint
from tts_pipeline.catalog.entries import LOCAL
from tts_pipeline.catalog.key_id import key_id
from tts_pipeline.errors import without_passwords
from tts_pipeline.storage.location import is_local, local_path


@dataclass(frozen=True, slots=True)
class Account:
    """Who pays at a service, and for which model: the processes with equal accounts share rates and pauses.

    ``name`` is the service's account label, else the id of its key, which tells nothing about the key.
    """

    service: str
    name: str
    model: str

    def __str__(self) -> str:
        return f"{self.model} on {self.service}, account {self.name}"


def account_of(service: Endpoint, model: str) -> Account:
    """Return the account of a service with its key. A service by URL is known by its URL."""
    name = service.base_url if service.name == LOCAL else service.name  # each local service is one of its own
    return Account(without_passwords(name), service.account or key_id(service.api_key or ""), model)


def dataset_id(destination: str | os.PathLike[str]) -> str:
    """Return the id of a dataset: a hash of its real path, or of its URL without a password."""
    text = os.fspath(destination)
    place = os.path.realpath(local_path(text)) if is_local(text) else without_passwords(text).rstrip("/")
    return hashlib.sha256(place.encode("utf-8", "surrogateescape")).hexdigest()[:16]

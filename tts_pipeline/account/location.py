"""Find the account store: a database that was named, or the default file of this machine and user."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from tts_pipeline.account.database import Database
from tts_pipeline.errors import ConfigurationError, without_passwords
from tts_pipeline.storage.location import is_local, local_path
from tts_pipeline.storage.scratch import state_folder

VARIABLE = "TTS_ACCOUNT_STORE"
NO_STORE = "none"

_POSTGRES = ("postgresql", "postgres")
_PASSWORDS = re.compile(r"://[^:@/]*:(.+)@|[?&]\w*password=([^&]+)", re.IGNORECASE)
_UNENCODED = re.compile(r"\s|@.*@|/[^?]*@", re.DOTALL)
"""White space, or a character that ends a password for libpq, which would show the rest as a host or a database."""

_KEYWORDS = re.compile(r"\s*\w+\s*=")
"""The beginning of libpq's other form, ``host=... password=...``."""


@dataclass(frozen=True, slots=True, repr=False)
class StoreLocation:
    """The place of an account store.

    Args:
        place: A path, or the URL of a PostgreSQL database, which may hold a password.
        is_named: Whether the user named it: a named store has to be usable, the default one need not.
        is_shared: Whether other machines reach it.
    """

    place: str
    is_named: bool
    is_shared: bool

    def __str__(self) -> str:
        return without_passwords(self.place)

    def open(self) -> Database:
        """Return the database; it is connected on first use."""
        if not self.is_shared:
            from tts_pipeline.account.sqlite import SqliteDatabase

            return SqliteDatabase(Path(self.place))
        from tts_pipeline.account.postgres import PostgresDatabase

        return PostgresDatabase(self.place)


def find_store(setting: str | None) -> StoreLocation | None:
    """Return the location that a setting names; None is the default, and ``none`` is no store.

    Raises:
        ConfigurationError: The setting is a URL of another kind of database, or one that is not encoded.
        StorageError: No home folder is known for the default.
    """
    if setting == NO_STORE:
        return None
    if not setting:
        return StoreLocation(str(state_folder() / "account" / "account.db"), is_named=False, is_shared=False)
    if _KEYWORDS.match(setting):
        raise ConfigurationError(
            "an account store is not named by keywords and values", hint="give postgresql://user@host/database"
        )
    if is_local(setting):
        return StoreLocation(str(local_path(setting)), is_named=True, is_shared=False)
    scheme, _, rest = setting.partition("://")
    if scheme.partition("+")[0] not in _POSTGRES:
        raise ConfigurationError(
            f"an account store is a file of this machine or a PostgreSQL database, not {scheme}://...",
            hint="give a path, postgresql://user@host/database, or none",
        )
    if _UNENCODED.search(rest):
        raise ConfigurationError(
            "the URL of the account store has a space, or an @ or / within a user, password or name",
            hint="write a space as %20, @ as %40, / as %2F",
        )
    return StoreLocation(f"postgresql://{rest}", is_named=True, is_shared=True)


def passwords_of(setting: str) -> frozenset[str]:
    """Return the passwords in a setting, both percent-encoded and decoded."""
    if is_local(setting):
        return frozenset()
    passwords = {password for match in _PASSWORDS.finditer(setting) for password in match.groups() if password}
    return frozenset(passwords | set(map(unquote, passwords)))


def refuse_password(setting: str | None, flag: str) -> None:
    """Refuse a URL with a password in an argument of a command.

    Raises:
        ConfigurationError: The URL holds a password.
    """
    if setting and passwords_of(setting):
        raise ConfigurationError(
            f"{flag} has a password, which other users of this machine can read in the list of processes",
            hint=f"set {VARIABLE}, or leave the password to ~/.pgpass",
        )

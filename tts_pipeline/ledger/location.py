"""Find the ledger: a folder or URL that was named, or the default folder of this machine and user."""

from __future__ import annotations

import os
from dataclasses import dataclass

from tts_pipeline.errors import ConfigurationError, without_passwords
from tts_pipeline.storage.location import FsspecPath, is_local, is_url, local_path
from tts_pipeline.storage.scratch import state_folder

VARIABLE = "TTS_LEDGER"
NO_LEDGER = "none"


@dataclass(frozen=True, slots=True, repr=False)
class LedgerLocation:
    """The place of a ledger.

    Args:
        place: A path or an fsspec URL, which may hold a password.
        is_named: Whether the user named it; the default ledger may be missing.
    """

    place: str | FsspecPath
    is_named: bool

    def __str__(self) -> str:
        return without_passwords(os.fspath(self.place))


def find_ledger(setting: str | FsspecPath | None) -> LedgerLocation | None:
    """Return the location that a setting names; None is the default, and ``none`` is no ledger.

    Raises:
        ConfigurationError: The setting is no name of a folder.
        StorageError: No home folder is known for the default.
    """
    if setting == NO_LEDGER:
        return None
    if not setting:
        return LedgerLocation(str(state_folder() / "ledger"), is_named=False)
    if isinstance(setting, str) and is_local(setting):
        return LedgerLocation(str(local_path(setting)), is_named=True)
    return LedgerLocation(setting, is_named=True)


def refuse_password(setting: str | None, flag: str) -> None:
    """Refuse a URL with a password in an argument of a command.

    Raises:
        ConfigurationError: The URL holds a password.
    """
    if setting and is_url(setting) and without_passwords(setting) != setting:
        raise ConfigurationError(
            f"{flag} has a password, which other users of this machine can read in the list of processes",
            hint=f"set {VARIABLE}, or leave the password to the configuration of the URL's driver",
        )

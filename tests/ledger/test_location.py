"""The ledger is found by its setting, else in the user's state directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from tts_pipeline.errors import ConfigurationError
from tts_pipeline.ledger.location import LedgerLocation, find_ledger, refuse_password
from tts_pipeline.storage.location import FsspecPath


def test_the_default_is_in_the_state_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And nobody named it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    expected = LedgerLocation(str(tmp_path / "tts-pipeline" / "ledger"), is_named=False)
    assert find_ledger(None) == find_ledger("") == expected


def test_none_is_no_ledger() -> None:
    """It opts out."""
    assert find_ledger("none") is None


@pytest.mark.parametrize("setting", ["s3://bucket/ledger", "gs://bucket/ledger", FsspecPath("s3://bucket/x", None)])
def test_a_url_is_taken_as_it_is(setting: str | FsspecPath) -> None:
    """Of any fsspec driver, also with a file system of the caller."""
    assert find_ledger(setting) == LedgerLocation(setting, is_named=True)


def test_a_path_is_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A later change of the working directory changes nothing."""
    monkeypatch.chdir(tmp_path)
    assert find_ledger("ledger") == find_ledger(f"file://{tmp_path}/ledger")
    assert str(find_ledger("ledger")) == str(tmp_path / "ledger")


def test_a_password_is_shown_nowhere() -> None:
    """Neither in the text nor in the representation of a location."""
    location = find_ledger("ftp://ada:secret@host/ledger")
    assert str(location) == "ftp://host/ledger"
    assert "secret" not in repr(location)


@pytest.mark.parametrize("setting", ["ftp://ada:secret@host/ledger", "https://host/ledger?token=secret"])
def test_a_password_in_a_flag_is_refused(setting: str) -> None:
    """Other users see the arguments of a process."""
    with pytest.raises(ConfigurationError, match="--ledger has a password") as error:
        refuse_password(setting, "--ledger")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("setting", [None, "", "none", "ledger", "s3://bucket/ledger", "abfs://container@account/x"])
def test_a_setting_without_a_password_is_taken(setting: str | None) -> None:
    """An Azure container looks like a user."""
    refuse_password(setting, "--ledger")

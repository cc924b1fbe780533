"""A setting names an account store, and is shown without its password."""

from __future__ import annotations

from pathlib import Path

import pytest

from tts_pipeline.account.location import NO_STORE, find_store, passwords_of, refuse_password
from tts_pipeline.account.postgres import PostgresDatabase
from tts_pipeline.account.sqlite import SqliteDatabase
from tts_pipeline.errors import ConfigurationError, StorageError

_URL = "postgresql://speaker:hunter2@db.example:5432/speech?sslmode=require"


def test_none_is_no_store() -> None:
    """Nothing is shared."""
    assert find_store(NO_STORE) is None


@pytest.mark.parametrize("setting", [None, ""])
def test_the_default_is_a_file_of_the_user(
    setting: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the state folder; nobody named it, so that a run goes on without it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    location = find_store(setting)
    assert location is not None
    assert Path(location.place).is_relative_to(tmp_path)
    assert (location.is_named, location.is_shared) == (False, False)
    assert isinstance(location.open(), SqliteDatabase)


def test_a_default_without_a_home_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as in a container whose user is unknown."""
    monkeypatch.setattr("tts_pipeline.account.location.state_folder", _no_home)
    with pytest.raises(StorageError, match="no home"):
        find_store(None)


def _no_home() -> Path:
    raise StorageError("no home folder is known")


@pytest.mark.parametrize("setting", ["shared/account.db", "./a=b/account.db", "file:{folder}/shared/account.db"])
def test_a_path_is_a_file(setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a file: URL; relative to where the program runs."""
    monkeypatch.chdir(tmp_path)
    location = find_store(setting.format(folder=tmp_path))
    assert location is not None
    assert Path(location.place).is_relative_to(tmp_path)
    assert (location.is_named, location.is_shared) == (True, False)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg", "postgres+psycopg2"])
def test_a_url_is_a_postgresql_database(scheme: str) -> None:
    """As libpq, SQLAlchemy and Airflow write it; nothing shows its password."""
    location = find_store(_URL.replace("postgresql", scheme))
    assert location is not None
    assert (location.place, location.is_named, location.is_shared) == (_URL, True, True)
    assert str(location) == "postgresql://db.example:5432/speech?sslmode=***"
    assert "hunter2" not in f"{location} {location!r}"
    pytest.importorskip("psycopg")
    database = location.open()
    assert isinstance(database, PostgresDatabase)
    assert "hunter2" not in repr(database)


@pytest.mark.parametrize(
    "setting",
    [
        "mysql://u:hunter2@h/d",
        "mysql://u:x@hunter2@h/d",
        "s3://bucket/account.db",
        "host=h password=hunter2",
        " dbname = speech",
    ],
)
def test_another_database_is_refused(setting: str) -> None:
    """With what to give, and without the password."""
    with pytest.raises(ConfigurationError, match=r"give .*postgresql://user@host/database") as exc_info:
        find_store(setting)
    assert "hunter2" not in str(exc_info.value)


@pytest.mark.parametrize(
    "rest",
    [
        "u:hunter2@x@h/d",
        "u:x@hunter2@h/d",
        "u:x?hunter2@x@h/d",
        "u:x@hunter2/x@h/d",
        "u:5432/hunter2@h/d",
        "u:hunter2 x@h/d",
        "u:hunter2\tx@h/d",
        "h/d?user=u&password=hunter2 x",
        "h/hunter2@d",
    ],
)
@pytest.mark.parametrize("scheme", ["postgresql", "postgres+psycopg"])
def test_a_url_that_is_not_encoded_is_refused(scheme: str, rest: str) -> None:
    """Without a part of it: libpq would take half a password for a host, and show it."""
    with pytest.raises(ConfigurationError, match=r"space as %20, @ as %40, / as %2F") as exc_info:
        find_store(f"{scheme}://{rest}")
    assert "hunter2" not in repr(vars(exc_info.value))


@pytest.mark.parametrize(
    "rest", ["u%40x:h%40unter2%20@h/d", "h/d?user=u@x", "/d?host=/run/postgresql", "u:x?y#z@[::1]:5432/d", "h,i/d"]
)
def test_a_url_that_is_encoded_is_taken(rest: str) -> None:
    """As libpq reads it; a user in the query needs no encoding."""
    location = find_store(f"postgresql://{rest}")
    assert location is not None
    assert location.place == f"postgresql://{rest}"


@pytest.mark.parametrize(
    ("setting", "passwords"),
    [
        (_URL, {"hunter2"}),
        ("postgresql://u:h%2Funter@h/d", {"h%2Funter", "h/unter"}),
        ("postgresql://u:h/unter@2@h/d", {"h/unter@2"}),
        ("postgresql://h/d?user=u&password=hunter2&sslpassword=x%20y", {"hunter2", "x%20y", "x y"}),
        ("postgresql://u:hunter2@[::1/d", {"hunter2"}),
        ("postgresql://u@h:5432/d?passfile=/f&sslmode=require", set()),
        ("postgresql://h:5432,i:5433/d", set()),
        ("postgresql:///d", set()),
        ("/home/me/password=x/account.db", set()),
        ("none", set()),
    ],
)
def test_a_password_is_found_wherever_it_stands(setting: str, passwords: set[str]) -> None:
    """In both of its writings; a flag may not have it."""
    assert passwords_of(setting) == passwords
    if not passwords:
        refuse_password(setting, "--account-store")
        return
    with pytest.raises(ConfigurationError, match=r"--account-store has a password.*TTS_ACCOUNT_STORE") as exc_info:
        refuse_password(setting, "--account-store")
    assert not any(password in str(exc_info.value) for password in passwords)

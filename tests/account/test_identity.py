"""Processes that spend on one account have one account, and writers of one dataset one id."""

from __future__ import annotations

from pathlib import Path

import pytest

from tts_pipeline.account.identity import Account, account_of, dataset_id
from tts_pipeline.catalog import Service
from tts_pipeline.catalog.key_id import key_id

_KEY = "sk-of-one-account"


def _account(
    model: str = "m",
    *,
    name: str = "modelstream",
    base_url: str = "https://a.example",
    api_key: str = _KEY,
    account: str | None = None,
) -> Account:
    return account_of(Service(name=name, base_url=base_url, api_key=api_key, account=account), model)


def test_an_account_is_a_key_at_a_service() -> None:
    """And its model, as rates are those of a model; the address may change."""
    assert _account() == _account(base_url="https://proxy.example")
    assert len({_account(), _account("n"), _account(name="baze"), _account(api_key="sk-of-another")}) == 4
    assert _account() == Account("modelstream", key_id(_KEY), "m")


def test_a_label_is_the_account_whatever_its_key() -> None:
    """Two keys of one account share its rates."""
    assert _account(account="newsroom") == _account(account="newsroom", api_key="sk-of-another")
    assert _account(account="newsroom") != _account(account="radio")


def test_each_local_service_is_one_of_its_own() -> None:
    """All have one name, and no key."""
    one, other = (_account(name="local", base_url=f"http://127.0.0.1:{port}", api_key="") for port in (1, 2))
    assert one != other
    assert (one.service, one.name) == ("http://127.0.0.1:1", "none")


def test_an_account_shows_no_secret() -> None:
    """Neither the key nor a password in the address."""
    account = _account(name="https://user:hunter2@gateway.example")
    text = f"{account} {account!r}"
    assert _KEY not in text
    assert "hunter2" not in text
    assert key_id(_KEY) in text


def test_a_dataset_is_known_by_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However a path is written: relative, with a link, as a URL, with a slash at its end."""
    (tmp_path / "link").symlink_to(tmp_path / "out")
    monkeypatch.chdir(tmp_path)
    ways: list[str | Path] = [tmp_path / "out", "out", "out/", "link", f"file://{tmp_path}/out", "./other/../out"]
    assert len({dataset_id(way) for way in ways}) == 1
    assert dataset_id("out") != dataset_id("other")


def test_a_password_of_a_url_changes_nothing() -> None:
    """And is not in the id, from which a short one could be guessed."""
    ways = ["s3://bucket/out", "s3://bucket/out/", "s3://AKIA7:hunter2@bucket/out", "s3://AKIA8:other@bucket/out"]
    assert len({dataset_id(way) for way in ways}) == 1
    assert dataset_id("s3://bucket/out") != dataset_id("s3://bucket/other")

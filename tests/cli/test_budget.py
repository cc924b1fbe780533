"""The commands ``budget set``, ``budget list`` and ``budget remove``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Command, CommandResult

SET = ("budget", "set", "radio", "2000CNY", "--per", "month", "--timezone", "Asia/Shanghai")
INSTRUCT = ("--service", "baze", "--model", "qwen3-tts-instruct-flash")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of an account store that is not there yet, which the environment names."""
    path = tmp_path / "state" / "account.db"
    monkeypatch.setenv("TTS_ACCOUNT_STORE", str(path))
    return path


def _list(command: Command) -> list[dict[str, object]]:
    budgets: list[dict[str, object]] = command("budget", "list", "--json").json["budgets"]
    return budgets


def test_a_budget_is_set_listed_and_removed(command: Command, store: Path) -> None:
    """It says from when it counts, and for what."""
    result = command(*SET, "--where", "team=radio", "--where", "show=news", *INSTRUCT)
    assert (result.status, result.err) == (0, "")
    assert result.out.startswith(
        "budget radio: 2,000 CNY per month (Asia/Shanghai), for service=baze, model=qwen3-tts-instruct-flash, "
        "team=radio, show=news; it counts every request from now on that matches"
    )
    assert str(store) in result.out
    head, row = command("budget", "list").out.splitlines()
    assert head.split() == ["BUDGET", "PERIOD", "AMOUNT", "USED", "POSSIBLE", "LEASED", "LEFT", "FORECAST", "COUNTS"]
    assert row.split()[2:9] == ["Asia/Shanghai", "2,000", "CNY", "0", "0", "0", "2,000"]
    (budget,) = _list(command)
    assert budget["tags"] == {"team": "radio", "show": "news"}
    assert "is removed" in command("budget", "remove", "radio").out
    assert command("budget", "list").out == "no budgets\n"


def test_the_json_has_stable_names(command: Command, store: Path) -> None:
    """Amounts are exact, as text; the unit stands beside them."""
    command("budget", "set", "all", "0.000000001", "usd", "--per", "ever")
    result = command("budget", "list", "--json").json
    assert result.keys() == {"store", "is_made", "budgets"}
    assert (result["store"], result["is_made"]) == (str(store), True)
    (budget,) = result["budgets"]
    assert budget.pop("budget_id")
    assert budget.pop("created_at")
    assert budget == {
        "name": "all",
        "unit": "USD",
        "amount": "0.000000001",
        "used": "0",
        "possible": "0",
        "leased": "0",
        "left": "0.000000001",
        "forecast": None,
        "waiting_workers": 0,
        "per": "ever",
        "timezone": None,
        "period": "ever",
        "period_start": None,
        "period_end": None,
        "tags": {},
        "service": None,
        "model": None,
    }


def test_a_budget_without_a_condition_says_so(command: Command, store: Path) -> None:
    """It counts the requests of all accounts."""
    result = command("budget", "set", "all", "2000000", "characters", "--per", "run")
    assert "2,000,000 characters per run, for every request; it counts every request from now on, of all" in result.out


def test_a_second_setting_changes_a_budget(command: Command, store: Path) -> None:
    """It shows what the budget was before; what was spent stays."""
    command(*SET)
    result = command("budget", "set", "radio", "1.5CNY", "--per", "month", "--timezone", "Asia/Shanghai")
    assert "Before, it was 2,000 CNY for every request: what was spent stays counted" in result.out
    assert [budget["amount"] for budget in _list(command)] == ["1.5"]


def test_a_service_by_url_is_named_as_in_the_bill(command: Command, store: Path) -> None:
    """Jobs have it by its URL without ``/v1``; a name of one's own catalog is taken as it is."""
    command(*SET, "--service", "https://Speech.example:443/v1/")
    assert _list(command)[0]["service"] == "https://speech.example"
    command(*SET, "--service", "mine")
    assert _list(command)[0]["service"] == "mine"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("1CNY", "--service", "modelstrem"), ["no service 'modelstrem'", "Did you mean 'modelstream'?"]),
        (("1CNY", "--model", "qwen3-tts-flsh"), ["no model 'qwen3-tts-flsh'", "Did you mean 'qwen3-tts-flash'?"]),
        (("1CNY", "--service", "modelstream", *INSTRUCT[2:]), [f"no model '{INSTRUCT[3]}' on modelstream"]),
        (("1CNY", "--service", "mine", *INSTRUCT[2:]), ["no service 'mine'"]),
        (("500XYZ",), ["no such price in XYZ, but in CNY, USD"]),
        (("500USD", "--service", "baze"), ["no such price in USD, but in CNY"]),
        (("1CNY", "--service", "https://mine.example", *INSTRUCT[2:]), []),
        (("1USD", "--service", "openai", "--model", "tts-1"), []),
        (("1 characters", "--service", "local"), []),
    ],
)
def test_a_name_that_the_catalog_lacks_is_doubted(
    command: Command, store: Path, arguments: tuple[str, ...], words: list[str]
) -> None:
    """The budget is set, because a job's own catalog may have the name; but a typing error would cap nothing."""
    result = command("budget", "set", "radio", "--per", "ever", *arguments)
    assert result.status == 0
    assert len(_list(command)) == 1
    assert result.err.count("\n") == (1 if words else 0)
    for word in words:
        assert word in result.err


def test_a_budget_of_nothing_stops_jobs(command: Command, store: Path) -> None:
    """It says so, and which jobs."""
    result = command("budget", "set", "all", "0CNY", "--per", "ever")
    assert "0 CNY per ever, for every request; it stops every job, of all accounts, because" in result.out
    result = command("budget", "set", "all", "0CNY", "--per", "ever", "--where", "team=radio")
    assert "0 CNY per ever, for team=radio; it stops every job that matches, because" in result.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("set", "radio", "2000", "--per", "ever"), "an amount with its unit, such as 500CNY"),
        (("set", "radio", "-5CNY", "--per", "ever"), "without signs or commas, not '-5CNY'"),
        (("set", "radio", "-.5", "CNY", "--per", "ever"), "not '-.5 CNY'"),
        (("set", "radio", "2000CNY"), "--per"),
        (("set", "radio", "2000CNY", "--per", "week"), "choose from"),
        (("set", "radio", "2000CNY", "--per", "day"), "--timezone, such as Asia/Shanghai"),
        (("set", "radio", "2000CNY", "--per", "day", "--timezone", "Asia/Shangai"), "Did you mean 'Asia/Shanghai'"),
        (("set", "radio", "2000CNY", "--per", "ever", "--where", "team"), "--where KEY=VALUE"),
        (("set", "radio", "2000CNY", "--per", "ever", "--where", "tag:team=radio"), "write --where team=radio"),
        (("set", "radio", "2000CNY", "--per", "ever", "--where", "a=1", "--where", "a=2"), "no request has both"),
        (("set", "radio", "2000CNY", "--per", "ever", "--service", "https://u:pw@host"), "URL"),
        (("list", "--account-store", ""), "--account-store must not be empty"),
        (("list", "--account-store", "postgresql://u:secret@host/db"), "has a password"),
        (("list", "--account-store", "mysql://host/db"), "a PostgreSQL database"),
        (("list", "--account-store", "none"), "--account-store"),
        (("list", "--jsn"), "tts-pipeline budget list --help"),
        ((), "COMMAND"),
    ],
)
def test_a_wrong_command_is_refused(command: Command, store: Path, arguments: tuple[str, ...], words: str) -> None:
    """With what to do; no password is repeated."""
    result: CommandResult = command("budget", *arguments)
    assert (result.status, result.out) == (2, "")
    assert words in result.err
    assert "secret" not in result.err
    assert "pw" not in result.err


def test_an_unknown_budget_is_not_removed(command: Command, store: Path) -> None:
    """The nearest name is shown."""
    command(*SET)
    result = command("budget", "remove", "rodio")
    assert (result.status, result.out) == (2, "")
    assert "no budget 'rodio' (Did you mean 'radio'?" in result.err


def test_a_store_that_is_not_there_is_not_made(command: Command, store: Path) -> None:
    """Nobody who looks makes it, or who takes something away."""
    for words in (("budget", "remove", "radio"), ("account", "forget", "nobody")):
        result = command(*words)
        assert (result.status, result.out) == (2, "")
        assert f"no account store yet at {store}" in result.err
    for arguments in (("budget", "list"), ("account", "status")):
        result = command(*arguments)
        assert result.status == 0
        assert f"no account store yet at {store}" in result.out
        assert command(*arguments, "--json").json["is_made"] is False
    assert not store.parent.exists()


def test_a_flag_overrides_the_environment(command: Command, store: Path, tmp_path: Path) -> None:
    """Each store has its own budgets; without both, it is the default file."""
    command(*SET, "--account-store", tmp_path / "other.db")
    assert not store.exists()
    assert "radio" in command("budget", "list", "--account-store", tmp_path / "other.db").out


def test_the_default_is_a_file_of_the_user(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the folder of the user's state."""
    monkeypatch.delenv("TTS_ACCOUNT_STORE")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    command(*SET)
    (file,) = tmp_path.rglob("account.db")
    assert str(file) in command("budget", "list", "--json").json["store"]


def test_a_store_that_cannot_be_used_is_named(command: Command, tmp_path: Path) -> None:
    """It is no database, or a server that does not answer."""
    path = tmp_path / "notes.txt"
    path.write_text("not a database " * 100)
    result = command("budget", "list", "--account-store", path)
    assert (result.status, result.out) == (6, "")
    assert str(path) in result.err
    assert path.read_text().startswith("not a database")

"""The errors of the package: their tree, what each means for the run, and what is shown of them."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from random import Random

import pytest

from tests.cli.test_terminal import HOSTILE
from tts_pipeline import errors
from tts_pipeline.cli.status import CONFIGURATION, SERVICE, STORAGE, status_of
from tts_pipeline.config import Limits
from tts_pipeline.errors import (
    ConfigurationError,
    FatalError,
    MissingSourceError,
    PermanentError,
    ServiceError,
    StoppedError,
    StorageError,
    SuspectError,
    ThrottledError,
    TransientError,
    TtsPipelineError,
    UnreadableError,
    cause_of,
    did_you_mean,
    printable,
    without_passwords,
)
from tts_pipeline.flow.clock import Clock
from tts_pipeline.flow.failure_policy import FailurePolicy
from tts_pipeline.flow.rates import OwnRates
from tts_pipeline.flow.retry_policy import RetryPolicy
from tts_pipeline.flow.retry_state import Disposition, RetryState

PARENTS: dict[type[Exception], type[Exception]] = {
    TtsPipelineError: Exception,
    ConfigurationError: TtsPipelineError,
    MissingSourceError: ConfigurationError,
    StorageError: TtsPipelineError,
    StoppedError: TtsPipelineError,
    ServiceError: TtsPipelineError,
    TransientError: ServiceError,
    ThrottledError: TransientError,
    PermanentError: ServiceError,
    SuspectError: PermanentError,
    UnreadableError: PermanentError,
    FatalError: ServiceError,
}

DISPOSITIONS: dict[type[ServiceError], Disposition] = {
    TransientError: Disposition.RETRY,
    ThrottledError: Disposition.RETRY_NOW,
    PermanentError: Disposition.REJECT,
    SuspectError: Disposition.PENDING,
    UnreadableError: Disposition.REJECT,
    FatalError: Disposition.FATAL,
}
"""What becomes of a row whose attempt meets the error, while others succeed."""


def test_the_tree_is_the_documented_one() -> None:
    """Callers catch by the parents: each class has its place, and no class is left out."""
    classes = {value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)}
    assert {error: error.__base__ for error in classes} == PARENTS


@pytest.mark.parametrize("kind", [ConfigurationError, MissingSourceError, StorageError])
def test_an_error_says_what_to_do(kind: type[TtsPipelineError]) -> None:
    """The hint follows the message, in brackets; without one the message stands alone."""
    error = kind("No key.", hint="set KEY")
    assert (str(error), error.hint) == ("No key. (set KEY)", "set KEY")
    assert (str(kind("No key.")), kind("No key.").hint) == ("No key.", None)


def test_each_error_has_its_exit_status() -> None:
    """2: nothing was sent; 6: a disk or a destination; 5: the service."""
    stopped = StoppedError("stopped", stopped_by="outage")
    service = [kind("broken", code="X") for kind in DISPOSITIONS]
    assert status_of(ConfigurationError("x")) == status_of(MissingSourceError("x")) == CONFIGURATION
    assert status_of(StorageError("x")) == STORAGE
    assert {status_of(error) for error in (stopped, *service)} == {SERVICE}


@pytest.mark.parametrize("kind", DISPOSITIONS)
def test_each_error_of_the_service_decides_about_its_row(kind: type[ServiceError]) -> None:
    """Tried again, at once or after a wait; rejected; held until other rows have an outcome; or the end of the run."""
    policy, rows = (
        FailurePolicy(Limits(), lambda: 1_700_000_000_000_000, OwnRates(Limits(), Clock())),
        [RetryState() for _ in range(3)],
    )
    for _ in rows:
        policy.active_rows += 1
    policy.on_success(1.0, sent_at_s=0.5)
    assert policy.on_failure(rows[0], kind("broken", code="X"), 2.0, sent_at_s=1.5) is DISPOSITIONS[kind]
    assert (policy.stop_reason is not None) == (kind is FatalError)


@pytest.mark.parametrize("kind", DISPOSITIONS)
def test_only_transient_errors_are_retried(kind: type[ServiceError]) -> None:
    """A fetch meets them three times, and every other error once; the last one is raised."""
    tries = 0

    async def fetch() -> None:
        nonlocal tries
        tries += 1
        raise kind("broken", code="X")

    async def sleep(_: float) -> None:
        pass

    with pytest.raises(kind):
        asyncio.run(RetryPolicy(Limits(), Random(1), sleep).retry_fetch(fetch))
    assert tries == (3 if issubclass(kind, TransientError) else 1)


def test_an_error_of_the_service_carries_its_facts() -> None:
    """Whatever was received is a field, and stands in the text; without more knowledge it may have been billed."""
    error = TransientError("broken", code="InternalError", http_status=500, request_id="q", hint="run again")
    assert str(error) == "broken [code InternalError, status 500, request q] (run again)"
    assert error.for_utterance("r1", attempts=2, cost=Decimal(1), currency="CNY") is error
    assert str(error) == "broken [utterance 'r1', code InternalError, 2 attempts, status 500, request q] (run again)"
    assert (error.cost, error.currency, error.may_be_billed) == (Decimal(1), "CNY", True)
    bare = PermanentError("no", code="X")
    assert (bare.http_status, bare.request_id, bare.retry_after_s, bare.characters_reported) == (None,) * 4
    assert (bare.input_limit, bare.utterance_id, bare.attempts, bare.cost) == (None, None, 0, None)


def test_a_stop_says_by_what_and_until_when() -> None:
    """None where the service named no time."""
    stopped = StoppedError("the cap is reached", stopped_by="budget", hint="raise it")
    assert (stopped.stopped_by, stopped.until, str(stopped)) == ("budget", None, "the cap is reached (raise it)")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("s3://AKIA:se/cr+et@bucket/out", "s3://bucket/out"),
        ("s3://:secret@bucket", "s3://bucket"),
        ("https://user:secret@host:8443/x?sig=secret&se=1#a", "https://host:8443/x?sig=***&se=***#a"),
        ("https://token@host/x", "https://host/x"),
        ("simplecache::s3://AKIA:secret@bucket/out", "simplecache::s3://bucket/out"),
        ("abfs://container@account.dfs.core.windows.net/x", "abfs://container@account.dfs.core.windows.net/x"),
        ("s3://my_conn@bucket/x", "s3://my_conn@bucket/x"),
        ("http://localhost:8000/a@b", "http://localhost:8000/a@b"),
        ("s3://bucket/a?.parquet", "s3://bucket/a?.parquet"),
        ("s3://bucket/12:30@x", "s3://bucket/12:30@x"),
        ("/data/a@b:c/out", "/data/a@b:c/out"),
        (
            "cannot open 'sftp://me:secret@host/x': no file me:secret@host/x",
            "cannot open 'sftp://host/x': no file host/x",
        ),
        ("", ""),
    ],
)
def test_what_is_shown_of_a_url(url: str, expected: str) -> None:
    """User and password go, and the values of a query; containers, ports, connections and globs stay."""
    assert without_passwords(url) == expected
    assert without_passwords(expected) == expected


def test_what_can_be_read_stays() -> None:
    """Other scripts and pictures; joiners go, white space is a space, the rest is a sign that something was there."""
    for text in ("Grüße, 你好, שלום, हिन्दी 🚢", "", "a=b"):
        assert printable(text) == text
    assert printable("a\tb\r\nc\u200dd\x1b\ud800") == "a b  cd\ufffd\ufffd"


@pytest.mark.parametrize(
    "error",
    [
        ConfigurationError(HOSTILE, hint=HOSTILE),
        TransientError(HOSTILE, code=HOSTILE, request_id=HOSTILE),
        StoppedError(HOSTILE, stopped_by="service"),
    ],
)
def test_an_error_is_one_line(error: Exception) -> None:
    """Also in Airflow's log and in a notebook."""
    assert str(error).isprintable()


def test_an_error_and_its_cause_show_no_password() -> None:
    """Neither message nor hint; a driver's error that holds one is not told as the cause."""
    error = StorageError("cannot open s3://me:secret@bucket/x", hint="see s3://me:secret@bucket")
    assert str(error) == "cannot open s3://bucket/x (see s3://bucket)"
    assert error.args == ("cannot open s3://bucket/x",)
    harmless, driver = OSError("no bucket"), OSError("no s3://me:secret@bucket")
    assert (cause_of(harmless), cause_of(driver)) == (harmless, None)


def test_the_nearest_known_name_is_proposed() -> None:
    """Whatever its case, in its own spelling; nothing is proposed where nothing is near."""
    assert did_you_mean("CHERY", ["Cherry", "Stella"]) == "Did you mean 'Cherry'? "
    assert did_you_mean("x", ["Cherry", "Stella"]) == did_you_mean("x", []) == ""

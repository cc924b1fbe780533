"""Exceptions of the package, in a tree whose branches are the caller's reactions.

::

    TtsPipelineError
    ├── ConfigurationError   a setting, an input or a parameter is wrong; nothing was sent (exit 2)
    │   └── MissingSourceError   the source does not exist (yet)
    ├── StorageError         a disk, a destination or a lock failed; received answers are kept (exit 6)
    ├── ServiceError         the failure of one attempt; says whether it may have cost money
    │   ├── TransientError   the same attempt may succeed later: retried with jitter
    │   │   └── ThrottledError   429: pauses the run, never uses up a row's attempts
    │   ├── PermanentError   this utterance will never succeed: it becomes a reject
    │   │   ├── SuspectError     every utterance may meet it: fatal when two rows meet it in succession
    │   │   └── UnreadableError  a whole answer without readable audio: another answer would be no better
    │   └── FatalError       no utterance can succeed: the run stops in good order (exit 5)
    └── StoppedError         a run stopped in good order before its end; states the reason

Callers distinguish errors by type and by the fields below, never by the text of the message.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Self

from tts_pipeline.deprecation import renamed_attributes


class TtsPipelineError(Exception):
    """Root of all exceptions that this package raises on purpose.

    Args:
        message: What failed, and where: one sentence, without keys and whole texts. Passwords are cut out of its URLs.
        hint: What the reader can do about it; printed after the message.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        self.message = without_passwords(message)
        super().__init__(self.message)
        self.hint = None if hint is None else without_passwords(hint)

    def __str__(self) -> str:
        return printable(f"{self.message} ({self.hint})" if self.hint else self.message)


class ConfigurationError(TtsPipelineError):
    """A setting, an input or a parameter is wrong; nothing was sent. Never retried."""


class MissingSourceError(ConfigurationError):
    """The source has no Parquet file; it may come later. Never retried."""


class StorageError(TtsPipelineError):
    """A disk, a destination or a lock failed; received answers are kept. Never retried."""


class StoppedError(TtsPipelineError):
    """A run stopped in good order before its end; running it again continues.

    Args:
        message: What stopped the run.
        stopped_by: ``budget``, ``service``, ``outage``, ``rejects`` or ``interrupted``.
        hint: What to do before running again.
        until: The end of a pause that the service requested (UTC): run again then; None without a pause.
    """

    def __init__(
        self, message: str, *, stopped_by: str, hint: str | None = None, until: datetime | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.stopped_by = stopped_by
        self.until = until


@renamed_attributes(concerning="for_utterance")
class ServiceError(TtsPipelineError):
    """The failure of one attempt at the service.

    Args:
        message: The service's message, cut to a readable length, or a description of the failure.
        code: The service's own code (``Throttling.RateQuota``), or ours for a failure without one
            (``ConnectionLost``, ``MalformedBody``); stored as ``error_code``.
        http_status: The received status; None when none was received.
        request_id: The service's request id; None when none was received.
        may_be_billed: False only where surely nothing was charged: never sent, status 400, 401, 402, 403, 404, 413,
            422, 429, or a known code for a bad key, an empty account or a rate inside a 200.
        retry_after_s: Seconds that the service asked us to wait; None when it did not.
        characters_reported: Billed characters that the failing answer reported; mostly None.
        input_limit: The service's own limit when it refused a text as too long; None otherwise.
        hint: What the reader can do about it.
    """

    def __init__(  # noqa: PLR0913 (an error carries all that was received)
        self,
        message: str,
        *,
        code: str,
        http_status: int | None = None,
        request_id: str | None = None,
        may_be_billed: bool = True,
        retry_after_s: float | None = None,
        characters_reported: int | None = None,
        input_limit: int | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.http_status = http_status
        self.request_id = request_id
        self.may_be_billed = may_be_billed
        self.retry_after_s = retry_after_s
        self.characters_reported = characters_reported
        self.input_limit = input_limit
        self.utterance_id: str | None = None
        self.attempts = 0
        self.cost: Decimal | None = None
        self.currency: str | None = None

    def for_utterance(
        self, utterance_id: str, *, attempts: int, cost: Decimal | None, currency: str | None = None
    ) -> Self:
        """Add the utterance, its number of requests and its confirmed cost; return the error itself, to be raised."""
        self.utterance_id = utterance_id
        self.attempts = attempts
        self.cost = cost
        self.currency = currency
        return self

    def __str__(self) -> str:
        facts = [f"code {self.code}"]
        if self.utterance_id is not None:
            facts.insert(0, f"utterance {self.utterance_id!r}")
        if self.attempts:
            facts.append(f"{self.attempts} attempt{'s' if self.attempts > 1 else ''}")
        if self.http_status is not None:
            facts.append(f"status {self.http_status}")
        if self.request_id:
            facts.append(f"request {self.request_id}")
        text = f"{self.message} [{', '.join(facts)}]"
        return printable(f"{text} ({self.hint})" if self.hint else text)


class TransientError(ServiceError):
    """The same attempt may succeed later: retried with jitter, up to ``max_attempts``."""


class ThrottledError(TransientError):
    """The service answered 429: the whole run pauses; retried without using up the row's attempts."""


class PermanentError(ServiceError):
    """This utterance will never succeed as it is: it becomes a reject. Never retried."""


class SuspectError(PermanentError):
    """A refusal without a known code (403, 404, ...): it concerns one row until two rows meet it in succession.

    A caller with several rows treats the second in succession as fatal; a single one is a reject. Never retried.
    """


class UnreadableError(PermanentError):
    """A whole and well-formed answer without readable audio: not bought again, as another would be no better.

    An answer that may have been cut in transit is a ``TransientError`` instead. Never retried; may have been billed.
    """


class FatalError(ServiceError):
    """No utterance can succeed (key, balance, access, model): the run stops. Never retried."""


_URL = re.compile(r"([A-Za-z][\w+.-]*://)([^\s'\"<>]*)")
# An AWS secret may hold slashes; a number before the first slash is a port. A name alone is an Azure container or the
# id of an Airflow connection, but may be a token where the URL is a web address.
_USER = re.compile(r"[^\s@/]*:(?!\d+(?:/|$))[^\s@]*@")
_WEB_USER = re.compile(r"[^\s@/]+@")
_QUERY = re.compile(r"([?&;][^=&?#;]+=)[^&#;]*")
_DRIVERS_USER = re.compile(r"(?<![\w/])[^\s/:@'\"]+:(?!//)[^\s@'\":]+@(?=\w)")


def without_passwords(text: str) -> str:
    """Return a text or URL without users, passwords and query values, safe to show.

    Drivers of object stores put paths without a scheme into their errors that begin with ``user:password@``.
    """
    return _DRIVERS_USER.sub("", _URL.sub(_redact_url, text)) if "@" in text or "://" in text else text


def _redact_url(url: re.Match[str]) -> str:
    scheme, address = url[1], url[2]
    if scheme.lower() == "file://":
        return url[0]
    address = _USER.sub("", address, count=1) if _USER.match(address) else address
    if scheme.lower() in ("http://", "https://") and _WEB_USER.match(address):
        address = _WEB_USER.sub("", address, count=1)
    return scheme + _QUERY.sub(r"\1***", address)


def cause_of(error: BaseException) -> BaseException | None:
    """Return the error as the cause of one of ours; None where it would show a password."""
    return error if without_passwords(text := str(error)) == text else None


def printable(text: str) -> str:
    """Return a text as one line without characters that a terminal or a log would interpret.

    Texts of data and services may move the cursor, set colours, forge lines or reverse the order of characters: by
    control and format characters, escape sequences, line and paragraph separators, lone surrogates. White space becomes
    a space, joiners (of Persian, of emoji) are removed, and each of the others becomes U+FFFD.
    """
    return text if text.isprintable() else "".join(map(_printable_character, text))


def _printable_character(character: str) -> str:
    if character.isprintable():
        return character
    if character.isspace():
        return " "
    return "" if character in "\u200c\u200d" else "\ufffd"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``Did you mean 'x'? `` for the nearest known name, or an empty string."""
    names = [str(name) for name in known]
    folded = {name.casefold(): name for name in names}
    nearest = difflib.get_close_matches(name.casefold(), list(folded), n=1, cutoff=0.6)
    return f"Did you mean {folded[nearest[0]]!r}? " if nearest else ""

"""Tables of failure codes and statuses: the error that each means, and its hint.

``vendor_codes`` holds the codes of other makers. Sources:
https://www.alibabacloud.com/help/en/model-studio/error-code (with the OpenAI-style aliases that it lists),
https://platform.openai.com/docs/guides/error-codes, and the codes of the one-api / new-api gateways; all read in 2026.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import NamedTuple

from tts_pipeline.errors import FatalError, PermanentError, ServiceError, SuspectError, ThrottledError, TransientError
from tts_pipeline.wire import vendor_codes


class FailureRule(NamedTuple):
    """The error class of a failure, and a hint for people."""

    error: type[ServiceError]
    hint: str | None = None


RULES: Mapping[str, FailureRule] = {
    "throttled": FailureRule(ThrottledError, "if this goes on, lower `requests_per_minute` or `max_concurrency`"),
    "transient": FailureRule(TransientError),
    "bad_parameter": FailureRule(PermanentError, "compare the parameters with `tts-pipeline models`"),
    "bad_text": FailureRule(PermanentError, "the service refuses this text: change it, or leave the row rejected"),
    "too_long": FailureRule(PermanentError, "split the text, or choose a model with a larger limit"),
    "bad_key": FailureRule(
        FatalError, "check the service's key and that it belongs to this address and region, then run again"
    ),
    "no_balance": FailureRule(
        FatalError, "settle the bill or top up the account, then run again: finished rows are kept"
    ),
    "no_access": FailureRule(FatalError, "ask for access to this model or choose another with `model`, then run again"),
    "no_model": FailureRule(FatalError, "check `model`; `tts-pipeline models` lists what each service has"),
    "daily_quota": FailureRule(FatalError, "the quota of this period is used up: run again later, or buy more"),
    "free_quota": FailureRule(
        FatalError, "the free quota is used up: allow paid use in the service's console, then run again"
    ),
}
"""Meaning -> the rule."""

_WORD_CODES: Mapping[str, Sequence[str]] = {
    "throttled": (
        *("Throttling", "Throttling.RateQuota", "LimitRequests", "limit_requests", "Throttling.BurstRate"),
        *("limit_burst_rate", "Throttling.AllocationQuota", "insufficient_quota", "Throttling.Concurrency"),
        *("rate_limit_exceeded", "rate_limit_error", "RateLimitExceeded", "too_many_requests", "TooManyRequests"),
    ),
    "transient": (
        *("InternalError", "internal_error", "InternalError.Algo", "InternalError.Timeout", "InternalError.Upload"),
        *("ModelServingError", "ModelServiceFailed", "ModelUnavailable", "RequestTimeOut", "ResponseTimeout"),
        *("SystemError", "ServiceUnavailable", "ServiceUnavailableError", "server_error", "internal_server_error"),
        *("do_request_failed", "read_response_body_failed", "bad_response", "bad_response_body", "get_channel_failed"),
        *("service_unavailable_error", "server_is_overloaded", "overloaded_error", "slow_down", "ClientDisconnect"),
    ),
    "bad_parameter": (
        *("InvalidParameter", "invalid_parameter_error", "invalid_parameter", "InternalError.Algo.InvalidParameter"),
        *("invalid_request_error", "invalid_value", "BadRequest", "BadRequest.EmptyInput", "BadRequest.EmptyModel"),
        *("BadRequest.EmptyParameters", "BadRequest.IllegalInput", "BadRequest.VoiceNotFound", "UnsupportedOperation"),
        *("InvalidParameter.NotSupportEnableThinking", "InvalidURL", "unsupported_value", "missing_required_parameter"),
    ),
    "bad_text": (
        *("DataInspectionFailed", "data_inspection_failed", "InternalError.Algo.DataInspectionFailed"),
        *("CustomRoleBlocked", "FaqRuleBlocked", "IPInfringementSuspect", "content_policy_violation"),
        *("sensitive_words_detected", "prompt_blocked", "content_filter"),
    ),
    "too_long": (
        *("BadRequest.TooLarge", "InvalidInputLength", "text_too_long", "prompt_too_long", "string_too_long"),
        *("string_above_max_length", "context_length_exceeded"),
    ),
    "bad_key": (
        *("InvalidApiKey", "invalid_api_key", "authentication_error", "NotAuthorized", "NOT AUTHORIZED"),
        *("account_deactivated", "ip_not_authorized", "invalid_token", "InvalidAccessKeyId"),
    ),
    "no_balance": (
        *("Arrearage", "PrepaidBillOverdue", "PostpaidBillOverdue", "CommodityNotPurchased", "BudgetLimitExceeded"),
        *("insufficient_user_quota", "pre_consume_token_quota_failed", "insufficient_balance", "InsufficientBalance"),
        *("billing_hard_limit_reached", "billing_not_active", "credit_balance_exhausted", "quota_not_enough"),
    ),
    "no_access": (
        *("AccessDenied", "access_denied", "AccessDenied.Unpurchased", "Model.AccessDenied", "App.AccessDenied"),
        *("Workspace.AccessDenied", "permission_error", "permission_denied", "unsupported_country_region_territory"),
    ),
    "no_model": ("ModelNotFound", "model_not_found", "model_not_supported", "ModelNotSupported", "WorkSpaceNotFound"),
    "free_quota": ("AllocationQuota.FreeTierOnly",),
}


def normalize_code(code: str) -> str:
    """Return a code without case and punctuation: ``InvalidApiKey`` and ``invalid_api_key`` are one code."""
    return re.sub(r"[^a-z0-9]", "", code.lower())


_ALL_CODES = (*_WORD_CODES.items(), *vendor_codes.WORD_CODES.items())

RULE_BY_CODE: Mapping[str, FailureRule] = {
    normalize_code(code): RULES[meaning] for meaning, codes in _ALL_CODES for code in codes
}
"""Normalized code -> the rule."""

RULE_BY_CODE_AND_STATUS: Mapping[tuple[str, int], FailureRule] = {
    # Tokens per minute under a 429; a gateway's code for an empty account under a refusal.
    ("insufficientquota", 402): RULES["no_balance"],
    ("insufficientquota", 403): RULES["no_balance"],
    # Bought characters under a refusal (ElevenLabs: 401); a limit per minute under a 429, if it states a wait.
    ("quotaexceeded", 429): RULES["throttled"],
    # new-api sends this when no channel serves the model at the moment, which passes.
    ("modelnotfound", 500): RULES["transient"],
    ("modelnotfound", 503): RULES["transient"],
}
"""Codes whose meaning depends on the status."""

GENERIC_CODES = frozenset(
    normalize_code(code)
    for code in (
        *("InvalidParameter", "invalid_parameter_error", "invalid_request_error", "BadRequest", "bad_request"),
        *("InternalError", "internal_error", "internal_server_error", "server_error", "InternalError.Algo"),
        *("INVALID_ARGUMENT", "INTERNAL", "ValidationError", "ValidationException"),
        *(
            "InternalError.Algo.InvalidParameter",
            "bad_response_status_code",
            "upstream_error",
            "api_error",
            "new_api_error",
            "one_api_error",
            "unknown",
        ),
    )
)
"""Codes that gateways give to any failure behind them: a known code inside the message is more specific."""

QUOTA_CODES = frozenset({"throttlingallocationquota", "insufficientquota", "allocationquota", "quotaexceeded"})
"""Codes that mean either tokens per minute or the whole paid quota: the body's form and words decide."""

_KNOWN_SPELLINGS = sorted({code for _, codes in _ALL_CODES for code in codes}, key=len, reverse=True)
_COMPOUND = re.compile(r"[a-z][A-Z]|[._]")
_DELIMITER = re.compile(r"""\s*(?:[:"',)\]}<-]|$)""")


@cache
def _code_in_message() -> re.Pattern[str]:
    """Compile the pattern of all known codes for the first failure: this takes 4 ms, and most runs have none."""
    return re.compile(rf"(?<![\w.])({'|'.join(map(re.escape, _KNOWN_SPELLINGS))})(?![\w.]*\w)")


def find_code(message: str) -> str | None:
    """Return the known code in a flattened message (``<429> Throttling.RateQuota: ...``); None without one.

    A code that could also be a plain word (``Throttling``, ``Arrearage``) counts only before a delimiter.
    """
    for match in _code_in_message().finditer(message):
        code = match[1]
        if _COMPOUND.search(code) or _DELIMITER.match(message, match.end()):
            return code
    return None


def meaning_of_message(message: str) -> str | None:
    """Return the meaning of a message without a code, by its beginning; None for an unknown beginning."""
    return next(
        (meaning for pattern, meaning in vendor_codes.MESSAGE_PATTERNS if pattern.match(message.lstrip()[:200])), None
    )


_SUSPECT = FailureRule(SuspectError, "check the service's address: this may be another server's page")

_RULE_BY_STATUS: Mapping[int, FailureRule] = {
    **dict.fromkeys((300, 301, 302, 303, 307, 308), _SUSPECT),  # it redirects to nowhere
    401: RULES["bad_key"],
    402: RULES["no_balance"],
    403: FailureRule(SuspectError, "if every row meets this, check the key's rights and the proxy, if any"),
    404: _SUSPECT,
    405: _SUSPECT,
    407: FailureRule(FatalError, "the proxy requires a login: check the proxy's settings"),
    408: RULES["transient"],
    409: RULES["transient"],
    410: _SUSPECT,
    413: RULES["too_long"],
    421: RULES["transient"],
    425: RULES["transient"],
    429: RULES["throttled"],
    499: RULES["transient"],
    501: _SUSPECT,
}

SPECIFIC_STATUSES = frozenset({401, 402, 403, 404, 405, 407, 413, 429})
"""Statuses that are more specific than a code of ``GENERIC_CODES``."""

UNBILLED_STATUSES = frozenset({307, 308, 400, 401, 402, 403, 404, 407, 413, 422, 429})
"""Statuses after which surely nothing was charged: a refusal, a proxy's refusal, or a redirect of the same request."""


def rule_for(code: str | None, status: int) -> FailureRule:
    """Return the rule of a failure: by code and status, by code, by the code's family, or by status."""
    for name in () if code is None else _families(code):
        rule = RULE_BY_CODE_AND_STATUS.get((name, status)) or RULE_BY_CODE.get(name)
        if rule:
            return rule
    if status in _RULE_BY_STATUS:
        return _RULE_BY_STATUS[status]
    return RULES["bad_parameter"] if 400 <= status < 500 else RULES["transient"]


def is_known(code: str) -> bool:
    """Return whether the table has a code, or its family before one of its dots."""
    return any(name in RULE_BY_CODE for name in _families(code))


def _families(code: str) -> Iterator[str]:
    """Yield a code and the families before its dots, the longest first, each normalized."""
    parts = code.split(".")
    return (normalize_code(".".join(parts[:length])) for length in range(len(parts), 0, -1))

"""Tables of vendors' failures: codes that are words, codes that are numbers, and bare sentences.

A meaning is a name in ``failure_codes.RULES``. Numbers are read only in their maker's own form, so that the numbers of
two makers never clash.

Read on 2026-11-29, in stored copies:

* Amazon Polly: https://docs.aws.amazon.com/polly/latest/dg/CommonErrors.html and ``limits.html`` (throttling is an HTTP
  400 with the type in a header).
* Baidu: https://ai.baidu.com/ai-doc/SPEECH/Albxhaijw and ``Zlbxew2qk``. BigModel: https://docs.bigmodel.cn/cn/faq/api-code.
* Cartesia: https://docs.cartesia.ai/use-the-api/api-errors. Deepgram: https://developers.deepgram.com/docs/errors.
* ElevenLabs: https://help.elevenlabs.io/hc/en-us/articles/19572237925521 and ``19571824571921``.
* Google: ``API_KEY_INVALID`` under an HTTP 400 in https://github.com/vivet/GoogleApi/issues/375; quotas of a day in
  https://github.com/google-gemini/gemini-cli/issues/10925.
* MiniMax: https://platform.minimax.io/docs/api-reference/errorcode; 1028, 1030 and 2061 from MiniMax-AI/cli,
  ``src/errors/api.ts``. OpenRouter: https://openrouter.ai/docs/api/errors.
* OpenAI's empty account: https://github.com/ChatGPTNextWeb/NextChat/issues/3123.
* SiliconFlow (20012): https://docs.siliconflow.cn/cn/faqs/error-code.
* Tencent Cloud: https://cloud.tencent.com/document/api/1073/37996.
* Alibaba's speech gateway (40000001, 40000005): https://help.aliyun.com/document_detail/459864.html.
* iFlytek (10105 to 10114, 10700, 11200, 11201): https://www.kancloud.cn/kevin_liu/iflytek_rest_api_ocr/486303.
* Volcengine (3000): https://docs.byteplus.com/en/docs/speech/docs-parameters.

From memory, and to be confirmed: all other numbers of iFlytek, Volcengine, SiliconFlow,
MiniMax (1013, 2042, 2045, 2049, 2054, 2056) and Alibaba's speech gateway; Azure's, Huawei's and Tencent's
``UnsupportedOperation`` codes; Moonshot's (``exceeded_current_quota_error`` and the like), Hume's ``E0300``, Groq's
``model_terms_required``; the names of Amazon's and Google's that the pages above do not list.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

WORD_CODES: Mapping[str, Sequence[str]] = {
    "throttled": (
        *("ThrottlingException", "ThrottledException", "RequestThrottled", "RequestThrottledException"),
        *("TooManyRequestsException", "RequestLimitExceeded", "LimitExceededException", "BandwidthLimitExceeded"),
        *("RESOURCE_EXHAUSTED", "RATE_LIMIT_EXCEEDED", "RATE_LIMITED", "rateLimitExceeded", "userRateLimitExceeded"),
        *("too_many_concurrent_requests", "concurrent_limit_exceeded", "concurrency_limited", "system_busy"),
        *("InternalError.ExceedMaxLimit", "LimitExceeded.AccessLimit", "APIG.0308", "concurrency_limit_exceeded"),
        *("rate_limit_reached_error", "engine_overloaded_error"),
    ),
    "transient": (
        *("ServiceFailureException", "InternalFailure", "InternalServerException", "ServiceUnavailableException"),
        *("UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "INTERNAL", "ResourceInsufficient", "ResourceUnavailable"),
    ),
    "bad_parameter": (
        *("ValidationException", "ValidationError", "EngineNotSupportedException", "InvalidSampleRateException"),
        *("LanguageNotSupportedException", "LexiconNotFoundException", "INVALID_ARGUMENT", "InvalidParameterValue"),
        *("MissingParameter", "voice_not_found", "invalid_voice_id", "INVALID_JSON"),
    ),
    "bad_text": (
        *("InvalidSsmlException", "InvalidParameter.InvalidText", "InvalidParameterValue.InvalidText"),
        *("content_moderation", "PROHIBITED_CONTENT"),
    ),
    "too_long": (
        *("TextLengthExceededException", "max_character_limit_exceeded", "UnsupportedOperation.TextTooLong"),
        *("text_length_exceeded", "REQUEST_TOO_LARGE"),
    ),
    "bad_key": (
        *("UnrecognizedClientException", "InvalidClientTokenId", "InvalidSignatureException", "SignatureDoesNotMatch"),
        *("IncompleteSignature", "IncompleteSignatureException", "MissingAuthenticationToken", "ExpiredToken"),
        *("MissingAuthenticationTokenException", "ExpiredTokenException", "RequestExpired"),
        *("UNAUTHENTICATED", "API_KEY_INVALID", "API_KEY_EXPIRED", "ACCESS_TOKEN_EXPIRED", "CREDENTIALS_MISSING"),
        *("INVALID_AUTH", "UNAUTHORIZED", "needs_authorization", "missing_api_key", "AuthFailure", "APIG.0301"),
        *("InvalidSubscriptionKey", "authentication_failed", "incorrect_api_key"),
    ),
    "no_balance": (
        *("quota_exceeded", "insufficient_credits", "payment_required", "paid_plan_required", "AccountArrears"),
        *("ASR_PAYMENT_REQUIRED", "INSUFFICIENT_CREDITS", "BILLING_DISABLED", "ResourceUnavailable.InArrears"),
        *("UnsupportedOperation.PkgExhausted", "UnsupportedOperation.AccountArrears", "insufficient_funds"),
        *(
            "UnsupportedOperation.NoFreeAccount",
            "UnsupportedOperation.NoBanlance",
            "exceeded_current_quota_error",
            "E0300",
        ),
    ),
    "no_access": (
        *("AccessDeniedException", "OptInRequired", "SubscriptionRequiredException", "UnauthorizedOperation"),
        *("INSUFFICIENT_PERMISSIONS", "missing_permissions", "detected_unusual_activity", "subscription_required"),
        *("SERVICE_DISABLED", "CONSUMER_SUSPENDED", "API_KEY_SERVICE_BLOCKED", "plan_upgrade_required"),
        *("API_KEY_HTTP_REFERRER_BLOCKED", "API_KEY_IP_ADDRESS_BLOCKED", "IpInBlacklist", "IpNotInWhitelist"),
        *("UnsupportedOperation.ServerNotOpen", "UnsupportedOperation.ServerStopped"),
        *("InvalidParameterValue.AppId", "InvalidParameterValue.AppIdNotRegistered", "model_terms_required"),
    ),
    "no_model": ("DeploymentNotFound", "model_not_available", "invalid_model_id"),
}
"""Meaning -> codes that are words, in their makers' own spelling."""

DAILY_QUOTA = re.compile(r"PerDay")
"""Part of the ``quotaId`` or ``quota_limit`` in Google's details: the used-up quota returns tomorrow."""


class NumericScheme(NamedTuple):
    """A maker's form in which failures are numbers: the path to the number in the JSON object, and numbers by meaning.

    ``sibling`` is another name in the object, for a form that the path alone does not identify. ``success`` holds the
    numbers of a success; if ``is_strict``, any other number is a failure, even beside audio.
    """

    path: tuple[str, ...]
    meanings: Mapping[str, Sequence[int]]
    sibling: str | None = None
    success: frozenset[int] = frozenset({0})
    is_strict: bool = True


NUMERIC_SCHEMES: Sequence[NumericScheme] = (
    NumericScheme(  # MiniMax
        ("base_resp", "status_code"),
        {
            "bad_key": (1004, 2049),
            "no_balance": (1008, 1028, 1030),
            "throttled": (1002, 1039, 1041, 2045),
            "transient": (1000, 1001, 1013, 1024, 1033),
            "bad_parameter": (2013, 2054, 20132),
            "bad_text": (1026, 1027, 1042),
            "no_access": (2042, 2061),
            "daily_quota": (2056,),
        },
    ),
    NumericScheme(  # Baidu, the synthesis itself
        ("err_no",),
        {
            "bad_key": (502,),
            "bad_parameter": (501,),
            "bad_text": (513,),
            "transient": (500, 503, 999),
            "throttled": (13, 15, 18, 3304),
            "no_access": (6,),
            "daily_quota": (16, 3305),
        },
    ),
    NumericScheme(  # Baidu, its gateway
        ("error_code",),
        {
            "bad_key": (14, 110, 111),
            "throttled": (4, 13, 15, 18),
            "no_access": (6,),
            "no_balance": (19, 336204),
            "daily_quota": (16, 17),
            "bad_parameter": (100,),
        },
        is_strict=False,
    ),
    *(
        NumericScheme(  # iFlytek
            path,
            {
                "bad_key": (10105, 10313),
                "no_access": (10005, 10110, 11200),
                "daily_quota": (11201,),
                "throttled": (11202, 11203),
                "transient": (10019, 10114, 10200, 10700),
                "bad_parameter": (10106, 10107, 10139, 10160, 10161, 10163),
                "too_long": (10109,),
            },
            sibling,
        )
        for path, sibling in ((("header", "code"), None), (("code",), "sid"))
    ),
    NumericScheme(  # Volcengine
        ("code",),
        {
            "throttled": (3003,),
            "transient": (3005, 3006, 3030, 3031, 3032, 3040, 55000000),
            "too_long": (3010, 40402003),
            "bad_text": (3011,),
            "bad_parameter": (3001, 3050),
            "bad_key": (4000,),
        },
        sibling="reqid",
        success=frozenset({0, 200, 1000, 3000, 20000000}),
    ),
    NumericScheme(  # Alibaba's speech gateway
        ("status",),
        {
            "bad_key": (40000001,),
            "throttled": (40000005,),
            "no_balance": (40000010,),
            "no_access": (40020105, 40020106, 40020503),
            "bad_parameter": (40000000, 40000002, 40000003),
            "transient": (50000000, 50000001),
        },
        sibling="task_id",
        success=frozenset({*range(10), 200, 20000000}),  # small numbers are the state of another maker's task
    ),
    NumericScheme(  # BigModel
        ("error", "code"),
        {
            "bad_key": (1000, 1001, 1002, 1003, 1004, 1005),
            "no_balance": (1113, 1309),
            "no_access": (1110, 1111, 1112, 1121, 1220, 1311),
            "throttled": (1302, 1303, 1305, 1312, 1313),
            "daily_quota": (1304, 1308, 1310),
            "bad_text": (1301,),
            "no_model": (1211,),
            "bad_parameter": (1210, 1212, 1213, 1214, 1215),
            "too_long": (1261,),
            "transient": (1120, 1200, 1230, 1234),
        },
        success=frozenset({0, 200}),
        is_strict=False,
    ),
    NumericScheme(  # SiliconFlow, and Volcengine's newer routes, whose numbers have eight digits
        ("code",),
        {
            "no_model": (20012,),
            "no_balance": (30001,),
            "throttled": (50603,),
            "transient": (50505, 55000000),
            "too_long": (40402003,),
        },
        success=frozenset({0, 200, 20000000}),
        is_strict=False,
    ),
)

MESSAGE_PATTERNS: Sequence[tuple[re.Pattern[str], str]] = tuple(
    (re.compile(pattern, re.IGNORECASE), meaning)
    for pattern, meaning in (
        # Volcengine gives these failures one number (from memory).
        (r".{0,80}quota exceeded for types: \S*(?:concurrency|qps)", "throttled"),
        (r".{0,80}quota exceeded for types: \S*lifetime", "no_balance"),
        (r"(?:api[ _-]?key (?:is )?(?:not valid|invalid|expired)|(?:invalid|incorrect) api[ _-]?key)\b", "bad_key"),
        (r"access denied due to invalid subscription key", "bad_key"),
        (r"(?:the )?(?:api )?(?:request )?rate limit (?:is |was |has been )?(?:exceeded|reached)", "throttled"),
        (r"too many (?:concurrent )?requests\b", "throttled"),
        (r"(?:insufficient (?:account )?(?:balance|credits?)\b|out of call volume quota)", "no_balance"),
    )
)
"""Beginning of a message without a code -> meaning. Only the beginning, because services quote the row's own text."""

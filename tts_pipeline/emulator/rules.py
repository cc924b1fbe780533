"""Parse the fault rules, which make the service fail or answer unusually, from JSON. Pure.

A rule is a JSON object. ``what`` is one of

* ``throttle``: 429 ``Throttling.RateQuota``, with ``Retry-After`` when ``retry_after_s`` is given (as a date with
  ``"retry_after_date": true``);
* ``error``: ``status`` (500), ``code`` and ``message``, or a raw ``body`` of ``content_type``;
* ``refuse``: 400 ``DataInspectionFailed``;
* ``slow``: a right answer, ``delay_s`` later (1);
* ``cut``: the connection is cut before the answer, or after ``after_bytes`` of its body;
* ``shape``: a right answer in an unusual shape;
* ``redirect``: ``status`` (308) and ``location``, by default the same path with a slash at its end, where redirects do
  not apply but all other rules do. The bill does not list this request.

``slow``, ``cut`` and ``shape`` are charged, the others are not; ``charge`` overrides this. Every rule takes
``delay_s``, and ``echo``, which sends the request's key back in every text of the answer, in one of
``ECHO_ENCODINGS``. The three kinds of error take a ``form``, one of ``FORMS``. The three kinds of answer take

* ``shape``, one of ``SHAPES``;
* ``timestamps``, the form of word times: one of ``TIMESTAMPS``;
* ``sound``, one of ``SOUNDS``: the damage to audio that is not compressed;
* ``container``, one of ``CONTAINERS``: the form of the audio file (twice, after blanks, as big-endian samples);
* ``wav_length``: the bytes of samples that a WAV header claims (placeholders: 2147483583, 4294967295);
* ``report_ratio``: the reported usage as a multiple of the true usage; ``charge_ratio``: the charged and reported usage
  as a multiple of the usual; ``usage``: an object whose fields are reported in place of the true ones;
* ``ends``: with ``connection`` the body has no length and ends with the connection, complete or cut;
* for shapes with a URL: another ``url``, its ``lifetime_s`` (0 is expired), and the fault of its ``fetch``:
  ``redirect`` (to ``location``), ``endless``, ``slow`` (by ``fetch_delay_s``), ``cut``, ``missing``, or a ``wire``;
* ``wire``: the fault of the answer's transport: one of ``WIRE_FAULTS``, such as ``twice``, ``late``, ``drip_head``.

A request must meet all conditions of a rule: ``text`` (substring), ``from_s`` and ``until_s`` (since the rules were
put), ``after`` N requests, only the ``first`` N after those, ``every`` Nth of them, with probability ``ratio`` (drawn
from the rule's own ``seed``), at most ``count`` times. ``after``, ``first`` and ``every`` count the requests that meet
the rule's text and time. The first rule that applies wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from itertools import chain
from typing import Any

from tts_pipeline.emulator.echo import ECHO_ENCODINGS
from tts_pipeline.emulator.request import invalid
from tts_pipeline.emulator.wire_faults import WIRE_FAULTS

VENDOR_SHAPES = (
    *("hex", "hex_sse", "unknown_name", "unknown_url", "url_safe_base64", "list_of_chunks", "lines_of_json"),
    *("inline_data", "parts_of_a_form", "billed_failure", "unreadable"),
)
SHAPES = (
    *("ali_data", "ali_url", "bare_fields", "json_string_url", "json_string_data_uri", "json_string_base64"),
    *("audio_url_object", "redirect", "raw", "raw_mislabelled", "raw_unlabelled", "ali_sse", "openai_sse", "sse_cut"),
    *("no_audio", "bad_base64", "empty"),
    *VENDOR_SHAPES,
)
VENDOR_FORMS = ("base_resp", "response_error", "typed_400", "rpc_status")
FORMS = ("flat", "nested", "text", "inside_200", "sse", "html", "flattened", *VENDOR_FORMS)
TIMESTAMPS = ("ali", "characters", "arrays", "objects", "ragged", "absurd")
CONTAINERS = (
    *("twice", "thrice", "blanks", "zeros", "bom", "l16", "pcm_typed", "pcm_header"),
    *("garbage", "bomb", "absurd_rate", "absurd_channels"),
)
SOUNDS = ("empty", "silent", "noise", "cut", "short", "long", "clipped")
FETCH_FAULTS = ("redirect", "endless", "slow", "cut", "missing", *WIRE_FAULTS)

URL_LIFETIME_S = 24 * 3600
"""Lifetime of an audio URL, that of Alibaba Cloud's."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, as the module's docstring describes it; None is no condition, or no value."""

    what: str
    text: str | None = None
    from_s: float = 0.0
    until_s: float | None = None
    after: int = 0
    first: int | None = None
    every: int = 1
    ratio: float | None = None
    seed: int = 0
    count: int | None = None
    charge: bool = True
    delay_s: float = 0.0
    retry_after_s: float | None = None
    status: int = 500
    code: str = "InternalError"
    message: str = "An internal error has occurred, please try again later."
    body: str | None = None
    content_type: str = "text/html"
    after_bytes: int | None = None
    retry_after_date: bool = False
    form: str = "flat"
    echo: str | None = None
    shape: str | None = None
    timestamps: str = "ali"
    sound: str | None = None
    container: str | None = None
    wav_length: int | None = None
    ends: str = "length"
    url: str | None = None
    lifetime_s: float = URL_LIFETIME_S
    fetch: str | None = None
    fetch_delay_s: float = 2.0
    wire: str | None = None
    location: str = ""
    report_ratio: float = 1.0
    charge_ratio: float = 1.0
    usage: Mapping[str, Any] = field(default_factory=dict)
    payload: Mapping[str, Any] = field(default_factory=dict)


NO_FAULT = Rule("nothing")
"""The rule of a request to which no other rule applies."""

_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "throttle": {"charge": False},
    "error": {"charge": False},
    "refuse": {"charge": False},
    "slow": {"delay_s": 1.0},
    "cut": {},
    "shape": {},
    "redirect": {"charge": False, "status": 308},
}
_TYPES = {field.name: str(field.type).removesuffix(" | None") for field in fields(Rule)}
_ANSWER_FIELDS = tuple(_TYPES)[list(_TYPES).index("shape") : list(_TYPES).index("payload")]
_FIELDS_BY_KIND: Mapping[str, tuple[str, ...]] = {
    "throttle": ("retry_after_s", "retry_after_date", "form"),
    "error": ("status", "code", "message", "body", "content_type", "form"),
    "refuse": ("form",),
    "slow": _ANSWER_FIELDS,
    "cut": ("after_bytes", *_ANSWER_FIELDS),
    "shape": _ANSWER_FIELDS,
    "redirect": ("status", "location"),
}
_COMMON_FIELDS = [name for name in _TYPES if name not in {"what", "payload", *chain(*_FIELDS_BY_KIND.values())}]
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "shape": SHAPES,
    "form": FORMS,
    "echo": ECHO_ENCODINGS,
    "timestamps": TIMESTAMPS,
    "sound": SOUNDS,
    "container": CONTAINERS,
    "ends": ("length", "connection"),
    "fetch": FETCH_FAULTS,
    "wire": tuple(WIRE_FAULTS),
}
_RANGES = {
    "ratio": (0, 1),
    "status": (200, 599),
    "wav_length": (0, 0xFFFFFFFF),
    "every": (1, 1e12),
    "first": (1, 1e12),
    "count": (1, 1e12),
}


def parse_rules(payload: object) -> tuple[Rule, ...]:
    """Return the rules in a request's body, in order.

    Raises:
        RefusalError: 400 for an invalid rule; the message lists the valid names or values.
    """
    if not isinstance(payload, list):
        raise invalid("The faults must be a list of rules.")
    return tuple(_parse_rule(rule) for rule in payload)


def _parse_rule(payload: object) -> Rule:
    if not isinstance(payload, dict):
        raise invalid("A rule must be an object.")
    kind = payload.get("what")
    if not isinstance(kind, str) or kind not in _FIELDS_BY_KIND:
        raise invalid(f"'what' must be one of {', '.join(_FIELDS_BY_KIND)}, not {kind!r}.")
    known_fields = ("what", *_COMMON_FIELDS, *_FIELDS_BY_KIND[kind])
    for name, value in payload.items():
        if name not in known_fields:
            raise invalid(f"A rule with what={kind} has no {name!r}; it takes {', '.join(known_fields)}.")
        _check_value(name, value)
    return Rule(**{**_DEFAULTS[kind], **payload}, payload=payload)


def _check_value(name: str, value: object) -> None:
    kind = _TYPES[name]
    if name in _CHOICES:
        expected, is_valid = f"one of {', '.join(_CHOICES[name])}", value in _CHOICES[name]
    elif kind == "str":
        expected, is_valid = "a string", isinstance(value, str)
    elif kind == "bool":
        expected, is_valid = "true or false", isinstance(value, bool)
    elif kind in {"int", "float"}:
        minimum, maximum = _RANGES.get(name, (0, 1e12))
        expected = f"a{' whole' if kind == 'int' else ''} number from {minimum} to {maximum:g}"
        is_number = isinstance(value, int if kind == "int" else int | float) and not isinstance(value, bool)
        is_valid = is_number and minimum <= value <= maximum  # type: ignore[operator] # a number, as was just checked
    else:
        expected, is_valid = "an object", isinstance(value, dict)
    if not is_valid:
        raise invalid(f"'{name}' must be {expected}, not {str(value)[:60]!r}.")

"""Parse and check a request, as the paid services document it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tts_pipeline.emulator.voices import AUTO, DEFAULT_VOICE, LANGUAGES, VOICES, guess_language

BILLED_BY_TOKEN = "qwen-tts"  # noqa: S105 (a model's name)
"""An older model of the maker."""

MODELS = ("qwen3-tts-flash", "qwen3-tts-flash-2025-11-27", "qwen3-tts-instruct-flash", BILLED_BY_TOKEN)
"""The models of both services, the dated name of the first, and the maker's model that is billed by token."""

INPUT_LIMIT = 600
"""The longest text in characters (Alibaba Cloud Model Studio, Qwen3-TTS-Flash, read 2026-01)."""

FORMATS = ("wav", "mp3", "pcm")
SAMPLE_RATES_HZ = (24_000, 16_000)


class RefusalError(Exception):
    """The refusal of a request, with the paid service's own code and message."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})


def invalid(message: str) -> RefusalError:
    """Return the refusal of a wrong parameter."""
    return RefusalError(400, "InvalidParameter", message)


@dataclass(frozen=True, slots=True)
class SpeechRequest:
    """A valid request: a known model and voice, a text of 1 to ``INPUT_LIMIT`` characters.

    The language is a language type, never ``Auto``. ``pcm`` is headerless samples: 16 bits, little endian, mono. The
    rate is 24,000 or 16,000 Hz; speed, pitch (0.5 to 2) and volume (0.1 to 2) are multiples of the usual.
    """

    model: str
    text: str
    voice: str
    language: str
    response_format: str = "wav"
    sample_rate_hz: int = 24_000
    speed: float = 1.0
    pitch: float = 1.0
    volume: float = 1.0
    timestamps: bool = False


def flatten_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a body in the flat form, also of a body in the nested form of Alibaba Cloud's endpoint.

    The nested form has the text, the voice and the language in ``input``, and other parameters in ``parameters``.
    """
    input_fields = fields.get("input")
    if not isinstance(input_fields, dict):
        return dict(fields)
    parameters = fields.get("parameters")
    nested = {**input_fields, **(parameters if isinstance(parameters, dict) else {})}
    return {"model": fields.get("model"), "input": nested.pop("text", None), **nested}


def parse_request(fields: Mapping[str, Any]) -> SpeechRequest:
    """Return the checked request in these fields.

    All models take the parameters of both services. Unknown parameters are ignored, as in the services.

    Raises:
        RefusalError: 404 for an unknown model, 400 for a field that is missing, of a wrong type or out of range.
    """
    for required in ("model", "input"):
        if not isinstance(fields.get(required), str):
            raise invalid(f"'{required}' is required and must be a string.")
    model, text = fields["model"], fields["input"]
    if model not in MODELS:
        raise RefusalError(404, "ModelNotFound", f"Model not exist: {model[:100]}")
    if not 1 <= len(text) <= INPUT_LIMIT:
        raise invalid(f"Range of input length should be [1, {INPUT_LIMIT}]")
    for name, check_value in _CHECKS.items():
        if name in fields:
            check_value(name, fields[name])
    language = fields.get("language_type", AUTO)
    return SpeechRequest(
        model=model,
        text=text,
        voice=fields.get("voice", DEFAULT_VOICE),
        language=guess_language(text) if language == AUTO else language,
        response_format=fields.get("response_format", "wav"),
        sample_rate_hz=fields.get("sample_rate", 24_000),
        speed=fields.get("speed", 1.0),
        pitch=fields.get("pitch", 1.0),
        volume=fields.get("volume", 1.0),
        timestamps=fields.get("enable_timestamp", False),
    )


def _one_of(*choices: object) -> Callable[[str, object], None]:
    def check_value(name: str, value: object) -> None:
        if not any(value == choice and type(value) is type(choice) for choice in choices):
            raise invalid(f"'{name}' must be one of {', '.join(map(str, choices))}, not {str(value)[:60]!r}.")

    return check_value


def _tenths(minimum: str, maximum: str) -> Callable[[str, object], None]:
    least, most, step = Decimal(minimum), Decimal(maximum), Decimal("0.1")

    def check_value(name: str, value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise invalid(f"'{name}' must be a number.")
        number = Decimal(str(value))
        if not least <= number <= most or number % step:
            raise invalid(f"'{name}' must be between {least} and {most} in steps of {step}, not {number}.")

    return check_value


def _of_type(kind: type, word: str) -> Callable[[str, object], None]:
    def check_value(name: str, value: object) -> None:
        if not isinstance(value, kind):
            raise invalid(f"'{name}' must be a {word}.")

    return check_value


_CHECKS: Mapping[str, Callable[[str, object], None]] = {
    "voice": _one_of(*VOICES),
    "language_type": _one_of(AUTO, *LANGUAGES),
    "response_format": _one_of(*FORMATS),
    "sample_rate": _one_of(*SAMPLE_RATES_HZ),
    "volume": _tenths("0.1", "2"),
    "speed": _tenths("0.5", "2"),
    "pitch": _tenths("0.5", "2"),
    "instructions": _of_type(str, "string"),
    "optimize_instructions": _of_type(bool, "boolean"),
    "enable_timestamp": _of_type(bool, "boolean"),
}

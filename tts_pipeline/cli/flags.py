"""Replace Python parameters in messages, such as `drop=['when']`, by the flags of the command line."""

from __future__ import annotations

import re
from typing import Any

from tts_pipeline.errors import printable
from tts_pipeline.options import BY_PARAMETER, Option, OptionKind

_PARAMETER = re.compile(r"`([a-z_]+)(?:=([^`]*))?`")

_OTHERS = {name: Option(name, "", "") for name in ("latency_s", "name", "timezone", "where")}
"""Flags of single commands, which are not in ``OPTIONS``."""


def with_flags(text: str) -> str:
    """Return a message with flags in place of the parameters in backticks."""
    return _PARAMETER.sub(_to_flag, text)


def _to_flag(match: re.Match[str]) -> str:
    option = BY_PARAMETER.get(match[1]) or _OTHERS.get(match[1])
    if option is None:
        return match[0]
    if match[2] is None:
        return option.flag
    from ast import literal_eval

    try:
        return printable(" ".join(_spell(option, literal_eval(match[2]))))
    except (ValueError, SyntaxError):
        return match[0]


def _spell(option: Option, value: Any) -> list[str]:
    from shlex import quote

    if option.kind is OptionKind.SWITCH:
        return [option.flag]
    if isinstance(value, dict):
        value = [f"{name}={item}" for name, item in value.items()]
    if isinstance(value, bool):
        value = "on" if value else "off"
    return [f"{option.flag} {quote(str(item))}" for item in (value if isinstance(value, list) else [value])]

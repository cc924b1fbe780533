"""Read the settings of a job from the command line and a job file; flags override the file."""

from __future__ import annotations

import argparse
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tts_pipeline.errors import ConfigurationError, did_you_mean
from tts_pipeline.options import BY_NAME, EXCLUSIVE, OPTIONS, Option, OptionKind
from tts_pipeline.storage.location import file_path, is_url, utf8_name

SettingsLayer = dict[str, Any]
"""The settings that one source (the command line, or a job file) gives, parsed, by name."""

_COLUMNS = ("column", "rename", "tag_column")


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a job, as given.

    ``options`` has only given values, by the names of ``OPTIONS``, because defaults are in ``config`` alone.
    ``spelled`` are parameters from the command line, which are text until the model's card gives their types; those of
    a job file have types.
    """

    source: str
    destination: str
    options: Mapping[str, Any] = field(default_factory=dict)
    spelled: Mapping[str, str] = field(default_factory=dict)

    def get(self, name: str) -> Any:
        """Return an option's value; None if it was not given."""
        return self.options.get(name)

    def of(self, holder: str) -> dict[str, Any]:
        """Return the given values of one holder's options, by the names of its fields."""
        names = {option.parameter: option.name for option in OPTIONS if option.holder == holder}
        return {field: self.options[name] for field, name in names.items() if name in self.options}


def read_settings(arguments: argparse.Namespace) -> Settings:
    """Read the settings of a command line, whose ``arguments`` hold only given flags, and those of its job file.

    Raises:
        ConfigurationError: A value has the wrong type, two options exclude each other, or a key of the file is unknown.
    """
    values = dict(vars(arguments))
    config = values.pop("config", None)
    flags = _read_flags(values)
    file = _read_file(file_path(config)) if config is not None else {}
    merged = _merge(file, flags)
    if "seed" in merged and "sample" not in merged:
        raise ConfigurationError(
            "--seed is given without --sample", hint="give the number of rows: --sample N --seed S"
        )
    spelled = merged.pop("spelled", {})
    return Settings(values["source"], values["destination"], merged, spelled)


def _read_flags(values: Mapping[str, Any]) -> SettingsLayer:
    layer: SettingsLayer = {}
    for option in OPTIONS:
        if option.name in values:
            layer[option.name] = _from_flag(option, values[option.name])
    spelled = layer.pop("set", {})
    if "voice" in layer:
        _set_once(spelled, "voice", layer.pop("voice"), "--voice")
    if spelled:
        layer["spelled"] = spelled
    _refuse_exclusive(layer, lambda name: BY_NAME[name].flag)
    return layer


def _from_flag(option: Option, value: Any) -> Any:
    texts = value if isinstance(value, list) else [value]
    if not option.is_path and any(utf8_name(str(text)) != str(text) for text in texts):
        raise ConfigurationError(f"{option.flag} is not UTF-8", hint="only names of files may have other bytes")
    if option.name == "account_store":
        from tts_pipeline.account.location import refuse_password

        refuse_password(value, option.flag)
    if option.name == "ledger":
        from tts_pipeline.ledger.location import refuse_password as refuse_ledger_password

        refuse_ledger_password(value, option.flag)
    if option.kind is OptionKind.VALUE:
        return _parse(option, value, option.flag)
    if option.kind is OptionKind.NAMES:
        return tuple(dict.fromkeys(value))
    if option.kind is OptionKind.SWITCH:
        return value
    pairs: dict[str, str] = {}
    for text in value:
        name, sign, value = text.partition("=")
        if not sign or not name or (option.name in _COLUMNS and not value):
            raise ConfigurationError(f"{option.flag} is {text!r}", hint=f"write {option.flag} {option.metavar}")
        _set_once(pairs, name, value, option.flag)
    return pairs


def _set_once(pairs: dict[str, str], name: str, value: str, flag: str) -> None:
    if pairs.setdefault(name, value) != value:
        raise ConfigurationError(
            f"{flag} gives {name!r} a second value: {value!r} beside {pairs[name]!r}", hint="give one value"
        )


def _read_file(path: Path) -> SettingsLayer:
    values = _read_toml(path)
    layer: SettingsLayer = {}
    for name, value in values.items():
        option = BY_NAME.get(name)
        if option is None:
            raise ConfigurationError(f"{path}: {name!r} is not a known key", hint=_known_keys(name))
        layer[name] = _from_file(option, value, f"{path}: {name!r}")
    for name in [name for name in layer if BY_NAME[name].is_path and layer[name] != BY_NAME[name].keyword]:
        value = layer[name]
        is_one = isinstance(value, str)
        layer[name] = _resolve(path.parent, value) if is_one else tuple(_resolve(path.parent, one) for one in value)
    if "voice" in layer:
        _set_once(layer.setdefault("set", {}), "voice", layer.pop("voice"), f"{path}: 'voice'")
    _refuse_exclusive(layer, lambda name: f"{path}: {name!r}")
    return layer


def _resolve(folder: Path, location: str) -> str:
    return location if is_url(location) else str(folder / os.path.expanduser(location))  # noqa: PTH111 (that of pathlib raises)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"cannot read the job file {str(path)!r}: {error.strerror}", hint="check the path given to --config"
        ) from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"the job file {str(path)!r} is not TOML: {error}") from None


def _known_keys(name: str) -> str:
    if name in {"source", "destination"}:
        return "give SOURCE and DESTINATION on the command line"
    near = did_you_mean(name.replace("-", "_"), BY_NAME)
    return f"{near}The keys are those of the flags, with underscores; see tts-pipeline run --help"


def _from_file(option: Option, value: Any, where: str) -> Any:
    match option.kind:
        case OptionKind.SWITCH:
            expected, is_valid = "true or false", isinstance(value, bool)
        case OptionKind.NAMES:
            expected = "an array of names"
            is_valid = isinstance(value, list) and all(isinstance(item, str) for item in value)
        case OptionKind.PAIRS:
            kinds = (str, int, float, dict, list) if option.name == "set" else (str,)
            expected = (
                "a table of numbers, booleans, texts, tables and arrays" if len(kinds) > 1 else "a table of texts"
            )
            is_valid = isinstance(value, dict) and all(isinstance(item, kinds) for item in value.values())
        case OptionKind.VALUE:
            # bool is a subclass of int in Python, but true and false are no numbers here.
            expected, is_valid = (
                "a text or a number",
                isinstance(value, str | int | float) and not isinstance(value, bool),
            )
    if not is_valid:
        raise ConfigurationError(f"{where} must be {expected}")
    if option.kind is OptionKind.NAMES:
        return tuple(dict.fromkeys(value))
    return _parse(option, str(value), where) if option.kind is OptionKind.VALUE else value


def _parse(option: Option, text: str, where: str) -> Any:
    try:
        return option.parse(text)
    except ValueError as error:
        raise ConfigurationError(f"{where} {error}", hint=option.help) from None


def _refuse_exclusive(layer: SettingsLayer, label: Callable[[str], str]) -> None:
    for first, second in EXCLUSIVE:
        if layer.get(first) and layer.get(second):
            raise ConfigurationError(f"{label(first)} and {label(second)} exclude each other", hint="give one of them")


def _merge(file: SettingsLayer, flags: SettingsLayer) -> SettingsLayer:
    """Override the file's settings by the flags; tables are merged name by name, arrays are joined."""
    lower = dict(file)
    for first, second in EXCLUSIVE:
        for flag, excluded in ((first, second), (second, first)):
            if flags.get(flag):
                lower.pop(excluded, None)
    merged = {**lower, **flags}
    for name in lower.keys() & flags.keys():
        if BY_NAME[name].kind is OptionKind.PAIRS:
            merged[name] = {**lower[name], **flags[name]}
        elif BY_NAME[name].kind is OptionKind.NAMES:
            merged[name] = tuple(dict.fromkeys((*lower[name], *flags[name])))
    if "set" in lower and "spelled" in flags:
        merged["set"] = {name: value for name, value in lower["set"].items() if name not in flags["spelled"]}
    return merged

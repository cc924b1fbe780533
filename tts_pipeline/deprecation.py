"""Keep old names of the public interface working for one release, with a warning that states the new name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from functools import partial, wraps
from typing import Any, TypeVar, cast
from warnings import warn  # not the module: Airflow replaces a module of that name where it wraps functions

REMOVED_IN = "0.2.0"
"""The release that no longer has the old names."""

Target = TypeVar("Target", bound=Callable[..., Any])
Owner = TypeVar("Owner")


def warn_renamed(old: str, new: str, stacklevel: int = 2) -> None:
    """Warn that a name is deprecated; a ``stacklevel`` of 1 blames this function's caller, 2 the caller's caller."""
    message = f"{old} is now {new}; the old name goes in tts-pipeline {REMOVED_IN}"
    warn(message, DeprecationWarning, stacklevel + 1)


def renamed_arguments(**new_names: str) -> Callable[[Target], Target]:
    """Let a function, or the ``__init__`` of a class, also take arguments by their old names: ``running="options"``.

    Type checkers see only the new names. ``inspect.signature`` shows the old ones as well, because Airflow drops
    arguments of ``default_args`` that the signature lacks.

    Raises:
        TypeError: The decorated function got an argument by both names. A dataclass does not raise, because
            ``dataclasses.replace`` passes both names: there the old name wins.
    """

    def decorate(target: Any) -> Any:
        rename = partial(_with_new_names, new_names, old_wins=is_dataclass(target))
        if isinstance(target, type):
            target.__init__ = _accept_old_names(target.__init__, new_names, rename)  # type: ignore[misc] # decorates it
            return target
        return _accept_old_names(target, new_names, rename)

    return decorate


def renamed_attributes(**new_names: str) -> Callable[[type[Owner]], type[Owner]]:
    """Let attributes and methods of a class also be read by their old names: ``running="options"``."""

    def decorate(owner: type[Owner]) -> type[Owner]:
        for old, new in new_names.items():
            setattr(owner, old, property(partial(_read_renamed, old=old, new=new)))
        return owner

    return decorate


def _read_renamed(owner: object, *, old: str, new: str) -> Any:
    warn_renamed(f"{type(owner).__name__}.{old}", new)
    return getattr(owner, new)


def _accept_old_names(
    function: Callable[..., Any], new_names: Mapping[str, str], rename: Callable[[str, dict[str, Any]], dict[str, Any]]
) -> Callable[..., Any]:
    name = function.__qualname__.removesuffix(".__init__")

    @wraps(function)
    def call(*args: Any, **arguments: Any) -> Any:
        return function(*args, **rename(name, arguments))

    @wraps(function)
    async def call_async(*args: Any, **arguments: Any) -> Any:
        return await function(*args, **rename(name, arguments))

    wrapper: Any = call_async if inspect.iscoroutinefunction(function) else call
    wrapper.__signature__ = _show_old_names(inspect.signature(function), new_names)  # PEP 362
    return cast("Callable[..., Any]", wrapper)


def _with_new_names(
    new_names: Mapping[str, str], name: str, arguments: dict[str, Any], *, old_wins: bool
) -> dict[str, Any]:
    for old in new_names.keys() & arguments.keys():
        new = new_names[old]
        if new in arguments and not old_wins:
            raise TypeError(f"{name}() got {new}, and got it by its old name {old} as well")
        warn_renamed(f"the argument {old} of {name}", new, stacklevel=3)
        arguments[new] = arguments.pop(old)
    return arguments


def _show_old_names(signature: inspect.Signature, new_names: Mapping[str, str]) -> inspect.Signature:
    parameters = list(signature.parameters.values())
    position = len(parameters) - (bool(parameters) and parameters[-1].kind is inspect.Parameter.VAR_KEYWORD)
    old_names = [name for name in new_names if name not in signature.parameters]
    old = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None) for name in old_names]
    return signature.replace(parameters=[*parameters[:position], *old, *parameters[position:]])

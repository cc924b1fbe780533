"""Keep old names of the public interface working for one release, with a warning that states the new name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import is_dataclass
from functools import partial, wraps
from importlib import import_module
from typing import Any, NamedTuple, TypeVar, cast
from warnings import warn  # not the module: Airflow replaces a module of that name where it wraps functions

REMOVED_IN = "0.2.0"
"""The release that no longer has the old names."""

Target = TypeVar("Target", bound=Callable[..., Any])
Owner = TypeVar("Owner")


def warn_renamed(old: str, new: str, stacklevel: int = 2) -> None:
    """Warn that a name is deprecated; a ``stacklevel`` of 1 blames this function's caller, 2 the caller's caller."""
    message = f"{old} is now {new}; the old name goes in tts-pipeline {REMOVED_IN}"
    warn(message, DeprecationWarning, stacklevel + 1)


class Moved(NamedTuple):
    """The new place of an argument that is a part of others now.

    ``place`` is for the warning; ``changes`` returns the arguments to set, from the old value and all arguments.
    """

    place: str
    changes: Callable[[Any, Mapping[str, Any]], Mapping[str, Any]]


def renamed_arguments(**new_names: str | Moved) -> Callable[[Target], Target]:
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


def moved_methods(**new_names: str) -> Callable[[type[Owner]], type[Owner]]:
    """Let a function still be called as the static method that it was: ``named="tts_pipeline.find_service"``.

    It is imported when it is called, so that it may stand in a module above the class.
    """

    def decorate(owner: type[Owner]) -> type[Owner]:
        for old, new in new_names.items():
            setattr(owner, old, staticmethod(partial(_call_moved, f"{owner.__name__}.{old}", new)))
        return owner

    return decorate


def _call_moved(old: str, new: str, /, *args: Any, **arguments: Any) -> Any:
    warn_renamed(old, new)
    return import_name(new)(*args, **arguments)


def import_name(dotted_name: str) -> Any:
    """Import a name of a module: ``tts_pipeline.find_service``."""
    module, _, name = dotted_name.rpartition(".")
    return getattr(import_module(module), name)


def _read_renamed(owner: object, *, old: str, new: str) -> Any:
    warn_renamed(f"{type(owner).__name__}.{old}", new)
    return getattr(owner, new)


def _accept_old_names(
    function: Callable[..., Any], new_names: Iterable[str], rename: Callable[[str, dict[str, Any]], dict[str, Any]]
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
    new_names: Mapping[str, str | Moved], name: str, arguments: dict[str, Any], *, old_wins: bool
) -> dict[str, Any]:
    for old, new in new_names.items():
        if old not in arguments:
            continue
        if new in arguments and not old_wins:
            raise TypeError(f"{name}() got {new}, and got it by its old name {old} as well")
        place, value = new.place if isinstance(new, Moved) else new, arguments.pop(old)
        warn_renamed(f"the argument {old} of {name}", place, stacklevel=3)
        arguments |= new.changes(value, arguments) if isinstance(new, Moved) else {new: value}
    return arguments


def _show_old_names(signature: inspect.Signature, new_names: Iterable[str]) -> inspect.Signature:
    parameters = list(signature.parameters.values())
    position = len(parameters) - (bool(parameters) and parameters[-1].kind is inspect.Parameter.VAR_KEYWORD)
    old_names = [name for name in new_names if name not in signature.parameters]
    old = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None) for name in old_names]
    return signature.replace(parameters=[*parameters[:position], *old, *parameters[position:]])

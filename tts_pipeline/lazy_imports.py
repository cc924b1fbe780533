"""Load public names on first use, so that importing their package costs nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from tts_pipeline.deprecation import import_name, warn_renamed


def lazy_names(
    package: str, modules: Mapping[str, str], renamed: Mapping[str, str] = {}
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return a package's ``__getattr__``, ``__dir__`` (PEP 562) and ``__all__``.

    ``modules`` maps each module to its names, separated by spaces; ``renamed`` maps deprecated names to new ones, which
    may be dotted names of other modules.
    """
    module_of = {name: home for home, names in modules.items() for name in names.split()}
    public = sorted(module_of)

    def load(name: str) -> Any:
        if name in renamed:
            warn_renamed(f"{package}.{name}", renamed[name])
            name = renamed[name]
            if "." in name:
                return import_name(name)
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(module_of[name]), name)

    return load, lambda: public, public

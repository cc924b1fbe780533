"""Load public names on first use, so that importing their package costs nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from typing import Any

from tts_pipeline.deprecation import warn_renamed


def lazy_getattr(
    package: str, modules: Mapping[str, Collection[str]], renamed: Mapping[str, str] = {}
) -> Callable[[str], Any]:
    """Return what a package's ``__getattr__`` is to be (PEP 562).

    Args:
        package: Its name, for the error.
        modules: Module -> those of its names that are the package's, too.
        renamed: Deprecated name -> new name.
    """
    module_of = {name: home for home, names in modules.items() for name in names}

    def load(name: str) -> Any:
        if name in renamed:
            warn_renamed(f"{package}.{name}", renamed[name])
            name = renamed[name]
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(module_of[name]), name)

    return load

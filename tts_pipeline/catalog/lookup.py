"""Look up services by name, with their keys."""

from __future__ import annotations

from collections.abc import Mapping

from tts_pipeline.catalog.catalog import Catalog, load_catalog
from tts_pipeline.catalog.keys import environment, with_key
from tts_pipeline.catalog.service import Service


def find_service(name: str, *, catalog: Catalog | None = None, environ: Mapping[str, str] | None = None) -> Service:
    """Look a service up, with its key from the environment.

    Args:
        name: A name of the catalog, or a URL.
        catalog: Where to look; None is the built-in catalog.
        environ: Where the key is; None is the process's environment.

    Raises:
        ConfigurationError: The name is unknown, or the key is missing.
    """
    service = (load_catalog() if catalog is None else catalog).service(name)
    return with_key(service, environment() if environ is None else environ)


Service.named = find_service

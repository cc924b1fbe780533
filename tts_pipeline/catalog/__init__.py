"""Load services, model cards and prices, and check parameters against them."""

from tts_pipeline.catalog.catalog import AnyCatalog, Catalog, find_service, load_catalog
from tts_pipeline.catalog.service import Service

__all__ = ["AnyCatalog", "Catalog", "Service", "find_service", "load_catalog"]

"""Load services, model cards and prices, and check parameters against them."""

from tts_pipeline.catalog.catalog import Catalog, find_service, load_catalog
from tts_pipeline.catalog.service import Service

__all__ = ["Catalog", "Service", "find_service", "load_catalog"]

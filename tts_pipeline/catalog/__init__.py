"""Services, model cards and prices as data, and the checks against them."""

from tts_pipeline.catalog.catalog import Catalog, load_catalog
from tts_pipeline.catalog.lookup import find_service
from tts_pipeline.catalog.service import Service

__all__ = ["Catalog", "Service", "find_service", "load_catalog"]

"""Compare the usage with a vendor's invoice, name every difference, and settle what the invoice says."""

from tts_pipeline.reconcile.invoice import Invoice, read_invoice
from tts_pipeline.reconcile.layout import Layout, built_in_layouts, find_layout, parse_layout
from tts_pipeline.reconcile.matching import months_of, reconcile
from tts_pipeline.reconcile.result import Reconciliation
from tts_pipeline.reconcile.settlements import settlement_name, settlements

__all__ = [
    "Invoice",
    "Layout",
    "Reconciliation",
    "built_in_layouts",
    "find_layout",
    "months_of",
    "parse_layout",
    "read_invoice",
    "reconcile",
    "settlement_name",
    "settlements",
]

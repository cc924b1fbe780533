"""Keep the usage of all doors, datasets and machines in one place, also when a dataset is deleted."""

from tts_pipeline.ledger.contents import LedgerContents
from tts_pipeline.ledger.ledger import Ledger
from tts_pipeline.ledger.location import NO_LEDGER, VARIABLE, LedgerLocation, find_ledger
from tts_pipeline.ledger.run_sync import LedgerSync
from tts_pipeline.ledger.runs import RunEnd, RunStart, Saving

__all__ = [
    "NO_LEDGER",
    "VARIABLE",
    "Ledger",
    "LedgerContents",
    "LedgerLocation",
    "LedgerSync",
    "RunEnd",
    "RunStart",
    "Saving",
    "find_ledger",
]
